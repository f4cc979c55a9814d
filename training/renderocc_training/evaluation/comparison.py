"""Is B better than A? Paired differences over the same frames, with bootstrap intervals.

Scores of a sequence come from one confusion matrix over all frames, so a resample adds up the
matrices of the frames that it drew (Efron 1979, the nonparametric bootstrap; percentile
interval). Frames of a sequence follow each other and are alike, so whole blocks of neighbours are
drawn (Künsch 1989, the moving-block bootstrap): single frames would claim too much.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from renderocc_ros.class_set import ClassSet
from renderocc_training.evaluation.results import Results
from renderocc_training.evaluation.voxel_scores import Counts, moving_and_static, voxel_scores

RESAMPLES, CONFIDENCE, SEED = 2000, 0.95, 0


@dataclass(frozen=True)
class Difference:
    """One score of two results.

    Attributes:
        first, second: over all common frames.
        low, high: interval of second − first; NaN where a score is undefined in most resamples.
    """

    first: float
    second: float
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
        scores: by name: miou, iou …, and one per class.
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
        ValueError: other classes, another grid or mask, or fewer than two common frames.
    """
    _check(first, second)
    common = [token for token in _in_order(first) if token in second.confusions]
    if len(common) < 2:
        raise ValueError(
            f"{len(common)} frames are scored in both '{first.name}' and '{second.name}': evaluate "
            "both on the same recordings"
        )
    stacks = [
        np.stack([result.confusions[token] for token in common]) for result in (first, second)
    ]
    draws = block_draws(len(common), block, resamples, np.random.default_rng(seed))
    scores = _scores(first.class_set)
    resampled = {name: np.empty((2, resamples)) for name in scores(stacks[0].sum(axis=0))}
    for number, counts in enumerate(draws):
        for side, stack in enumerate(stacks):
            drawn = np.tensordot(counts, stack, axes=1)
            for name, value in scores(drawn).items():
                resampled[name][side, number] = value
    whole = [scores(stack.sum(axis=0)) for stack in stacks]
    return Comparison(
        len(common),
        tuple(sorted(first.confusions.keys() - set(common))),
        tuple(sorted(second.confusions.keys() - set(common))),
        {
            name: Difference(whole[0][name], whole[1][name], *_interval(values[1] - values[0]))
            for name, values in resampled.items()
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


def _in_order(result: Results) -> list[str]:
    return [frame.token for frame in result.frames if frame.token in result.confusions]


def _scores(class_set: ClassSet) -> Callable[[Counts], dict[str, float]]:
    def scores(confusion: Counts) -> dict[str, float]:
        voxels = voxel_scores(confusion)
        moving, static = moving_and_static(voxels.class_iou, class_set)
        overall = {
            "miou": voxels.miou,
            "miou_moving": moving,
            "miou_static": static,
            "iou": voxels.iou,
            "precision": voxels.precision,
            "recall": voxels.recall,
        }
        return overall | dict(zip(class_set.names, voxels.class_iou.tolist(), strict=True))

    return scores


def _interval(differences: NDArray[np.float64]) -> tuple[float, float]:
    known = differences[np.isfinite(differences)]
    if 2 * len(known) < len(differences):
        return float("nan"), float("nan")
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(known, (tail, 1 - tail))
    return float(low), float(high)
