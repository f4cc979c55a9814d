"""Volume rendering in four steps: optical depth → transmittance → weights → sums.

Max 1995, eq. 4, as NeRF uses it (Mildenhall et al. 2020, eq. 3; RenderOcc, eq. 3 and 4).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def weights_from_density(density: Tensor, lengths_m: Tensor) -> Tensor:
    """Part of a ray's light that ends in each interval: w_s = T_s (1 − exp(−σ_s δ_s)).

    T_s = exp(−Σ_{i<s} σ_i δ_i). Sums of exponents rather than products of alphas keep every
    gradient finite, also behind an opaque interval.

    Args:
        density: (R, S) opacity per metre, at least 0.
        lengths_m: (R, S).

    Returns:
        (R, S) weights whose sum is the ray's opacity.

    Example:
        two intervals of 1 m, the first with density ln 2, the second opaque: weights 0.5, 0.5.
    """
    optical_depth = density * lengths_m
    # Shifted, not "sum minus own": behind 1e9 the difference would have lost all digits.
    before = functional.pad(torch.cumsum(optical_depth, dim=-1)[..., :-1], (1, 0))
    return torch.exp(-before) * -torch.expm1(-optical_depth)


def expected_range(weights: Tensor, distances_m: Tensor, far_m: Tensor) -> Tensor:
    """(R,) metres along the ray: Σ w_s t_s + (1 − Σ w_s) t_far.

    t_s is where light that ends in an interval counts as ending, its middle for one.

    Light that passes through the whole grid counts as ending where the ray leaves it, so an empty
    ray gives the far bound and not zero.
    """
    opacity = weights.sum(dim=-1)
    return (weights * distances_m).sum(dim=-1) + (1 - opacity) * far_m
