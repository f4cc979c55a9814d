"""What the network says about the space around the robot."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from renderocc_ros.class_set import ClassSet
from renderocc_ros.geometry import VoxelGrid


@dataclass(frozen=True, eq=False)
class SemanticOccupancy:
    """Labels and confidence of every voxel, in the ego frame at one instant.

    Attributes:
        stamp_ns: acquisition time of the reference camera, nanoseconds.
        grid: where the cells lie in the ego frame.
        class_set: meaning of the labels.
        labels: (X, Y, Z) uint8: class id, ``class_set.free_id`` where free.
        confidence: (X, Y, Z) uint8: probability of occupancy, 0 to 255 for 0 to 1.
        in_view: (X, Y, Z) bool, whether any camera looks into the voxel, hidden or not; None if
            not computed. Of truth: whether any camera sees the voxel.
    """

    stamp_ns: int
    grid: VoxelGrid
    class_set: ClassSet
    labels: NDArray[np.uint8]
    confidence: NDArray[np.uint8]
    in_view: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        for name in ("labels", "confidence", "in_view"):
            volume = getattr(self, name)
            if volume is not None and volume.shape != self.grid.size:
                raise ValueError(f"{name} has shape {volume.shape}, the grid {self.grid.size}")

    @property
    def occupied(self) -> NDArray[np.bool_]:
        """(X, Y, Z) bool: the voxels that hold a class."""
        return self.labels < self.class_set.free_id

    @property
    def shown(self) -> NDArray[np.bool_]:
        """(X, Y, Z) bool: the voxels that hold a class, and that a camera looks into if known.

        Of the others the network can only guess.
        """
        return self.occupied if self.in_view is None else self.occupied & self.in_view

    def keeping(self, names: Collection[str]) -> SemanticOccupancy:
        """The same with the voxels of all classes that are not named unknown; no names: itself."""
        if not names:
            return self
        return replace(self, labels=self.class_set.keeping(names)[self.labels])
