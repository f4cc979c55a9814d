"""Columns become costs: known grids, exact cells."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="no ROS 2 in this Python")

from nav_msgs.msg import OccupancyGrid
from rclpy.serialization import deserialize_message, serialize_message

from renderocc_ros.config import load_class_set
from renderocc_ros.geometry import CameraModel, RigidTransform, VoxelGrid
from renderocc_ros.network_config import ImageConfig
from renderocc_ros.node.costmap import VisibleVoxels, layers_between, to_costmap, to_costs
from renderocc_ros.node.model_loading import LOOKING_FORWARD
from renderocc_ros.node.obstacles import BLOCKED, FREE, UNKNOWN
from renderocc_ros.occupancy.semantic_occupancy import SemanticOccupancy
from renderocc_ros.rig.camera_set import CameraSet, PosedImage

pytestmark = pytest.mark.ros
OCC3D = load_class_set("occ3d")
GRID = VoxelGrid((-2.0, -1.0, -1.0), 0.5, (8, 4, 8))  # layer centres -0.75, -0.25, 0.25 … 2.75
ROAD, CAR = OCC3D.id_of("driveable_surface"), OCC3D.id_of("car")
HEIGHT_M = (0.2, 2.0)


def scene() -> SemanticOccupancy:
    labels = np.full(GRID.size, OCC3D.free_id, np.uint8)
    observed = np.ones(GRID.size, bool)
    labels[:, :, 1] = CAR  # below the lower height
    labels[1, 2, 3] = CAR  # at 0.75 m
    labels[2, 0, 7] = CAR  # at 2.75 m: high above
    labels[3, 1, 2:6] = ROAD  # a class that never costs
    labels[6, 3, 2:6] = 255  # unknown all the way
    observed[5, 1] = False  # seen by no camera
    observed[4, 2, :] = False  # unseen, but blocked all the same
    labels[4, 2, 4] = CAR
    return SemanticOccupancy(5, GRID, OCC3D, labels, labels, observed)


def test_only_what_stands_in_the_way_costs() -> None:
    costs = to_costs(scene(), HEIGHT_M)
    expected = np.full((8, 4), FREE, np.int8)
    expected[1, 2] = expected[4, 2] = BLOCKED
    expected[6, 3] = expected[5, 1] = UNKNOWN
    assert (costs == expected).all()


def test_named_classes_block_and_no_others() -> None:
    costs = to_costs(scene(), HEIGHT_M, ("driveable_surface",))
    assert np.argwhere(costs == BLOCKED).tolist() == [[3, 1]]


def test_what_an_obstacle_hides_is_unknown() -> None:
    """A camera at the rear end, in the middle, that looks forward at a car across its way."""
    grid = VoxelGrid((-1.0, -5.0, -1.0), 0.5, (24, 20, 8))
    labels = np.full(grid.size, OCC3D.free_id, np.uint8)
    labels[8, 6:14, :6] = CAR
    labels[20, 10, 3] = CAR  # hidden, but the network says that something stands there
    result = SemanticOccupancy(5, grid, OCC3D, labels, labels, np.ones(grid.size, bool))
    image = ImageConfig(height=128, width=352)
    model = CameraModel(352, 128, np.array([[176.0, 0, 175.5], [0, 176.0, 63.5], [0, 0, 1]]))
    pixels = np.zeros((128, 352, 3), np.uint8)
    visible_voxels = VisibleVoxels(image)

    def costs(x_m: float) -> np.ndarray:
        pose = RigidTransform(LOOKING_FORWARD.rotation, np.array([x_m, 0.0, 1.0]))
        cameras = CameraSet(5, ("a",), (PosedImage("a", 5, pixels, model, pose),), None)
        visible = visible_voxels.of(result, cameras, layers_between(grid, HEIGHT_M))
        return to_costs(result, HEIGHT_M, visible=visible)

    before = costs(0.0)
    assert (before[8, 6:14] == BLOCKED).all()
    assert before[20, 10] == BLOCKED
    assert (before[3:8, 10] == FREE).all()
    assert (before[9:19, 10] == UNKNOWN).all()
    assert before[4, 1] == UNKNOWN  # to the side of the image
    assert costs(5.0)[12, 10] == FREE  # the camera has passed the car


def test_heights_between_no_layers_say_nothing() -> None:
    assert (to_costs(scene(), (0.3, 0.4)) == UNKNOWN).all()


def test_message_is_row_major_from_the_minimum_corner() -> None:
    message = to_costmap(scene(), "base_link", to_costs(scene(), HEIGHT_M))
    message = deserialize_message(serialize_message(message), OccupancyGrid)
    assert (message.info.width, message.info.height) == (8, 4)
    assert message.info.resolution == pytest.approx(0.5)
    origin = message.info.origin
    assert (origin.position.x, origin.position.y, origin.orientation.w) == (-2.0, -1.0, 1.0)
    assert message.data[2 * 8 + 1] == BLOCKED  # x index 1, y index 2
    assert message.data[1 * 8 + 5] == UNKNOWN
    assert message.header.frame_id == "base_link"
