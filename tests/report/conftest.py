"""Results whose every number is known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from renderocc_ros.class_set import ClassSet
from renderocc_ros.geometry import VoxelGrid
from renderocc_ros.occupancy.occ3d_files import Occ3dTruth
from renderocc_ros.occupancy.semantic_occupancy import SemanticOccupancy
from renderocc_training.evaluation.frame_counts import FrameCounter, FrameCounts
from renderocc_training.evaluation.results import FrameResult, ResultsWriter
from renderocc_training.evaluation.summary import frame_scores, latency_summary, summarise

GRID = VoxelGrid((-10.0, -8.0, -1.0), 1.0, (20, 16, 4))
ROAD, CAR, FREE = 11, 4, 17
CAMERAS = ("LEFT", "RIGHT")


def true_labels(frame: int) -> np.ndarray:
    """A road with a car ahead; it drives on by a cell a frame."""
    labels = np.full(GRID.size, FREE, np.uint8)
    labels[:, 4:12, 0] = ROAD
    labels[14 + frame : 17 + frame, 7:9, 1:3] = CAR
    return labels


def write_results(
    folder: Path, occ3d: ClassSet, spoiled: dict[int, int], frames: int = 3, **changes: Any
) -> Path:
    """An evaluation; of frame f the last ``spoiled[f]`` rows of road are missing."""
    writer = ResultsWriter(folder, keep_predictions=True, keep_images=True)
    total, results, confusions = FrameCounts.none(len(occ3d)), [], {}
    for frame in range(frames):
        true = true_labels(frame % 3)
        predicted = true.copy()
        predicted[: spoiled.get(frame, 0), :, 0] = FREE
        confidence = np.where(predicted < FREE, 230, 20).astype(np.uint8)
        occupancy = SemanticOccupancy(1000 + frame, GRID, occ3d, predicted, confidence)
        seen = np.ones(true.shape, bool)
        truth = Occ3dTruth(true, seen, seen)
        counts = FrameCounter("camera").count(occupancy, truth, None)
        total, token = total + counts, f"drive_{1000 + frame}"
        confusions[token] = counts.voxels
        latency = {"total": 20.0 + frame}
        results.append(
            FrameResult(token, "drive", 1000 + frame, (), latency, "", frame_scores(counts, occ3d))
        )
        images = {
            name: np.full((40, 80, 3), 60 * (place + 1) + frame % 3, np.uint8)
            for place, name in enumerate(CAMERAS)
        }
        writer.add(token, occupancy, truth, images)
    content = {
        "name": folder.name,
        "model": {
            "network": "nano",
            "file": "",
            "sha256": "",
            "device": "cpu",
            "threshold": 0.5,
        },
        "recordings": ["drive"],
        "rig": "two",
        "cameras": list(CAMERAS),
        "mask": "camera",
        "frames_evaluated": frames,
        "frames_scored": frames,
        **summarise(total, occ3d),
        "latency_ms": latency_summary([result.latency_ms for result in results]),
        "skipped": [{"what": "images of LEFT", "why": "<late>", "count": 7}],
        "problems": [],
        **changes,
    }
    writer.finish(content, occ3d, GRID, results, confusions)
    return folder


@pytest.fixture
def before(tmp_path: Path, occ3d: ClassSet) -> Path:
    return write_results(tmp_path / "before", occ3d, {0: 2, 1: 10, 2: 4})


@pytest.fixture
def after(tmp_path: Path, occ3d: ClassSet) -> Path:
    return write_results(tmp_path / "after", occ3d, {1: 2})
