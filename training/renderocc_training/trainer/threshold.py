"""Which threshold makes a voxel occupied: measured on frames not trained on, and kept with
the weights.

Recipes differ in how sure of itself they make a network, so one number for all would be wrong. The
measure is the agreement with voxel votes, which come from 2D labels alone: the mean IoU of the
classes, and the IoU of what stands above the ground, which the ground would outweigh.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from renderocc_ros.class_set import IGNORE_ID, OCCUPIED_ID, ClassSet
from renderocc_ros.network.occupancy_field import (
    class_against_free,
    class_probabilities,
    opacity,
)
from renderocc_ros.network.renderocc import Network
from renderocc_training.evaluation.above_ground import above_ground
from renderocc_training.samples.training_sample import TrainingSample, collate

BINS = 200
Counts = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class VoteCounts:
    """Voted voxels by what the threshold is compared with, in equal bins from 0 to 1.

    Attributes:
        classes: (K + 1, K, BINS) by the voted label, free last, and by the likeliest class.
        above: (2, BINS) those above the ground, free and occupied.
        every: (2, BINS) all, free and occupied, whether by a known class or not.
    """

    classes: Counts
    above: Counts
    every: Counts

    @staticmethod
    def none(classes: int) -> VoteCounts:
        """Of no voxel."""
        shapes = (classes + 1, classes, BINS), (2, BINS), (2, BINS)
        return VoteCounts(*(np.zeros(shape, np.int64) for shape in shapes))

    def __add__(self, other: VoteCounts) -> VoteCounts:
        parts = zip(vars(self).values(), vars(other).values(), strict=True)
        return VoteCounts(*(mine + theirs for mine, theirs in parts))

    def scores(self) -> NDArray[np.float64]:
        """(BINS − 1,) mean IoU of the classes plus IoU above the ground, of what there is; where
        neither is there, the IoU of all that is occupied."""
        taken = _from_each_bin_on(self.classes)
        present = self.classes.sum(axis=(1, 2))[:-1]
        hits = np.einsum("kkb->kb", taken[:-1])
        union = present[:, None] + taken.sum(axis=0) - hits
        parts = []
        if present.any():
            parts.append((hits / np.maximum(union, 1))[present > 0].mean(axis=0))
        if self.above[1].any():
            parts.append(_occupied_iou(self.above))
        return np.sum(parts, axis=0) if parts else _occupied_iou(self.every)


def best_threshold(
    network: Network, class_set: ClassSet, samples: Iterable[TrainingSample]
) -> tuple[float, float]:
    """The threshold with the best ``VoteCounts.scores`` on the samples' votes, and that score.

    Raises:
        ValueError: no sample has a vote for an occupied voxel.
    """
    counts = VoteCounts.none(len(class_set))
    for sample in samples:
        if sample.votes is not None:
            counts = counts + _counted(network, class_set, sample, sample.votes)
    if not counts.every[1].any():
        raise ValueError("no sample has votes: the threshold needs labelled rays to be chosen")
    scores = counts.scores()
    best = int(np.argmax(scores))
    return (best + 1) / BINS, float(scores[best])


@torch.inference_mode()
def _counted(
    network: Network, class_set: ClassSet, sample: TrainingSample, votes: NDArray[np.uint8]
) -> VoteCounts:
    batch = collate([sample]).to(next(network.parameters()).device)
    field = network.field_and_depth(batch.current, batch.past)[0]
    resolution_m = network.grid.resolution_m
    if network.config.read_out == "class":
        values = class_against_free(class_probabilities(field, resolution_m))
    else:
        values = opacity(field.density.float(), resolution_m)
    number = np.minimum((values[0].cpu().numpy() * BINS).astype(np.intp), BINS - 1)
    best = field.semantics[0].argmax(dim=0).cpu().numpy()
    classes, known = len(class_set), votes != IGNORE_ID
    occupied = known & (votes != class_set.free_id)
    named = known & (votes != OCCUPIED_ID)
    place = (votes.astype(np.intp) * classes + best) * BINS + number
    of_all = occupied * BINS + number
    high = known & above_ground(votes, class_set)
    return VoteCounts(
        np.bincount(place[named], minlength=(classes + 1) * classes * BINS).reshape(
            classes + 1, classes, BINS
        ),
        np.bincount(of_all[high], minlength=2 * BINS).reshape(2, BINS),
        np.bincount(of_all[known], minlength=2 * BINS).reshape(2, BINS),
    )


def _from_each_bin_on(counts: Counts) -> Counts:
    """(…, BINS − 1): how many are above each threshold between two bins."""
    return np.asarray(np.cumsum(counts[..., ::-1], axis=-1)[..., ::-1][..., 1:])


def _occupied_iou(counts: Counts) -> NDArray[np.float64]:
    """(BINS − 1,) of counts (2, BINS), free and occupied."""
    wrong, right = _from_each_bin_on(counts)
    return np.asarray(right / np.maximum(counts[1].sum() + wrong, 1))
