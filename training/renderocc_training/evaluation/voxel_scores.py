"""Voxel scores: semantic IoU (Occ3D), completion (SemanticKITTI), rings, classes, moving things.

Everything is read off one confusion matrix, so that scores of a data set add up frame by frame.
C is the number of occupied classes; label C is free. Row C + 1 of a matrix holds what is occupied
and of unknown class: it counts for geometry, not for classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from renderocc_ros.class_set import IGNORE_ID, OCCUPIED_ID, ClassSet
from renderocc_ros.geometry import VoxelGrid

Counts = NDArray[np.int64]
Labels = NDArray[np.uint8]


class Occupancy(NamedTuple):
    """IoU, precision and recall of occupied against free; NaN where undefined."""

    iou: float
    precision: float
    recall: float

    @staticmethod
    def of(both: Any, truth: Any, predicted: Any) -> Occupancy:
        """From the voxels that are occupied in both, in the truth and in the prediction."""
        shares = _ratio([both] * 3, [truth + predicted - both, predicted, truth])
        return Occupancy(*shares.tolist())


@dataclass(frozen=True)
class VoxelScores:
    """What one confusion matrix says.

    Attributes:
        class_iou: (C,) IoU of each occupied class; NaN for a class that neither occurs in the
            truth nor is predicted.
        miou: mean of ``class_iou`` over the classes that have one.
        iou, precision, recall: of occupied against free, whatever the class. With
            SemanticKITTI's grid and classes, ``iou`` is its completion and ``miou`` its score.
        voxels: number of voxels that were compared.
    """

    class_iou: NDArray[np.float64]
    miou: float
    iou: float
    precision: float
    recall: float
    voxels: int


def confusion_matrix(
    truth: Labels, predicted: Labels, class_set: ClassSet, mask: NDArray[np.bool_] | None = None
) -> Counts:
    """Count pairs of labels.

    Args:
        truth, predicted: labels of the same shape, 0 … C; truth may hold ``OCCUPIED_ID``, and
            ``IGNORE_ID`` where voxels do not count.
        mask: the voxels that count, all if not given.

    Returns:
        (C + 2, C + 1) int64: rows truth, columns prediction.

    Raises:
        ValueError: shapes differ, or a label is no class of the set.
    """
    _check_shapes(truth, predicted, mask)
    counted = truth != IGNORE_ID
    if mask is not None:
        counted &= mask.astype(bool, copy=False)
    row, column = truth[counted], predicted[counted]
    side = class_set.free_id + 1
    unknown = row == OCCUPIED_ID
    row = np.where(unknown, 0, row)  # has its own row below
    for name, labels in (("truth", row), ("prediction", column)):
        if labels.size and labels.max() >= side:
            raise ValueError(
                f"{name} holds label {labels.max()}, but class set '{class_set.name}' ends with "
                f"free = {class_set.free_id}; score with the class set that made the file"
            )
    pairs = np.where(unknown, side, row).astype(np.intp) * side + column
    return np.bincount(pairs, minlength=(side + 1) * side).reshape(side + 1, side).astype(np.int64)


def no_counts(classes: int) -> Counts:
    """(C + 2, C + 1) zeros, for a set of C classes."""
    return np.zeros((classes + 2, classes + 1), np.int64)


def voxel_scores(confusion: Counts) -> VoxelScores:
    """Scores of a confusion matrix: IoU_c = diagonal / (row + column − diagonal).

    Args:
        confusion: (C + 2, C + 1), or (C + 1, C + 1) where every class is known.
    """
    free = confusion.shape[1] - 1
    of_class, hits = confusion[: free + 1], np.diag(confusion)
    union = of_class.sum(axis=0) + of_class.sum(axis=1) - hits
    class_iou = _ratio(hits[:-1], union[:-1])
    occupied_predicted, free_truth = confusion[:, :-1].sum(), confusion[free]
    occupied_both = occupied_predicted - free_truth[:-1].sum()
    occupied_truth = confusion.sum() - free_truth.sum()
    occupancy = Occupancy.of(occupied_both, occupied_truth, occupied_predicted)
    return VoxelScores(class_iou, mean_iou(class_iou), *occupancy, voxels=int(confusion.sum()))


def distance_rings(grid: VoxelGrid, edges_m: Sequence[float]) -> list[NDArray[np.bool_]]:
    """Masks (X, Y, Z) of the voxels whose centre lies at edges[i] ≤ distance < edges[i+1].

    The distance is horizontal, from the ego frame's origin, in metres.
    """
    centres = grid.centres()
    distance = np.hypot(centres[..., 0], centres[..., 1])
    return [(distance >= near) & (distance < far) for near, far in pairwise(edges_m)]


def moving_and_static(class_iou: NDArray[np.float64], class_set: ClassSet) -> tuple[float, float]:
    """Mean IoU over the classes that can move and over those that cannot; NaN where none occurs."""
    moves = np.array([entry.moves for entry in class_set.classes])
    return mean_iou(class_iou[moves]), mean_iou(class_iou[~moves])


def flicker(
    labels: Labels,
    previous: Labels,
    class_set: ClassSet,
    static: NDArray[np.bool_] | None = None,
) -> tuple[int, int]:
    """Voxels whose label changed between two predictions that lie in one frame.

    Args:
        labels, previous: (X, Y, Z), both in the same frame: warp the older one before;
            ``IGNORE_ID`` where the warp brought nothing, and such voxels do not count.
        static: the voxels that count (truth says that nothing moves there), all if not given.

    Returns:
        number of voxels that changed, and number of those occupied in either: their ratio, summed
        over a sequence, is the flicker.
    """
    _check_shapes(labels, previous, static)
    counted = (labels != IGNORE_ID) & (previous != IGNORE_ID)
    if static is not None:
        counted &= static
    counted &= (labels != class_set.free_id) | (previous != class_set.free_id)
    return int((counted & (labels != previous)).sum()), int(counted.sum())


def _check_shapes(*volumes: NDArray[np.generic] | None) -> None:
    shapes = {volume.shape for volume in volumes if volume is not None}
    if len(shapes) > 1:
        raise ValueError(f"volumes of different shapes {sorted(shapes)}: one grid for all, please")


def _ratio(part: Any, whole: Any) -> NDArray[np.float64]:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.true_divide(part, whole))


def mean_iou(values: NDArray[np.float64]) -> float:
    """Mean of the classes that have an IoU; NaN where none has."""
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")
