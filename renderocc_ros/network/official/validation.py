"""Refuses input that the network would silently turn into nonsense."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from renderocc_ros.network.official.geometry import StereoFrame
from renderocc_ros.network.official.sizes import SwinBStereoConfig

MAX_FRAMES = 3


def check_frames(config: SwinBStereoConfig, frames: Sequence[StereoFrame]) -> None:
    """Raises ValueError, naming frame, field, value and cure, where frames do not fit."""
    if not 1 <= len(frames) <= MAX_FRAMES:
        raise ValueError(f"frames: key, adjacent and reference frame, 1 to 3; got {len(frames)}")
    for number, frame in enumerate(frames):
        _check_frame(config, frame, f"frame {number} (0 is the newest)")
        if len(frame.images) != len(frames[0].images):
            raise ValueError(
                f"frame {number}: batch of {len(frame.images)}, but frame 0 has "
                f"{len(frames[0].images)}; pass the same samples in every frame"
            )


def _check_frame(config: SwinBStereoConfig, frame: StereoFrame, name: str) -> None:
    images = frame.images
    if images.dim() != 5 or images.shape[2] != 3 or not images.is_floating_point():
        raise ValueError(
            f"{name}: images must be floating point (B, N, 3, H, W), got "
            f"{images.dtype} {tuple(images.shape)}"
        )
    batch, cameras = images.shape[:2]
    if cameras != config.cameras:
        raise ValueError(
            f"{name}: {cameras} cameras, the network is made for {config.cameras}; pass images of "
            "all of them, in the order it was trained with"
        )
    if tuple(images.shape[3:]) != tuple(config.image_size):
        raise ValueError(
            f"{name}: images are {images.shape[3]}x{images.shape[4]} (height x width), the network "
            f"takes {config.image_size[0]}x{config.image_size[1]}; resize and crop them first"
        )
    expected = {
        "intrinsics": (3, 3),
        "post_rotation": (3, 3),
        "post_translation": (3,),
        "ego_from_camera": (4, 4),
        "global_from_ego": (4, 4),
    }
    if frame.valid is not None and tuple(frame.valid.shape) != (batch, cameras):
        raise ValueError(
            f"{name}: valid must be {(batch, cameras)}, got {tuple(frame.valid.shape)}"
        )
    for field, shape in expected.items():
        value: Tensor = getattr(frame, field)
        if tuple(value.shape) != (batch, cameras, *shape):
            raise ValueError(
                f"{name}: {field} must be {(batch, cameras, *shape)}, got {tuple(value.shape)}"
            )
        _check_finite(value, f"{name}: {field}")
    _check_finite(images, f"{name}: images")
    for field in ("intrinsics", "post_rotation"):
        singular = torch.linalg.det(getattr(frame, field).double()).abs() < 1e-12
        if singular.any():
            camera = int(singular.nonzero()[0, 1])
            raise ValueError(
                f"{name}: {field} of camera {camera} cannot be inverted; is it calibrated?"
            )


def _check_finite(value: Tensor, name: str) -> None:
    if not value.isfinite().all():
        bad = (~value.isfinite()).nonzero()[0].tolist()
        raise ValueError(
            f"{name} of camera {bad[1]} holds {value[tuple(bad)].item()} at {tuple(bad)}; leave "
            "the frame out or correct its source"
        )
