"""The shipped Fast DDS profile: large best-effort images arrive, and nothing leaves the machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.ros
pytest.importorskip("rclpy", reason="needs ROS 2")

TALKER = Path(__file__).with_name("image_talker.py")
PROFILE = Path(__file__).parents[2] / "config" / "fastdds_loopback.xml"
COUNT = 10


@pytest.fixture(scope="module")
def ends() -> dict[str, dict[str, list[object]]]:
    """What both ends of a transfer between two processes report."""
    env = os.environ | {
        "RMW_IMPLEMENTATION": "rmw_fastrtps_cpp",
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "SYSTEM_DEFAULT",
        "FASTDDS_DEFAULT_PROFILES_FILE": str(PROFILE),
        "FASTRTPS_DEFAULT_PROFILES_FILE": str(PROFILE),
    }
    roles = ("subscribe", "publish")
    processes = [
        subprocess.Popen(
            [sys.executable, str(TALKER), role, f"images_{os.getpid()}", str(COUNT)],
            env=env,
            stdout=subprocess.PIPE,
            text=True,
        )
        for role in roles
    ]
    outputs = [process.communicate(timeout=100)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    return {role: json.loads(output) for role, output in zip(roles, outputs, strict=True)}


def test_best_effort_images_of_4_mb_arrive_intact(ends: dict[str, dict[str, list[object]]]) -> None:
    received = ends["subscribe"]
    assert ends["publish"]["matched"]
    assert received["broken"] == []
    # Best effort may lose one on a busy machine; with Fast DDS' default segment not one arrives.
    assert len(received["intact"]) >= COUNT - 2


@pytest.mark.parametrize("role", ["publish", "subscribe"])
def test_every_socket_is_on_loopback(ends: dict[str, dict[str, list[object]]], role: str) -> None:
    assert ends[role]["sockets"] == ["udp 127.0.0.1"]
