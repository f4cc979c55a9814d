"""The lifted volume as a whole: a small U-net in 3D, or in 2D with the height in the channels."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from renderocc_ros.network.layers import ConvBlock, Dimensions, ResidualBlock
from renderocc_ros.network_config import EncoderConfig


class PyramidNet(nn.Module):
    """Residual levels, each at half the resolution of the one before, joined on the way back."""

    def __init__(
        self, dims: Dimensions, inputs: int, channels: tuple[int, ...], blocks: int
    ) -> None:
        super().__init__()
        self.mode = "trilinear" if dims == 3 else "bilinear"
        self.down = nn.ModuleList()
        for level, width in enumerate(channels):
            first = ResidualBlock(dims, inputs, width, stride=1 if level == 0 else 2)
            rest = (ResidualBlock(dims, width, width) for _ in range(blocks - 1))
            self.down.append(nn.Sequential(first, *rest))
            inputs = width
        self.up = nn.ModuleList(
            ConvBlock(dims, deep, shallow, kernel=1, relu=False)
            for shallow, deep in pairwise(channels)
        )
        self.smooth = ConvBlock(dims, channels[0], channels[0])

    def forward(self, features: Tensor) -> Tensor:
        """(B, inputs, ...) to (B, channels[0], ...), same resolution."""
        levels = []
        for down in self.down:
            features = down(features)
            levels.append(features)
        for level in range(len(levels) - 2, -1, -1):
            deep = self.up[level](features)
            size = levels[level].shape[2:]
            features = torch.relu(
                levels[level] + interpolate(deep, size, mode=self.mode, align_corners=False)
            )
        result: Tensor = self.smooth(features)
        return result


class VoxelEncoder3d(nn.Module):
    """3D convolutions over (B, C, X, Y, Z)."""

    def __init__(self, inputs: int, config: EncoderConfig) -> None:
        super().__init__()
        self.net = PyramidNet(3, inputs, config.channels, config.blocks)
        self.out = nn.Conv3d(config.channels[0], config.out_channels, 1)

    def forward(self, volume: Tensor) -> Tensor:
        """(B, C, X, Y, Z) to (B, X, Y, Z, out_channels)."""
        result: Tensor = self.out(self.net(volume)).movedim(1, -1)
        return result


class VoxelEncoderFromAbove(nn.Module):
    """2D convolutions over columns; height comes back out of the channels.

    After FlashOcc (Yu et al. 2023, arXiv 2311.12058, sec. 3.3).
    """

    def __init__(self, inputs: int, height_in: int, height: int, config: EncoderConfig) -> None:
        """``height_in`` cells of ``inputs`` channels go in, ``height`` cells come out."""
        super().__init__()
        self.height = height
        self.net = PyramidNet(2, inputs * height_in, config.channels, config.blocks)
        self.out = nn.Conv2d(config.channels[0], height * config.out_channels, 1)

    def forward(self, volume: Tensor) -> Tensor:
        """(B, C, X, Y, height_in) to (B, X, Y, height, out_channels)."""
        batch, _, x, y, _ = volume.shape
        columns = volume.permute(0, 4, 1, 2, 3).reshape(batch, -1, x, y)
        result: Tensor = self.out(self.net(columns)).movedim(1, -1)
        return result.reshape(batch, x, y, self.height, -1)


def build_encoder(inputs: int, height_in: int, height: int, config: EncoderConfig) -> nn.Module:
    """The encoder that the configuration names."""
    if config.kind == "3d":
        return VoxelEncoder3d(inputs, config)
    return VoxelEncoderFromAbove(inputs, height_in, height, config)
