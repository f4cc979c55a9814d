"""The voxel grid: where cell (i, j, k) lies in the ego frame, and which cell holds a point."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

SAME_PLACE_M = 1e-4  # messages and files round


@dataclass(frozen=True)
class VoxelGrid:
    """A box of cubic cells. Dense volumes are indexed (x, y, z) with z fastest in memory.

    Cell (i, j, k) covers ``origin + (i, j, k)·resolution`` up to, not including,
    ``origin + (i+1, j+1, k+1)·resolution``; its centre is half a cell above its lower corner.

    Attributes:
        origin_m: the minimum corner in the ego frame (x forward, y left, z up), metres.
        resolution_m: edge of a cell, metres.
        size: number of cells along x, y and z.
    """

    origin_m: tuple[float, float, float]
    resolution_m: float
    size: tuple[int, int, int]

    def __post_init__(self) -> None:
        if len(self.origin_m) != 3 or not np.isfinite(self.origin_m).all():
            raise ValueError(f"origin_m must be three finite numbers, got {self.origin_m}")
        if not (np.isfinite(self.resolution_m) and self.resolution_m > 0):
            raise ValueError(f"resolution_m must be above 0, got {self.resolution_m}")
        if len(self.size) != 3 or any(int(n) != n or n < 1 for n in self.size):
            raise ValueError(f"size must be three whole numbers of at least 1, got {self.size}")
        object.__setattr__(self, "origin_m", tuple(float(v) for v in self.origin_m))
        object.__setattr__(self, "resolution_m", float(self.resolution_m))
        object.__setattr__(self, "size", tuple(int(n) for n in self.size))

    def is_close(self, other: VoxelGrid) -> bool:
        """Whether both have the same cells, to a tenth of a millimetre."""
        mine, others = ((*grid.origin_m, grid.resolution_m) for grid in (self, other))
        return self.size == other.size and np.allclose(mine, others, rtol=0, atol=SAME_PLACE_M)

    @property
    def upper_m(self) -> tuple[float, float, float]:
        """The maximum corner, metres."""
        x, y, z = (o + n * self.resolution_m for o, n in zip(self.origin_m, self.size, strict=True))
        return (x, y, z)

    @property
    def cell_count(self) -> int:
        """Number of cells."""
        return self.size[0] * self.size[1] * self.size[2]

    def centres(self, indices: ArrayLike | None = None) -> NDArray[np.float64]:
        """Centres in metres of the cells ``indices`` (..., 3), or of all: (X, Y, Z, 3)."""
        cells = np.moveaxis(np.indices(self.size), 0, -1) if indices is None else indices
        return (np.asarray(cells, dtype=np.float64) + 0.5) * self.resolution_m + self.origin_m

    def index_of(self, points: ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """The cells that hold points.

        Args:
            points: (..., 3) metres in the grid's frame.

        Returns:
            indices (..., 3) int64, rounded down, zero where the point lies outside or is not
            finite; and (...) bool, whether the point lies inside.
        """
        # One axis after the other in memory: numpy is slow where its inner loop has three turns.
        columns = np.asarray(points, dtype=np.float64, order="F")
        cells = np.floor((columns - self.origin_m) / self.resolution_m)
        with np.errstate(invalid="ignore"):
            x, y, z = np.moveaxis((cells >= 0) & (cells < self.size), -1, 0)
        inside = np.asarray(x & y & z)
        return np.where(inside[..., None], cells, 0).astype(np.int64), inside

    def flat_index(self, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        """Positions (...) of the cells (..., 3) in a flattened (X, Y, Z) volume."""
        _, y, z = self.size
        return (indices[..., 0] * y + indices[..., 1]) * z + indices[..., 2]
