"""Which cells of a grid an eye sees past those that are occupied, for all cells in one sweep.

Each cell looks at the eye through one neighbour, its parent: the cell that the line to the eye
meets one step nearer, along the axis on which the eye is farthest away. It is seen if its parent is
seen and free. So shadows are right to about half a cell to their sides, and one pass over the cells
from near to far replaces a ray for each of them.

The alphabet of this module: N eyes, M pairs of an eye and a cell, ordered from near to far.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from renderocc_ros.geometry.voxel_grid import VoxelGrid

Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class SightPlan:
    """The way of sight to every cell; it depends on where the eyes are, not on what is occupied.

    Attributes:
        grid: the grid of the cells.
        cells: (M,) flat index of each pair's cell.
        parents: (M,) place of each pair's parent, of the same eye, in these arrays; before its own.
        starts: places at which a farther shell begins; what lies before the first is at an eye.
    """

    grid: VoxelGrid
    cells: Ints
    parents: Ints
    starts: Ints

    def seen(self, occupied: Bools) -> Bools:
        """(X, Y, Z) bool: the wanted cells, and some on the way to them, that any eye sees.

        An occupied cell is seen itself and hides what lies behind it.

        Args:
            occupied: (X, Y, Z) bool.
        """
        if occupied.shape != self.grid.size:
            raise ValueError(f"occupied has shape {occupied.shape}, the grid {self.grid.size}")
        free = ~occupied.reshape(-1)[self.cells]
        seen, open_to = np.ones_like(free), np.ones_like(free)
        for start, end in zip(self.starts[:-1], self.starts[1:], strict=True):
            seen[start:end] = open_to[self.parents[start:end]]
            open_to[start:end] = seen[start:end] & free[start:end]
        result = np.zeros(self.grid.cell_count, np.bool_)
        result[self.cells[seen]] = True
        return result.reshape(self.grid.size)


def plan_sight(grid: VoxelGrid, eyes_m: ArrayLike, wanted: Bools) -> SightPlan:
    """Plan the ways of sight.

    Args:
        grid: the grid.
        eyes_m: (N, 3) places of the eyes in the grid's frame, metres.
        wanted: (N, X, Y, Z) bool: the cells of which it matters whether each eye sees them.
    """
    eyes = (np.asarray(eyes_m, np.float64) - grid.origin_m) / grid.resolution_m - 0.5
    cells, parents, shells, first = [], [], [], 0
    for eye, own in zip(eyes, wanted, strict=True):
        of_eye = _ways_of(grid, eye, own)
        cells.append(of_eye[0])
        parents.append(of_eye[1] + first)
        shells.append(of_eye[2])
        first += len(of_eye[0])
    shell = np.concatenate(shells)
    order = np.argsort(shell, kind="stable")
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    ends = np.flatnonzero(np.diff(shell[order])) + 1
    nearest_ends = np.searchsorted(shell[order], 1)
    return SightPlan(
        grid,
        np.concatenate(cells)[order],
        place[np.concatenate(parents)[order]],
        np.unique([nearest_ends, *ends[ends > nearest_ends], len(order)]),
    )


def _ways_of(grid: VoxelGrid, eye: NDArray[np.float64], wanted: Bools) -> tuple[Ints, Ints, Ints]:
    """Of one eye: flat cells, places of their parents among them, and shells, 0 at the eye."""
    needed = wanted.reshape(-1).copy()
    parent = np.full(grid.cell_count, -1, np.int64)
    shell = np.zeros(grid.cell_count, np.int64)
    front = np.flatnonzero(needed)
    while front.size:  # the wanted cells, then their parents, their parents' parents …
        at = np.stack(np.unravel_index(front, grid.size), axis=-1)
        away = at - eye
        steps = np.abs(away).max(axis=1)
        # A parent is at least half a step nearer, whatever the rounding: shells of half a step.
        shell[front] = np.where(steps <= 1, 0, np.ceil(2 * steps)).astype(np.int64)
        nearer = np.rint(at - away / np.maximum(steps, 1)[:, None]).astype(np.int64)
        inside = ((nearer >= 0) & (nearer < grid.size)).all(axis=1) & (steps > 1)
        shell[front[~inside]] = 0  # nothing of the grid lies between it and the eye
        up = np.ravel_multi_index(tuple(np.where(inside[:, None], nearer, at).T), grid.size)
        parent[front] = up
        front = np.unique(up[inside])
        front = front[~needed[front]]
        needed[front] = True
    cells = np.flatnonzero(needed)
    place = np.zeros(grid.cell_count, np.int64)
    place[cells] = np.arange(len(cells))
    return cells, place[parent[cells]], shell[cells]
