"""Matching cost of depth hypotheses between two views' features, bilinear lookup included.

    cost[d, p] = Σ_c |current[p, c] − past(q_dp)[c]| + invalid · [past(q_dp)[probe] = 0]

with past(q) the bilinear mean of the four cells around q, zero outside (BEVStereo, Li et al. 2022,
arXiv 2209.10248, section 3.2). A program takes a block of points (d, p) of one view and goes
through the channels, so no warped feature is ever stored. Sums have the dtype of the points.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK_P, BLOCK_C = 16, 32


@triton.jit
def cell_of(pixel, SIZE: tl.constexpr):
    """The cell below a coordinate, and the share of the one above it. Not a number: outside."""
    pixel = tl.where(pixel == pixel, pixel, -1.0)
    pixel = tl.minimum(tl.maximum(pixel, -1.0), SIZE)
    lower = tl.floor(pixel)
    return lower.to(tl.int32), pixel - lower


@triton.jit
def share_of(past, x, y, share, channel, exists, C: tl.constexpr, H: tl.constexpr, W: tl.constexpr):
    """(BLOCK_P, BLOCK_C) features of cells (x, y), zero outside, times their shares (BLOCK_P,)."""
    inside = (x >= 0) & (x < W) & (y >= 0) & (y < H)
    row = (y * W + x).to(tl.int64) * C
    mask = (exists & inside)[:, None] & (channel < C)[None, :]
    features = tl.load(past + row[:, None] + channel[None, :], mask, 0.0)
    return features.to(share.dtype) * share[:, None]


@triton.jit
def matching_kernel(
    past, current, grid, cost, invalid_cost, POINTS,
    C: tl.constexpr, H: tl.constexpr, W: tl.constexpr, PROBE: tl.constexpr,
    BLOCK_P: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """A program: BLOCK_P of the D·H·W points of a view."""
    view = tl.program_id(1).to(tl.int64)
    point = tl.program_id(0) * BLOCK_P + tl.arange(0, BLOCK_P)
    exists = point < POINTS
    place = view * POINTS + point
    u = tl.load(grid + place * 2, exists, 0.0)
    v = tl.load(grid + place * 2 + 1, exists, 0.0)
    x, right = cell_of((u + 1) * ((W - 1) / 2), W)
    y, below = cell_of((v + 1) * ((H - 1) / 2), H)
    left, above = 1 - right, 1 - below
    own = (view * (H * W) + point % (H * W)) * C
    past += view * (H * W * C)
    total, probed = tl.zeros_like(u), tl.zeros_like(u)
    for base in range(0, C, BLOCK_C):
        channel = base + tl.arange(0, BLOCK_C)
        warped = share_of(past, x, y, left * above, channel, exists, C, H, W)
        warped += share_of(past, x + 1, y, right * above, channel, exists, C, H, W)
        warped += share_of(past, x, y + 1, left * below, channel, exists, C, H, W)
        warped += share_of(past, x + 1, y + 1, right * below, channel, exists, C, H, W)
        mask = exists[:, None] & (channel < C)[None, :]
        mine = tl.load(current + own[:, None] + channel[None, :], mask, 0.0).to(u.dtype)
        total += tl.sum(tl.abs(mine - warped), axis=1)
        probed += tl.sum(tl.where((channel == PROBE)[None, :], warped, 0.0), axis=1)
    total += tl.where(probed == 0, invalid_cost, 0.0)
    tl.store(cost + place, total, exists)


def matching_cost(
    past: Tensor, current: Tensor, grid: Tensor, invalid_cost: float, probe: int
) -> Tensor:
    """The cost above, (V, D, H, W) in the dtype of ``grid``; no gradient flows through it.

    Args:
        past, current: (V, C, H, W) features, fastest where channels are last in memory.
        grid: (V, D, H, W, 2) points (x, y), −1 and 1 at the centres of the outer cells.
        invalid_cost: added where channel ``probe`` of the looked-up feature is exactly 0.
    """
    views, depths, height, width, _ = grid.shape
    past, current = (part.permute(0, 2, 3, 1).contiguous() for part in (past, current))
    cost = grid.new_empty(views, depths, height, width)
    points = depths * height * width
    launch: Any = matching_kernel[(triton.cdiv(points, BLOCK_P), views)]
    with torch.cuda.device_of(grid):
        launch(
            past, current, grid.contiguous(), cost, float(invalid_cost), points,
            past.shape[-1], height, width, probe, BLOCK_P, BLOCK_C,
        )  # fmt: skip
    return cost
