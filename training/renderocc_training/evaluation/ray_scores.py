"""RayIoU: what a LiDAR would meet in the predicted voxels and in the true ones (SparseOcc, 2024).

A ray answers with the class of the first occupied voxel and the distance at which it leaves that
voxel, as the authors' code measures it; both sides are measured alike, so the choice cancels but
for voxels of the two sides that differ.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from renderocc_ros.class_set import OCCUPIED_ID, ClassSet
from renderocc_ros.geometry import VoxelGrid
from renderocc_ros.geometry.voxel_traversal import first_hits

THRESHOLDS_M = (1.0, 2.0, 4.0)
MAX_ORIGINS = 8
ORIGIN_LIMIT_M = 39.0
HIGHEST_PITCH_RAD = 0.21


@dataclass(frozen=True, eq=False)
class RayCounts:
    """Counts that add up over samples.

    Attributes:
        truth, predicted: (C,) rays that meet each class.
        hits: (3, C) rays with the right class and a distance within each threshold.
    """

    truth: NDArray[np.int64]
    predicted: NDArray[np.int64]
    hits: NDArray[np.int64]

    def __add__(self, other: RayCounts) -> RayCounts:
        return RayCounts(
            self.truth + other.truth, self.predicted + other.predicted, self.hits + other.hits
        )


@dataclass(frozen=True)
class RayScores:
    """RayIoU of a data set: (3, C) per threshold and class, (3,) per threshold, and the mean."""

    class_iou: NDArray[np.float64]
    at_threshold: NDArray[np.float64]
    ray_iou: float


def lidar_directions() -> NDArray[np.float64]:
    """(R, 3) unit directions: 360 azimuths by the pitches of the metric.

    Pitches are −(π/2 − atan k) for k = 1 … 10, then go on by the last increment until one reaches
    0.21 rad.
    """
    pitches = [-(np.pi / 2 - np.arctan(k)) for k in range(1, 11)]
    while pitches[-1] < HIGHEST_PITCH_RAD:
        pitches.append(2 * pitches[-1] - pitches[-2])
    pitch, azimuth = np.meshgrid(pitches, np.deg2rad(np.arange(360)), indexing="ij")
    directions = [np.cos(pitch) * np.cos(azimuth), np.cos(pitch) * np.sin(azimuth), np.sin(pitch)]
    return np.asarray(np.stack(directions, axis=-1).reshape(-1, 3))


def choose_origins(lidar_positions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Up to 8 ray origins, evenly drawn from a sequence's LiDAR positions.

    Args:
        lidar_positions: (F, 3) metres, the LiDAR of every frame in the current ego frame.

    Returns:
        (≤ 8, 3): those with |x|, |y| < 39 m, thinned to 8 in their order.
    """
    near = lidar_positions[(np.abs(lidar_positions[:, :2]) < ORIGIN_LIMIT_M).all(axis=1)]
    if len(near) > MAX_ORIGINS:
        near = near[np.round(np.linspace(0, len(near) - 1, MAX_ORIGINS)).astype(int)]
    return np.asarray(near)


def count_rays(
    truth: NDArray[np.uint8],
    predicted: NDArray[np.uint8],
    grid: VoxelGrid,
    class_set: ClassSet,
    origins: NDArray[np.float64],
) -> RayCounts:
    """Cast the metric's rays from each origin through both volumes; rays that miss truth drop out.

    Args:
        truth, predicted: (X, Y, Z) labels; free is ``class_set.free_id``. Truth may hold
            ``OCCUPIED_ID``.
        origins: (F, 3) metres in the ego frame.
    """
    directions = lidar_directions()
    starts = np.repeat(origins, len(directions), axis=0)
    rays = np.tile(directions, (len(origins), 1))
    true_class, true_m = _answers(truth, grid, class_set, starts, rays)
    class_, at_m = _answers(predicted, grid, class_set, starts, rays)
    counted = true_class < class_set.free_id  # what has no class cannot be told right or wrong
    true_class, class_ = true_class[counted], class_[counted]
    error_m = np.abs(at_m - true_m)[counted]
    count = len(class_set)
    agree = true_class == class_
    hits = [
        np.bincount(true_class[agree & (error_m < limit)], minlength=count)
        for limit in THRESHOLDS_M
    ]
    return RayCounts(
        truth=np.bincount(true_class, minlength=count),
        predicted=np.bincount(class_, minlength=count + 1)[:count],
        hits=np.stack(hits),
    )


def ray_scores(counts: RayCounts) -> RayScores:
    """IoU_c = hits / (truth + predicted − hits); classes that never occur leave the mean."""
    with np.errstate(invalid="ignore"):
        class_iou = counts.hits / (counts.truth + counts.predicted - counts.hits)
    seen = np.isfinite(class_iou).any(axis=0)
    if not seen.any():
        return RayScores(class_iou, np.full(len(THRESHOLDS_M), np.nan), float("nan"))
    at_threshold = np.nanmean(class_iou[:, seen], axis=1)
    return RayScores(class_iou, at_threshold, float(at_threshold.mean()))


def _answers(
    labels: NDArray[np.uint8],
    grid: VoxelGrid,
    class_set: ClassSet,
    origins: NDArray[np.float64],
    directions: NDArray[np.float64],
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    hits = first_hits(
        (labels < class_set.free_id) | (labels == OCCUPIED_ID), grid, origins, directions
    )
    x, y, z = hits.cells.T
    answer = np.where(hits.hit, labels[x, y, z].astype(np.int64), class_set.free_id)
    return answer, hits.leave_m
