"""Convolution blocks in two or three dimensions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from torch import Tensor, nn
from torch.nn.functional import interpolate

Dimensions = Literal[2, 3]
CONVOLUTIONS: dict[int, type[nn.Conv2d] | type[nn.Conv3d]] = {2: nn.Conv2d, 3: nn.Conv3d}
NORMS: dict[int, Callable[[int], nn.Module]] = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}


class ConvBlock(nn.Sequential):
    """Convolution, batch norm and, unless switched off, ReLU."""

    def __init__(
        self,
        dims: Dimensions,
        inputs: int,
        outputs: int,
        *,
        kernel: int = 3,
        stride: int = 1,
        relu: bool = True,
    ) -> None:
        convolution = CONVOLUTIONS[dims](
            inputs, outputs, kernel, stride, padding=kernel // 2, bias=False
        )
        last = [nn.ReLU(inplace=True)] if relu else []
        super().__init__(convolution, NORMS[dims](outputs), *last)


class ResidualBlock(nn.Module):
    """Two convolutions beside a shortcut (He et al. 2016, arXiv 1512.03385, fig. 2)."""

    def __init__(self, dims: Dimensions, inputs: int, outputs: int, *, stride: int = 1) -> None:
        super().__init__()
        self.body = nn.Sequential(
            ConvBlock(dims, inputs, outputs, stride=stride),
            ConvBlock(dims, outputs, outputs, relu=False),
        )
        same = inputs == outputs and stride == 1
        self.shortcut = (
            nn.Identity()
            if same
            else ConvBlock(dims, inputs, outputs, kernel=1, stride=stride, relu=False)
        )
        self.relu = nn.ReLU(inplace=True)

    def forward(self, features: Tensor) -> Tensor:
        """(B, inputs, ...) to (B, outputs, ...)."""
        result: Tensor = self.relu(self.body(features) + self.shortcut(features))
        return result


def resized(features: Tensor, size: tuple[int, int]) -> Tensor:
    """(M, C, h, w) to (M, C, *size), between pixel centres; itself where it has that size."""
    if features.shape[-2:] == size:
        return features
    return interpolate(features, size, mode="bilinear", align_corners=False)
