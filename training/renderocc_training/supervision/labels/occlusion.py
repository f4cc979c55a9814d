"""Which LiDAR points a camera really sees.

A LiDAR on the roof looks over a car at the road behind it; a camera below sees the car. Projected,
the road's points shine through between those of the car. Such a point has nearer ones all around:
above and below, on the left and on the right. A point of a surface that runs away from the camera
has not, however steeply it runs, since on one side everything is farther away.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from renderocc_ros.geometry import CameraModel

NEARER_SHARE, NEARER_M = 0.02, 0.15  # how much nearer an occluder is at least
CELL_DEG = 0.1
MAX_CELLS = 4096  # along either edge of the image


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
    size = np.array([model.width, model.height])
    focal = model.intrinsics[[0, 1], [0, 1]]
    cell_px = np.maximum(np.deg2rad(CELL_DEG) * focal, size / MAX_CELLS)
    across, down = np.maximum(np.ceil(np.deg2rad(gap_deg) * focal / cell_px), 1).astype(int)
    columns, rows = np.ceil(size / cell_px).astype(int)
    column, row = ((pixels + 0.5) / cell_px).astype(int).T
    column, row = np.clip(column, 0, columns - 1), np.clip(row, 0, rows - 1)
    nearest = np.full((rows, columns), np.inf, dtype=np.float32)
    np.minimum.at(nearest, (row, column), range_m.astype(np.float32))
    # The farthest of the nearest points in the four quarters around each cell.
    around = np.zeros_like(nearest)
    for turn in (np.s_[:, :], np.s_[:, ::-1], np.s_[::-1, :], np.s_[::-1, ::-1]):
        np.maximum(around, _above_left(nearest[turn], across, down)[turn], out=around)
    return np.asarray(around[row, column] > range_m * (1 - NEARER_SHARE) - NEARER_M)


def _above_left(nearest: NDArray[np.float32], across: int, down: int) -> NDArray[np.float32]:
    """For each cell the smallest value in the ``down`` rows above and ``across`` columns left."""
    padded = cv2.copyMakeBorder(
        np.ascontiguousarray(nearest), down, 0, across, 0, cv2.BORDER_CONSTANT, value=np.inf
    )
    window = np.ones((down, across), np.uint8)
    smallest = cv2.erode(padded, window, anchor=(across - 1, down - 1))  # up to the cell itself
    return np.asarray(smallest[down - 1 : -1, across - 1 : -1], dtype=np.float32)
