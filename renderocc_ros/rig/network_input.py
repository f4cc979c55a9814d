"""What a network takes of one set of images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


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
