"""Weighted Ray Sampling: which rays of a sample the budget is spent on (RenderOcc, section III-D).

A ray's weight is the product of two factors: how rare its class is, and which frame it comes from.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from renderocc_ros.class_set import IGNORE_ID
from renderocc_training.supervision.class_weights import tempered

Weights = NDArray[np.float32]

PAPER_RATE = 0.005  # the official code's exponent
PAPER_AUXILIARY = 0.3


def paper_class_weights(counts: NDArray[Any]) -> Weights:
    """(C,) exp(0.005 (max n / n_c − 1)), as the official code has it; inf for an absent class.

    It is steep: with the counts of Occ3D-nuScenes a bicycle weighs 933 times a road.
    """
    with np.errstate(divide="ignore", over="ignore"):
        ratio = counts.max() / counts.astype(np.float32)
        return np.asarray(np.exp(np.float32(PAPER_RATE) * (ratio.astype(np.float32) - 1)))


def tempered_class_weights(counts: NDArray[Any]) -> Weights:
    """(C,) those of the semantic losses (see ``tempered``)."""
    return tempered(torch.from_numpy(counts.astype(np.float64))).float().numpy()


def frame_weights(
    class_id: NDArray[np.uint8],
    is_auxiliary: NDArray[np.bool_],
    moving_ids: Collection[int],
    auxiliary: float = PAPER_AUXILIARY,
    follows_box: NDArray[np.bool_] | None = None,
) -> Weights:
    """(R,) 1 for the sample's own rays, ``auxiliary`` for others, 0 for others of what may move.

    Args:
        class_id, is_auxiliary: (R,) of the rays.
        moving_ids: ids of the classes that move.
        follows_box: (R,) rays that were moved along with their tracked box (or whose box stands
            still): where they end is known, so they count although their class moves.
    """
    weights = np.where(is_auxiliary, np.float32(auxiliary), np.float32(1))
    moved = is_auxiliary & np.isin(class_id, list(moving_ids))
    if follows_box is not None:
        moved &= ~follows_box
    return np.where(moved, np.float32(0), weights)


def ray_weights(class_id: NDArray[np.uint8], class_weights: Weights, frame: Weights) -> Weights:
    """(R,) class weight times frame weight; a ray of unknown class counts as an average one."""
    table = np.ones(256, dtype=np.float32)
    table[: len(class_weights)] = class_weights
    table[IGNORE_ID] = 1.0
    with np.errstate(invalid="ignore"):
        weights = table[class_id] * frame
    return np.where(frame > 0, weights, np.float32(0))


def drawn(weight: Weights, budget: int, random: np.random.Generator) -> NDArray[np.intp]:
    """Ascending places of at most ``budget`` entries, drawn without replacement by weight.

    Each entry gets the key u^(1/w) and the largest keys win (Efraimidis and Spirakis 2006), which
    is one pass over all. Entries of weight 0 are never drawn.

    Raises:
        ValueError: no budget, or a weight that is negative or not finite.
    """
    if budget < 1:
        raise ValueError(f"a budget of {budget} rays; give at least 1")
    weight = weight.astype(np.float64)
    if not (np.isfinite(weight).all() and (weight >= 0).all()):
        raise ValueError("ray weights must be finite and not negative")
    able = np.flatnonzero(weight > 0)
    if len(able) <= budget:
        return able
    # log of the key: a weight of 1e-6 would round u^(1/w) to zero for every ray.
    keys = -random.standard_exponential(len(able)) / weight[able]
    chosen = able[np.argpartition(keys, len(able) - budget)[-budget:]]
    return np.sort(chosen)
