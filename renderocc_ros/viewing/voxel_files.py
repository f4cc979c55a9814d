"""The occupied voxels of a result as files that other programs read.

``.ply`` and ``.pcd`` hold the voxels' centres (binary, little endian) with colour, label and
confidence; ``.ply`` also their outer faces, as a mesh. ``.bt`` is OctoMap's. All are in the grid's
frame, metres.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.recfunctions import repack_fields
from numpy.typing import NDArray

from renderocc_ros.files import write_bytes
from renderocc_ros.geometry import VoxelGrid
from renderocc_ros.occupancy.occ3d_files import write_prediction
from renderocc_ros.occupancy.point_cloud import Unseen, to_points
from renderocc_ros.occupancy.semantic_occupancy import SemanticOccupancy
from renderocc_ros.viewing.voxel_surface import voxel_surface

SUFFIXES = (".ply", ".pcd", ".npz", ".bt")
PLY_TYPES = {"<f4": "float", "|u1": "uchar"}
FINEST = 8  # OctoMap's cells that an edge of a voxel is divided into, at most


def write_voxels(
    path: Path, occupancy: SemanticOccupancy, unseen: Unseen = "hide", faces: bool = False
) -> None:
    """Write a result in the format of the file's suffix.

    Args:
        unseen: whether voxels that no camera looks into are left out, or grey (of faces: in the
            colour of their class); .npz has all.
        faces: a mesh of the voxels' outer faces instead of their centres; .ply only.

    Raises:
        ValueError: another suffix, faces in a format that has none, or OctoMap is missing.
        OSError: it cannot be written.
    """
    if path.suffix not in SUFFIXES:
        raise ValueError(f"{path}: voxels are written as {', '.join(SUFFIXES)}")
    if faces and path.suffix != ".ply":
        raise ValueError(f"{path}: faces are written as .ply")
    if path.suffix == ".npz":
        write_prediction(path, occupancy)
        return
    if faces:
        content = _ply_mesh(occupancy if unseen == "hide" else replace(occupancy, in_view=None))
    else:
        makers: dict[str, Callable[[SemanticOccupancy, NDArray[np.void]], bytes]] = {
            ".ply": _ply,
            ".pcd": _pcd,
            ".bt": _octomap,
        }
        content = makers[path.suffix](occupancy, to_points(occupancy, unseen=unseen))
    write_bytes(path, content)


def _ply(occupancy: SemanticOccupancy, points: NDArray[np.void]) -> bytes:
    fields = [(axis, "<f4") for axis in "xyz"]
    fields += [(name, "|u1") for name in ("red", "green", "blue", "label", "confidence")]
    vertices = np.zeros(len(points), np.dtype(fields))
    for name in ("x", "y", "z", "label", "confidence"):
        vertices[name] = points[name]
    _colour(vertices, points["rgb"].view(np.uint32))
    return _ply_header(occupancy, vertices) + b"end_header\n" + vertices.tobytes()


def _ply_mesh(occupancy: SemanticOccupancy) -> bytes:
    surface = voxel_surface(occupancy)
    count = len(surface.normals)
    vertices = np.zeros(4 * count, np.dtype([(axis, "<f4") for axis in "xyz"]))
    for axis, values in zip("xyz", surface.vertices_m.T, strict=True):
        vertices[axis] = values
    colours = [(name, "u1") for name in ("red", "green", "blue")]
    faces = np.zeros(count, np.dtype([("corners", "u1"), ("at", "<i4", (4,)), *colours]))
    faces["corners"] = 4
    faces["at"] = np.arange(4 * count).reshape(count, 4)
    for name, values in zip(("red", "green", "blue"), surface.colours.T, strict=True):
        faces[name] = values
    header = _ply_header(occupancy, vertices)
    header += f"element face {count}\nproperty list uchar int vertex_indices\n".encode()
    header += b"".join(f"property uchar {name}\n".encode() for name, _ in colours)
    return header + b"end_header\n" + vertices.tobytes() + faces.tobytes()


def _ply_header(occupancy: SemanticOccupancy, vertices: NDArray[np.void]) -> bytes:
    lines = ["ply", "format binary_little_endian 1.0"]
    lines += [f"comment stamp_ns {occupancy.stamp_ns}"]
    lines += [f"comment resolution_m {occupancy.grid.resolution_m:g}"]
    lines += [f"comment label {entry.id} {entry.name}" for entry in occupancy.class_set.classes]
    lines += [f"element vertex {len(vertices)}"]
    for name in vertices.dtype.names or ():
        lines += [f"property {PLY_TYPES[vertices.dtype[name].str]} {name}"]
    return "".join(f"{line}\n" for line in lines).encode()


def _pcd(occupancy: SemanticOccupancy, points: NDArray[np.void]) -> bytes:
    packed = repack_fields(points)
    kinds = [packed.dtype[name] for name in packed.dtype.names or ()]
    header = {
        "VERSION": "0.7",
        "FIELDS": " ".join(packed.dtype.names or ()),
        "SIZE": " ".join(str(kind.itemsize) for kind in kinds),
        "TYPE": " ".join("F" if kind.kind == "f" else "U" for kind in kinds),
        "COUNT": " ".join("1" for _ in kinds),
        "WIDTH": len(packed),
        "HEIGHT": 1,
        "VIEWPOINT": "0 0 0 1 0 0 0",
        "POINTS": len(packed),
        "DATA": "binary",
    }
    text = "".join(f"{key} {value}\n" for key, value in header.items())
    head = f"# stamp_ns {occupancy.stamp_ns}\n{text}"
    return head.encode() + bytes(packed.tobytes())


def _octomap(occupancy: SemanticOccupancy, points: NDArray[np.void]) -> bytes:
    """Occupied cells alone: of the others OctoMap says, as of what it never saw, unknown."""
    try:
        import octomap
    except ModuleNotFoundError as error:
        raise ValueError(".bt needs OctoMap: python -m pip install octomap-python") from error
    parts, cell_m = _octree_cells(occupancy.grid)
    offsets = (np.indices((parts,) * 3).reshape(3, -1).T + 0.5 - parts / 2) * cell_m
    centres = np.stack([points[axis] for axis in "xyz"], axis=-1).astype(np.float64)
    tree: Any = octomap.OcTree(cell_m)
    tree.updateNodes((centres[:, None] + offsets).reshape(-1, 3), True, True)
    tree.updateInnerOccupancy()
    return bytes(tree.writeBinary())


def _octree_cells(grid: VoxelGrid) -> tuple[int, float]:
    """Into how many of OctoMap's cells an edge of a voxel is divided, and the cell's edge, metres.

    The borders of OctoMap's cells are at whole multiples of their edge.

    Raises:
        ValueError: the borders of the voxels are not.
    """
    for parts in range(1, FINEST + 1):
        cell_m = grid.resolution_m / parts
        at = np.array(grid.origin_m) / cell_m
        if np.allclose(at, np.rint(at), atol=1e-3):
            return parts, cell_m
    raise ValueError(
        f".bt: the grid's origin {grid.origin_m} m is at no multiple of an eighth or more of a "
        f"voxel's edge, {grid.resolution_m} m, as OctoMap wants it; write .ply or .pcd"
    )


def _colour(vertices: NDArray[np.void], packed: NDArray[np.uint32]) -> None:
    for name, shift in (("red", 16), ("green", 8), ("blue", 0)):
        vertices[name] = packed >> shift & 255
