"""Obstacles and free space as Nav2's layers see them: their rules, replayed on known scenes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import yaml

pytest.importorskip("rclpy", reason="no ROS 2 in this Python")

from renderocc_ros.geometry import RigidTransform, VoxelGrid
from renderocc_ros.node.obstacles import (
    BLOCKED,
    FREE,
    UNKNOWN,
    Reach,
    clearing_points,
    obstacle_points,
)
from renderocc_ros.node.parameters import NodeParameters
from tests.contracts.checkout import ROOT
from tests.node.nav2_layers import (
    FREE_SPACE,
    LETHAL,
    NO_INFORMATION,
    ObstacleLayer,
    Source,
    VoxelLayer,
)

pytestmark = pytest.mark.ros
GRID = VoxelGrid((-8.0, -8.0, -1.0), 0.4, (40, 40, 8))  # layer centres -0.8, -0.4, 0.0, 0.4 … 2.0
HEIGHT_M, FIRST_LAYER = (0.3, 2.0), 3
REACH = Reach(cell_m=0.05, range_m=6.0, start_m=1.0)
CELL_M, MARGIN_M = 0.05, 0.05 * 2**0.5
WINDOW = 280  # 14 m
# Heights are chosen by the node; a hilly odom frame must not choose again.
MARKING = Source(-10.0, 10.0, obstacle_max_range=7.0)
CLEARING = Source(-10.0, 10.0, raytrace_max_range=7.0, raytrace_min_range=1.0)
# Parameters that the sources of the layers declare, of those that matter here.
LAYER_KEYS = {
    *("plugin", "enabled", "footprint_clearing_enabled", "combination_method"),
    *("min_obstacle_height", "max_obstacle_height", "observation_sources"),
    *("obstacles", "clearing"),
}
VOXEL_KEYS = {"origin_z", "z_resolution", "z_voxels", "unknown_threshold", "mark_threshold"}
SOURCE_KEYS = {
    *("topic", "data_type", "sensor_frame", "marking", "clearing", "expected_update_rate"),
    *("min_obstacle_height", "max_obstacle_height", "observation_persistence"),
    *("obstacle_max_range", "obstacle_min_range", "raytrace_max_range", "raytrace_min_range"),
}
TURNS = (0.0, 0.3, np.pi / 4)


def shipped_layer(kind: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The parameters of the costmap and of its layer in config/nav2."""
    text = (ROOT / "config" / "nav2" / f"{kind}_layer.yaml").read_text(encoding="utf-8")
    ((name, content),) = yaml.safe_load(text).items()
    costmap = content[name]["ros__parameters"]
    return costmap, costmap["cameras"]


def scene() -> np.ndarray:
    """(X, Y) costs: all free but a wall ahead, a post, an unseen strip to the left, the robot."""
    costs = np.full(GRID.size[:2], FREE, np.int8)
    costs[28:30, 12:24] = BLOCKED  # x 3.2 … 4.0, y -3.2 … 1.6
    costs[10, 22] = BLOCKED  # x -4.0, y 0.8
    costs[16:24, 26:] = UNKNOWN  # y from 2.4 m on
    costs[19:21, 19:21] = UNKNOWN  # under the robot
    return costs


def voxels(costs: np.ndarray) -> np.ndarray:
    """(X, Y, 5) bool: the wall is two voxels high, the post all of the band."""
    blocking = np.zeros((*GRID.size[:2], 5), bool)
    blocking[..., :2] = (costs == BLOCKED)[..., None]
    blocking[10, 22] = costs[10, 22] == BLOCKED
    return blocking


def pose(turn: float) -> RigidTransform:
    """odom ← base_link; a robot that stands on a slope of 3 degrees, a metre up."""
    c, s, tilt = np.cos(turn), np.sin(turn), np.radians(3)
    around = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    up = np.array([[np.cos(tilt), 0, np.sin(tilt)], [0, 1, 0], [-np.sin(tilt), 0, np.cos(tilt)]])
    return RigidTransform(around @ up, np.array([20.013, -7.02, 1.0]))


def flat_pose(turn: float) -> RigidTransform:
    c, s = np.cos(turn), np.sin(turn)
    return RigidTransform(
        np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]), np.array([20.013, -7.02, 0])
    )


def window(layer: type[ObstacleLayer], at: RigidTransform, **options: float) -> ObstacleLayer:
    x, y = (float(value) - WINDOW * CELL_M / 2 for value in at.translation[:2])
    return layer((x, y), WINDOW, CELL_M, -10.0, 10.0, **options)


def column_values(layer: ObstacleLayer, at: RigidTransform, costs: np.ndarray) -> np.ndarray:
    """(cells, cells, 5) costs of the columns at each cell's corners and centre."""
    i, j = np.indices(layer.costs.shape)
    spots = [(0.5, 0.5), (0.01, 0.01), (0.01, 0.99), (0.99, 0.01), (0.99, 0.99)]
    values = []
    for a, b in spots:
        places = np.stack([i + a, j + b, 0 * i], axis=-1) * CELL_M + (*layer.origin_m, 0.0)
        places[..., 2] = at.translation[2]
        own = at.inverse().apply(places.reshape(-1, 3))
        own[:, 2] = 0.0
        cells, inside = GRID.index_of(own)
        result = np.where(inside, costs[cells[:, 0], cells[:, 1]], np.int8(UNKNOWN))
        values.append(result.reshape(layer.costs.shape))
    return np.stack(values, axis=-1)


def from_robot_m(layer: ObstacleLayer, at: RigidTransform) -> np.ndarray:
    centres = (np.indices(layer.costs.shape).transpose(1, 2, 0) + 0.5) * CELL_M + layer.origin_m
    return np.linalg.norm(centres - at.translation[:2], axis=-1)


def points_of(costs: np.ndarray) -> np.ndarray:
    return obstacle_points(GRID, voxels(costs), FIRST_LAYER, HEIGHT_M, REACH).astype(float)


def ends_of(costs: np.ndarray) -> np.ndarray:
    return clearing_points(GRID, costs, sum(HEIGHT_M) / 2, REACH).astype(float)


@pytest.mark.parametrize("turn", TURNS)
def test_every_cell_within_an_obstacle_is_marked_and_no_other(turn: float) -> None:
    at, costs = flat_pose(turn), scene()
    layer = window(ObstacleLayer, at)
    layer.mark(at.translation, MARKING.buffered(at.apply(points_of(costs))), MARKING)
    blocked = column_values(layer, at, costs) == BLOCKED
    near = from_robot_m(layer, at) < REACH.range_m - 0.6
    assert np.count_nonzero(blocked.all(axis=-1) & near) > 500
    assert (layer.costs == LETHAL)[blocked.all(axis=-1) & near].all()
    assert (layer.costs == NO_INFORMATION)[~blocked.any(axis=-1)].all()


@pytest.mark.parametrize(
    ("kind", "turn"), [*((ObstacleLayer, turn) for turn in TURNS), (VoxelLayer, 0.3)]
)
def test_what_has_gone_is_cleared_and_what_is_hidden_stays(
    kind: type[ObstacleLayer], turn: float
) -> None:
    """Everything was blocked before; now it is as in the scene."""
    at, costs = flat_pose(turn), scene()
    options = {"origin_z": -0.5, "z_resolution": 3.0, "z_voxels": 1} if kind is VoxelLayer else {}
    layer = window(kind, at, **options)
    layer.costs[:] = LETHAL
    if isinstance(layer, VoxelLayer):
        layer.marked[:] = True
    points, ends = points_of(costs), ends_of(costs)
    layer.update(at.translation, (MARKING, at.apply(points)), (CLEARING, at.apply(ends)))
    values, away_m = column_values(layer, at, costs), from_robot_m(layer, at)
    # The voxel layer stops two cells before the end of each line.
    margin_cells = 5 if kind is VoxelLayer else 0
    inner = ~_near(values != FREE, margin_cells) & (away_m > REACH.start_m + MARGIN_M)
    inner &= away_m < REACH.range_m - 0.2 - margin_cells * CELL_M
    inner = np.random.default_rng(1).permutation(np.argwhere(inner))[:3000]
    inner = inner[_in_line_of_sight(inner, layer, at, costs)]
    assert len(inner) > 1500
    assert (layer.costs[tuple(inner.T)] == FREE_SPACE).mean() > 0.99
    for step_m in (
        0.013,
        0.024,
        0.037,
        0.049,
    ):  # lines cross other cells as soon as the robot moves
        moved = RigidTransform(at.rotation, at.translation + np.array((step_m, -step_m / 2, 0)))
        layer.clear(moved.translation, moved.apply(ends), CLEARING)
    layer.mark(at.translation, at.apply(points), MARKING)
    assert (layer.costs[tuple(inner.T)] == FREE_SPACE).mean() > 0.999
    assert (layer.costs == LETHAL)[(values == BLOCKED).all(axis=-1)].all()
    hidden = ~_near(values != UNKNOWN, 2)
    assert np.count_nonzero(hidden) > 1000
    assert (layer.costs == LETHAL)[hidden].all()
    assert (layer.costs == LETHAL)[away_m < REACH.start_m - 3 * CELL_M].all()


def test_heights_of_the_node_hold_on_a_slope() -> None:
    at, costs = pose(0.3), scene()
    layer = window(ObstacleLayer, at)
    points, ends = at.apply(points_of(costs)), at.apply(ends_of(costs))
    layer.update(at.translation, (MARKING, points), (CLEARING, ends))
    assert np.count_nonzero(layer.costs == LETHAL) > 500
    assert np.count_nonzero(layer.costs == FREE_SPACE) > 10_000


def test_points_stand_on_tops_and_sides_between_the_heights() -> None:
    blocking = np.zeros((*GRID.size[:2], 5), bool)
    blocking[25, 20, :2] = True  # x 2.0 … 2.4, y 0.0 … 0.4, z 0.2 … 1.0
    points = obstacle_points(GRID, blocking, FIRST_LAYER, HEIGHT_M, REACH)
    assert points.dtype == np.float32
    low, high = points.min(axis=0), points.max(axis=0)
    assert np.all(low[:2] > (2.0, 0.0)) and np.all(high[:2] < (2.4, 0.4))
    assert low[2] == pytest.approx(0.3) and 0.95 < high[2] < 1.0
    across = int(np.ceil(0.4 / (0.05 / 2**0.5)))
    tops, sides = across**2, 4 * across * 2 * 2
    assert len(points) == tops + sides
    assert np.count_nonzero(points[:, 2] == high[2]) == tops


def test_nothing_gives_no_points() -> None:
    nothing = np.zeros((*GRID.size[:2], 5), bool)
    assert obstacle_points(GRID, nothing, FIRST_LAYER, HEIGHT_M, REACH).shape == (0, 3)
    unseen = np.full(GRID.size[:2], UNKNOWN, np.int8)
    assert clearing_points(GRID, unseen, 1.0, REACH).shape == (0, 3)


def test_nothing_is_told_from_farther_away_than_asked() -> None:
    everything = np.ones((*GRID.size[:2], 5), bool)
    points = obstacle_points(GRID, everything, FIRST_LAYER, HEIGHT_M, REACH)
    assert np.hypot(points[:, 0], points[:, 1]).max() < REACH.range_m + 0.4
    free = np.full(GRID.size[:2], FREE, np.int8)
    ends = clearing_points(GRID, free, 1.15, REACH)
    far_m = np.hypot(ends[:, 0], ends[:, 1])
    assert REACH.range_m - 0.1 < far_m.max() <= REACH.range_m
    assert far_m.min() > REACH.start_m
    assert set(ends[:, 2]) == {np.float32(1.15)}


def _in_line_of_sight(
    chosen: np.ndarray, layer: ObstacleLayer, at: RigidTransform, costs: np.ndarray
) -> np.ndarray:
    """(N,) bool: the cells (N, 2) to which free columns alone lead from the robot's edge on."""
    centres = (chosen + 0.5) * CELL_M + layer.origin_m
    own = at.inverse().apply(np.concatenate([centres, 0 * centres[:, :1]], axis=1))[:, :2]
    seen = np.ones(len(own), bool)
    for aside_m in (-MARGIN_M, 0.0, MARGIN_M):
        away = np.linalg.norm(own, axis=1, keepdims=True)
        across = own[:, ::-1] * (-1, 1) / np.maximum(away, 1e-9)
        for part in np.linspace(0.0, 1.0, 120):
            place = own * part + aside_m * part * across
            cells, inside = GRID.index_of(np.concatenate([place, 0 * away], axis=1))
            value = costs[cells[:, 0], cells[:, 1]]
            started = np.linalg.norm(place, axis=1) > REACH.start_m
            seen &= inside & ((value == FREE) | (~started & (value == UNKNOWN)))
    return seen


def _near(some: np.ndarray, cells: int) -> np.ndarray:
    """Cells that are no farther than so many from one of which any corner is among ``some``."""
    grown = some.any(axis=-1)
    for axis in (0, 1):
        shifted = [np.roll(grown, step, axis) for step in range(-cells, cells + 1)]
        grown = np.any(shifted, axis=0)
    return grown


@pytest.mark.parametrize("kind", ["obstacle", "voxel"])
def test_shipped_layers_fit_the_nodes_defaults_and_know_every_key(kind: str) -> None:
    own = NodeParameters()
    costmap, layer = shipped_layer(kind)
    assert layer["plugin"] == f"nav2_costmap_2d::{kind.capitalize()}Layer"
    assert set(layer) <= LAYER_KEYS | (VOXEL_KEYS if kind == "voxel" else set())
    marking, clearing = (layer[name] for name in layer["observation_sources"].split())
    assert costmap["resolution"] == own.costmap_cell_m
    for source in (marking, clearing):
        assert set(source) <= SOURCE_KEYS
        assert source["data_type"] == "PointCloud2"
        assert source["topic"].removeprefix("/renderocc/") in own.outputs
    assert (marking["marking"], marking["clearing"]) == (True, False)
    assert (clearing["marking"], clearing["clearing"]) == (False, True)
    assert marking["obstacle_max_range"] > own.costmap_range_m
    assert clearing["raytrace_max_range"] > own.costmap_range_m
    assert clearing["raytrace_min_range"] == own.costmap_start_m


@pytest.mark.parametrize(("kind", "topic"), [("static", "costmap"), ("map", "map_costmap")])
def test_shipped_static_layers_read_the_latched_costmaps(kind: str, topic: str) -> None:
    costmap, layer = shipped_layer(kind)
    assert layer == {
        "plugin": "nav2_costmap_2d::StaticLayer",
        "map_topic": f"/renderocc/{topic}",
        "map_subscribe_transient_local": True,
    }
    assert costmap["rolling_window"] is True
    assert costmap["lethal_cost_threshold"] == BLOCKED
