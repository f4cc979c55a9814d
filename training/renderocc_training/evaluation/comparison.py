"""Is B better than A? Paired differences over the same frames, with bootstrap intervals.

Scores of a sequence come from one confusion matrix over all frames, so a resample adds up the
matrices of the frames that it drew (Efron 1979, the nonparametric bootstrap; percentile
interval). Frames of a sequence follow each other and are alike, so whole blocks of neighbours are
drawn (Künsch 1989, the moving-block bootstrap): single frames would claim too much.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from renderocc_training.evaluation.results import Results
from renderocc_training.evaluation.voxel_counts import (
    VoxelCounts,
    constant_scores,
    occupancy_scores,
)

RESAMPLES, CONFIDENCE, SEED = 2000, 0.95, 0


@dataclass(frozen=True)
class Difference:
    """One score of two results.

    Attributes:
        first, second: over all common frames.
        constant: the best constant of their truth.
        low, high: interval of second − first; NaN where a score is undefined in most resamples.
    """

    first: float
    second: float
    constant: float
    low: float
    high: float

    @property
    def difference(self) -> float:
        """second − first."""
        return self.second - self.first

    @property
    def verdict(self) -> str:
        """In words; "no difference shown" where the interval holds zero."""
        if np.isnan(self.low):
            return "not comparable"
        if self.low > 0:
            return "second is better"
        return "first is better" if self.high < 0 else "no difference shown"


@dataclass(frozen=True)
class Comparison:
    """Two results on the frames that both scored.

    Attributes:
        frames: how many those are.
        only_first, only_second: tokens that the other result did not score.
        scores: by name: miou, iou_above_ground, iou …, and one per class.
    """

    frames: int
    only_first: tuple[str, ...]
    only_second: tuple[str, ...]
    scores: Mapping[str, Difference]


def compare_results(
    first: Results, second: Results, block: int, resamples: int = RESAMPLES, seed: int = SEED
) -> Comparison:
    """Compare on the common frames.

    Args:
        block: frames that are drawn together.

    Raises:
        ValueError: other classes, another grid, mask or truth, or fewer than two common frames.
    """
    _check(first, second)
    common = [token for token in _in_order(first) if token in second.counts]
    if len(common) < 2:
        raise ValueError(
            f"{len(common)} frames are scored in both '{first.name}' and '{second.name}': evaluate "
            "both on the same recordings"
        )
    stacks = [
        VoxelCounts.stacked([result.counts[token] for token in common])
        for result in (first, second)
    ]
    _check_truth(first, second, *stacks)
    draws = block_draws(len(common), block, resamples, np.random.default_rng(seed))
    class_set, whole = first.class_set, [stack.total() for stack in stacks]
    before, after = (_flat(occupancy_scores(counts, class_set)) for counts in whole)
    constant = _flat(constant_scores(whole[0], class_set))
    drawn = {name: np.empty((2, resamples)) for name in before}
    for number, times in enumerate(draws):
        for side, stack in enumerate(stacks):
            for name, value in _flat(occupancy_scores(stack.total(times), class_set)).items():
                drawn[name][side, number] = value
    return Comparison(
        len(common),
        tuple(sorted(first.counts.keys() - set(common))),
        tuple(sorted(second.counts.keys() - set(common))),
        {
            name: Difference(
                before[name], after[name], constant[name], *_interval(values[1] - values[0])
            )
            for name, values in drawn.items()
        },
    )


def block_draws(
    frames: int, block: int, resamples: int, random: np.random.Generator
) -> NDArray[np.int64]:
    """(resamples, frames): how often each frame is drawn; each row adds up to ``frames``.

    Args:
        block: neighbours drawn together; the sequence is closed to a ring, so that each frame is
            equally likely.
    """
    if not 1 <= block <= frames:
        raise ValueError(f"block = {block} must be from 1 to the number of frames, {frames}")
    blocks = -(-frames // block)
    starts = random.integers(0, frames, (resamples, blocks, 1))
    drawn = ((starts + np.arange(block)) % frames).reshape(resamples, -1)[:, :frames]
    counts = np.zeros((resamples, frames), np.int64)
    np.add.at(counts, (np.arange(resamples)[:, None], drawn), 1)
    return counts


def _check(first: Results, second: Results) -> None:
    for what, a, b in (
        ("classes", first.class_set.names, second.class_set.names),
        ("grid", first.grid, second.grid),
        ("mask", first.content["mask"], second.content["mask"]),
    ):
        if a != b:
            raise ValueError(
                f"'{first.name}' and '{second.name}' differ in their {what}: {a} and {b}; a "
                "difference of scores would mean nothing"
            )


def _check_truth(first: Results, second: Results, *stacks: VoxelCounts) -> None:
    """The truth's voxels by height and class, or by class in old results, tell it apart."""
    known = all(stack.layers.any() for stack in stacks)
    classes = slice(len(first.class_set) + 1)
    one, other = (
        stack.layers if known else stack.confusion.sum(axis=-1)[:, classes] for stack in stacks
    )
    if not np.array_equal(one, other):
        raise ValueError(
            f"'{first.name}' and '{second.name}' were scored with different truth of the same "
            "frames: evaluate both with the same"
        )


def _in_order(result: Results) -> list[str]:
    return [frame.token for frame in result.frames if frame.token in result.counts]


def _flat(scores: Mapping[str, Any]) -> dict[str, float]:
    """Scores of classes beside the others."""
    by_class: dict[str, float] = scores["class_iou"]
    return {name: scores[name] for name in scores if name != "class_iou"} | by_class


def _interval(differences: NDArray[np.float64]) -> tuple[float, float]:
    known = differences[np.isfinite(differences)]
    if 2 * len(known) < len(differences):
        return float("nan"), float("nan")
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(known, (tail, 1 - tail))
    return float(low), float(high)
