"""What blocks the robot, and the free space around it, as points for Nav2's obstacle layers.

An obstacle layer marks the cell that each point falls into, and clears the cells on the straight
line from the sensor's origin to a point. So obstacles are points so dense that no cell is missed,
and free space is told by the far ends of lines that cross nothing else.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from renderocc_ros.geometry import VoxelGrid

Bools = NDArray[np.bool_]
Floats = NDArray[np.float32]
FREE, BLOCKED, UNKNOWN = 0, 100, -1  # as nav_msgs/OccupancyGrid has them

LAYER_M = 0.2  # between points on the sides, in height: the default z_resolution of Nav2's voxels
LINE_CELLS = 1 / 3  # between two lines at their far ends, in cells
STEP_VOXELS = 0.25  # between two looks at the costs along a line, in voxels


@dataclass(frozen=True)
class Reach:
    """How far and how densely Nav2 is told.

    Attributes:
        cell_m: edge of the cells of Nav2's costmap, metres.
        range_m: farthest distance from the base frame's origin, metres.
        start_m: nearer than this, lines cross what no camera sees: the robot itself.
    """

    cell_m: float
    range_m: float
    start_m: float


def obstacle_points(
    grid: VoxelGrid, blocking: Bools, first_layer: int, height_m: tuple[float, float], reach: Reach
) -> Floats:
    """Points on the tops and sides of voxels, (N, 3) float32, metres.

    Every cell of the costmap that lies within a voxel's outline holds a point, however the costmap
    is turned. Points lie a little inside the voxel, so that rounding puts none into the next cell.

    Args:
        grid: the whole grid.
        blocking: (X, Y, L) bool, the voxels of some layers that block.
        first_layer: z index of the first of these layers.
        height_m: lowest and highest height that matters; points are kept between them.
    """
    blocking = np.pad(blocking & _within(grid, reach.range_m)[..., None], 1)
    parts = []
    for (axis, side), offsets in _faces(grid.resolution_m, reach.cell_m).items():
        bare = (blocking & ~np.roll(blocking, -side, axis))[1:-1, 1:-1, 1:-1]
        cells = np.argwhere(bare) + np.array((0, 0, first_layer))
        corners = (cells * grid.resolution_m + grid.origin_m).astype(np.float32)
        parts.append((corners[:, None] + offsets).reshape(-1, 3))
    points: Floats = np.concatenate(parts)
    np.clip(points[:, 2], *height_m, out=points[:, 2])
    return points


def clearing_points(
    grid: VoxelGrid, costs: NDArray[np.int8], height_m: float, reach: Reach
) -> Floats:
    """Ends of lines from the base frame's origin through free columns, (N, 3) float32, metres.

    A line ends before the first column that is blocked or that no camera sees. One that ends within
    ``reach.start_m`` is left out. Nav2 traces a line from cell to cell and always in the same way,
    so some cells lie on none of the lines to the far ends: half of the lines end half way as well,
    a quarter of them at a quarter of the way, and so on.

    Args:
        costs: (X, Y) of FREE, BLOCKED and UNKNOWN.
        height_m: z of the points.
    """
    lines = _lines(grid, reach)
    outside = np.append(costs.reshape(-1), np.int8(BLOCKED))[lines.columns]
    open_way = outside == FREE
    open_way[:, : lines.started] |= outside[:, : lines.started] == UNKNOWN
    steps = np.where(open_way.all(axis=1), open_way.shape[1], open_way.argmin(axis=1))
    distance_m = (steps - 0.5) * lines.step_m
    distance_m[1::2] -= reach.cell_m  # neighbours end in different cells
    ends, part = [], 1
    while reach.range_m / part > reach.start_m:
        along = lines.directions[::part] * (distance_m[::part, None] / part)
        ends.append(along[distance_m[::part] / part > reach.start_m])
        part *= 2
    points = np.full((sum(map(len, ends)), 3), height_m, np.float32)
    points[:, :2] = np.concatenate(ends)
    return points


@dataclass(frozen=True, eq=False)
class _Lines:
    """B lines from the origin in K steps.

    Attributes:
        directions: (B, 2).
        columns: (B, K) flat index of the column at the middle of each step; the number of columns
            where it lies outside of the grid.
        step_m: length of a step.
        started: steps that lie within the start.
    """

    directions: NDArray[np.float64]
    columns: NDArray[np.int64]
    step_m: float
    started: int


@lru_cache(maxsize=2)
def _lines(grid: VoxelGrid, reach: Reach) -> _Lines:
    count = math.ceil(2 * math.pi * reach.range_m / (reach.cell_m * LINE_CELLS))
    angles = np.arange(count) * (2 * math.pi / count)
    directions = np.stack([np.cos(angles), np.sin(angles)], axis=-1)
    step_m = STEP_VOXELS * grid.resolution_m
    middles_m = (np.arange(math.ceil(reach.range_m / step_m)) + 0.5) * step_m
    places = directions[:, None] * middles_m[:, None]
    at = np.floor((places - grid.origin_m[:2]) / grid.resolution_m).astype(np.int64)
    inside = ((at >= 0) & (at < grid.size[:2])).all(axis=-1)
    flat = at[..., 0] * grid.size[1] + at[..., 1]
    columns = np.where(inside, flat, grid.size[0] * grid.size[1])
    return _Lines(directions, columns, step_m, int(np.count_nonzero(middles_m < reach.start_m)))


def _faces(edge_m: float, cell_m: float) -> dict[tuple[int, int], Floats]:
    """Points (P, 3) on a voxel's top and sides, from its minimum corner, by axis and side."""
    # The largest empty square between points of a turned lattice has √2 of its spacing.
    lattice = _steps(edge_m, cell_m / math.sqrt(2))
    heights = _steps(edge_m, LAYER_M)
    first, last = lattice[:1], lattice[-1:]
    spans = {
        (2, 1): (lattice, lattice, last),
        (0, -1): (first, lattice, heights),
        (0, 1): (last, lattice, heights),
        (1, -1): (lattice, first, heights),
        (1, 1): (lattice, last, heights),
    }
    return {
        face: np.stack(np.meshgrid(*each, indexing="ij"), axis=-1).reshape(-1, 3)
        for face, each in spans.items()
    }


def _steps(length_m: float, spacing_m: float) -> Floats:
    """Offsets that are evenly spaced, at most so far apart, and half of it from both ends."""
    count = math.ceil(length_m / spacing_m)
    return ((np.arange(count) + 0.5) * (length_m / count)).astype(np.float32)


def _within(grid: VoxelGrid, range_m: float) -> Bools:
    """(X, Y) bool: the columns whose centres are no farther from the frame's origin."""
    x_m, y_m = (
        grid.origin_m[axis] + (np.arange(grid.size[axis]) + 0.5) * grid.resolution_m
        for axis in (0, 1)
    )
    return np.asarray(np.hypot(x_m[:, None], y_m) <= range_m)
