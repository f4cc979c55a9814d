"""From counts to the scores that people compare."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from renderocc_ros.class_set import ClassSet
from renderocc_training.evaluation.frame_counts import RING_EDGES_M, FrameCounts
from renderocc_training.evaluation.view_scores import depth_scores
from renderocc_training.evaluation.voxel_counts import (
    VoxelCounts,
    constant_class_miou,
    constant_scores,
    occupancy_scores,
)
from renderocc_training.evaluation.voxel_scores import voxel_scores

PERCENTILES = (50, 90, 95, 99)


def frame_scores(counts: FrameCounts, class_set: ClassSet) -> dict[str, float | None]:
    """Scores of one frame, or of the sum of many."""
    scores: dict[str, float | None] = {}
    if counts.scored:
        scores |= occupancy_scores(counts.voxels, class_set)
        del scores["class_iou"]
        scores["voxels"] = int(counts.rings.confusion.sum())
    if counts.changeable:
        scores["flicker"] = counts.changed / counts.changeable
    if counts.depth.pixels:
        scores["depth_abs_rel"] = depth_scores(counts.depth).abs_rel
    if counts.view_confusion.any():
        scores["view_miou"] = voxel_scores(counts.view_confusion).miou
    return scores


def summarise(counts: FrameCounts, class_set: ClassSet) -> dict[str, Any]:
    """All scores of a sequence: one confusion matrix over all frames, as Occ3D-nuScenes does."""
    whole = counts.voxels
    scores = occupancy_scores(whole, class_set)
    summary: dict[str, Any] = {
        "scores": {
            **frame_scores(counts, class_set),
            "class_iou": scores["class_iou"],
            "best_constant": constant_scores(whole, class_set),
            "completion": _completion(scores),
        },
        "confusion": whole.confusion.tolist(),
        "rings": [
            _ring(near, far, ring, class_set)
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


def _completion(scores: Mapping[str, float]) -> dict[str, float]:
    """The words of SemanticKITTI's scene completion: IoU regardless of class, and mIoU."""
    return {
        **{f"completion_{name}": scores[name] for name in ("iou", "precision", "recall")},
        "ssc_miou": scores["miou"],
    }


def _ring(near_m: float, far_m: float, counts: VoxelCounts, class_set: ClassSet) -> dict[str, Any]:
    scores, constant = (
        {name: value for name, value in each(counts, class_set).items() if name != "class_iou"}
        for each in (occupancy_scores, constant_scores)
    )
    voxels = int(counts.confusion.sum())
    return {
        "from_m": near_m,
        "to_m": far_m,
        **scores,
        "voxels": voxels,
        "best_constant": constant,
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
        "best_constant_miou": constant_class_miou(counts.view_confusion),
        "class_iou": dict(zip(class_set.names, voxels.class_iou.tolist(), strict=True)),
        "class_pixels": voxels.voxels,
    }
