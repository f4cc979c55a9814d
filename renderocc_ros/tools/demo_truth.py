"""What was published beside what was true, for recordings that carry their truth."""

from __future__ import annotations

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

    Attributes:
        predictions, truth: the two folders.
        grids: of the last "prediction" and the last "truth".
        class_table: of the last truth; empty while there was none.
    """

    def __init__(self, node: Any, watched: str, folder: Path) -> None:
        self.predictions, self.truth = folder / "predictions", folder / "truth"
        self.predictions.mkdir(parents=True)
        self.truth.mkdir()
        self.grids: dict[str, VoxelGrid] = {}
        self.class_table = ""
        reliable = QoSProfile(depth=50, reliability=ReliabilityPolicy.RELIABLE)
        for topic, take in (
            (f"{watched}/occupancy", self._take_prediction),
            (TRUTH_TOPIC, self._take_truth),
        ):
            node.create_subscription(SemanticOccupancy, topic, take, reliable)

    def _take_prediction(self, message: SemanticOccupancy) -> None:
        labels = self._labels("prediction", message)
        np.savez(self.predictions / f"{to_stamp_ns(message.header.stamp)}.npz", labels)

    def _take_truth(self, message: SemanticOccupancy) -> None:
        labels = self._labels("truth", message)
        self.class_table = message.class_table
        observed = np.frombuffer(message.observed, np.uint8)
        seen = observed.reshape(labels.shape) if observed.size else np.ones_like(labels)
        folder = self.truth / str(to_stamp_ns(message.header.stamp))
        folder.mkdir(exist_ok=True)
        np.savez(folder / "labels.npz", semantics=labels, mask_camera=seen, mask_lidar=seen)

    def _labels(self, whose: str, message: SemanticOccupancy) -> Any:
        self.grids[whose] = grid_of(message)
        return np.frombuffer(message.labels, np.uint8).reshape(self.grids[whose].size)
