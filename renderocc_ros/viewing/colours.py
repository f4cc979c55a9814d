"""Ranges and classes of pixels as colours: one look for labels, rendered views and truth."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from renderocc_ros.class_set import IGNORE_ID, ClassSet

if TYPE_CHECKING:
    from renderocc_ros.rendering.camera_view import CameraView

Picture = NDArray[np.uint8]

NEAR_M, FAR_M = 2.0, 60.0
SKY = (120, 200, 255)
UNKNOWN = (128, 128, 128)


def range_colours(range_m: NDArray[Any]) -> Picture:
    """(..., 3) uint8 RGB of ranges (...): red near, blue far, logarithmic; light blue for the sky
    (inf), grey for what is not known (NaN)."""
    metres = np.nan_to_num(range_m, nan=FAR_M, posinf=FAR_M).clip(NEAR_M, FAR_M)
    share = np.log(metres / NEAR_M) / np.log(FAR_M / NEAR_M)
    colours: Picture = _TURBO[((1 - share) * 255).astype(np.uint8)]
    colours[np.isinf(range_m)] = SKY
    colours[np.isnan(range_m)] = UNKNOWN
    return colours


def class_colours(class_id: NDArray[Any], class_set: ClassSet) -> Picture:
    """(..., 3) uint8 RGB of classes (...): light blue where free, which is the sky; grey where
    unknown."""
    table: Picture = class_set.colours.copy()
    table[class_set.free_id] = SKY
    table[IGNORE_ID] = UNKNOWN
    colours: Picture = table[class_id]
    return colours


def view_colours(view: CameraView, class_set: ClassSet) -> tuple[Picture, Picture]:
    """Range and classes of a rendered view, (H, W, 3) each; what meets nothing is sky."""
    nothing = view.labels == IGNORE_ID
    return (
        range_colours(np.where(nothing, np.inf, view.range_m)),
        class_colours(
            np.where(nothing, class_set.free_id, view.labels).astype(np.uint8), class_set
        ),
    )


_TURBO = np.ascontiguousarray(
    cv2.applyColorMap(np.arange(256, dtype=np.uint8)[:, None], cv2.COLORMAP_TURBO)[:, 0, ::-1],
    np.uint8,
)
