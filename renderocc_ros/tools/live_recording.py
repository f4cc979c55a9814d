"""What the real node publishes of a recording, as files; over DDS, on this machine."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rclpy.qos import QoSProfile, ReliabilityPolicy
from rich.console import Console

from renderocc_ros.class_set import ClassSet
from renderocc_ros.msg import SemanticOccupancy
from renderocc_ros.occupancy.messages import occupancy_of
from renderocc_ros.occupancy.occ3d_files import write_prediction
from renderocc_ros.tools.live_node import (
    NODE,
    NodeStatus,
    run_on_bag,
    spinning,
    stay_on_this_machine,
)


class _Recorder:
    """Keeps every occupancy that the node publishes, as FOLDER/STAMP_NS.npz.

    Attributes:
        cameras: names of those whose images went in, by the stamp of each set that came.
        status: the node's diagnostics.
    """

    def __init__(self, node: Any, folder: Path, class_set: ClassSet) -> None:
        self.cameras: dict[int, tuple[str, ...]] = {}
        self.status = NodeStatus(node)
        self._folder, self._class_set = folder, class_set
        reliable = QoSProfile(depth=50, reliability=ReliabilityPolicy.RELIABLE)
        node.create_subscription(SemanticOccupancy, f"{NODE}/occupancy", self._keep, reliable)

    def _keep(self, message: SemanticOccupancy) -> None:
        occupancy = occupancy_of(message, self._class_set)
        write_prediction(self._folder / f"{occupancy.stamp_ns}.npz", occupancy)
        self.cameras[occupancy.stamp_ns] = tuple(message.cameras_used)


def record_live(
    bag: Path,
    parameters: Mapping[str, str],
    folder: Path,
    class_set: ClassSet,
    rate: float,
    console: Console,
) -> dict[int, tuple[str, ...]]:
    """Play a bag through the node and keep what it publishes.

    Args:
        parameters: of the node.
        folder: gets one .npz per published set.
        rate: 1 is the recording's own pace.

    Returns:
        names of the cameras that went into each published set, by its stamp.

    Raises:
        ValueError: node or player failed, or nothing was published; says which and why.
    """
    stay_on_this_machine()
    with spinning("renderocc_evaluation", lambda node: _Recorder(node, folder, class_set)) as kept:
        run_on_bag(
            bag,
            parameters,
            kept.status,
            console,
            play_options=("--rate", str(rate)),
            received=lambda: len(kept.cameras),
        )
    if not kept.cameras:
        raise ValueError(f"the node published nothing; it says: {kept.status.description()}")
    return kept.cameras
