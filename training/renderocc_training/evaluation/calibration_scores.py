"""Does a probability of occupancy of 0.7 mean that 7 of 10 such voxels are occupied?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BINS = 20


@dataclass(frozen=True, eq=False)
class Reliability:
    """Counts in equal bins of predicted probability; they add up over frames.

    Attributes:
        voxels: (B,) number of voxels whose probability falls into the bin.
        occupied: (B,) how many of them are occupied in truth.
        probability: (B,) sum of their probabilities.
    """

    voxels: NDArray[np.int64]
    occupied: NDArray[np.int64]
    probability: NDArray[np.float64]

    def __add__(self, other: Reliability) -> Reliability:
        return Reliability(
            self.voxels + other.voxels,
            self.occupied + other.occupied,
            self.probability + other.probability,
        )

    @property
    def expected_calibration_error(self) -> float:
        """Σ_b n_b/n · |occupied_b/n_b − mean probability_b| (Guo et al. 2017, eq. 3)."""
        total = self.voxels.sum()
        return float(np.abs(self.occupied - self.probability).sum() / total) if total else np.nan

    def curve(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Mean probability and part occupied of every bin; NaN for an empty bin."""
        with np.errstate(invalid="ignore"):
            return self.probability / self.voxels, self.occupied / self.voxels


def reliability(
    probability: NDArray[np.float32] | NDArray[np.float64],
    occupied: NDArray[np.bool_],
    bins: int = BINS,
) -> Reliability:
    """Sort voxels into bins by predicted probability.

    Args:
        probability: 0 to 1, any shape.
        occupied: truth, the same shape.

    Raises:
        ValueError: shapes differ, or a probability lies outside 0 to 1.
    """
    if probability.shape != occupied.shape:
        raise ValueError(f"probability is {probability.shape}, truth {occupied.shape}")
    if probability.size and not (probability.min() >= 0 and probability.max() <= 1):
        raise ValueError(f"probabilities from {probability.min()} to {probability.max()}, not 0…1")
    values = probability.ravel().astype(np.float64)
    number = np.minimum((values * bins).astype(np.intp), bins - 1)
    return Reliability(
        voxels=np.bincount(number, minlength=bins),
        occupied=np.bincount(number[occupied.ravel()], minlength=bins),
        probability=np.asarray(np.bincount(number, weights=values, minlength=bins), np.float64),
    )
