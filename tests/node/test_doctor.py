"""renderocc doctor: what is installed, and what of a real robot arrives."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("rclpy", reason="no ROS 2 in this Python")

from tests.node import robot as robots
from tests.node.live import ros_node

pytestmark = pytest.mark.ros


def doctor(*options: str) -> tuple[int, dict[str, Any]]:
    """Exit status, and the checks by subject."""
    command = [sys.executable, "-m", "renderocc_ros.cli", "doctor", "--json", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.stdout, done.stderr
    return done.returncode, {check["subject"]: check for check in json.loads(done.stdout)}


def test_installation_that_runs_these_tests_is_healthy() -> None:
    status, checks = doctor()
    assert status == 0, [check for check in checks.values() if check["level"] == "wrong"]
    assert checks["middleware"]["found"].startswith("rmw_")
    assert checks["PyTorch"]["level"] == "ok"


def test_healthy_rig_is_described_and_each_fault_is_found(tmp_path: Path) -> None:
    rig = robots.write_rig(tmp_path / "rig.yaml", robots.rig_content((*robots.NAMES, "lost")))
    with ros_node("doctor_robot") as node, robots.Robot(node) as robot:
        robot.cameras["rear"].sends_info = False
        status, checks = doctor("--rig", rig, "--seconds", "5")
    assert status == 1
    assert "reliable" in checks["front: images"]["found"]
    assert checks["front: calibration"]["found"].startswith("192x80, none, about 82° wide")
    frame = "transform base_link ← front_optical"
    assert checks[f"front: {frame}"]["found"] == "at (0.50, 0.00, 1.50) m, looks forward (+0°)"
    assert "looks left (+90°)" in checks[f"left: {frame.replace('front', 'left')}"]["found"]
    assert "looks back" in checks[f"rear: {frame.replace('front', 'rear')}"]["found"]
    wrong = {subject for subject, check in checks.items() if check["level"] == "wrong"}
    lost = {"lost: images", "lost: calibration", "lost: transform base_link ← lost_optical"}
    assert wrong == {"rear: calibration", *lost}
    assert "(0 publishers)" in checks["lost: images"]["found"]
    assert all(checks[subject]["cure"] for subject in wrong)


def test_broken_model_is_named(tmp_path: Path) -> None:
    broken = tmp_path / "model.safetensors"
    broken.write_bytes(b"no")
    status, checks = doctor("--checkpoint", str(broken))
    assert status == 1
    assert "model.safetensors" in checks["model"]["found"]
