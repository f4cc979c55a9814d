"""Which cells of a grid are visible from sensor origins past occupied cells, in one sweep.

Each cell has one parent: the cell that the line from it to the origin meets one step nearer, along
the axis on which the origin is farthest away. A cell is visible if its parent is visible and free.
Shadows are therefore exact to about half a cell at their sides, and one pass over the cells from
near to far replaces one ray per cell.

Notation: N origins, M pairs of an origin and a cell, ordered from near to far.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from renderocc_ros.geometry.voxel_grid import VoxelGrid

Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class VisibilityPlan:
    """The line of sight to every cell; it depends on the origins, not on what is occupied.

    Attributes:
        grid: the grid of the cells.
        cells: (M,) flat index of each pair's cell.
        parents: (M,) index of each pair's parent in these arrays: same origin, nearer cell.
        starts: indices at which a farther shell begins; pairs before the first lie at an origin.
    """

    grid: VoxelGrid
    cells: Ints
    parents: Ints
    starts: Ints

    def visible(self, occupied: Bools) -> Bools:
        """(X, Y, Z) bool: the wanted cells, and some on the way to them, visible from any origin.

        An occupied cell is visible itself and hides the cells behind it.

        Args:
            occupied: (X, Y, Z) bool.
        """
        if occupied.shape != self.grid.size:
            raise ValueError(f"occupied has shape {occupied.shape}, the grid {self.grid.size}")
        free = ~occupied.reshape(-1)[self.cells]
        visible, open_to = np.ones_like(free), np.ones_like(free)
        for start, end in zip(self.starts[:-1], self.starts[1:], strict=True):
            visible[start:end] = open_to[self.parents[start:end]]
            open_to[start:end] = visible[start:end] & free[start:end]
        result = np.zeros(self.grid.cell_count, np.bool_)
        result[self.cells[visible]] = True
        return result.reshape(self.grid.size)


def plan_visibility(grid: VoxelGrid, origins_m: ArrayLike, wanted: Bools) -> VisibilityPlan:
    """Plan the lines of sight.

    Args:
        grid: the grid.
        origins_m: (N, 3) sensor origins in the grid's frame, metres.
        wanted: (N, X, Y, Z) bool: the cells whose visibility from each origin matters.
    """
    origins = (np.asarray(origins_m, np.float64) - grid.origin_m) / grid.resolution_m - 0.5
    cells, parents, shells, first = [], [], [], 0
    for origin, own in zip(origins, wanted, strict=True):
        own_cells, own_parents, own_shells = _lines_from(grid, origin, own)
        cells.append(own_cells)
        parents.append(own_parents + first)
        shells.append(own_shells)
        first += len(own_cells)
    shell = np.concatenate(shells)
    order = np.argsort(shell, kind="stable")
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    ends = np.flatnonzero(np.diff(shell[order])) + 1
    nearest_ends = np.searchsorted(shell[order], 1)
    return VisibilityPlan(
        grid,
        np.concatenate(cells)[order],
        place[np.concatenate(parents)[order]],
        np.unique([nearest_ends, *ends[ends > nearest_ends], len(order)]),
    )


def _lines_from(
    grid: VoxelGrid, origin: NDArray[np.float64], wanted: Bools
) -> tuple[Ints, Ints, Ints]:
    """For one origin: flat cells, indices of their parents, and shells (0 at the origin)."""
    needed = wanted.reshape(-1).copy()
    parent = np.full(grid.cell_count, -1, np.int64)
    shell = np.zeros(grid.cell_count, np.int64)
    front = np.flatnonzero(needed)
    while front.size:  # the wanted cells, then their parents, then the parents of those …
        at = np.stack(np.unravel_index(front, grid.size), axis=-1)
        away = at - origin
        steps = np.abs(away).max(axis=1)
        # A parent is at least half a step nearer, whatever the rounding: shells of half a step.
        shell[front] = np.where(steps <= 1, 0, np.ceil(2 * steps)).astype(np.int64)
        nearer = np.rint(at - away / np.maximum(steps, 1)[:, None]).astype(np.int64)
        inside = ((nearer >= 0) & (nearer < grid.size)).all(axis=1) & (steps > 1)
        shell[front[~inside]] = 0  # no cell of the grid lies between it and the origin
        up = np.ravel_multi_index(tuple(np.where(inside[:, None], nearer, at).T), grid.size)
        parent[front] = up
        front = np.unique(up[inside])
        front = front[~needed[front]]
        needed[front] = True
    cells = np.flatnonzero(needed)
    place = np.zeros(grid.cell_count, np.int64)
    place[cells] = np.arange(len(cells))
    return cells, place[parent[cells]], shell[cells]
