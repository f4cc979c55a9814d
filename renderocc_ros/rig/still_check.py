"""Which part of an image stays as it is while the robot drives: dirt, or the robot itself."""

from __future__ import annotations

from collections import deque

import cv2
import numpy as np
from numpy.typing import NDArray

from renderocc_ros.geometry import RigidTransform
from renderocc_ros.rig.camera_set import PosedImage

# A cell of a picture whose pixels hardly change from picture to picture, all far apart.
PICTURE_WIDTH, CELL, STILL_GREY, SKY_DEG = 88, 4, 4.0, 5.0
PICTURES_KEPT, MIN_STEP_M = 10, 3.0


class StillCheck:
    """The last images of a camera, small.

    Attributes:
        percent: part of the image below the sky that stays as it is; NaN before enough were taken.
    """

    def __init__(self) -> None:
        self.percent = float("nan")
        self._pictures: deque[NDArray[np.float32]] = deque(maxlen=PICTURES_KEPT)
        self._taken_at: NDArray[np.float64] | None = None

    def add(self, image: PosedImage, odom_from_camera: RigidTransform) -> None:
        """Take the next image, if it is far enough from the last one."""
        at = odom_from_camera.translation
        if self._taken_at is not None and np.linalg.norm(at - self._taken_at) < MIN_STEP_M:
            return
        rows = round(PICTURE_WIDTH * image.model.height / image.model.width / CELL)
        rows = min(max(rows, 1), PICTURE_WIDTH)
        size, cells = (PICTURE_WIDTH, CELL * rows), (PICTURE_WIDTH // CELL, rows)
        small = cv2.resize(image.pixels, size, interpolation=cv2.INTER_AREA)
        picture = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.float32)
        if self._pictures and self._pictures[-1].shape != picture.shape:
            self._pictures.clear()
        self._pictures.append(picture)
        self._taken_at, self.percent = at, float("nan")
        if len(self._pictures) == PICTURES_KEPT:
            change = np.std(self._pictures, axis=0)
            change = cv2.resize(change, cells, interpolation=cv2.INTER_AREA)
            rays = image.model.resized(*cells).pixel_rays() @ image.ego_from_camera.rotation.T
            below_sky = rays[..., 2] < np.sin(np.deg2rad(SKY_DEG))  # false where it has no ray
            if below_sky.any():
                self.percent = float(100 * (change[below_sky] < STILL_GREY).mean())
