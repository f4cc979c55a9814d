"""The image neck: strides 32 and 16 to one feature map of stride 16."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from renderocc_ros.network.official.layers import channels_planar, conv_norm


class ImageNeck(nn.Module):
    """Upsamples stage 3 to stage 2's size, joins them, two 3x3 convolutions (BEVDet's FPN_LSS)."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels_out),
            nn.ReLU(),
            nn.Conv2d(channels_out, channels_out, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels_out),
            nn.ReLU(),
        )

    def forward(self, stage2: Tensor, stage3: Tensor) -> Tensor:
        """(B, C, H, W), (B, 2C, H/2, W/2) -> (B, C', H, W)."""
        upsampled = F.interpolate(stage3, scale_factor=2, mode="bilinear", align_corners=True)
        x = channels_planar(torch.cat([stage2, upsampled], dim=1))
        for conv, norm in ((self.conv[0], self.conv[1]), (self.conv[3], self.conv[4])):
            assert isinstance(conv, nn.Conv2d)
            x = F.relu_(conv_norm(x, conv, norm))
        return x
