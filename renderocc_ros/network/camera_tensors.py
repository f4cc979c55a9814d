"""What a network takes: the cameras now, and at earlier instants."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class CameraTensors:
    """One instant of all cameras, batched.

    Attributes:
        images: (B, N, 3, H, W) float, normalised.
        intrinsics: (B, N, 3, 3) of these images, pixels.
        ego_from_camera: (B, N, 4, 4), metres; the camera at its own stamp.
        valid: (B, N) bool; what the other fields hold for an invalid camera does not matter.
    """

    images: Tensor
    intrinsics: Tensor
    ego_from_camera: Tensor
    valid: Tensor

    def to(self, device: torch.device | str) -> CameraTensors:
        """The same on another device."""
        return CameraTensors(
            self.images.to(device),
            self.intrinsics.to(device),
            self.ego_from_camera.to(device),
            self.valid.to(device),
        )


@dataclass(frozen=True, eq=False)
class PastCameras:
    """An earlier instant, for training, where no stream keeps its volume.

    Attributes:
        cameras: its images and calibration, in its own ego frame.
        past_from_current: (B, 4, 4) from the current ego frame to that one.
    """

    cameras: CameraTensors
    past_from_current: Tensor
