"""What a command needs that runs the node as a process of its own and listens to it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor

from renderocc_ros.paths import share_path

T = TypeVar("T")
STOP_S = 5.0


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
    """A process that never outlives this block; its words go to stderr."""
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
