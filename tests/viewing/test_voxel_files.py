"""Voxels written as PLY, PCD, npz and OctoMap hold what they were written from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from renderocc_ros.config import load_class_set
from renderocc_ros.geometry import VoxelGrid
from renderocc_ros.occupancy.occ3d_files import read_occupancy
from renderocc_ros.occupancy.octree import OCCUPIED
from renderocc_ros.occupancy.semantic_occupancy import SemanticOccupancy
from renderocc_ros.viewing.voxel_files import SUFFIXES, write_voxels
from tests.occupancy.octree_reader import read_states

OCC3D = load_class_set("occ3d")
CAR, ROAD, FREE = OCC3D.id_of("car"), OCC3D.id_of("driveable_surface"), OCC3D.free_id
GRID = VoxelGrid((-40.0, -8.0, -1.0), 0.4, (6, 5, 4))
STAMP_NS = 1_535_728_111_012_345_678
PLY = {"float": "<f4", "uchar": "u1"}


def result() -> SemanticOccupancy:
    """A road voxel at (0, 0, 1), a car of two at (5, 4, 2) and (5, 4, 3), one that nobody sees."""
    labels = np.full(GRID.size, FREE, np.uint8)
    confidence = np.zeros(GRID.size, np.uint8)
    labels[5, 4, 2:], confidence[5, 4, 2:] = CAR, (200, 201)
    labels[0, 0, 1], confidence[0, 0, 1] = ROAD, 99
    labels[2, 2, 2] = CAR
    in_view = np.ones(GRID.size, bool)
    in_view[2, 2, 2] = False
    return SemanticOccupancy(STAMP_NS, GRID, OCC3D, labels, confidence, in_view)


def rows(points: np.ndarray, *names: str) -> list[tuple[float, ...]]:
    return [tuple(round(float(point[name]), 4) for name in names) for point in points]


def read_ply(path: Path) -> tuple[list[str], np.ndarray, bytes]:
    """Comments, vertices, and what follows them."""
    head, _, body = path.read_bytes().partition(b"end_header\n")
    lines = head.decode().splitlines()
    assert lines[:2] == ["ply", "format binary_little_endian 1.0"]
    comments = [line.removeprefix("comment ") for line in lines if line.startswith("comment")]
    start = next(i for i, line in enumerate(lines) if line.startswith("element vertex"))
    fields = []
    for line in lines[start + 1 :]:
        if not line.startswith("property") or "list" in line:
            break
        _, kind, name = line.split()
        fields.append((name, PLY[kind]))
    count = int(lines[start].split()[-1])
    size = np.dtype(fields).itemsize * count
    return comments, np.frombuffer(body[:size], fields), body[size:]


def test_ply_points(tmp_path: Path) -> None:
    write_voxels(tmp_path / "a.ply", result())
    comments, points, rest = read_ply(tmp_path / "a.ply")
    assert rest == b""
    assert f"stamp_ns {STAMP_NS}" in comments and "label 4 car" in comments
    places = rows(points, "x", "y", "z")
    assert places == [(-39.8, -7.8, -0.4), (-37.8, -6.2, 0.0), (-37.8, -6.2, 0.4)]
    colours = rows(points, "red", "green", "blue", "label", "confidence")
    assert colours == [(255, 0, 255, ROAD, 99), (0, 150, 245, CAR, 200), (0, 150, 245, CAR, 201)]


def test_what_no_camera_sees_is_grey_where_asked_for(tmp_path: Path) -> None:
    write_voxels(tmp_path / "a.ply", result(), unseen="grey")
    _, points, _ = read_ply(tmp_path / "a.ply")
    assert rows(points, "red", "green", "blue", "label")[1] == (150, 150, 150, CAR)


def test_ply_faces(tmp_path: Path) -> None:
    """Six of the road's voxel, ten of the car's two; each looks outwards."""
    write_voxels(tmp_path / "a.ply", result(), faces=True)
    _, vertices, rest = read_ply(tmp_path / "a.ply")
    at = np.stack([vertices[axis] for axis in "xyz"], axis=-1).astype(float)
    faces = np.frombuffer(rest, [("n", "u1"), ("at", "<i4", (4,)), ("colour", "u1", (3,))])
    assert len(faces) == 16 and set(faces["n"]) == {4}
    road = faces["colour"].tolist().count([255, 0, 255])
    assert (road, faces["colour"].tolist().count([0, 150, 245])) == (6, 10)
    centres = GRID.centres(np.argwhere(result().shown))
    for corners in at[faces["at"]]:
        middle = corners.mean(axis=0)
        nearest = centres[np.argmin(np.linalg.norm(centres - middle, axis=1))]
        assert np.linalg.norm(middle - nearest) == pytest.approx(0.2, abs=1e-5)
        normal = np.cross(corners[1] - corners[0], corners[2] - corners[1])
        assert normal @ (middle - nearest) > 0


def test_pcd(tmp_path: Path) -> None:
    write_voxels(tmp_path / "a.pcd", result())
    head, _, body = (tmp_path / "a.pcd").read_bytes().partition(b"DATA binary\n")
    header = dict(line.split(" ", 1) for line in head.decode().splitlines()[1:])
    assert header["FIELDS"] == "x y z rgb label confidence"
    assert (header["VERSION"], header["WIDTH"], header["POINTS"]) == ("0.7", "3", "3")
    fields = [
        (name, f"<{kind.lower()}{size}")
        for name, kind, size in zip(
            *(header[key].split() for key in ("FIELDS", "TYPE", "SIZE")), strict=True
        )
    ]
    points = np.frombuffer(body, fields)
    assert rows(points, "x", "y", "z", "label", "confidence")[2] == (-37.8, -6.2, 0.4, CAR, 201)
    assert points["rgb"].view("<f4").tobytes()[:4] == bytes((255, 0, 255, 0))  # B, G, R


def test_npz(tmp_path: Path) -> None:
    write_voxels(tmp_path / "a.npz", result())
    read = read_occupancy(tmp_path / "a.npz", GRID, OCC3D)
    assert np.array_equal(read.labels, result().labels) and read.stamp_ns == STAMP_NS


@pytest.mark.parametrize(("origin_z_m", "parts"), [(-0.8, 1), (-1.0, 2)])
def test_octomap(tmp_path: Path, origin_z_m: float, parts: int) -> None:
    octomap = pytest.importorskip("octomap", reason="octomap-python is not installed")
    grid = VoxelGrid((-40.0, -8.0, origin_z_m), 0.4, GRID.size)
    written = replace(result(), grid=grid)
    write_voxels(tmp_path / "a.bt", written)
    tree: Any = octomap.OcTree(str(tmp_path / "a.bt").encode())
    assert tree.getResolution() == pytest.approx(0.4 / parts)
    for cell in np.ndindex(*grid.size):
        for aside in (-0.15, 0.15):  # within the voxel, near two of its corners
            node = tree.search(grid.centres(cell) + aside)
            try:
                occupied = bool(tree.isNodeOccupied(node))
            except octomap.NullPointerException:  # never seen
                occupied = False
            assert occupied == bool(written.shown[cell]), cell


def test_a_bt_file_holds_the_occupied_voxels(tmp_path: Path) -> None:
    write_voxels(tmp_path / "a.bt", result())
    header, _, data = (tmp_path / "a.bt").read_bytes().partition(b"\ndata\n")
    assert header.startswith(b"# Octomap OcTree binary file\nid OcTree\nsize ")
    assert header.endswith(b"\nres 0.2")
    assert np.array_equal(read_states(data, 0.2, GRID), OCCUPIED * result().shown)


def test_a_grid_that_octomap_cannot_hold_is_told(tmp_path: Path) -> None:
    grid = VoxelGrid((-40.03, -8.0, -1.0), 0.4, GRID.size)
    with pytest.raises(ValueError, match=r"\.bt: the grid's origin .*; write \.ply or \.pcd"):
        write_voxels(tmp_path / "a.bt", replace(result(), grid=grid))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_nothing_is_a_file_without_points(tmp_path: Path, suffix: str) -> None:
    empty = replace(result(), labels=np.full(GRID.size, FREE, np.uint8))
    write_voxels(tmp_path / f"a{suffix}", empty)
    if suffix == ".ply":
        assert len(read_ply(tmp_path / "a.ply")[1]) == 0


def test_other_formats_are_refused_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"\.ply, \.pcd, \.npz, \.bt"):
        write_voxels(tmp_path / "a.las", result())
    with pytest.raises(ValueError, match=r"faces are written as \.ply"):
        write_voxels(tmp_path / "a.pcd", result(), faces=True)
