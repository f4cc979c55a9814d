"""The grid seen from above as nav_msgs/OccupancyGrid, for Nav2's static or obstacle layers."""

from __future__ import annotations

from array import array

import numpy as np
from geometry_msgs.msg import Point, Pose
from nav_msgs.msg import MapMetaData, OccupancyGrid
from numpy.typing import NDArray

from renderocc_ros.node.conversions import to_header, to_time
from renderocc_ros.semantic_occupancy import SemanticOccupancy

FREE, BLOCKED, UNKNOWN = 0, 100, -1


def to_costs(
    occupancy: SemanticOccupancy, height_m: tuple[float, float], free_classes: tuple[str, ...]
) -> NDArray[np.int8]:
    """(X, Y) int8: 100 where a column is blocked, 0 where it is free, -1 where it is not seen.

    A column is blocked where a voxel, whose centre lies between the two heights, holds a class that
    costs. It is unknown where it is not blocked and no camera looks into any of its voxels between
    the heights, or all of them are labelled unknown.

    Args:
        height_m: lowest and highest height in the grid's frame, metres.
        free_classes: names of the classes that never cost.
    """
    grid = occupancy.grid
    heights = grid.origin_m[2] + (np.arange(grid.size[2]) + 0.5) * grid.resolution_m
    layers = np.flatnonzero((heights >= height_m[0]) & (heights <= height_m[1]))
    if not layers.size:
        return np.full(grid.size[:2], UNKNOWN, np.int8)
    span = slice(int(layers[0]), int(layers[-1]) + 1)
    labels = occupancy.labels[:, :, span]
    costs = np.array([name not in free_classes for name in occupancy.class_set.names])
    table = np.zeros(256, np.bool_)
    table[: len(costs)] = costs
    known = labels != 255
    if occupancy.observed is not None:
        known = known & occupancy.observed[:, :, span]
    result = np.where(known.any(axis=2), FREE, UNKNOWN).astype(np.int8)
    result[table[labels].any(axis=2)] = BLOCKED
    return result


def to_costmap(
    occupancy: SemanticOccupancy,
    frame: str,
    height_m: tuple[float, float],
    free_classes: tuple[str, ...],
) -> OccupancyGrid:
    """The costs as a message: row-major from the minimum corner, x along a row.

    Inflation is left to Nav2. See :func:`to_costs`.
    """
    costs = to_costs(occupancy, height_m, free_classes)
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
