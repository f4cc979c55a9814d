"""The 3D part: residual blocks on the voxel volume, a feature pyramid over them.

Volumes are (B, C, Z, Y, X) with channels fastest in memory.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from renderocc_ros.network.official.layers import ConvNormAct3d, channels_last, folded


class ResidualBlock3d(nn.Module):
    """Two 3x3x3 convolutions and a shortcut; the first block of a stage convolves the shortcut."""

    def __init__(
        self, channels_in: int, channels_out: int, stride: int = 1, convolve_shortcut: bool = False
    ) -> None:
        super().__init__()
        self.conv1 = ConvNormAct3d(channels_in, channels_out, 3, stride)
        self.conv2 = ConvNormAct3d(channels_out, channels_out, 3, activate=False)
        self.downsample = (
            ConvNormAct3d(channels_in, channels_out, 3, stride, activate=False)
            if convolve_shortcut
            else None
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, Z, Y, X) -> (B, C', Z/stride, …)."""
        shortcut = x if self.downsample is None else self.downsample(x)
        return F.relu(self.conv2(self.conv1(x)) + shortcut)


class VoxelResNet(nn.Module):
    """Stages of residual blocks (BEVDet's CustomResNet3D); returns every stage's output."""

    def __init__(
        self, channels_in: int, blocks: tuple[int, ...], channels: tuple[int, ...],
        strides: tuple[int, ...],
    ) -> None:  # fmt: skip
        super().__init__()
        self.layers = nn.Sequential()
        for count, width, stride in zip(blocks, channels, strides, strict=True):
            stage = [ResidualBlock3d(channels_in, width, stride, convolve_shortcut=True)]
            stage += [ResidualBlock3d(width, width) for _ in range(count - 1)]
            self.layers.append(nn.Sequential(*stage))
            channels_in = width

    def forward(self, x: Tensor) -> list[Tensor]:
        """(B, C, Z, Y, X) -> one volume per stage."""
        outputs = []
        x = channels_last(x)
        for stage in self.layers:
            x = stage(x)
            outputs.append(x)
        return outputs


class VoxelPyramid(nn.Module):
    """Brings all stages to the first one's size, mixes them by a 1x1x1 convolution (LSSFPN3D)."""

    def __init__(self, channels_in: tuple[int, ...], channels_out: int) -> None:
        super().__init__()
        self.conv = ConvNormAct3d(sum(channels_in), channels_out, 1)

    def forward(self, stages: list[Tensor]) -> Tensor:
        """Volumes of sizes 1, 1/2, 1/4 … -> (B, C', Z, Y, X) of the first one's size.

        Upsampling and a 1x1x1 convolution are both linear and commute, so in evaluation each
        stage is mixed at its own size, and only the few output channels are upsampled.
        """
        if self.training:
            parts = [stages[0], *(_upsample(s, stages[0]) for s in stages[1:])]
            mixed: Tensor = self.conv(torch.cat(parts, dim=1))
            return mixed
        weight, shift = folded(self.conv.conv, self.conv.bn)
        weights = torch.split(weight, [stage.shape[1] for stage in stages], dim=1)
        total = F.conv3d(stages[0], weights[0], shift)
        for stage, weight in zip(stages[1:], weights[1:], strict=True):
            total = total + _upsample(F.conv3d(stage, weight), total)
        return F.relu_(total)


def _upsample(x: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(x, size=like.shape[2:], mode="trilinear", align_corners=True)
