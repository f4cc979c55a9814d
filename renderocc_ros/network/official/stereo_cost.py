"""Matching cost of depth hypotheses between a camera's current and past image.

For each feature cell and each depth, the past feature is looked up where the cell would be seen
from there, and compared in L1 over the channels (BEVStereo, arXiv 2209.10248, section 3.2).
Hypotheses that fall outside the past image get an extra cost. A softmax over the negative costs
makes a distribution over depth of them.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from renderocc_ros.kernels import use_triton

CHANNEL_GROUP = 4  # the official code warps this many channels at a time
BORDER = (1, 2)  # cells of zeros before and behind the map: all that a point outside can touch
ROWS_PER_STEP = 45056  # lookups at once: 22 MB of 128 channels, so threads seldom wait


def stereo_cost_plain(past: Tensor, current: Tensor, grid: Tensor, invalid_cost: float) -> Tensor:
    """The cost volume, channel group by channel group, as the formula reads.

    Args:
        past, current: (B·N, C, H, W) stereo features.
        grid: (B·N, D, H, W, 2) of ``stereo_grid``.
        invalid_cost: added where the first channel of the last group of four is exactly 0 in the
            warped feature, which is how the official code finds points outside the past image.

    Returns:
        (B·N, D, H, W), sums to 1 over D.
    """
    views, depths, height, width, _ = grid.shape
    flat = grid.reshape(views, depths * height, width, 2)
    cost = grid.new_zeros(views, depths, height, width)
    for start in range(0, past.shape[1], CHANNEL_GROUP):
        group = slice(start, start + CHANNEL_GROUP)
        warped = F.grid_sample(past[:, group], flat, align_corners=True, padding_mode="zeros")
        warped = warped.view(views, -1, depths, height, width)
        cost = cost + (current[:, group, None] - warped).abs().sum(dim=1)
    cost = cost + invalid_cost * (warped[:, 0] == 0)
    return (-cost).softmax(dim=1)


def stereo_cost(past: Tensor, current: Tensor, grid: Tensor, invalid_cost: float) -> Tensor:
    """The same as ``stereo_cost_plain``, several times faster on the CPU.

    Bilinear lookup is a weighted sum of four rows of the channels-last feature, which is what
    ``embedding_bag`` computes, with contiguous reads of all channels at once; some planes of one
    view at a time, so that the warped features stay in the cache.
    """
    views, depths, height, width, _ = grid.shape
    plane, channels = height * width, past.shape[1]
    probe = (channels - 1) // CHANNEL_GROUP * CHANNEL_GROUP
    if use_triton(grid) and not _wants_gradient(past, current, grid):
        from renderocc_ros.kernels.matching import matching_cost

        return matching_cost(past, current, grid, invalid_cost, probe).neg_().softmax(dim=1)
    bordered = F.pad(past.permute(0, 2, 3, 1), (0, 0, *BORDER, *BORDER)).flatten(1, 2)
    current_rows = current.permute(0, 2, 3, 1).reshape(views, plane, channels)
    cost = grid.new_empty(views, depths, plane)
    step = max(1, ROWS_PER_STEP // plane)
    for view in range(views):
        cells, weights = bilinear_rows(grid[view].view(depths * plane, 2), height, width)
        for first in range(0, depths, step):
            some = slice(first, first + step)
            lookups = slice(first * plane, (first + step) * plane)
            warped = F.embedding_bag(
                cells[lookups],
                bordered[view],
                per_sample_weights=weights[lookups],
                mode="sum",
            ).view(-1, plane, channels)
            outside = warped[..., probe] == 0
            # abs and sum are ten times as fast here as a norm over the last axis
            difference = warped.sub_(current_rows[view]).abs_().sum(dim=-1)
            cost[view, some] = difference.add_(outside, alpha=invalid_cost)
    return cost.neg_().view(views, depths, height, width).softmax(dim=1)


def _wants_gradient(*parts: Tensor) -> bool:
    return torch.is_grad_enabled() and any(part.requires_grad for part in parts)


def bilinear_rows(grid: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """The four cells around each point and their weights, both (P, 4).

    Args:
        grid: (P, 2) coordinates (x, y), -1 and 1 at the centres of the outer cells.

    Returns:
        rows of the flattened map with a ``BORDER`` of zeros, and weights. Points far outside, and
        those that are no numbers, fall into the border.
    """
    x = (grid[:, 0] + 1).mul_((width - 1) / 2).nan_to_num_(-1.0).clamp_(-1, width)
    y = (grid[:, 1] + 1).mul_((height - 1) / 2).nan_to_num_(-1.0).clamp_(-1, height)
    left, above = x.floor(), y.floor()
    right, below = x.sub_(left), y.sub_(above)
    pitch = width + sum(BORDER)
    first = above.add_(BORDER[0]).mul_(pitch).add_(left).add_(BORDER[0]).to(torch.int32)
    around = torch.tensor([0, 1, pitch, pitch + 1], dtype=torch.int32, device=grid.device)
    above, left = 1 - below, 1 - right
    weights = torch.stack([left * above, right * above, left * below, right * below], dim=-1)
    return first[:, None] + around, weights
