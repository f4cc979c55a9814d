"""The node as a process of its own: started, run on a recording, and listened to."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rich.console import Console

from renderocc_ros.paths import share_path

T = TypeVar("T")
NODE = "/renderocc"
START_S, SETTLE_S, STOP_S = 180.0, 60.0, 5.0


class NodeStatus:
    """The diagnostics of the node, as they come.

    Args:
        node: an rclpy node of its own, spun by the caller.

    Attributes:
        parts: the last status of each part.
        complaints: what was last wrong with a part, of those with which anything was.
        reports: how many came.
        changed: notified with each.
    """

    def __init__(self, node: Any) -> None:
        self.parts: dict[str, DiagnosticStatus] = {}
        self.complaints: dict[str, str] = {}
        self.reports = 0
        self.changed = threading.Condition()
        node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)

    def values(self, part: str) -> dict[str, str]:
        """The last values of a part: "state", "latency" …"""
        status = self.parts.get(part)
        return {} if status is None else {pair.key: pair.value for pair in status.values}

    def description(self) -> str:
        """All counts and all that was wrong."""
        counts = [f"{key} {value}" for key, value in self.values("state").items()]
        wrong = [f"{part}: {text}" for part, text in self.complaints.items()]
        return "; ".join(counts + wrong) or "nothing came on /diagnostics"

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        named = ((*status.name.partition(": "), status) for status in message.status)
        parts = {part: status for node, _, part, status in named if node == NODE.lstrip("/")}
        if not parts:
            return
        with self.changed:
            self.parts = parts
            self.complaints |= {
                part: status.message
                for part, status in parts.items()
                if status.level != DiagnosticStatus.OK
            }
            self.reports += 1
            self.changed.notify_all()


def run_on_bag(
    bag: Path,
    parameters: Mapping[str, str],
    status: NodeStatus,
    console: Console,
    *,
    play_options: Sequence[str] = (),
    seconds: float | None = None,
    received: Callable[[], int] | None = None,
) -> None:
    """Start the node, play a recording to its end, let the node finish, stop it.

    Args:
        parameters: of the node.
        play_options: of ``renderocc play``.
        seconds: stop playing after so long.
        received: number of results that came; waited for until it is that of all published.

    Raises:
        ValueError: node or player failed; says which and why.
    """
    command = [sys.executable, "-m", "renderocc_ros.node.occupancy_node", "--ros-args"]
    for name, value in parameters.items():
        command += ["-p", f"{name}:={value}"]
    with child_process(command) as node:
        console.print("starting the node …")

        def active() -> bool:
            return status.values("state").get("lifecycle") == "active"

        _await(status, active, START_S, node, "the node did not become active")
        console.print(f"playing {bag} …", soft_wrap=True)
        _play(bag, play_options, seconds)
        at_rest = _AtRest(status, received or (lambda: sys.maxsize))
        _await(status, at_rest, SETTLE_S, node, "the node did not come to rest")


def _play(bag: Path, options: Sequence[str], seconds: float | None) -> None:
    command = [sys.executable, "-m", "renderocc_ros.cli", "play", str(bag)]
    with child_process([*command, "--wait-for-subscribers", *options]) as player:
        try:
            code = player.wait(seconds)
        except subprocess.TimeoutExpired:
            player.send_signal(signal.SIGINT)
            code = player.wait(STOP_S)
            code = 0 if code == 130 else code
    if code:
        raise ValueError(f"the player ended with status {code}; its messages are above")


class _AtRest:
    """Whether the node's counts are the same in three reports, and all that it sent has come."""

    def __init__(self, status: NodeStatus, received: Callable[[], int]) -> None:
        self._status, self._received = status, received
        self._seen: list[dict[str, str]] = []
        self._reports = status.reports

    def __call__(self) -> bool:
        if self._status.reports != self._reports:
            self._reports = self._status.reports
            self._seen = [*self._seen, self._status.values("state")][-3:]
        if len(self._seen) < 3 or any(counts != self._seen[0] for counts in self._seen):
            return False
        return self._received() >= int(self._seen[0].get("sets_published", 0))


def _await(
    status: NodeStatus,
    condition: Callable[[], bool],
    timeout_s: float,
    node: subprocess.Popen[bytes],
    complaint: str,
) -> None:
    deadline_s = time.monotonic() + timeout_s
    with status.changed:
        while not condition():
            status.changed.wait(0.2)
            if node.poll() is not None:
                raise ValueError(f"the node ended with status {node.returncode}; see above")
            if (failure := status.complaints.get("lifecycle")) is not None:
                raise ValueError(f"{complaint}: {failure}")
            if time.monotonic() > deadline_s:
                raise ValueError(f"{complaint} within {timeout_s:.0f} s: {status.description()}")


@contextmanager
def spinning(name: str, listen: Callable[[Any], T]) -> Iterator[T]:
    """What ``listen`` makes of a ROS node, which then spins in a thread of its own."""
    rclpy.init(args=[])
    node = rclpy.create_node(name)
    listener = listen(node)
    executor = SingleThreadedExecutor()
    executor.add_node(node)

    def spin() -> None:
        with suppress(ExternalShutdownException):
            executor.spin()

    thread = threading.Thread(target=spin, daemon=True)
    thread.start()
    try:
        yield listener
    finally:
        executor.shutdown()
        thread.join(STOP_S)
        node.destroy_node()
        rclpy.try_shutdown()


@contextmanager
def child_process(command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    """A process that never outlives this block; it prints to stderr."""
    process = subprocess.Popen(command, stdout=sys.stderr)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def stay_on_this_machine() -> None:
    """Fast DDS on loopback, unless the user has chosen a profile."""
    before_fast_dds_3 = os.environ.get("ROS_DISTRO") in ("humble", "iron", "jazzy")
    prefix = "FASTRTPS" if before_fast_dds_3 else "FASTDDS"
    profile = str(share_path("config", "fastdds_loopback.xml"))
    os.environ.setdefault(f"{prefix}_DEFAULT_PROFILES_FILE", profile)
