"""What a network takes of one set of images, and what is wrong with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from renderocc_ros.network_config import ImageConfig


@dataclass(frozen=True, eq=False)
class NetworkInput:
    """N cameras, in the rig's order; where ``valid`` is false the other fields mean nothing.

    Attributes:
        images: (N, 3, H, W) float32, normalised (or uint8, as they are); zero where missing.
        intrinsics: (N, 3, 3) float64 of these very images: pinhole, pixels, no distortion.
        ego_from_camera: (N, 4, 4) float64, metres.
        valid: (N,) bool.
    """

    images: NDArray[Any]
    intrinsics: NDArray[np.float64]
    ego_from_camera: NDArray[np.float64]
    valid: NDArray[np.bool_]


def check_input(cameras: NetworkInput, names: tuple[str, ...], image: ImageConfig) -> None:
    """Refuse images and calibration that would silently give nonsense.

    Raises:
        ValueError: shapes that do not fit the network or each other, or numbers that are not
            finite in a valid camera.
    """
    count = len(names)
    shapes = {
        "images": (cameras.images.shape, (count, 3, image.height, image.width)),
        "intrinsics": (cameras.intrinsics.shape, (count, 3, 3)),
        "ego_from_camera": (cameras.ego_from_camera.shape, (count, 4, 4)),
        "valid": (cameras.valid.shape, (count,)),
    }
    for key, (shape, wanted) in shapes.items():
        if shape != wanted:
            raise ValueError(
                f"{key} has shape {shape}, the network takes {wanted} from {count} cameras; "
                "ImagePreprocessor brings images of any size to the network's"
            )
    if not cameras.valid.any():
        raise ValueError(f"none of the cameras {', '.join(names)} is valid; a set needs one image")
    for number in np.flatnonzero(cameras.valid):
        for key in ("images", "intrinsics", "ego_from_camera"):
            values = getattr(cameras, key)[number]
            # A sum is finite only if every term is; it is five times faster than looking at each.
            if values.dtype != np.uint8 and not np.isfinite(values.sum(dtype=np.float64)):
                raise ValueError(
                    f"camera '{names[number]}': {key} holds numbers that are not finite; mark the "
                    "camera as not valid, or repair what publishes them"
                )
        if abs(np.linalg.det(cameras.intrinsics[number])) < 1e-9:
            raise ValueError(
                f"camera '{names[number]}': intrinsics {cameras.intrinsics[number].tolist()} have "
                "no inverse; calibrate the camera"
            )
