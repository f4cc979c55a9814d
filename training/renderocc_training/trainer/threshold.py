"""Which opacity counts as occupied: measured on frames that were not trained on, and kept with
the weights.

Recipes differ in how sure of itself they make a network, so one number for all would be wrong. The
measure is the agreement with voxel votes, which come from 2D labels alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from renderocc_ros.class_set import IGNORE_ID
from renderocc_ros.network.occupancy_field import opacity
from renderocc_ros.network.renderocc import Network
from renderocc_training.samples.training_sample import TrainingSample, collate

BINS = 200


@dataclass(frozen=True, eq=False)
class OpacityCounts:
    """Labelled voxels by the opacity that the network gives them, in equal bins from 0 to 1.

    Attributes:
        occupied, free: (BINS,) int64.
    """

    occupied: NDArray[np.int64]
    free: NDArray[np.int64]

    def intersection_over_union(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Thresholds (BINS − 1,), and the IoU of occupied voxels that each would give."""
        above = np.cumsum(self.occupied[::-1])[::-1][1:]
        wrong = np.cumsum(self.free[::-1])[::-1][1:]
        union = self.occupied.sum() + wrong
        with np.errstate(invalid="ignore"):
            return np.arange(1, BINS) / BINS, above / union


def best_threshold(network: Network, samples: Iterable[TrainingSample]) -> tuple[float, float]:
    """The threshold with the best IoU against the samples' votes, and that IoU.

    Raises:
        ValueError: no sample has a vote for an occupied voxel.
    """
    counts = OpacityCounts(np.zeros(BINS, dtype=np.int64), np.zeros(BINS, dtype=np.int64))
    for sample in samples:
        counts = _add(counts, network, sample)
    if not counts.occupied.any():
        raise ValueError("no sample has votes: the threshold needs labelled rays to be chosen")
    thresholds, scores = counts.intersection_over_union()
    best = int(np.argmax(scores))
    return float(thresholds[best]), float(scores[best])


@torch.inference_mode()
def _add(counts: OpacityCounts, network: Network, sample: TrainingSample) -> OpacityCounts:
    if sample.votes is None:
        return counts
    device = next(network.parameters()).device
    batch = collate([sample]).to(device)
    field = network.field_and_depth(batch.current, batch.past)[0]
    values = opacity(field.density.float(), network.grid.resolution_m)[0].cpu().numpy()
    number = np.minimum((values * BINS).astype(np.intp), BINS - 1)
    known = sample.votes != IGNORE_ID
    occupied = known & (sample.votes != field.semantics.shape[1])
    return OpacityCounts(
        counts.occupied + np.bincount(number[occupied], minlength=BINS),
        counts.free + np.bincount(number[known & ~occupied], minlength=BINS),
    )
