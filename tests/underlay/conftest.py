"""These tests ask for what ROS 2 promises; they run against the underlay or a real ROS 2 alike."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

os.environ.setdefault("ROS_DOMAIN_ID", "42")  # not the domain of a robot nearby
if TYPE_CHECKING:
    from rclpy.node import Node
    from rclpy.task import Future

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All tests of this folder need ROS 2."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.ros)


@pytest.fixture
def ros() -> Iterator[None]:
    """The default context."""
    import rclpy

    rclpy.init()
    yield
    rclpy.try_shutdown()


@pytest.fixture
def node(ros: None) -> Iterator[Node]:
    """A node of its own."""
    import rclpy

    node = rclpy.create_node("underlay_test")
    yield node
    node.destroy_node()


@pytest.fixture
def spin(node: Node) -> Callable[[Future], Any]:
    """Spins the node until the future has a result, and gives it."""
    import rclpy

    def until(future: Future, timeout_s: float = 20.0) -> Any:
        rclpy.spin_until_future_complete(node, future, timeout_sec=timeout_s)
        assert future.done(), f"nothing within {timeout_s} s"
        return future.result()

    return until


@pytest.fixture
def talker() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts a script of this folder as a process; it lives until its standard input closes."""
    running: list[subprocess.Popen[str]] = []

    def start(script: str, *args: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, str(HERE / script), *args], stdin=subprocess.PIPE, text=True
        )
        running.append(process)
        return process

    yield start
    for process in running:
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(timeout=20) == 0
