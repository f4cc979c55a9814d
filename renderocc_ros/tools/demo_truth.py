"""What was published beside what was true, for recordings that carry their truth."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from rclpy.qos import QoSProfile, ReliabilityPolicy

from renderocc_ros.geometry import VoxelGrid
from renderocc_ros.msg import SemanticOccupancy
from renderocc_ros.occupancy.from_messages import grid_of
from renderocc_ros.occupancy.messages import to_stamp_ns

TRUTH_TOPIC = "/ground_truth/occupancy"


class TruthWatch:
    """Writes a node's grids, and the truth of the same stamps, as files in Occ3D's form.

    Args:
        node: an rclpy node of its own, spun by the caller.
        watched: full name of the watched node.
        folder: takes ``predictions/<stamp>.npz`` and ``truth/<stamp>/labels.npz``.
    """

    def __init__(self, node: Any, watched: str, folder: Path) -> None:
        self._predictions, self._truth = folder / "predictions", folder / "truth"
        self._predictions.mkdir(parents=True)
        self._truth.mkdir()
        self._grids: dict[str, VoxelGrid] = {}
        self._class_table = ""
        reliable = QoSProfile(depth=50, reliability=ReliabilityPolicy.RELIABLE)
        for topic, take in (
            (f"{watched}/occupancy", self._take_prediction),
            (TRUTH_TOPIC, self._take_truth),
        ):
            node.create_subscription(SemanticOccupancy, topic, take, reliable)

    def score(self) -> dict[str, Any] | None:
        """Scores of ``renderocc-train score``, or why there are none; None without truth."""
        if not any(self._truth.iterdir()):
            return None
        if len(set(self._grids.values())) > 1:
            return {"not_scored": f"the grids differ: {self._grids}"}
        voxel_m = str(self._grids["truth"].resolution_m)
        done = subprocess.run(
            [
                *(sys.executable, "-m", "renderocc_training.cli", "score"),
                *(str(self._predictions), str(self._truth), "--json", "--partial"),
                *("--voxel-m", voxel_m, "--class-set", self._class_table),
            ],
            capture_output=True,
            text=True,
        )
        if done.returncode:
            return {"not_scored": done.stderr.strip()}
        scores: dict[str, Any] = json.loads(done.stdout)
        return scores

    def _take_prediction(self, message: SemanticOccupancy) -> None:
        labels = self._labels("prediction", message)
        np.savez(self._predictions / f"{to_stamp_ns(message.header.stamp)}.npz", labels)

    def _take_truth(self, message: SemanticOccupancy) -> None:
        labels = self._labels("truth", message)
        self._class_table = message.class_table
        observed = np.frombuffer(message.observed, np.uint8)
        seen = observed.reshape(labels.shape) if observed.size else np.ones_like(labels)
        folder = self._truth / str(to_stamp_ns(message.header.stamp))
        folder.mkdir(exist_ok=True)
        np.savez(folder / "labels.npz", semantics=labels, mask_camera=seen, mask_lidar=seen)

    def _labels(self, whose: str, message: SemanticOccupancy) -> Any:
        self._grids[whose] = grid_of(message)
        return np.frombuffer(message.labels, np.uint8).reshape(self._grids[whose].size)
