"""One result as Nav2 takes it: costmap, obstacles, clearing."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import numpy as np
from nav_msgs.msg import OccupancyGrid
from numpy.typing import NDArray
from sensor_msgs.msg import PointCloud2
from sensor_msgs_py import point_cloud2

from renderocc_ros.node.costmap import (
    blocking_voxels,
    layers_between,
    to_costmap,
    to_costs,
)
from renderocc_ros.node.obstacles import Floats, Reach, clearing_points, obstacle_points
from renderocc_ros.node.parameters import NodeParameters
from renderocc_ros.occupancy.ros_messages import to_header
from renderocc_ros.occupancy.semantic_occupancy import SemanticOccupancy


class Navigation:
    """The messages about one result; what they share is computed once, and not before it is needed.

    Args:
        visible: (X, Y, Z) bool, which voxels of the heights in question the cameras see.
        frame: the frame that the grid lies in.
        parameters: heights, classes and reach.
    """

    def __init__(
        self,
        occupancy: SemanticOccupancy,
        visible: Callable[[], NDArray[np.bool_]],
        frame: str,
        parameters: NodeParameters,
    ) -> None:
        self._occupancy, self._visible, self._frame = occupancy, visible, frame
        low_m, high_m = parameters.costmap_height_m
        self._height_m, self._classes = (low_m, high_m), parameters.costmap_classes
        self._layers = layers_between(occupancy.grid, self._height_m)
        self._reach = Reach(
            parameters.costmap_cell_m, parameters.costmap_range_m, parameters.costmap_start_m
        )

    def costmap(self) -> OccupancyGrid:
        """Blocked, free and unknown columns."""
        return to_costmap(self._occupancy, self._frame, self._costs)

    def obstacles(self) -> PointCloud2:
        """What blocks, for marking."""
        blocking = blocking_voxels(self._occupancy, self._layers, self._classes)
        return self._cloud(
            obstacle_points(
                self._occupancy.grid, blocking, self._layers.start, self._height_m, self._reach
            )
        )

    def clearing(self) -> PointCloud2:
        """Ends of lines through free space, for clearing."""
        middle_m = sum(self._height_m) / 2
        return self._cloud(
            clearing_points(self._occupancy.grid, self._costs, middle_m, self._reach)
        )

    @cached_property
    def _costs(self) -> NDArray[np.int8]:
        return to_costs(self._occupancy, self._height_m, self._classes, self._visible())

    def _cloud(self, points: Floats) -> PointCloud2:
        header = to_header(self._occupancy.stamp_ns, self._frame)
        return point_cloud2.create_cloud_xyz32(header, points)
