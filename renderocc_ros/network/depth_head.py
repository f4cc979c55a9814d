"""Features to a depth distribution and the context that it lifts, aware of the camera.

After BEVDepth (Li et al. 2022, arXiv 2206.10092, sec. 4.2): the camera's parameters gate the
features, since the same picture means another depth under another focal length.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d

from renderocc_ros.network.layers import ConvBlock, ResidualBlock
from renderocc_ros.network_config import DepthConfig


@dataclass(frozen=True, eq=False)
class ViewFeatures:
    """What each camera says, before the views meet.

    Attributes:
        depth: (B, N, D, h, w) probability of each depth bin; bins sum to 1.
        context: (B, N, C, h, w) features.
        matched: (B, N, C', h', w') features for the next frame to match with; None without stereo.
    """

    depth: Tensor
    context: Tensor
    matched: Tensor | None = None


def camera_parameters(
    intrinsics: Tensor, ego_from_camera: Tensor, image_size: tuple[int, int]
) -> Tensor:
    """(..., 16) numbers of order one: focal lengths and centre in image sizes, and the pose.

    Args:
        intrinsics: (..., 3, 3), pixels of the network's images.
        ego_from_camera: (..., 4, 4), metres.
        image_size: (height, width).
    """
    height, width = image_size
    lens = torch.stack(
        [
            intrinsics[..., 0, 0] / width,
            intrinsics[..., 1, 1] / height,
            (intrinsics[..., 0, 2] + 0.5) / width - 0.5,
            (intrinsics[..., 1, 2] + 0.5) / height - 0.5,
        ],
        dim=-1,
    )
    return torch.cat([lens, ego_from_camera[..., :3, :].flatten(-2)], dim=-1)


class CameraGate(nn.Module):
    """Channels of a feature map scaled by the camera's parameters."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weights = nn.Sequential(
            nn.Linear(16, channels), nn.ReLU(inplace=True), nn.Linear(channels, channels)
        )

    def forward(self, features: Tensor, parameters: Tensor) -> Tensor:
        """(M, C, h, w) and (M, 16) to (M, C, h, w)."""
        return features * torch.sigmoid(self.weights(parameters))[..., None, None]


class ColumnContext(nn.Module):
    """Tells every pixel of an image column the strongest of what the column holds.

    What stands is as far as its foot: the depth of a wall is told where it meets the ground, far
    below, and convolutions are slow to learn to carry it up.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.before, self.after = nn.Conv2d(channels, channels, 1), nn.Conv2d(channels, channels, 1)

    def forward(self, features: Tensor) -> Tensor:
        """(M, C, h, w) to (M, C, h, w)."""
        strongest: Tensor = self.after(self.before(features).amax(dim=2, keepdim=True))
        return features + strongest


class DepthHead(nn.Module):
    """Features of M images to depth logits (M, D, h, w) and context (M, C, h, w)."""

    def __init__(self, inputs: int, config: DepthConfig, classes: int = 0) -> None:
        super().__init__()
        hidden = config.hidden_channels
        self.reduce = ConvBlock(2, inputs, hidden)
        self.depth_gate = CameraGate(hidden)
        self.match = ConvBlock(2, config.bins, hidden) if config.stereo else None
        self.columns = ColumnContext(hidden) if config.column_context else nn.Identity()
        self.depth_body = nn.Sequential(
            *(ResidualBlock(2, hidden, hidden) for _ in range(config.blocks))
        )
        self.depth_logits = nn.Conv2d(hidden, config.bins, 1)
        self.context_gate = CameraGate(hidden)
        self.context = nn.Conv2d(hidden, config.context_channels, 1)
        self.classes = (
            nn.Conv2d(config.context_channels, classes, 1) if config.class_head else nn.Identity()
        )

    def forward(
        self, features: Tensor, parameters: Tensor, matching: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """
        Args:
            features: (M, inputs, h, w).
            parameters: (M, 16) ``camera_parameters``.
            matching: (M, D, h', w') of ``matching_distribution``; None where nothing is matched.
        """
        features = self.reduce(features)
        gated = self.columns(self.depth_gate(features, parameters))
        if self.match is not None:
            size = gated.shape[-2:]
            if matching is None:
                matching = gated.new_zeros(len(gated), self.depth_logits.out_channels, *size)
            gated = gated + self.match(adaptive_avg_pool2d(matching.to(gated), size))
        return self.depth_logits(self.depth_body(gated)), self.context(
            self.context_gate(features, parameters)
        )
