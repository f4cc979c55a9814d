"""Which voxels a ray passes: exact traversal of a grid, all rays at once.

The alphabet of this module: t is a distance along a ray in metres; R is the number of rays.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from renderocc_ros.geometry.voxel_grid import VoxelGrid

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Crossing:
    """The cell in which each ray that is still inside the grid stands at one step.

    Attributes:
        rays: (A,) numbers of these rays.
        cells: (A, 3) indices of their cells.
        enter_m, leave_m: (A,) distances at which they enter and leave the cell.
    """

    rays: Ints
    cells: Ints
    enter_m: Floats
    leave_m: Floats


@dataclass(frozen=True, eq=False)
class FirstHits:
    """The first occupied voxel of each ray.

    Attributes:
        hit: (R,) bool, whether there is one.
        cells: (R, 3) its indices; where nothing is hit, the last cell passed (or zero).
        enter_m, leave_m: (R,) distances at which the ray enters and leaves that cell; where nothing
            is hit, those of the last cell passed; NaN if the ray misses the grid.
    """

    hit: NDArray[np.bool_]
    cells: Ints
    enter_m: Floats
    leave_m: Floats


def traverse(grid: VoxelGrid, origins: ArrayLike, directions: ArrayLike) -> Iterator[Crossing]:
    """Walk along rays from cell to cell (Amanatides and Woo 1987), one step at a time.

    Args:
        grid: the voxel grid.
        origins: (R, 3) metres in the grid's frame, inside or outside of it.
        directions: (R, 3) unit vectors.

    Yields:
        the cells of all rays that are inside; cells of length zero (a ray through an edge) are
        passed over.
    """
    origins, directions = np.broadcast_arrays(
        np.asarray(origins, dtype=np.float64), np.asarray(directions, dtype=np.float64)
    )
    if origins.ndim != 2 or origins.shape[1] != 3:
        raise ValueError(f"origins and directions must be (R, 3), got {origins.shape}")
    enter, leave = clip_to_box(origins, directions, grid.origin_m, grid.upper_m)
    rays = np.flatnonzero(enter < leave)
    start = (origins[rays] - grid.origin_m) / grid.resolution_m
    slope = directions[rays] / grid.resolution_m
    t, t_end = enter[rays], leave[rays]
    step = np.where(slope >= 0, 1, -1)
    inside = start + slope * t[:, None]
    cells = np.clip(np.floor(inside), 0, np.array(grid.size) - 1).astype(np.int64)
    with np.errstate(divide="ignore", invalid="ignore"):
        t_border = np.where(slope == 0, np.inf, (cells + (step > 0) - start) / slope)
        t_cell = np.abs(1.0 / slope)
    while rays.size:
        axis = np.argmin(t_border, axis=1)[:, None]
        t_next = np.minimum(np.take_along_axis(t_border, axis, 1)[:, 0], t_end)
        solid = t_next > t
        yield Crossing(rays[solid], cells[solid], t[solid], t_next[solid])
        index = np.take_along_axis(cells, axis, 1) + np.take_along_axis(step, axis, 1)
        np.put_along_axis(cells, axis, index, 1)
        border = np.take_along_axis(t_border, axis, 1) + np.take_along_axis(t_cell, axis, 1)
        np.put_along_axis(t_border, axis, border, 1)
        t = np.maximum(t, t_next)
        on = (index[:, 0] >= 0) & (index[:, 0] < np.array(grid.size)[axis[:, 0]]) & (t < t_end)
        rays, start, step, cells = rays[on], start[on], step[on], cells[on]
        t, t_end, t_border, t_cell = t[on], t_end[on], t_border[on], t_cell[on]


def clip_to_box(
    origins: Floats, directions: Floats, lower: ArrayLike, upper: ArrayLike
) -> tuple[Floats, Floats]:
    """Distances (R,) at which rays enter and leave a box; enter ≥ leave for those that miss it.

    A ray that starts inside enters at 0 (the slab method, Kay and Kajiya 1986).
    """
    count = np.broadcast_shapes(np.shape(origins)[:1], np.shape(directions)[:1])
    near, far = np.full(count, -np.inf), np.full(count, np.inf)
    # Axis by axis: numpy is slow where its inner loop has three turns.
    slabs = zip(np.asarray(lower), np.asarray(upper), origins.T, directions.T, strict=True)
    for low, high, start, way in slabs:
        with np.errstate(divide="ignore", invalid="ignore"):
            to_low, to_high = (low - start) / way, (high - start) / way
        along = way == 0  # runs along this slab: inside it all the way, or never
        infinite = np.where((start >= low) & (start < high), np.inf, -np.inf)
        near = np.maximum(near, np.where(along, -infinite, np.minimum(to_low, to_high)))
        far = np.minimum(far, np.where(along, infinite, np.maximum(to_low, to_high)))
    return np.maximum(near, 0.0), far


def first_hits(
    occupied: NDArray[np.bool_], grid: VoxelGrid, origins: ArrayLike, directions: ArrayLike
) -> FirstHits:
    """The first occupied cell on each ray.

    Args:
        occupied: (X, Y, Z) bool.
        grid: its grid.
        origins, directions: (R, 3) metres and unit vectors in the grid's frame.
    """
    if occupied.shape != grid.size:
        raise ValueError(f"occupied has shape {occupied.shape}, the grid {grid.size}")
    count = np.broadcast_shapes(np.shape(origins), np.shape(directions))[0]
    hit = np.zeros(count, dtype=bool)
    cells = np.zeros((count, 3), dtype=np.int64)
    enter, leave = np.full((2, count), np.nan)
    for crossing in traverse(grid, origins, directions):
        searching = ~hit[crossing.rays]
        rays, now = crossing.rays[searching], crossing.cells[searching]
        if not rays.size:
            break
        cells[rays] = now
        enter[rays], leave[rays] = crossing.enter_m[searching], crossing.leave_m[searching]
        hit[rays] = occupied[now[:, 0], now[:, 1], now[:, 2]]
    return FirstHits(hit, cells, enter, leave)
