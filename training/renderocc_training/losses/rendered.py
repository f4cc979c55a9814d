"""Losses on what rays see: range, class, opacity, sky. B samples with R rays each."""

from __future__ import annotations

import torch
from torch import Tensor

from renderocc_ros.class_set import IGNORE_ID
from renderocc_training.losses.masked import masked_mean, per_sample_mean
from renderocc_training.supervision.class_weights import weight_of_each

# Ranges are compared from here on: the logarithm of less would dwarf all others.
MIN_RANGE_M = 0.1
MIN_PROBABILITY = 1e-4
MIN_LIGHT = torch.finfo(torch.float32).eps  # that 1 − opacity can tell from none


def scale_invariant_log_loss(
    rendered_m: Tensor, label_m: Tensor, mask: Tensor, variance_focus: float = 0.85
) -> Tensor:
    """√(mean d² − λ (mean d)²) with d = ln rendered − ln label (Eigen et al. 2014; λ = 0.85).

    Args:
        rendered_m, label_m: (B, R) ranges in metres.
        mask: (B, R) bool, rays with a known, finite range.
    """
    label = torch.where(mask, label_m, torch.ones_like(label_m))
    difference = rendered_m.clamp(min=MIN_RANGE_M).log() - label.clamp(min=MIN_RANGE_M).log()
    mean_square = per_sample_mean(difference.square(), mask)
    variance = mean_square - variance_focus * per_sample_mean(difference, mask).square()
    # The root's slope is infinite at zero: start it a hair above.
    return ((variance.clamp(min=0) + 1e-8).sqrt() - 1e-4).mean()


def range_l1_loss(rendered_m: Tensor, label_m: Tensor, mask: Tensor) -> Tensor:
    """Mean |rendered − label| / label: metres, relative, so that near things count as much."""
    label = torch.where(mask, label_m, torch.ones_like(label_m)).clamp(min=MIN_RANGE_M)
    return masked_mean((rendered_m - label).abs() / label, mask)


def semantic_loss(
    probability: Tensor, class_id: Tensor, mask: Tensor, class_weights: Tensor | None = None
) -> Tensor:
    """Weighted mean of −ln p(class) over the rays whose class is known.

    Args:
        probability: (B, R, K) rendered class probabilities, normalised by the ray's opacity.
        class_id: (B, R) int64; ``IGNORE_ID`` does not count.
        mask: (B, R) bool.
        class_weights: (K,) or (B, K) weight of each class, 1 if not given.
    """
    known = mask & (class_id != IGNORE_ID)
    target = torch.where(known, class_id, torch.zeros_like(class_id))
    chosen = probability.gather(-1, target[..., None])[..., 0]
    weight = None if class_weights is None else weight_of_each(class_weights, target)
    return masked_mean(-chosen.clamp(min=MIN_PROBABILITY).log(), known, weight)


def sky_loss(opacity: Tensor, is_sky: Tensor) -> Tensor:
    """Mean of −ln(1 − opacity) over rays to the sky: nothing may stand in their way."""
    return masked_mean(-(1 - opacity).clamp(min=MIN_LIGHT).log(), is_sky)


def opacity_entropy_loss(opacity: Tensor, mask: Tensor) -> Tensor:
    """Mean entropy of a ray's opacity: a ray should either end or pass, not fade."""
    p = opacity.clamp(MIN_PROBABILITY, 1 - MIN_PROBABILITY)
    return masked_mean(-(p * p.log() + (1 - p) * (1 - p).log()), mask)
