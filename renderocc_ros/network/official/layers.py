"""Small pieces that the stages of the official network share."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Observer = Callable[[str, Tensor], None]
"""Is handed every intermediate tensor with its stage name; see ``SwinBStereo.forward``."""


def unobserved(stage: str, value: Tensor) -> None:
    """The observer that looks at nothing."""


def conv_norm(x: Tensor, conv: nn.Conv2d | nn.Conv3d, norm: nn.Module) -> Tensor:
    """Convolution and batch norm of (B, C, …); in evaluation as one convolution.

    With fixed statistics the norm only scales and shifts each output channel, so it is folded into
    the weights, which costs far less than another pass over the activations. The weights
    themselves stay as they are, so a network can be trained on or saved at any time.
    """
    if norm.training:
        normed: Tensor = norm(conv(x))
        return normed
    weight, shift = folded(conv, norm)
    convolve = F.conv3d if isinstance(conv, nn.Conv3d) else F.conv2d
    return convolve(x, weight, shift, conv.stride, conv.padding, conv.dilation, conv.groups)


def folded(conv: nn.Conv2d | nn.Conv3d, norm: nn.Module) -> tuple[Tensor, Tensor]:
    """Weight and bias of the one convolution that is ``conv`` followed by a fixed batch norm."""
    assert isinstance(norm, nn.BatchNorm2d | nn.BatchNorm3d)
    assert norm.running_mean is not None and norm.running_var is not None
    scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
    shift = norm.bias - norm.running_mean * scale
    if conv.bias is not None:
        shift = shift + conv.bias * scale
    return conv.weight * scale.view(-1, *[1] * (conv.weight.dim() - 1)), shift


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """A linear layer over the last axis of a feature map (B, H, W, C) -> (B, H, W, O).

    On the CPU it runs as a 1x1 convolution over the same memory (channels last): oneDNN's
    convolution is up to twice as fast as the BLAS product on processors MKL is not tuned for,
    and equal on the others.
    """
    if x.is_cuda or x.dim() != 4:
        return F.linear(x, weight, bias)
    image = x.permute(0, 3, 1, 2)
    return F.conv2d(image, weight[:, :, None, None], bias).permute(0, 2, 3, 1)


class ConvNormAct3d(nn.Module):
    """3D convolution without bias, batch norm, and a ReLU unless ``activate`` is False."""

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        kernel: int,
        stride: int = 1,
        activate: bool = True,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv3d(
            channels_in, channels_out, kernel, stride, padding=kernel // 2, bias=False
        )
        self.bn = nn.BatchNorm3d(channels_out)
        self.activate = activate

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, Z, Y, X) -> (B, C', Z', Y', X')."""
        x = conv_norm(x, self.conv, self.bn)
        return F.relu_(x) if self.activate else x


def channels_planar(x: Tensor) -> Tensor:
    """The same (B, C, H, W) tensor, channel by channel in memory.

    oneDNN's 2D convolutions of this layout are as fast as those of the other, and round less:
    an rms error of 0.3e-6 instead of 1.2e-6 behind 1536 channels.
    """
    return x.contiguous()


def channels_last(x: Tensor) -> Tensor:
    """The same (B, C, Z, Y, X) tensor with channels fastest, which doubles the speed in 3D."""
    return x.contiguous(memory_format=torch.channels_last_3d)
