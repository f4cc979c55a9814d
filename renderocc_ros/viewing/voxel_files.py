"""The occupied voxels of a result as files that other programs read.

``.ply`` and ``.pcd`` hold the voxels' centres (binary, little endian) with colour, label and
confidence; ``.ply`` also their outer faces, as a mesh. ``.bt`` is OctoMap's. All are in the grid's
frame, metres.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.lib.recfunctions import repack_fields
from numpy.typing import NDArray

from renderocc_ros.files import write_bytes
from renderocc_ros.occupancy.occ3d_files import write_prediction
from renderocc_ros.occupancy.octree import OCCUPIED, to_octree
from renderocc_ros.occupancy.point_cloud import Unseen, to_points
from renderocc_ros.occupancy.semantic_occupancy import SemanticOccupancy
from renderocc_ros.viewing.voxel_surface import voxel_surface

SUFFIXES = (".ply", ".pcd", ".npz", ".bt")
PLY_TYPES = {"<f4": "float", "|u1": "uchar"}


def write_voxels(
    path: Path, occupancy: SemanticOccupancy, unseen: Unseen = "hide", faces: bool = False
) -> None:
    """Write a result in the format of the file's suffix.

    Args:
        unseen: whether voxels that no camera looks into are left out, or grey (of faces: in the
            colour of their class); .npz has all.
        faces: a mesh of the voxels' outer faces instead of their centres; .ply only.

    Raises:
        ValueError: another suffix, faces in a format that has none, or a grid that OctoMap does
            not fit.
        OSError: it cannot be written.
    """
    if path.suffix not in SUFFIXES:
        raise ValueError(f"{path}: voxels are written as {', '.join(SUFFIXES)}")
    if faces and path.suffix != ".ply":
        raise ValueError(f"{path}: faces are written as .ply")
    if path.suffix == ".npz":
        write_prediction(path, occupancy)
        return
    if path.suffix == ".bt":
        content = _octomap(occupancy, unseen)
    elif faces:
        content = _ply_mesh(occupancy if unseen == "hide" else replace(occupancy, in_view=None))
    else:
        points = to_points(occupancy, unseen=unseen)
        content = _ply(occupancy, points) if path.suffix == ".ply" else _pcd(occupancy, points)
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


def _octomap(occupancy: SemanticOccupancy, unseen: Unseen) -> bytes:
    """Occupied cells alone: of the others OctoMap says, as of what it never saw, unknown."""
    occupied = occupancy.shown if unseen == "hide" else occupancy.occupied
    try:
        return to_octree(occupancy.grid, occupied * np.uint8(OCCUPIED)).file
    except ValueError as error:
        raise ValueError(f".bt: {error}; write .ply or .pcd") from error


def _colour(vertices: NDArray[np.void], packed: NDArray[np.uint32]) -> None:
    for name, shift in (("red", 16), ("green", 8), ("blue", 0)):
        vertices[name] = packed >> shift & 255
