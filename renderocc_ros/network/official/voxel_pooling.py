"""Voxel pooling: image features, spread along their depth distribution, summed up in voxels.

(Lift-Splat, arXiv 2008.05711, section 3.2; the sorting of BEVPoolv2, arXiv 2211.17111.) Shapes:
B samples, N cameras, D depth bins, (H, W) feature cells, C channels, grid (X, Y, Z).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from renderocc_ros.geometry.voxel_grid import VoxelGrid
from renderocc_ros.kernels import use_triton


def voxel_of_points(points: Tensor, grid: VoxelGrid, truncate: bool = False) -> Tensor:
    """Flat (b, z, y, x) voxel index of every point, -1 where it lies outside.

    Args:
        points: (B, …, 3) in the grid's frame, metres.
        truncate: round towards zero as the official code does, so that points up to one cell
            below the lower bounds count as inside; otherwise down.

    Returns:
        (B, …) int32, the index in a flattened (B, Z, Y, X) volume. Points that are not finite
        lie outside.
    """
    sx, sy, sz = grid.size
    # a divisor on the device: dividing by a number, CUDA would multiply by its rounded inverse
    resolution_m = torch.tensor(grid.resolution_m, dtype=points.dtype, device=points.device)
    inside, flat = None, None
    for axis, size in ((2, sz), (1, sy), (0, sx)):
        cell = (points[..., axis] - grid.origin_m[axis]) / resolution_m
        lowest = -1.0 if truncate else 0.0  # -0.99 truncates to 0, -1 does not
        within = (cell > lowest if truncate else cell >= lowest) & (cell < size)
        index = torch.where(within, cell, 0.0).to(torch.int32)
        inside = within if inside is None else inside & within
        flat = index if flat is None else flat * size + index
    assert inside is not None and flat is not None
    sample = torch.arange(len(points), device=points.device, dtype=torch.int32)
    flat = flat + (sample * (sx * sy * sz)).view(-1, *[1] * (flat.dim() - 1))
    return torch.where(inside, flat, -1)


def pool_voxels_plain(voxels: Tensor, depth: Tensor, context: Tensor, grid: VoxelGrid) -> Tensor:
    """Sums up point by point: the product of depth and context of each, added to its voxel.

    Args:
        voxels: (B, N, D, H, W) of ``voxel_of_points``.
        depth: (B, N, D, H, W) weight of each depth bin.
        context: (B, N, C, H, W) features.

    Returns:
        (B, C, Z, Y, X).
    """
    b, _, c = context.shape[:3]
    x, y, z = grid.size
    kept = voxels.flatten() >= 0
    points = (depth[:, :, :, None] * context[:, :, None]).permute(0, 1, 2, 4, 5, 3).reshape(-1, c)
    volume = context.new_zeros(b * z * y * x, c)
    volume.index_add_(0, voxels.flatten()[kept].long(), points[kept])
    return volume.view(b, z, y, x, c).permute(0, 4, 1, 2, 3)


@dataclass(frozen=True)
class PoolingPlan:
    """The points of a rig sorted by voxel: which to sum for each voxel. Depends on geometry only.

    Attributes:
        points: (P,) position in a flattened (B, N, D, H, W) depth volume, voxel by voxel.
        cells: (P,) row of the flattened (B, N, H, W) features of the same points.
        voxel_starts: (B·Z·Y·X + 1,) where in ``points`` each voxel begins, and the last one ends.
        volume_shape: (B, Z, Y, X).
    """

    points: Tensor
    cells: Tensor
    voxel_starts: Tensor
    volume_shape: tuple[int, int, int, int]


def plan_pooling(voxels: Tensor, grid: VoxelGrid) -> PoolingPlan:
    """Sorts the points of ``voxels`` (B, N, D, H, W), leaving out those outside.

    The sort is stable, so each voxel sums its points in the order of the depth volume.
    """
    b, _, d, h, w = voxels.shape
    x, y, z = grid.size
    flat = voxels.flatten()
    kept = (flat >= 0).nonzero()[:, 0]
    target, order = torch.sort(flat[kept], stable=True)
    points = kept[order]
    cells = points // (d * h * w) * (h * w) + points % (h * w)
    counts = torch.bincount(target, minlength=b * z * y * x)
    return PoolingPlan(points, cells, F.pad(counts.cumsum(0), (1, 0)), (b, z, y, x))


def pool_voxels(plan: PoolingPlan, depth: Tensor, context: Tensor) -> Tensor:
    """The same sum as ``pool_voxels_plain``, voxel by voxel without an intermediate per point.

    Args:
        depth: (B, N, D, H, W); context: (B, N, C, H, W).

    Returns:
        (B, C, Z, Y, X), channels fastest in memory.
    """
    c = context.shape[2]
    rows = context.permute(0, 1, 3, 4, 2).reshape(-1, c)
    if use_triton(context):
        from renderocc_ros.kernels.interval_sum import interval_sum

        volume = interval_sum(depth.reshape(-1), rows, plan.points, plan.cells, plan.voxel_starts)
    else:
        volume = F.embedding_bag(
            plan.cells,
            rows,
            plan.voxel_starts,
            per_sample_weights=depth.reshape(-1).index_select(0, plan.points),
            mode="sum",
            include_last_offset=True,
        )
    return volume.view(*plan.volume_shape, c).permute(0, 4, 1, 2, 3)
