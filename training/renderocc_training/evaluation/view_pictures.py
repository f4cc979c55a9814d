"""Rendered views as pictures: depth in a perceptually even palette, classes in their colours."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from renderocc_ros.class_set import IGNORE_ID, ClassSet
from renderocc_ros.rendering.camera_view import CameraView

FAR_M = 60.0
NOTHING = (26, 29, 33)


def depth_picture(view: CameraView) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 RGB: near is bright; dark where the ray meets nothing in the grid."""
    share = 1 - np.log1p(np.clip(view.range_m, 0, FAR_M)) / np.log1p(FAR_M)
    grey = (255 * np.clip(1.4 * share, 0, 1)).astype(np.uint8)
    picture = cv2.cvtColor(cv2.applyColorMap(grey, cv2.COLORMAP_VIRIDIS), cv2.COLOR_BGR2RGB)
    nothing = view.range_m >= view.far_m - 1e-3
    return np.where(nothing[..., None], np.array(NOTHING, np.uint8), picture).astype(np.uint8)


def class_picture(view: CameraView, class_set: ClassSet) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 RGB: the class's colour; dark where the ray meets nothing."""
    palette = class_set.colours.copy()
    palette[IGNORE_ID] = NOTHING
    return palette[view.labels]
