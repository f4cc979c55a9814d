"""The map from above as Nav2's StaticLayer takes it, after the robot has driven and turned."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

pytest.importorskip("rclpy", reason="no ROS 2 in this Python")

from nav_msgs.msg import OccupancyGrid
from rclpy.serialization import deserialize_message, serialize_message

from renderocc_ros.config import load_class_set
from renderocc_ros.geometry import RigidTransform, VoxelGrid
from renderocc_ros.node.mapping import MapOverTime
from renderocc_ros.node.parameters import NodeParameters
from renderocc_ros.occupancy.semantic_occupancy import SemanticOccupancy
from tests.node.nav2_layers import FREE_SPACE, LETHAL, NO_INFORMATION, StaticLayer

pytestmark = pytest.mark.ros
OCC3D = load_class_set("occ3d")
GRID = VoxelGrid((-8.0, -8.0, -1.0), 0.5, (32, 32, 8))  # the robot's own
MAP_M, CELL_M = 30.0, 0.1
PARAMETERS = NodeParameters(map_enabled=True, map_size_m=MAP_M)
ROAD, WALL = OCC3D.id_of("driveable_surface"), OCC3D.id_of("manmade")
WALLS_M = {  # x and y of the odometry frame
    "ahead": ((13.0, 15.0), (-2.0, 5.0)),
    "passed": ((1.0, 3.0), (-5.0, -3.0)),
    "left behind": ((-7.5, -6.0), (-1.0, 1.0)),
}


def pose(x_m: float, turn: float, z_m: float) -> RigidTransform:
    cos, sin = np.cos(turn), np.sin(turn)
    rotation = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])
    return RigidTransform(rotation, np.array([x_m, 0.03, z_m]))


def within(places_m: np.ndarray, wall: str, margin_m: float = 0.0) -> np.ndarray:
    """Whether places (..., 2 or more) lie in a wall, and so far from its edges."""
    inside = [
        (places_m[..., axis] > low + margin_m) & (places_m[..., axis] < high - margin_m)
        for axis, (low, high) in enumerate(WALLS_M[wall])
    ]
    return np.logical_and(*inside)


def seen(at: RigidTransform) -> np.ndarray:
    """(X, Y, Z, K + 1) probabilities: walls on a road that is a metre below the robot's height."""
    places_m = at.apply(GRID.centres())
    labels = np.full(GRID.size, OCC3D.free_id)
    labels[..., 0] = ROAD
    for wall in WALLS_M:
        labels[within(places_m, wall)] = WALL
    return np.eye(len(OCC3D) + 1, dtype=np.float32)[labels] * 0.97 + 0.001


def driven() -> tuple[OccupancyGrid, RigidTransform]:
    """The costmap after 10 m, a turn by 1.2 rad and a rise by 2 m, and where the robot then is."""
    kept = MapOverTime()
    everything = np.ones(GRID.size, bool)
    for number, part in enumerate(np.linspace(0, 1, 21)):
        at = pose(10 * part, 1.2 * part, 2 * part)
        stamp_ns = number * 100_000_000
        predictor = SimpleNamespace(
            probabilities=torch.from_numpy(seen(at)),
            threshold=0.5,
            grid=GRID,
            class_set=OCC3D,
            config=SimpleNamespace(read_out="opacity"),
            device=torch.device("cpu"),
        )
        labels = np.zeros(GRID.size, np.uint8)
        result = SemanticOccupancy(stamp_ns, GRID, OCC3D, labels, labels, everything)
        cameras = SimpleNamespace(odom_from_ego=at)
        kept.update(result, everything, predictor, cameras, PARAMETERS)  # type: ignore[arg-type]
    message = kept.costmap("odom", PARAMETERS)
    return deserialize_message(serialize_message(message), OccupancyGrid), at


def test_walls_are_where_they_are_in_the_world() -> None:
    message, at = driven()
    assert message.header.frame_id == "odom"
    x_m, y_m = message.info.origin.position.x, message.info.origin.position.y
    assert (x_m / 0.5, y_m / 0.5) == (round(x_m / 0.5), round(y_m / 0.5))  # cells stand still
    robot_m = at.translation[:2]
    assert abs(x_m + MAP_M / 2 - robot_m[0]) <= 0.5 and abs(y_m + MAP_M / 2 - robot_m[1]) <= 0.5
    layer = StaticLayer()
    layer.take(message)
    half = np.arange(-140, 140) * CELL_M + CELL_M / 2  # a window of 28 m
    places_m = np.stack(np.meshgrid(half, half, indexing="ij"), axis=-1).reshape(-1, 2) + robot_m
    costs = layer.costs_at(places_m)
    for wall in ("ahead", "passed"):
        inside = within(places_m, wall, 0.5)
        assert inside.sum() > 50 and (costs[inside] == LETHAL).all(), wall
    no_wall = ~np.any([within(places_m, wall, -0.75) for wall in WALLS_M], axis=0)
    assert not (costs[no_wall] == LETHAL).any()
    # What the robot had in its grid at some time, whichever way it stood: a strip along its way.
    near = (np.abs(places_m[:, 1]) < 6) & (places_m[:, 0] > -3) & (places_m[:, 0] < 15)
    assert (costs[near & no_wall] == FREE_SPACE).all()
    never = (np.abs(places_m[:, 1]) > 12.5) | (places_m[:, 0] > 22)
    assert never.sum() > 1000 and (costs[never] == NO_INFORMATION).all()


def test_what_the_window_has_left_is_not_known() -> None:
    message, _ = driven()
    layer = StaticLayer(track_unknown_space=False)
    layer.take(message)
    behind = np.array([[-6.8, 0.0]])
    assert within(behind, "left behind").all()
    assert layer.costs_at(behind) == NO_INFORMATION  # the map ends before it
    assert layer.origin_m[0] == -5.0
    assert set(np.unique(layer.costs)) == {FREE_SPACE, LETHAL}
