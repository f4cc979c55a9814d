"""Heights of columns, of scenes that are known."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="no ROS 2 in this Python")

from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import Image

from renderocc_ros.config import load_class_set
from renderocc_ros.geometry import VoxelGrid
from renderocc_ros.node.heights import column_heights, to_heights
from renderocc_ros.occupancy.semantic_occupancy import SemanticOccupancy

pytestmark = pytest.mark.ros
OCC3D = load_class_set("occ3d")
GRID = VoxelGrid((-2.0, -1.0, -1.0), 0.5, (8, 4, 6))
CAR, ROAD = OCC3D.id_of("car"), OCC3D.id_of("driveable_surface")


def scene() -> SemanticOccupancy:
    """A road at −1 m with a car on one column, a bridge, a gap, and a column out of view."""
    labels = np.full(GRID.size, OCC3D.free_id, np.uint8)
    labels[:, :, 0] = ROAD
    labels[1, 2, 1:4] = CAR
    labels[3, 0, 5] = ROAD  # a bridge over the road
    labels[5, 1, 0] = OCC3D.free_id
    in_view = np.ones(GRID.size, bool)
    in_view[7, 3] = False
    return SemanticOccupancy(5, GRID, OCC3D, labels, labels, in_view)


def test_the_top_of_the_highest_voxel_counts() -> None:
    expected = np.full((8, 4), -0.5)
    expected[1, 2] = 1.0
    expected[3, 0] = 2.0
    expected[5, 1] = expected[7, 3] = np.nan
    np.testing.assert_allclose(column_heights(scene()), expected)


def test_the_image_has_x_up_and_y_to_the_left() -> None:
    message = deserialize_message(serialize_message(to_heights(scene(), "base_link")), Image)
    assert (message.height, message.width, message.encoding) == (8, 4, "32FC1")
    assert (message.header.frame_id, message.header.stamp.nanosec) == ("base_link", 5)
    pixels = np.frombuffer(bytes(message.data), np.float32).reshape(8, 4)
    for x, y in np.ndindex(8, 4):
        np.testing.assert_equal(pixels[7 - x, 3 - y], column_heights(scene())[x, y])
