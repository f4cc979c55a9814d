"""Past frames, brought into the current ego frame and joined with the current one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import grid_sample

from renderocc_ros.geometry import VoxelGrid
from renderocc_ros.network.layers import ConvBlock
from renderocc_ros.network.stereo_matching import PastViews


@dataclass(frozen=True, eq=False)
class PastVolume:
    """What an earlier frame lifted, and where it was.

    Attributes:
        volume: (B, C, X, Y, Z) lifted features in the past ego frame.
        past_from_current: (B, 4, 4) ego motion, metres.
        views: what the current frame is matched with; None without stereo.
    """

    volume: Tensor
    past_from_current: Tensor
    views: PastViews | None = None


def warp(volume: Tensor, past_from_current: Tensor, grid: VoxelGrid) -> Tensor:
    """A past volume as seen from the current ego frame, trilinear between cell centres.

    Args:
        volume: (B, C, X, Y, Z), or (B, C, X, Y, 1) for columns, which move in the plane only.
        past_from_current: (B, 4, 4).
        grid: where the cells lie, in both ego frames.

    Returns:
        the same shape; zero where the past frame's grid does not reach.
    """
    columns = volume.shape[-1] == 1 and grid.size[2] != 1
    # Numbers enter as scalars, not as tensors: a CUDA graph cannot copy from the host.
    axes = [
        (torch.arange(count, device=volume.device, dtype=torch.float32) + 0.5) * grid.resolution_m
        + start
        for count, start in zip(volume.shape[-3:], grid.origin_m, strict=True)
    ]
    if columns:  # at ego height 0 all motion that counts is within the plane
        axes[2] = torch.zeros_like(axes[2])
    current = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)
    motion = past_from_current.float()
    past = torch.einsum("bij,xyzj->bxyzi", motion[:, :3, :3], current)
    past = past + motion[:, None, None, None, :3, 3]
    # grid_sample reckons from -1 to 1 over the outer edges of the cells, last axis first.
    where = torch.stack(
        [
            (past[..., axis] - grid.origin_m[axis]) * (2 / (grid.resolution_m * grid.size[axis]))
            - 1
            for axis in (2, 1, 0)
        ],
        dim=-1,
    )
    if columns:
        where, source = where[..., 0, 1:], volume[..., 0].float()
        flat = grid_sample(source, where, mode="bilinear", align_corners=False)
        return flat[..., None].to(volume.dtype)
    warped = grid_sample(volume.float(), where, mode="bilinear", align_corners=False)
    return warped.to(volume.dtype)


class TemporalFusion(nn.Module):
    """The current volume and up to ``past_frames`` earlier ones to one volume of the same shape."""

    def __init__(self, channels: int, past_frames: int, grid: VoxelGrid) -> None:
        super().__init__()
        self.channels = channels
        self.past_frames = past_frames
        self.grid = grid
        self.join = (
            ConvBlock(3, channels * (1 + past_frames), channels, kernel=1)
            if past_frames
            else nn.Identity()
        )

    def forward(self, current: Tensor, past: Sequence[PastVolume]) -> Tensor:
        """(B, C, X, Y, Z); newest past frame first; missing ones count as empty space.

        Raises:
            ValueError: more past frames than the network was made for.
        """
        if len(past) > self.past_frames:
            raise ValueError(
                f"{len(past)} past frames, but temporal.past_frames = {self.past_frames}"
            )
        if not self.past_frames:
            return current
        aligned = [warp(frame.volume, frame.past_from_current, self.grid) for frame in past]
        aligned += [torch.zeros_like(current)] * (self.past_frames - len(past))
        result: Tensor = self.join(torch.cat([current, *aligned], dim=1))
        return result
