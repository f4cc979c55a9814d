"""Losses on the shape of the field alone; they need no label."""

from __future__ import annotations

import torch
from torch import Tensor

from renderocc_ros.rendering.ray_sampling import RaySamples
from renderocc_training.losses.masked import masked_mean


def distortion_loss(weights: Tensor, samples: RaySamples, mask: Tensor) -> Tensor:
    """Mean over rays of Σ_ij w_i w_j |t_i − t_j| + ⅓ Σ_i w_i² δ_i (mip-NeRF 360, eq. 15).

    Distances are in units of the ray's length inside the grid. Linear in the number of samples:
    with ascending t, Σ_ij w_i w_j |t_i − t_j| = 2 Σ_i w_i (t_i W_i − M_i), W_i and M_i being the
    sums of w_j and w_j t_j over j < i.

    Args:
        weights: (B·R, S) compositing weights.
        samples: their intervals.
        mask: (B, R) bool, the rays that count.
    """
    first = samples.starts_m[:, :1]
    scale = (samples.ends_m[:, -1:] - first).clamp(min=1e-6)
    t = (samples.middles_m - first) / scale
    mass, moment = weights, weights * t
    mass_before = torch.cumsum(mass, dim=1) - mass
    moment_before = torch.cumsum(moment, dim=1) - moment
    between = 2 * (weights * (t * mass_before - moment_before)).sum(dim=1)
    within = (weights.square() * samples.lengths_m / scale).sum(dim=1) / 3
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
