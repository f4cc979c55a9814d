"""The depth net: image features, camera parameters and matching cost to depth and context.

(BEVDepth, arXiv 2206.10092, section 4.3, and BEVStereo, arXiv 2209.10248.) Feature maps are
(B·N, C, H, W), every camera its own row.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from renderocc_ros.network.official.layers import Observer, channels_planar, conv_norm, unobserved

CAMERA_PARAMETERS = 27
ASPP_DILATIONS = (1, 6, 12, 18)


class Mlp(nn.Module):
    """Two linear layers with a ReLU between: (V, 27) -> (V, C)."""

    def __init__(self, channels_in: int, channels: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(channels_in, channels)
        self.fc2 = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        out: Tensor = self.fc2(F.relu(self.fc1(x)))
        return out


class CameraGate(nn.Module):
    """Scales each channel by what the camera parameters say (squeeze-and-excitation)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv_reduce = nn.Conv2d(channels, channels, 1)
        self.conv_expand = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor, camera: Tensor) -> Tensor:
        """(V, C, H, W), (V, C) -> (V, C, H, W)."""
        gate: Tensor = self.conv_expand(F.relu(self.conv_reduce(camera[..., None, None])))
        return x * gate.sigmoid()


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut, which ``downsample`` convolves where channels change."""

    def __init__(self, channels_in: int, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample = nn.Conv2d(channels_in, channels, 1) if channels_in != channels else None

    def forward(self, x: Tensor) -> Tensor:
        """(V, C, H, W) -> (V, C', H, W)."""
        shortcut = x if self.downsample is None else self.downsample(x)
        x = F.relu_(conv_norm(x, self.conv1, self.bn1))
        return F.relu(conv_norm(x, self.conv2, self.bn2) + shortcut)


class AtrousBranch(nn.Module):
    """A dilated convolution with norm and ReLU."""

    def __init__(self, channels_in: int, channels: int, dilation: int) -> None:
        super().__init__()
        kernel, padding = (1, 0) if dilation == 1 else (3, dilation)
        self.atrous_conv = nn.Conv2d(
            channels_in, channels, kernel, padding=padding, dilation=dilation, bias=False
        )
        self.bn = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """(V, C, H, W) -> (V, C', H, W)."""
        return F.relu_(conv_norm(x, self.atrous_conv, self.bn))


class AtrousPyramid(nn.Module):
    """ASPP (arXiv 1706.05587): dilated convolutions side by side, and the whole image's mean."""

    def __init__(self, channels: int, branch_channels: int) -> None:
        super().__init__()
        for number, dilation in enumerate(ASPP_DILATIONS, start=1):
            self.add_module(f"aspp{number}", AtrousBranch(channels, branch_channels, dilation))
        self.global_avg_pool = nn.Sequential(
            nn.AdaptiveAvgPool2d((1, 1)),
            nn.Conv2d(channels, branch_channels, 1, bias=False),
            nn.BatchNorm2d(branch_channels),
            nn.ReLU(),
        )
        self.conv1 = nn.Conv2d((len(ASPP_DILATIONS) + 1) * branch_channels, channels, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.dropout = nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        """(V, C, H, W) -> the same shape."""
        branches = [self.get_submodule(f"aspp{i + 1}")(x) for i in range(len(ASPP_DILATIONS))]
        mean: Tensor = self.global_avg_pool(x)
        branches.append(mean.expand(-1, -1, *x.shape[2:]))  # upsampling one cell, any alignment
        x = conv_norm(channels_planar(torch.cat(branches, dim=1)), self.conv1, self.bn1)
        out: Tensor = self.dropout(F.relu_(x))
        return out


class DepthNet(nn.Module):
    """Logits over depth bins, and context features, for every feature cell.

    In three steps, so that a stream can keep what does not depend on the key frame's pose:
    ``reduce`` and ``cost_features`` do not, ``forward`` does, by the camera parameters.
    """

    def __init__(self, channels: int, context: int, depth_bins: int, aspp_channels: int) -> None:
        super().__init__()
        self.reduce_conv = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1), nn.BatchNorm2d(channels), nn.ReLU()
        )
        self.context_conv = nn.Conv2d(channels, context, 1)
        self.bn = nn.BatchNorm1d(CAMERA_PARAMETERS)
        self.depth_mlp = Mlp(CAMERA_PARAMETERS, channels)
        self.depth_se = CameraGate(channels)
        self.context_mlp = Mlp(CAMERA_PARAMETERS, channels)
        self.context_se = CameraGate(channels)
        # the official spelling; two strided convolutions with norm and no activation
        self.cost_volumn_net = nn.Sequential(
            *(
                layer
                for _ in range(2)
                for layer in (
                    nn.Conv2d(depth_bins, depth_bins, 3, stride=2, padding=1),
                    nn.BatchNorm2d(depth_bins),
                )
            )
        )
        self.depth_conv = nn.Sequential(
            ResidualBlock(channels + depth_bins, channels),
            ResidualBlock(channels, channels),
            ResidualBlock(channels, channels),
            AtrousPyramid(channels, aspp_channels),
            nn.Conv2d(channels, depth_bins, 1),
        )

    def reduce(self, features: Tensor) -> Tensor:
        """Neck features (V, C, H, W) -> (V, C, H, W)."""
        conv, norm = self.reduce_conv[0], self.reduce_conv[1]
        assert isinstance(conv, nn.Conv2d)
        return F.relu_(conv_norm(features, conv, norm))

    def cost_features(self, cost: Tensor) -> Tensor:
        """Matching cost (V, D, 4H, 4W), zeros where there is no past image, -> (V, D, H, W)."""
        x = channels_planar(cost)
        layers = list(self.cost_volumn_net)
        for conv, norm in zip(layers[::2], layers[1::2], strict=True):
            assert isinstance(conv, nn.Conv2d)
            x = conv_norm(x, conv, norm)
        return x

    def forward(
        self, reduced: Tensor, cost: Tensor, cameras: Tensor, observe: Observer = unobserved
    ) -> tuple[Tensor, Tensor]:
        """Depth logits (V, D, H, W) and context (V, C', H, W).

        Args:
            reduced: (V, C, H, W) of ``reduce``.
            cost: (V, D, H, W) of ``cost_features``.
            cameras: (V, 27) of ``camera_parameters``.
            observe: is handed the intermediate tensors.
        """
        normed = self.bn(cameras)
        gated = self.context_se(reduced, self.context_mlp(normed))
        observe("context_se", gated)
        context: Tensor = self.context_conv(gated)
        gated = self.depth_se(reduced, self.depth_mlp(normed))
        observe("depth_se", gated)
        x = channels_planar(torch.cat([gated, cost], dim=1))
        x = self.depth_conv[:-1](x)
        observe("aspp", x)
        logits: Tensor = self.depth_conv[-1](x)
        observe("depth_logits", logits)
        observe("context", context)
        return logits, context
