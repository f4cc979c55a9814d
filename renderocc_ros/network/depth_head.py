"""Features to a depth distribution and the context that it lifts, aware of the camera.

After BEVDepth (Li et al. 2022, arXiv 2206.10092, sec. 4.2): the camera's parameters gate the
features, since the same picture means another depth under another focal length.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d

from renderocc_ros.network.layers import ConvBlock, ResidualBlock, resized
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


class FineDetail(nn.Module):
    """What is told of pixels, told of pixels half as wide, by a map that shows finer details.

    It begins as plain upsampling: what was learned at the coarse stride is kept.
    """

    def __init__(self, coarse: int, fine: int, outputs: int, hidden: int) -> None:
        super().__init__()
        self.coarse = nn.Conv2d(coarse, hidden, 1)
        self.fine = ConvBlock(2, fine, hidden, relu=False)
        self.out = nn.Conv2d(hidden, outputs, 1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)  # type: ignore[arg-type]

    def forward(self, told: Tensor, features: Tensor, details: Tensor) -> Tensor:
        """
        Args:
            told: (M, outputs, h, w) of the coarse pixels.
            features: (M, coarse, h, w) from which that was told.
            details: (M, fine, …, …) the finer map.

        Returns:
            (M, outputs, 2h, 2w).
        """
        size = (2 * told.shape[-2], 2 * told.shape[-1])
        hidden = resized(self.coarse(features), size) + resized(self.fine(details), size)
        result: Tensor = resized(told, size) + self.out(torch.relu(hidden))
        return result


class DepthHead(nn.Module):
    """Features of M images to depth logits (M, D, h, w) and context (M, C, h, w)."""

    def __init__(
        self, inputs: int, config: DepthConfig, classes: int = 0, details: int = 0
    ) -> None:
        """
        Args:
            inputs: channels of the features.
            classes: of the class head, if the configuration asks for one.
            details: channels of the finer map, if the configuration asks for one.
        """
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
        outputs = config.bins + config.context_channels
        self.fine = (
            FineDetail(2 * hidden, details, outputs, config.fine.hidden_channels)
            if config.fine
            else None
        )

    def forward(
        self,
        features: Tensor,
        parameters: Tensor,
        matching: Tensor | None = None,
        details: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """
        Args:
            features: (M, inputs, h, w).
            parameters: (M, 16) ``camera_parameters``.
            matching: (M, D, h', w') of ``matching_distribution``; None where nothing is matched.
            details: (M, details, …, …) the finer map; then outputs have twice the features' size.
        """
        features = self.reduce(features)
        gated = self.columns(self.depth_gate(features, parameters))
        if self.match is not None:
            size = gated.shape[-2:]
            if matching is None:
                matching = gated.new_zeros(len(gated), self.depth_logits.out_channels, *size)
            gated = gated + self.match(adaptive_avg_pool2d(matching.to(gated), size))
        deep, wide = self.depth_body(gated), self.context_gate(features, parameters)
        logits, context = self.depth_logits(deep), self.context(wide)
        if self.fine is None or details is None:
            return logits, context
        told = torch.cat([logits, context], dim=1)
        told = self.fine(told, torch.cat([deep, wide], dim=1), details)
        logits, context = told.split([logits.shape[1], context.shape[1]], dim=1)
        return logits, context / 4  # four pixels for one
