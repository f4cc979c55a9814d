"""From counts to the scores that people compare."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from renderocc_ros.class_set import ClassSet
from renderocc_training.evaluation.frame_counts import RING_EDGES_M, FrameCounts
from renderocc_training.evaluation.view_scores import depth_scores
from renderocc_training.evaluation.voxel_scores import (
    Counts,
    VoxelScores,
    moving_and_static,
    voxel_scores,
)

PERCENTILES = (50, 90, 95, 99)


def frame_scores(counts: FrameCounts) -> dict[str, float | None]:
    """Scores of one frame, or of the sum of many."""
    scores: dict[str, float | None] = {}
    if counts.scored:
        voxels = voxel_scores(counts.confusion)
        scores |= {
            "miou": voxels.miou,
            "iou": voxels.iou,
            "precision": voxels.precision,
            "recall": voxels.recall,
            "voxels": voxels.voxels,
        }
    if counts.above[:, 1].any() or counts.above[1].any():
        (_, wrong), (missed, right) = counts.above.tolist()
        scores["iou_above_ground"] = right / (right + wrong + missed)
    if counts.changeable:
        scores["flicker"] = counts.changed / counts.changeable
    if counts.depth.pixels:
        scores["depth_abs_rel"] = depth_scores(counts.depth).abs_rel
    if counts.view_confusion.any():
        scores["view_miou"] = voxel_scores(counts.view_confusion).miou
    return scores


def summarise(counts: FrameCounts, class_set: ClassSet) -> dict[str, Any]:
    """All scores of a sequence: one confusion matrix over all frames, as Occ3D-nuScenes does."""
    confusion = counts.confusion
    voxels = voxel_scores(confusion)
    moving, static = moving_and_static(voxels.class_iou, class_set)
    summary: dict[str, Any] = {
        "scores": {
            **frame_scores(counts),
            "miou_moving": moving,
            "miou_static": static,
            "class_iou": _by_class(voxels, class_set),
            "completion": _completion(voxels),
        },
        "confusion": confusion.tolist(),
        "rings": [
            _ring(near, far, ring)
            for (near, far), ring in zip(pairwise(RING_EDGES_M), counts.rings, strict=True)
        ],
        "calibration": _calibration(counts),
    }
    if counts.depth.pixels or counts.view_confusion.any():
        summary["views"] = _views(counts, class_set)
    return summary


def latency_summary(frames: Sequence[Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """Mean and percentiles of each stage, milliseconds."""
    stages = dict.fromkeys(stage for frame in frames for stage in frame)
    summary = {}
    for stage in stages:
        values = np.array([frame[stage] for frame in frames if stage in frame])
        percentiles = np.percentile(values, PERCENTILES)
        named = {f"p{p}": float(v) for p, v in zip(PERCENTILES, percentiles, strict=True)}
        summary[stage] = {"mean": float(values.mean()), **named}
    return summary


def _by_class(voxels: VoxelScores, class_set: ClassSet) -> dict[str, float]:
    return dict(zip(class_set.names, voxels.class_iou.tolist(), strict=True))


def _completion(voxels: VoxelScores) -> dict[str, float]:
    """The words of SemanticKITTI's scene completion: IoU regardless of class, and mIoU."""
    return {
        "completion_iou": voxels.iou,
        "completion_precision": voxels.precision,
        "completion_recall": voxels.recall,
        "ssc_miou": voxels.miou,
    }


def _ring(near_m: float, far_m: float, confusion: Counts) -> dict[str, float]:
    voxels = voxel_scores(confusion)
    return {
        "from_m": near_m,
        "to_m": far_m,
        "miou": voxels.miou,
        "iou": voxels.iou,
        "precision": voxels.precision,
        "recall": voxels.recall,
        "voxels": voxels.voxels,
    }


def _calibration(counts: FrameCounts) -> dict[str, Any]:
    probability, occupied = counts.reliability.curve()
    return {
        "expected_calibration_error": counts.reliability.expected_calibration_error,
        "probability": probability.tolist(),
        "occupied": occupied.tolist(),
        "voxels": counts.reliability.voxels.tolist(),
    }


def _views(counts: FrameCounts, class_set: ClassSet) -> dict[str, Any]:
    depth = depth_scores(counts.depth)
    voxels = voxel_scores(counts.view_confusion)
    return {
        "depth_abs_rel": depth.abs_rel,
        "depth_rmse_m": depth.rmse_m,
        "depth_rmse_log": depth.rmse_log,
        "depth_delta": list(depth.delta),
        "depth_pixels": depth.pixels,
        "semantic_miou": voxels.miou,
        "class_iou": _by_class(voxels, class_set),
        "class_pixels": voxels.voxels,
    }
