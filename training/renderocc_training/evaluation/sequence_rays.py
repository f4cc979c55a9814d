"""RayIoU of an evaluation: a second pass, since rays start where the LiDAR is in later frames."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from renderocc_ros.class_set import ClassSet
from renderocc_ros.geometry import RigidTransform, VoxelGrid
from renderocc_ros.occupancy.occ3d_files import read_prediction, read_truth
from renderocc_training.evaluation.ray_scores import (
    THRESHOLDS_M,
    RayCounts,
    choose_origins,
    count_rays,
    ray_scores,
)


def sequence_ray_scores(
    folder: Path,
    poses: Mapping[str, Mapping[str, RigidTransform]],
    grid: VoxelGrid,
    class_set: ClassSet,
    lidar_m: ArrayLike,
) -> dict[str, Any]:
    """RayIoU of all frames whose prediction and truth lie in a results folder.

    Args:
        poses: sequence to token to odom_from_ego.
        lidar_m: (3,) the LiDAR in the ego frame, metres.

    Returns:
        ``ray_iou``, ``at_m``, ``class_iou`` (mean over the thresholds) and the number of samples.
    """
    count = len(class_set)
    total = RayCounts(
        np.zeros(count, np.int64),
        np.zeros(count, np.int64),
        np.zeros((len(THRESHOLDS_M), count), np.int64),
    )
    samples = 0
    for sequence in poses.values():
        lidar_in_odom = np.array([pose.apply(np.asarray(lidar_m)) for pose in sequence.values()])
        for token, odom_from_ego in sequence.items():
            truth = folder / "truth" / token / "labels.npz"
            if not truth.is_file():
                continue
            origins = choose_origins(odom_from_ego.inverse().apply(lidar_in_odom))
            predicted = read_prediction(folder / "predictions" / f"{token}.npz")
            labels = read_truth(truth).labels
            total = total + count_rays(labels, predicted, grid, class_set, origins)
            samples += 1
    scores = ray_scores(total)
    at_m = {
        f"{limit:g}": float(v) for limit, v in zip(THRESHOLDS_M, scores.at_threshold, strict=True)
    }
    by_class = dict(zip(class_set.names, scores.class_iou.mean(axis=0).tolist(), strict=True))
    return {
        "ray_iou": scores.ray_iou,
        "at_m": at_m,
        "class_iou": by_class,
        "samples": samples,
    }
