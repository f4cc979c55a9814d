"""Which LiDAR points a camera really sees.

A LiDAR on the roof looks over a car at the road behind it; a camera below sees the car. Projected,
the road's points shine through between those of the car. Such a point lies between nearer ones:
above and below it, or left and right of it. Ground that runs away from the camera is not such a
case, since what is above a ground point in the image is farther away.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from renderocc_ros.geometry import CameraModel

NEARER_SHARE, NEARER_M = 0.08, 0.4  # how much nearer an occluder is at least
CELL_PX = 4


def visible_points(
    pixels: NDArray[np.float64],
    range_m: NDArray[np.float64],
    model: CameraModel,
    gap_deg: tuple[float, float],
) -> NDArray[np.bool_]:
    """(P,) bool: no nearer surface hides the point.

    Args:
        pixels: (P, 2) inside the image.
        range_m: (P,) distance from the camera.
        gap_deg: largest angles between neighbouring points of one surface, across and down.
    """
    focal = model.intrinsics[[0, 1], [0, 1]]
    across, down = np.maximum(np.ceil(np.deg2rad(gap_deg) * focal / CELL_PX), 1).astype(int)
    shape = (model.height // CELL_PX + 1, model.width // CELL_PX + 1)
    column, row = np.clip(((pixels + 0.5) // CELL_PX).astype(int), 0, np.array(shape[::-1]) - 1).T
    nearest = np.full(shape, np.inf, dtype=np.float32)
    np.minimum.at(nearest, (row, column), range_m.astype(np.float32))
    above, below = _before(nearest, down), _before(nearest[::-1], down)[::-1]
    left, right = _before(nearest.T, across).T, _before(nearest.T[::-1], across)[::-1].T
    occluder = np.minimum(np.maximum(left, right), np.maximum(above, below))
    occluder = np.minimum(occluder, nearest)[row, column]
    return np.asarray(occluder > range_m * (1 - NEARER_SHARE) - NEARER_M)


def _before(nearest: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    """For each cell the smallest value in the ``count`` rows before it, three columns wide."""
    padded = cv2.copyMakeBorder(
        np.ascontiguousarray(nearest), count, 0, 1, 1, cv2.BORDER_CONSTANT, value=np.inf
    )
    window = np.ones((count, 3), np.uint8)
    smallest = cv2.erode(padded, window, anchor=(1, count - 1))  # over the rows up to each one
    return np.asarray(smallest[count - 1 : -1, 1:-1], dtype=np.float32)
