"""The official network written as its formulas read: what ``swinb_cpu.py`` measures against.

Windows are padded, rolled, cut and attended one after another, linear layers are BLAS products on
padded tokens, norms are passes of their own, volumes are planar, stages are upsampled before they
are mixed; the stereo lookup multiplies matrices point by point and warps four channels at a time;
pooling sorts all points by voxel and adds up their features.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from renderocc_ros.geometry import VoxelGrid
from renderocc_ros.network.official import (
    StereoFrame,
    SwinBStereo,
    depth_net,
    geometry,
    layers,
    neck,
    swin,
    swinb_stereo,
    voxel_encoder,
)
from renderocc_ros.network.official.stereo_cost import stereo_cost_plain


def windowed(x: Tensor, window: int) -> Tensor:
    """(B, H, W, C) -> (B·windows, window², C)."""
    b, h, w, c = x.shape
    x = x.view(b, h // window, window, w // window, window, c)
    return x.permute(0, 1, 3, 2, 4, 5).reshape(-1, window * window, c)


def attention(layer: swin.WindowAttention, x: Tensor) -> Tensor:
    """Window attention on the padded, rolled map (B, H, W, C)."""
    size, shift = layer.window, layer.shift
    b, h, w, c = x.shape
    x = F.pad(x, (0, 0, 0, -w % size, 0, -h % size))
    rows, columns = x.shape[1:3]
    tokens = windowed(x.roll((-shift, -shift), (1, 2)) if shift else x, size)
    qkv = layer.qkv(tokens).view(len(tokens), size**2, 3, layer.heads, c // layer.heads)
    q, k, v = qkv.permute(2, 0, 3, 1, 4)
    table = layer.relative_position_bias_table[layer.relative_position_index.view(-1)]
    bias = table.view(size**2, size**2, -1).permute(2, 0, 1).contiguous()
    score = (q * (c // layer.heads) ** -0.5) @ k.mT + bias
    if shift:
        regions = torch.zeros(1, rows, columns, 1)
        spans = (slice(0, -size), slice(-size, -shift), slice(-shift, None))
        for i, down in enumerate(spans):
            for j, along in enumerate(spans):
                regions[:, down, along] = 3 * i + j
        part = windowed(regions, size)[..., 0]
        mask = (part[:, None] != part[:, :, None]) * swin.MASKED
        score = (score.view(b, len(mask), *score.shape[1:]) + mask[None, :, None]).flatten(0, 1)
    mixed: Tensor = layer.proj((score.softmax(-1) @ v).transpose(1, 2).reshape(-1, size**2, c))
    mixed = mixed.view(b, rows // size, columns // size, size, size, c)
    mixed = mixed.permute(0, 1, 3, 2, 4, 5).reshape(b, rows, columns, c)
    mixed = mixed.roll((shift, shift), (1, 2)) if shift else mixed
    return mixed[:, :h, :w].contiguous()


def conv_norm(x: Tensor, conv: nn.Module, norm: nn.Module) -> Tensor:
    """Convolution, then batch norm."""
    out: Tensor = norm(conv(x))
    return out


def mixed_stages(pyramid: voxel_encoder.VoxelPyramid, stages: list[Tensor]) -> Tensor:
    """All stages at the first one's size, then one convolution over all their channels."""
    size = stages[0].shape[2:]
    same = [F.interpolate(s, size=size, mode="trilinear", align_corners=True) for s in stages[1:]]
    out: Tensor = pyramid.conv(torch.cat([stages[0], *same], dim=1))
    return out


def grid_point_by_point(
    frame: StereoFrame,
    past_from_current: Tensor,
    depths_m: Tensor,
    image_size: tuple[int, int],
    stride: int,
) -> Tensor:
    """``geometry.stereo_grid`` with a chain of matrices for every point."""
    b, n = frame.intrinsics.shape[:2]

    def per_point(matrix: Tensor) -> Tensor:
        return matrix[:, :, None, None, None]

    x, y = geometry.feature_pixels(image_size, stride, frame.intrinsics)
    d, y, x = torch.meshgrid(depths_m, y, x, indexing="ij")
    offset = frame.post_translation.view(b, n, 1, 1, 1, 3)
    points = (
        per_point(torch.inverse(frame.post_rotation))
        @ ((torch.stack([x, y, d], dim=-1) - offset)[..., None])
    )
    points = torch.cat([points[..., :2, :] * points[..., 2:, :], points[..., 2:, :]], dim=-2)
    turn = past_from_current[..., :3, :3] @ torch.inverse(frame.intrinsics)
    points = per_point(turn) @ points + per_point(past_from_current[..., :3, 3:])
    behind = points[..., 2, 0] < geometry.MIN_Z_M
    points = per_point(frame.intrinsics) @ points
    points = points[..., :2, :] / points[..., 2:, :]
    pixels = (per_point(frame.post_rotation[..., :2, :2]) @ points)[..., 0] + offset[..., :2]
    size = torch.tensor([image_size[1] - 1.0, image_size[0] - 1.0])
    grid = pixels / size * 2.0 - 1.0
    grid[behind] = geometry.BEHIND
    return grid


def pool_by_sorting(points: Tensor, depth: Tensor, context: Tensor, grid: VoxelGrid) -> Tensor:
    """Sorts the points by voxel and adds each one's product of depth and context to its voxel."""
    b, n, d, h, w = depth.shape
    c, (sx, sy, sz) = context.shape[2], grid.size
    origin, sizes = torch.tensor(grid.origin_m), torch.tensor(grid.size)
    cells = ((points - origin) / torch.tensor(grid.resolution_m)).long().view(-1, 3)
    sample = torch.arange(b).repeat_interleave(n * d * h * w)
    kept = ((cells >= 0) & (cells < sizes)).all(dim=1)
    rank_depth = torch.arange(len(cells))
    rank_feature = torch.arange(b * n * h * w).view(b, n, 1, h, w).expand(depth.shape).flatten()
    cells, sample = cells[kept], sample[kept]
    rank_depth, rank_feature = rank_depth[kept], rank_feature[kept]
    voxel = ((sample * sz + cells[:, 2]) * sy + cells[:, 1]) * sx + cells[:, 0]
    order = voxel.argsort()
    voxel, rank_depth, rank_feature = voxel[order], rank_depth[order], rank_feature[order]
    rows = context.permute(0, 1, 3, 4, 2).reshape(-1, c)
    volume = context.new_zeros(b * sz * sy * sx, c)
    volume.index_add_(0, voxel, depth.reshape(-1)[rank_depth][:, None] * rows[rank_feature])
    return volume.view(b, sz, sy, sx, c).permute(0, 4, 1, 2, 3).contiguous()


class PlainMatchingAndPooling(SwinBStereo):
    """Our network with the official cost volume and pooling."""

    def match(self, past: Tensor, current: Tensor, grid: Tensor) -> Tensor:
        """See ``stereo_cost_plain``."""
        return stereo_cost_plain(
            past.contiguous(), current.contiguous(), grid.contiguous(), self.sizes.invalid_cost
        )

    def pool(self, points: Tensor, depth: Tensor, context: Tensor) -> Tensor:
        """See ``pool_by_sorting``."""
        return pool_by_sorting(points, depth, context, self.sizes.grid)


@contextmanager
def plain_geometry() -> Iterator[None]:
    """Inside, the stereo lookup is computed point by point."""
    with mock.patch.object(geometry, "stereo_grid", grid_point_by_point):
        yield


@contextmanager
def plain_layers() -> Iterator[None]:
    """Inside, every layer is computed as its formula reads."""
    with ExitStack() as stack:

        def swap(owner: object, name: str, plain: object) -> None:
            stack.enter_context(mock.patch.object(owner, name, plain))

        swap(swin.WindowAttention, "forward", attention)
        swap(swin, "linear", F.linear)
        swap(voxel_encoder.VoxelPyramid, "forward", mixed_stages)
        for module in (layers, neck, depth_net):
            swap(module, "conv_norm", conv_norm)
        for module in (voxel_encoder, swinb_stereo):
            swap(module, "channels_last", Tensor.contiguous)
        stack.enter_context(plain_geometry())
        yield
