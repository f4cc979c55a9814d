"""The real node on a recording: both as processes of their own, over DDS, on this machine."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.qos import QoSProfile, ReliabilityPolicy
from renderocc_ros.msg import SemanticOccupancy
from rich.console import Console

from renderocc_ros.class_set import ClassSet
from renderocc_ros.occupancy.messages import from_occupancy_message
from renderocc_ros.tools.live_processes import child_process, spinning, stay_on_this_machine
from renderocc_training.evaluation.results import write_prediction

NODE = "/renderocc"
START_S, SETTLE_S = 180.0, 60.0


class LiveRecorder:
    """Keeps every occupancy that a node publishes, as FOLDER/STAMP_NS.npz.

    Attributes:
        cameras: names of those whose images went in, by the stamp of each set that came.
        state: the values of the node's own diagnostics.
        complaints: what they say is wrong, by part.
        reports: how many diagnostics came.
        changed: notified with each.
    """

    def __init__(self, node: Any, folder: Path, class_set: ClassSet) -> None:
        self.cameras: dict[int, tuple[str, ...]] = {}
        self.reports = 0
        self.state: dict[str, str] = {}
        self.complaints: dict[str, str] = {}
        self.changed = threading.Condition()
        self._folder, self._class_set = folder, class_set
        reliable = QoSProfile(depth=50, reliability=ReliabilityPolicy.RELIABLE)
        node.create_subscription(SemanticOccupancy, f"{NODE}/occupancy", self._keep, reliable)
        node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)

    def _keep(self, message: SemanticOccupancy) -> None:
        occupancy = from_occupancy_message(message, self._class_set)
        write_prediction(self._folder / f"{occupancy.stamp_ns}.npz", occupancy)
        with self.changed:
            self.cameras[occupancy.stamp_ns] = tuple(message.cameras_used)
            self.changed.notify_all()

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            name, _, part = status.name.partition(": ")
            if name != NODE:
                continue
            if status.level != DiagnosticStatus.OK:
                self.complaints[part] = status.message
            if part == "state":
                with self.changed:
                    self.state = {pair.key: pair.value for pair in status.values}
                    self.reports += 1
                    self.changed.notify_all()


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
    folder.mkdir(parents=True, exist_ok=True)
    node_command = [sys.executable, "-m", "renderocc_ros.node.occupancy_node", "--ros-args"]
    for key, value in parameters.items():
        node_command += ["-p", f"{key}:={value}"]
    player_command = [sys.executable, "-m", "renderocc_ros.cli", "play", str(bag)]
    player_command += ["--rate", str(rate), "--wait-for-subscribers"]
    with (
        spinning(
            "renderocc_evaluation", lambda node: LiveRecorder(node, folder, class_set)
        ) as recorder,
        child_process(node_command) as node,
    ):
        console.print("starting the node …")
        _await(
            recorder,
            lambda: recorder.state.get("lifecycle") == "active",
            START_S,
            node,
            "the node did not become active",
        )
        console.print(f"playing {bag} …", soft_wrap=True)
        with child_process(player_command) as player:
            status = player.wait()
        if status:
            raise ValueError(f"the player ended with status {status}; its words are above")
        _settle(recorder, node)
        if not recorder.cameras:
            said = [f"{key} {value}" for key, value in recorder.state.items()]
            said += [f"{part}: {text}" for part, text in recorder.complaints.items()]
            raise ValueError(f"the node published nothing; in its own words: {'; '.join(said)}")
        return recorder.cameras


def _settle(recorder: LiveRecorder, node: subprocess.Popen[bytes]) -> None:
    """Until the node's own counts stand still over three reports and all it sent has come."""
    seen: list[dict[str, str]] = []
    count = -1

    def still() -> bool:
        nonlocal count
        if recorder.reports != count:
            count = recorder.reports
            seen.append(dict(recorder.state))
        if len(seen) < 4 or not seen[-1] == seen[-2] == seen[-3]:
            return False
        return len(recorder.cameras) >= int(seen[-1].get("sets_published", 0))

    _await(recorder, still, SETTLE_S, node, "the node did not come to rest")


def _await(
    recorder: LiveRecorder,
    condition: Callable[[], bool],
    timeout_s: float,
    node: subprocess.Popen[bytes],
    complaint: str,
) -> None:
    deadline_s = time.monotonic() + timeout_s
    with recorder.changed:
        while not condition():
            recorder.changed.wait(0.2)
            if node.poll() is not None:
                raise ValueError(f"the node ended with status {node.returncode}; see above")
            if (failure := recorder.complaints.get("lifecycle")) is not None:
                raise ValueError(f"{complaint}: {failure}")
            if time.monotonic() > deadline_s:
                raise ValueError(f"{complaint} within {timeout_s:.0f} s: {recorder.state}")
