"""What was published beside what was true, for recordings that carry their truth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rclpy.qos import QoSProfile, ReliabilityPolicy

from renderocc_ros.config import load_class_set
from renderocc_ros.geometry import VoxelGrid
from renderocc_ros.msg import SemanticOccupancy
from renderocc_ros.occupancy.messages import grid_of, occupancy_of, stamp_ns_of, truth_of
from renderocc_ros.occupancy.occ3d_files import write_prediction, write_truth

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
        self.grids: dict[str, VoxelGrid] = {}
        self.class_table = ""
        reliable = QoSProfile(depth=50, reliability=ReliabilityPolicy.RELIABLE)
        for topic, take in (
            (f"{watched}/occupancy", self._take_prediction),
            (TRUTH_TOPIC, self._take_truth),
        ):
            node.create_subscription(SemanticOccupancy, topic, take, reliable)

    def _take_prediction(self, message: SemanticOccupancy) -> None:
        self.grids["prediction"] = grid_of(message)
        occupancy = occupancy_of(message, load_class_set(message.class_table))
        write_prediction(self.predictions / f"{occupancy.stamp_ns}.npz", occupancy)

    def _take_truth(self, message: SemanticOccupancy) -> None:
        self.grids["truth"], self.class_table = grid_of(message), message.class_table
        folder = self.truth / str(stamp_ns_of(message.header.stamp))
        write_truth(folder / "labels.npz", truth_of(message))
