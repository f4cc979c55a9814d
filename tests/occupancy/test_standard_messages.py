"""Messages of other packages: what stands in their fields, whoever makes them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from renderocc_ros.class_set import ClassSet, SemanticClass
from renderocc_ros.geometry import VoxelGrid
from renderocc_ros.occupancy.octree import FREE, OCCUPIED, UNKNOWN
from renderocc_ros.occupancy.semantic_occupancy import SemanticOccupancy
from renderocc_ros.occupancy.standard_messages import to_detections, to_octomap, to_voxel_grid
from tests.occupancy.octree_reader import read_states
from tests.occupancy.voxel_columns import read_columns

CAR, WALL = "car", "wall"
CLASSES = ClassSet(
    "two", (SemanticClass(0, CAR, (0, 0, 0), moves=True), SemanticClass(1, WALL, (1, 1, 1)))
)
STAMP_NS = 3_000_000_004


def make(message_type: str, **fields: Any) -> SimpleNamespace:
    return SimpleNamespace(type=message_type, **fields)


def random_result(size: tuple[int, int, int], resolution_m: float = 0.4) -> SemanticOccupancy:
    """A third free, a third of each class, a fifth of all in no image."""
    random = np.random.default_rng(5)
    grid = VoxelGrid((-2 * resolution_m, 3 * resolution_m, -resolution_m), resolution_m, size)
    labels = random.integers(0, 3, size).astype(np.uint8)
    confidence = np.full(size, 51, np.uint8)
    return SemanticOccupancy(STAMP_NS, grid, CLASSES, labels, confidence, random.random(size) < 0.8)


@pytest.mark.parametrize("height", [1, 8, 16])
def test_columns_hold_every_cell(height: int) -> None:
    result = random_result((5, 7, height))
    visible = np.random.default_rng(6).random(result.grid.size) < 0.5
    message = to_voxel_grid(make, result, "base_link", visible)
    assert message.type == "nav2_msgs/msg/VoxelGrid"
    assert (message.size_x, message.size_y, message.size_z) == (5, 7, height)
    states = read_columns(message)
    assert np.array_equal(states == OCCUPIED, result.shown)
    assert np.array_equal(states == FREE, (result.labels == CLASSES.free_id) & visible)
    origin, edges = message.origin, message.resolutions
    assert (origin.x, origin.y, origin.z) == result.grid.origin_m
    assert (edges.x, edges.y, edges.z) == (0.4, 0.4, 0.4)


def test_cells_of_a_column_of_40_are_made_14() -> None:
    result = random_result((4, 3, 40))
    message = to_voxel_grid(make, result, "base_link")
    assert message.size_z == 14 and message.resolutions.z == pytest.approx(1.2)
    states, layers = read_columns(message), np.arange(40) // 3
    for x, y, z in np.ndindex(4, 3, 14):
        occupied = result.shown[x, y, layers == z]
        assert result.in_view is not None
        free = (~result.occupied & result.in_view)[x, y, layers == z]
        expected = OCCUPIED if occupied.any() else FREE if free.all() else UNKNOWN
        assert states[x, y, z] == expected, (x, y, z)


@pytest.mark.parametrize(("size", "resolution_m"), [((5, 7, 1), 0.05), ((3, 4, 40), 0.4)])
def test_an_octomap_is_binary_and_holds_every_cell(
    size: tuple[int, int, int], resolution_m: float
) -> None:
    result = random_result(size, resolution_m)
    message = to_octomap(make, result, "odom")
    assert (message.type, message.binary, message.id) == (
        "octomap_msgs/msg/Octomap",
        True,
        "OcTree",
    )
    assert message.resolution == resolution_m and message.header.frame_id == "odom"
    assert message.data.dtype == np.int8
    states = read_states(message.data.tobytes(), resolution_m, result.grid)
    assert np.array_equal(states == OCCUPIED, result.shown)


def test_a_detection_names_its_class_and_gives_pose_and_size() -> None:
    grid = VoxelGrid((0.0, 0.0, 0.0), 0.5, (12, 8, 4))
    labels = np.full(grid.size, CLASSES.free_id, np.uint8)
    labels[2, 1:7, :2] = 0  # 3 m along y, 0.5 m along x, 1 m high
    confidence = np.full(grid.size, 102, np.uint8)
    message = to_detections(
        make, SemanticOccupancy(STAMP_NS, grid, CLASSES, labels, confidence), "base_link", [CAR], 2
    )
    (detection,) = message.detections
    assert detection.header is message.header and message.header.frame_id == "base_link"
    assert (message.header.stamp.sec, message.header.stamp.nanosec) == (3, 4)
    (result,) = detection.results
    assert result.hypothesis.class_id == CAR and result.hypothesis.score == pytest.approx(0.4)
    pose, size = detection.bbox.center, detection.bbox.size
    assert result.pose.pose is pose and len(result.pose.covariance) == 36
    assert (pose.position.x, pose.position.y, pose.position.z) == (1.25, 2.0, 0.5)
    assert (size.x, size.y, size.z) == (3.0, 0.5, 1.0)
    turned = pose.orientation
    assert (turned.x, turned.y) == (0, 0)
    assert abs(turned.z) == pytest.approx(turned.w) == pytest.approx(0.5**0.5)


def test_nothing_gives_empty_messages() -> None:
    grid = VoxelGrid((0.0, 0.0, 0.0), 0.5, (3, 3, 3))
    labels = np.full(grid.size, 255, np.uint8)
    nothing = SemanticOccupancy(STAMP_NS, grid, CLASSES, labels, labels)
    assert to_detections(make, nothing, "base_link", [CAR], 1).detections == []
    assert len(to_octomap(make, nothing, "base_link").data) == 0
    assert (read_columns(to_voxel_grid(make, nothing, "base_link")) == UNKNOWN).all()
