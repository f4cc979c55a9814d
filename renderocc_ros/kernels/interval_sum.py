"""Weighted sums over intervals of a sorted list: the inner part of voxel pooling.

    out[v] = Σ_{i = start[v]}^{start[v+1] − 1} weight[point[i]] · rows[row[i]]

Points sorted by voxel, one sum per voxel without anything stored per point: BEVPoolv2 (Huang and
Huang 2022, arXiv 2211.17111). One program takes one voxel, forward and backward, so the forward
sum has a fixed order. In the backward pass rows are shared by voxels: their gradients are added
atomically in an order that varies, and so do their last digits. Sums are kept in float32, or
float64 for float64 input.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

from renderocc_ros.kernels import tile


@triton.jit
def sum_kernel(
    weight, rows, point, row, start, out,
    C: tl.constexpr, ACC: tl.constexpr, BLOCK_P: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """A program: one voxel."""
    voxel = tl.program_id(0).to(tl.int64)
    channel = tl.arange(0, BLOCK_C)
    first, last = tl.load(start + voxel), tl.load(start + voxel + 1)
    total = tl.zeros([BLOCK_C], ACC)
    for base in range(first, last, BLOCK_P):
        place = base + tl.arange(0, BLOCK_P)
        inside = place < last
        each = tl.load(weight + tl.load(point + place, inside, 0), inside, 0.0).to(ACC)
        cells = tl.load(row + place, inside, 0)[:, None] * C + channel[None, :]
        values = tl.load(rows + cells, inside[:, None] & (channel < C)[None, :], 0.0).to(ACC)
        total += tl.sum(each[:, None] * values, axis=0)
    tl.store(out + voxel * C + channel, total.to(out.dtype.element_ty), channel < C)


@triton.jit
def sum_gradient_kernel(
    weight, rows, point, row, start, of_out, of_weight, of_rows,
    C: tl.constexpr, ACC: tl.constexpr, BLOCK_P: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """A program: one voxel. ``of_weight`` has one writer per point, ``of_rows`` many."""
    voxel = tl.program_id(0).to(tl.int64)
    channel = tl.arange(0, BLOCK_C)
    first, last = tl.load(start + voxel), tl.load(start + voxel + 1)
    slope = tl.load(of_out + voxel * C + channel, channel < C, 0.0).to(ACC)[None, :]
    for base in range(first, last, BLOCK_P):
        place = base + tl.arange(0, BLOCK_P)
        inside = place < last
        both = inside[:, None] & (channel < C)[None, :]
        points = tl.load(point + place, inside, 0)
        each = tl.load(weight + points, inside, 0.0).to(ACC)
        cells = tl.load(row + place, inside, 0)[:, None] * C + channel[None, :]
        values = tl.load(rows + cells, both, 0.0).to(ACC)
        along = tl.sum(values * slope, axis=1)
        tl.store(of_weight + points, along.to(of_weight.dtype.element_ty), inside)
        tl.atomic_add(of_rows + cells, each[:, None] * slope, both)


class _IntervalSum(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, weight: Tensor, rows: Tensor, point: Tensor, row: Tensor, start: Tensor
    ) -> Tensor:
        channels, voxels = rows.shape[1], len(start) - 1
        out = rows.new_empty(voxels, channels)
        with torch.cuda.device_of(rows):
            sum_kernel[(voxels,)](
                weight, rows, point, row, start, out, channels, *_settings(weight, rows)
            )
        ctx.save_for_backward(weight, rows, point, row, start)
        return out

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, of_out: Tensor) -> tuple[Tensor | None, ...]:
        weight, rows, point, row, start = ctx.saved_tensors
        settings = _settings(weight, rows)
        of_weight = torch.zeros_like(weight)
        of_rows = torch.zeros_like(rows, dtype=torch.promote_types(rows.dtype, torch.float32))
        with torch.cuda.device_of(rows):
            sum_gradient_kernel[(len(start) - 1,)](
                weight, rows, point, row, start, of_out.contiguous(), of_weight, of_rows,
                rows.shape[1], *settings,
            )  # fmt: skip
        return of_weight, of_rows.to(rows.dtype), None, None, None


def _settings(weight: Tensor, rows: Tensor) -> tuple[Any, int, int]:
    wide = torch.float64 in (weight.dtype, rows.dtype)
    return (tl.float64 if wide else tl.float32, *tile(rows.shape[1]))


def interval_sum(weight: Tensor, rows: Tensor, point: Tensor, row: Tensor, start: Tensor) -> Tensor:
    """The sum above; gradients flow to ``weight`` and ``rows``.

    Args:
        weight: (W,) weights.
        rows: (N, C) features.
        point: (P,) int64, for each item of the sorted list its place in ``weight``, none twice.
        row: (P,) int64, its place in ``rows``.
        start: (V + 1,) int64, where each interval begins, and where the last one ends.

    Returns:
        (V, C), of the dtype of ``rows``.
    """
    parts = (part.contiguous() for part in (weight, rows, point, row, start))
    out: Tensor = _IntervalSum.apply(*parts)
    return out
