"""Losses on the shape of the field alone; they need no label."""

from __future__ import annotations

import torch
from torch import Tensor

from renderocc_ros.rendering.ray_sampling import RaySamples
from renderocc_training.losses.masked import masked_mean


def distortion_loss(weights: Tensor, samples: RaySamples, mask: Tensor) -> Tensor:
    """Mean over rays of Σ_ij w_i w_j |t_i − t_j| + ⅓ Σ_i w_i² δ_i (mip-NeRF 360, eq. 15).

    Distances are in units of the ray's length inside the grid. Linear in the number of samples:
    with ascending t, Σ_ij w_i w_j |t_i − t_j| = 2 Σ_i (t_{i+1} − t_i) W_i (W − W_i), W_i being the
    sum of w_j over j ≤ i and W that of all: each step counts for the pairs that it lies between.

    Args:
        weights: (B·R, S) compositing weights.
        samples: their intervals.
        mask: (B, R) bool, the rays that count.
    """
    scale = (samples.far_m - samples.near_m).clamp(min=1e-6)[:, None]
    steps = samples.middles_m.diff(dim=1) / scale
    before = torch.cumsum(weights, dim=1)
    behind = before[:, -1:] - before[:, :-1]
    between = 2 * (steps * before[:, :-1] * behind).sum(dim=1)
    within = (weights.square() * samples.lengths_m).sum(dim=1) / (3 * scale[:, 0])
    return masked_mean((between + within).view_as(mask), mask)


def total_variation_loss(opacity: Tensor) -> Tensor:
    """Mean |difference| of a cell's opacity (B, X, Y, Z) to its next neighbour on each axis."""
    steps = [
        (opacity.narrow(axis, 1, size - 1) - opacity.narrow(axis, 0, size - 1)).abs()
        for axis, size in enumerate(opacity.shape)
        if axis > 0 and size > 1
    ]
    count = sum(step.numel() for step in steps)
    return torch.stack([step.sum() for step in steps]).sum() / count if count else opacity.sum() * 0
