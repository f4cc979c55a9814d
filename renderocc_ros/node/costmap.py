"""The grid seen from above as nav_msgs/OccupancyGrid, for Nav2's static or obstacle layers."""

from __future__ import annotations

from array import array
from typing import Any

import numpy as np
from geometry_msgs.msg import Point, Pose
from nav_msgs.msg import MapMetaData, OccupancyGrid
from numpy.typing import NDArray

from renderocc_ros.geometry import CameraModel, VoxelGrid
from renderocc_ros.geometry.line_of_sight import VisibilityPlan, plan_visibility
from renderocc_ros.network_config import ImageConfig
from renderocc_ros.node.obstacles import BLOCKED, FREE, UNKNOWN
from renderocc_ros.occupancy.ros_messages import to_header, to_time
from renderocc_ros.occupancy.semantic_occupancy import SemanticOccupancy
from renderocc_ros.rig.camera_set import CameraSet
from renderocc_ros.rig.image_preprocessing import target_model

Bools = NDArray[np.bool_]

# Cameras that moved less than this keep the plan they have: half a cell, and 3 degrees.
SAME_PLACE_CELLS, SAME_ROTATION = 0.5, 0.05


class VisibleVoxels:
    """Which voxels the cameras see past the predicted ones; planned again when cameras move.

    Args:
        image: the network's, which says what part of each image is used.
    """

    def __init__(self, image: ImageConfig) -> None:
        self._image = image
        self._plan: VisibilityPlan | None = None
        self._planned_for: tuple[Any, ...] = ()

    def of(self, occupancy: SemanticOccupancy, cameras: CameraSet, layers: slice) -> Bools:
        """(X, Y, Z) bool: the visible voxels of some layers and of the way to them.

        Args:
            cameras: the set that the result comes from.
            layers: the z indices that matter.
        """
        posed_images = [posed for posed in cameras.images if posed is not None]
        poses = np.stack([posed.ego_from_camera.matrix for posed in posed_images])
        key = (occupancy.grid, layers, [(each.name, each.model) for each in posed_images])
        if self._plan is None or self._planned_for[0] != key or self._have_moved(poses):
            models = [target_model(posed.model, self._image) for posed in posed_images]
            self._plan = _visibility_plan(occupancy.grid, layers, models, poses)
            self._planned_for = (key, poses)
        return self._plan.visible(occupancy.occupied)

    def _have_moved(self, poses: NDArray[np.float64]) -> bool:
        assert self._plan is not None
        change = np.abs(poses - self._planned_for[1])
        cells = change[:, :3, 3].max() / self._plan.grid.resolution_m
        return bool(cells > SAME_PLACE_CELLS or change[:, :3, :3].max() > SAME_ROTATION)


def _visibility_plan(
    grid: VoxelGrid, layers: slice, models: list[CameraModel], poses: NDArray[np.float64]
) -> VisibilityPlan:
    import torch

    from renderocc_ros.prediction.visibility import voxels_in_view

    intrinsics = torch.from_numpy(np.stack([model.intrinsics for model in models]))
    size = (models[0].height, models[0].width)
    in_view = voxels_in_view(grid, intrinsics, torch.from_numpy(poses), size).numpy()
    wanted = np.zeros_like(in_view)
    wanted[..., layers] = in_view[..., layers]
    return plan_visibility(grid, poses[:, :3, 3], wanted)


def layers_between(grid: VoxelGrid, height_m: tuple[float, float]) -> slice:
    """The z indices of the voxels whose centres lie between two heights, metres; may be empty."""
    heights = grid.origin_m[2] + (np.arange(grid.size[2]) + 0.5) * grid.resolution_m
    first = np.searchsorted(heights, height_m[0])
    return slice(int(first), int(np.searchsorted(heights, height_m[1], side="right")))


def blocking_voxels(occupancy: SemanticOccupancy, layers: slice, classes: tuple[str, ...]) -> Bools:
    """(X, Y, L) bool: the voxels of some layers that hold a class that blocks.

    Args:
        classes: names of those that block; none given: all but the ground.
    """
    class_set = occupancy.class_set
    table = class_set.keeping(classes or class_set.obstacle_names) < class_set.free_id
    return np.asarray(table[occupancy.labels[:, :, layers]])


def to_costs(
    occupancy: SemanticOccupancy,
    height_m: tuple[float, float],
    classes: tuple[str, ...] = (),
    visible: Bools | None = None,
) -> NDArray[np.int8]:
    """(X, Y) int8: 100 where a column is blocked, 0 where it is free, -1 where it is not seen.

    A column is blocked where a voxel, whose centre lies between the two heights, holds a class that
    blocks. It is unknown where it is not blocked and no camera looks into any of its voxels between
    the heights, or others hide them all, or all of them are labelled unknown.

    Args:
        height_m: lowest and highest height in the grid's frame, metres.
        classes: as ``blocking_voxels`` takes them.
        visible: (X, Y, Z) bool: voxels that nothing hides; None if that is not known.
    """
    grid = occupancy.grid
    span = layers_between(grid, height_m)
    labels = occupancy.labels[:, :, span]
    if not labels.size:
        return np.full(grid.size[:2], UNKNOWN, np.int8)
    known = labels != 255
    for seen in (occupancy.in_view, visible):
        if seen is not None:
            known = known & seen[:, :, span]
    result = np.where(known.any(axis=2), FREE, UNKNOWN).astype(np.int8)
    result[blocking_voxels(occupancy, span, classes).any(axis=2)] = BLOCKED
    return result


def to_costmap(occupancy: SemanticOccupancy, frame: str, costs: NDArray[np.int8]) -> OccupancyGrid:
    """Costs (X, Y) as a message: row-major from the minimum corner, x along a row.

    Inflation is left to Nav2. See :func:`to_costs`.
    """
    x, y, _ = occupancy.grid.origin_m
    message = OccupancyGrid(header=to_header(occupancy.stamp_ns, frame))
    message.info = MapMetaData(
        map_load_time=to_time(occupancy.stamp_ns),
        resolution=occupancy.grid.resolution_m,
        width=costs.shape[0],
        height=costs.shape[1],
        origin=Pose(position=Point(x=x, y=y, z=0.0)),
    )
    cells: array[int] = array("b")
    cells.frombytes(np.ascontiguousarray(costs.T).tobytes())
    message.data = cells
    return message
