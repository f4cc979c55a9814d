"""Counts of voxels, the headline scores that they give, and what the best constant has of each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from renderocc_ros.class_set import IGNORE_ID, ClassSet
from renderocc_training.evaluation.above_ground import above_ground
from renderocc_training.evaluation.best_constant import best_classes, best_layers
from renderocc_training.evaluation.voxel_scores import (
    Counts,
    Labels,
    Occupancy,
    confusion_matrix,
    mean_iou,
    moving_and_static,
    no_counts,
    voxel_scores,
)


@dataclass(frozen=True, eq=False)
class VoxelCounts:
    """What is counted of the voxels of a frame; counts of many add up, or lie along a first axis.

    C is the number of occupied classes, Z that of height layers.

    Attributes:
        confusion: (…, C + 2, C + 1) by truth and prediction, see ``voxel_scores``.
        layers: (…, Z, C + 2) by height layer and truth.
        above: (…, Z, 2, 2) those above the ground of the truth, by height layer and by whether
            truth and prediction call them free or occupied.
    """

    confusion: Counts
    layers: Counts
    above: Counts

    def __add__(self, other: VoxelCounts) -> VoxelCounts:
        return VoxelCounts(
            self.confusion + other.confusion, self.layers + other.layers, self.above + other.above
        )

    @staticmethod
    def none(classes: int, layers: int = 1) -> VoxelCounts:
        """Zeros; those of a single layer add to counts of any number of layers."""
        by_class, by_occupancy = (layers, classes + 2), (layers, 2, 2)
        return VoxelCounts(
            no_counts(classes), np.zeros(by_class, np.int64), np.zeros(by_occupancy, np.int64)
        )

    @staticmethod
    def stacked(counts: Sequence[VoxelCounts]) -> VoxelCounts:
        """Counts along a new first axis."""
        return VoxelCounts(
            np.stack([each.confusion for each in counts]),
            np.stack([each.layers for each in counts]),
            np.stack([each.above for each in counts]),
        )

    def __iter__(self) -> Iterator[VoxelCounts]:
        """Entry after entry of the first axis."""
        return map(VoxelCounts, self.confusion, self.layers, self.above)

    def total(self, times: Counts | None = None) -> VoxelCounts:
        """The sum over the first axis, in which each entry counts ``times`` (F,); once if None."""
        each = np.ones(len(self.confusion), np.int64) if times is None else times
        parts = (self.confusion, self.layers, self.above)
        return VoxelCounts(*(np.tensordot(each, part, axes=1) for part in parts))


def count_voxels(
    truth: Labels,
    predicted: Labels,
    class_set: ClassSet,
    mask: NDArray[np.bool_] | None = None,
    above: NDArray[np.bool_] | None = None,
) -> VoxelCounts:
    """Count the voxels of one frame.

    Args:
        truth, predicted, mask: (X, Y, Z), see ``confusion_matrix``.
        above: what is ``above_ground``, if that is known already.

    Raises:
        ValueError: shapes differ, or a label is no class of the set.
    """
    confusion = confusion_matrix(truth, predicted, class_set, mask)
    free, depth = class_set.free_id, truth.shape[-1]
    counted = truth != IGNORE_ID if mask is None else (truth != IGNORE_ID) & mask.astype(bool)
    layer = np.broadcast_to(np.arange(depth), truth.shape)[counted]
    true, occupied = truth[counted], predicted[counted] != free
    label = np.minimum(true, free + 1)  # occupied by an unknown class comes after free
    high = (above_ground(truth, class_set) if above is None else above)[counted]
    kind = (4 * layer + 2 * (true != free) + occupied)[high]
    by_class = np.bincount(layer * (free + 2) + label, minlength=depth * (free + 2))
    by_occupancy = np.bincount(kind, minlength=4 * depth)
    return VoxelCounts(
        confusion,
        by_class.reshape(depth, free + 2).astype(np.int64),
        by_occupancy.reshape(depth, 2, 2).astype(np.int64),
    )


def occupancy_scores(counts: VoxelCounts, class_set: ClassSet) -> dict[str, Any]:
    """The scores that results, tables and comparisons give, the first ones first; NaN where
    undefined."""
    voxels = voxel_scores(counts.confusion)
    (_, wrong), (_, right) = both = counts.above.sum(axis=0)
    above = Occupancy.of(right, both[1].sum(), right + wrong)
    occupied = Occupancy(voxels.iou, voxels.precision, voxels.recall)
    moving, static = moving_and_static(voxels.class_iou, class_set)
    return _named(voxels.miou, moving, static, above, occupied, voxels.class_iou, class_set)


def constant_class_miou(confusion: Counts) -> float:
    """What one class for all pixels, or rays, has at best: the share of the commonest one, over the
    number of classes.

    Args:
        confusion: (C + 2, C + 1), of which the truth alone counts.
    """
    present = confusion[: confusion.shape[1] - 1].sum(axis=1)
    known = confusion.sum()
    return (
        float(present.max() / known / np.count_nonzero(present)) if present.any() else float("nan")
    )


def constant_scores(counts: VoxelCounts, class_set: ClassSet) -> dict[str, Any]:
    """What the best constant of the same truth has: each of ``occupancy_scores`` by itself, as high
    as labels that depend on height alone can bring it (see ``best_constant``).

    Precision and recall are those of the constant with the best IoU.
    """
    free = class_set.free_id
    known, every = counts.layers[:, : free + 1], range(free)

    def mean(among: Iterable[int]) -> float:
        chosen, confusion = sorted(among), no_counts(free)
        np.add.at(confusion.T, best_classes(known, chosen), counts.layers)
        return mean_iou(voxel_scores(confusion).class_iou[chosen])

    moving = class_set.moving_ids
    class_iou = [_best(known[:, c], known.sum(axis=1) - known[:, c]).iou for c in every]
    above = counts.above.sum(axis=2)
    return _named(
        mean(every),
        mean(moving),
        mean(moving.symmetric_difference(every)),
        _best(above[:, 1], above[:, 0]),
        _best(counts.layers.sum(axis=1) - counts.layers[:, free], counts.layers[:, free]),
        np.array(class_iou),
        class_set,
    )


def _best(occupied: Counts, free: Counts) -> Occupancy:
    """Of the layers that are best called occupied."""
    chosen = best_layers(occupied, free)
    both, wrong = occupied[chosen].sum(), free[chosen].sum()
    return Occupancy.of(both, occupied.sum(), both + wrong)


def _named(
    miou: float,
    moving: float,
    static: float,
    above: Occupancy,
    occupied: Occupancy,
    class_iou: NDArray[np.float64],
    class_set: ClassSet,
) -> dict[str, Any]:
    return {
        "miou": miou,
        "miou_moving": moving,
        "miou_static": static,
        **{f"{name}_above_ground": value for name, value in above._asdict().items()},
        **occupied._asdict(),
        "class_iou": dict(zip(class_set.names, class_iou.tolist(), strict=True)),
    }
