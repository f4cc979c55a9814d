"""Known grids become exactly these points, colours, cubes and cells."""

from __future__ import annotations

import struct
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="no ROS 2 in this Python")

from rclpy.serialization import deserialize_message, serialize_message
from renderocc_ros.msg import SemanticClasses
from renderocc_ros.msg import SemanticOccupancy as SemanticOccupancyMessage
from sensor_msgs.msg import PointCloud2
from sensor_msgs_py import point_cloud2
from visualization_msgs.msg import Marker, MarkerArray

from renderocc_ros.config import load_class_set
from renderocc_ros.geometry import VoxelGrid
from renderocc_ros.occupancy.markers import is_exact, to_marker_bytes, to_markers
from renderocc_ros.occupancy.messages import (
    occupancy_of,
    stamp_ns_of,
    to_classes_message,
    to_message,
    truth_of,
)
from renderocc_ros.occupancy.point_cloud import Unseen
from renderocc_ros.occupancy.ros_messages import make, to_cloud, to_time
from renderocc_ros.occupancy.semantic_occupancy import SemanticOccupancy

pytestmark = pytest.mark.ros

OCC3D = load_class_set("occ3d")
CAR, ROAD, FREE = OCC3D.id_of("car"), OCC3D.id_of("driveable_surface"), OCC3D.free_id
STAMP_NS = 1_535_728_111_012_345_678
GRID = VoxelGrid((-40.0, -8.0, -1.0), 0.4, (6, 5, 4))


def two_cells() -> SemanticOccupancy:
    """A car voxel at (5, 4, 3), the last cell, and a road voxel at (0, 0, 1)."""
    labels = np.full(GRID.size, FREE, np.uint8)
    confidence = np.zeros(GRID.size, np.uint8)
    labels[5, 4, 3], confidence[5, 4, 3] = CAR, 200
    labels[0, 0, 1], confidence[0, 0, 1] = ROAD, 99
    labels[2, 2, 2] = 255  # unknown: never drawn
    return SemanticOccupancy(STAMP_NS, GRID, OCC3D, labels, confidence)


def random_grid(seed: int, share: float = 0.3) -> SemanticOccupancy:
    rng = np.random.default_rng(seed)
    labels = np.where(
        rng.random(GRID.size) < share, rng.integers(0, len(OCC3D), GRID.size), FREE
    ).astype(np.uint8)
    return SemanticOccupancy(
        STAMP_NS, GRID, OCC3D, labels, rng.integers(0, 256, GRID.size).astype(np.uint8)
    )


def test_points_are_voxel_centres_with_colour_label_and_confidence() -> None:
    cloud = to_cloud(two_cells(), "base_link")
    assert cloud.header.frame_id == "base_link"
    assert (cloud.header.stamp.sec, cloud.header.stamp.nanosec) == (1_535_728_111, 12_345_678)
    assert [field.name for field in cloud.fields] == ["x", "y", "z", "rgb", "label", "confidence"]
    road, car = point_cloud2.read_points(cloud)
    assert np.allclose((road["x"], road["y"], road["z"]), (-39.8, -7.8, -0.4), atol=1e-5)
    assert np.allclose((car["x"], car["y"], car["z"]), (-37.8, -6.2, 0.4), atol=1e-5)
    assert (road["label"], road["confidence"]) == (ROAD, 99)
    assert (car["label"], car["confidence"]) == (CAR, 200)
    # car is (0, 150, 245): 0x0096F5 in the bits of the float
    assert struct.pack("<f", car["rgb"]) == bytes((245, 150, 0, 0))


def test_cloud_keeps_only_what_is_sure_enough() -> None:
    cloud = to_cloud(two_cells(), "base_link", min_confidence=100)
    assert point_cloud2.read_points(cloud)["label"].tolist() == [CAR]


@pytest.mark.parametrize("unseen", ["hide", "grey"])
def test_voxels_that_no_camera_looks_into_are_left_out_or_grey(unseen: Unseen) -> None:
    occupancy = replace(two_cells(), in_view=np.ones(GRID.size, bool))
    assert occupancy.in_view is not None
    occupancy.in_view[0, 0, 1] = False  # the road
    points = point_cloud2.read_points(to_cloud(occupancy, "base_link", unseen=unseen))
    plain = serialize_message(to_markers(occupancy, "base_link", 100, unseen))
    cubes = deserialize_message(plain, MarkerArray).markers
    fast = deserialize_message(to_marker_bytes(occupancy, "base_link", 100, unseen), MarkerArray)
    assert fast.markers == cubes
    shown = {marker.id: len(marker.points) for marker in cubes if marker.action == Marker.ADD}
    if unseen == "hide":
        assert points["label"].tolist() == [CAR] and shown == {CAR: 1}
        return
    assert points["label"].tolist() == [ROAD, CAR] and shown == {CAR: 1, FREE: 1}
    assert struct.pack("<f", points["rgb"][0]) == bytes((150, 150, 150, 0))
    assert struct.pack("<f", points["rgb"][1]) == bytes((245, 150, 0, 0))
    grey = cubes[FREE].color
    assert np.allclose((grey.r, grey.g, grey.b, grey.a), (150 / 255,) * 3 + (1,))


def test_only_named_classes_are_kept_and_the_others_become_unknown() -> None:
    cars = two_cells().keeping(["car"])
    assert point_cloud2.read_points(to_cloud(cars, "base_link"))["label"].tolist() == [CAR]
    assert cars.labels[0, 0, 1] == 255
    assert cars.labels[0, 0, 0] == FREE
    everything = two_cells()
    assert everything.keeping(()) is everything


def test_cloud_of_nothing_is_a_valid_empty_cloud() -> None:
    labels = np.full(GRID.size, FREE, np.uint8)
    cloud = to_cloud(SemanticOccupancy(STAMP_NS, GRID, OCC3D, labels, labels), "base_link")
    read = deserialize_message(serialize_message(cloud), PointCloud2)
    assert (read.width, read.height, len(read.data)) == (0, 1, 0)


def test_cloud_has_exactly_the_occupied_cells() -> None:
    occupancy = random_grid(1)
    points = point_cloud2.read_points(to_cloud(occupancy, "base_link"))
    xyz = np.stack([points["x"], points["y"], points["z"]], axis=-1)
    cells, inside = GRID.index_of(xyz)
    assert inside.all()
    rebuilt = np.full(GRID.size, FREE, np.uint8)
    rebuilt[tuple(cells.T)] = points["label"]
    assert (rebuilt == occupancy.labels).all()


def test_markers_are_one_cube_list_a_class_and_delete_the_empty_ones() -> None:
    markers = to_markers(two_cells(), "base_link", limit=100).markers
    assert [marker.id for marker in markers] == list(range(len(OCC3D) + 1))
    assert {marker.ns for marker in markers} == {"voxels"}
    added = {marker.id: marker for marker in markers if marker.action == Marker.ADD}
    assert set(added) == {CAR, ROAD}
    assert {marker.action for marker in markers if marker.id not in added} == {Marker.DELETE}
    car = added[CAR]
    assert car.type == Marker.CUBE_LIST
    assert not car.colors
    assert (car.scale.x, car.scale.y, car.scale.z) == (0.4, 0.4, 0.4)
    assert car.pose.orientation.w == 1.0
    assert np.allclose(
        (car.color.r, car.color.g, car.color.b, car.color.a), (0, 150 / 255, 245 / 255, 1)
    )
    assert [(round(p.x, 6), round(p.y, 6), round(p.z, 6)) for p in car.points] == [
        (-37.8, -6.2, 0.4)
    ]


def test_marker_limit_keeps_the_surest() -> None:
    occupancy = random_grid(2, share=0.9)
    markers = to_markers(occupancy, "base_link", limit=10).markers
    kept = [(marker.id, p) for marker in markers for p in marker.points]
    assert len(kept) == 10
    least = min(occupancy.confidence[tuple(GRID.index_of((p.x, p.y, p.z))[0])] for _, p in kept)
    surer = np.count_nonzero(occupancy.confidence[occupancy.occupied] > least)
    assert surer < 10
    for class_id, p in kept:
        assert occupancy.labels[tuple(GRID.index_of((p.x, p.y, p.z))[0])] == class_id


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("frame", ["", "a", "robot_1/base_link"])
def test_numpy_laid_markers_read_back_as_the_plain_ones(seed: int, frame: str) -> None:
    occupancy = random_grid(seed, share=seed / 5)
    fast = deserialize_message(to_marker_bytes(occupancy, frame, 50), MarkerArray)
    plain = serialize_message(to_markers(occupancy, frame, 50))
    assert fast == deserialize_message(plain, MarkerArray)


def test_this_distribution_takes_the_fast_markers() -> None:
    assert is_exact()


def test_occupancy_message_keeps_the_contract_of_its_index_order() -> None:
    stamps = {"front": STAMP_NS + 1, "left": STAMP_NS - 2}
    message = to_message(make, two_cells(), "base_link", stamps, ("rear",))
    message = deserialize_message(serialize_message(message), SemanticOccupancyMessage)
    assert (message.size_x, message.size_y, message.size_z) == GRID.size
    assert message.labels[(5 * 5 + 4) * 4 + 3] == CAR
    assert message.labels[(0 * 5 + 0) * 4 + 1] == ROAD
    assert (message.origin.position.x, message.origin.position.z) == (-40.0, -1.0)
    assert message.cameras_used == ["front", "left"]
    assert message.cameras_missing == ["rear"]
    assert [stamp_ns_of(stamp) for stamp in message.camera_stamps] == list(stamps.values())
    assert len(message.observed) == 0


def test_occupancy_message_there_and_back() -> None:
    occupancy = random_grid(3)
    message = to_message(make, occupancy, "base_link", {"front": STAMP_NS})
    read = occupancy_of(
        deserialize_message(serialize_message(message), SemanticOccupancyMessage), OCC3D
    )
    assert (read.labels == occupancy.labels).all()
    assert (read.confidence == occupancy.confidence).all()
    assert read.grid == GRID
    assert read.stamp_ns == STAMP_NS
    assert read.in_view is None


def test_both_message_libraries_say_the_same() -> None:
    """What rclpy and rosbags make of a result is one message, and is read alike."""
    from renderocc_training.recording import messages as rosbags_messages
    from renderocc_training.recording.typestore import typestore

    occupancy = replace(random_grid(4), in_view=random_grid(5).occupied)
    arguments = (occupancy, "base_link", {"front": STAMP_NS}, ("rear",))
    ours = to_message(make, *arguments)
    theirs = to_message(rosbags_messages.make, *arguments)
    serialised = bytes(typestore().serialize_cdr(theirs, theirs.__msgtype__))
    received = [
        deserialize_message(b, SemanticOccupancyMessage)
        for b in (serialised, bytes(serialize_message(ours)))
    ]
    assert received[0] == received[1]
    for message in (ours, theirs):
        read, truth = occupancy_of(message, OCC3D), truth_of(message)
        assert read.in_view is not None and (read.in_view == occupancy.in_view).all()
        assert (read.labels == occupancy.labels).all() and (truth.labels == read.labels).all()
        assert (truth.mask_camera == occupancy.in_view).all()


def test_truth_without_masks_is_visible_everywhere() -> None:
    occupancy = random_grid(6)
    seen = replace(occupancy, in_view=random_grid(7).occupied)
    blind, seeing = (to_message(make, each, "base_link", {}) for each in (occupancy, seen))
    assert truth_of(blind).mask_camera.all() and truth_of(blind).mask_lidar.all()
    by_camera = truth_of(seeing, blind)
    assert (by_camera.mask_camera == seen.in_view).all() and by_camera.mask_lidar.all()
    assert (truth_of(blind, seeing).mask_lidar == seen.in_view).all()


def test_a_volume_of_another_size_is_refused() -> None:
    message = to_message(make, two_cells(), "base_link", {})
    message.labels = message.labels[:-1]
    with pytest.raises(ValueError, match=r"\(6, 5, 4\) cells has 119 labels"):
        occupancy_of(message, OCC3D)


def test_labels_of_another_class_table_are_refused() -> None:
    message = to_message(make, two_cells(), "base_link", {})
    message.class_table = "kitti"
    with pytest.raises(ValueError, match="'kitti', not 'occ3d'"):
        occupancy_of(message, OCC3D)


def test_a_turned_grid_is_refused() -> None:
    message = to_message(make, two_cells(), "base_link", {})
    message.origin.orientation.z = message.origin.orientation.w = 0.5**0.5
    with pytest.raises(ValueError, match="turned in its frame"):
        occupancy_of(message, OCC3D)


def test_class_table_names_every_id_once_and_free_last() -> None:
    message = to_classes_message(make, OCC3D, STAMP_NS)
    message = deserialize_message(serialize_message(message), SemanticClasses)
    assert [entry.id for entry in message.classes] == list(range(len(OCC3D) + 1))
    assert [entry.name for entry in message.classes if entry.free] == ["free"]
    assert [entry.name for entry in message.classes if entry.moves] == [
        entry.name for entry in OCC3D.classes if entry.moves
    ]


@pytest.mark.parametrize("stamp_ns", [0, 999_999_999, STAMP_NS])
def test_stamps_there_and_back(stamp_ns: int) -> None:
    assert stamp_ns_of(to_time(stamp_ns)) == stamp_ns
