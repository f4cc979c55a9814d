"""The demo: honest about mixed sets, and whole on a real drive."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy", reason="no ROS 2 in this Python")

from rich.console import Console
from rosbags.rosbag2 import Reader

from renderocc_ros.config import load_rig
from renderocc_ros.tools.demo_watch import DemoWatch
from renderocc_training.commands.demo import _converted
from tests.node.live import ros_node
from tests.sequences.conftest import CAMERAS, KEY_FRAMES, VERSION, TinyNuscenes

pytestmark = pytest.mark.ros
PERIOD_NS = 83_333_333


def demo(*options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "renderocc_ros.cli", "demo", *options]
    env = {**os.environ, **environment}
    return subprocess.run(command, capture_output=True, text=True, timeout=280, env=env)


def test_two_drives_are_one_too_many(tmp_path: Path) -> None:
    done = demo("--nuscenes", str(tmp_path), "--bag", str(tmp_path))
    assert done.returncode == 1
    assert "give one of them" in done.stderr


@pytest.mark.parametrize("seconds", ["-1", "nan"])
def test_a_time_that_cannot_be_is_refused(seconds: str) -> None:
    done = demo("--seconds", seconds)
    assert done.returncode == 2
    assert "--seconds" in done.stderr


def test_folder_without_nuscenes_is_refused(tmp_path: Path) -> None:
    done = demo("--nuscenes", str(tmp_path))
    assert done.returncode == 1
    assert "holds no nuScenes tables" in done.stderr


def test_a_model_that_is_not_there_is_told_at_once(tmp_path: Path) -> None:
    done = demo("--bag", str(tmp_path), "--checkpoint", str(tmp_path / "no.safetensors"))
    assert done.returncode == 1
    assert "the node did not become active: configure failed: no checkpoint at" in done.stderr


def test_of_several_scenes_the_first_is_played(tmp_path: Path) -> None:
    """As nuScenes' mini split has ten, here in tables of another name."""
    pytest.importorskip("nuscenes", reason="extra 'train' is not installed")
    root = TinyNuscenes(tmp_path / "nuscenes").write()
    tables = (root / VERSION).rename(root / "v1.0-trainval")
    scenes = json.loads((tables / "scene.json").read_text())
    scenes.append({**scenes[0], "token": "other", "name": "scene-9002"})
    (tables / "scene.json").write_text(json.dumps(scenes))
    bag = _converted(root, tmp_path / "cache", Console(quiet=True))
    with Reader(bag) as reader:
        images = [c.msgcount for c in reader.connections if c.topic.endswith("/compressed")]
    assert images == [2 * KEY_FRAMES] * len(CAMERAS)  # a sweep goes before each key frame
    assert _converted(root, tmp_path / "cache", Console(quiet=True)) == bag
    (tables / "scene.json").write_text("[]")
    with pytest.raises(ValueError, match="scene.json names no scene"):
        _converted(root, tmp_path / "cache", Console(quiet=True))


def watched(cycles: int) -> tuple[DemoWatch, list[dict[str, int]]]:
    """A watch that has seen six cameras for some cycles, and the true sets."""
    rig = load_rig("nuscenes")
    with ros_node("watch_test") as node:
        watch = DemoWatch(node, rig, "/renderocc")
    draw = np.random.default_rng(0)
    sets: list[dict[str, int]] = []
    for cycle in range(cycles):
        stamps = {
            camera.name: 10**18
            + cycle * PERIOD_NS
            + round((camera.offset_ms or 0.0) * 1e6 + draw.normal(0, 1e6))
            for camera in rig.cameras
        }
        sets.append(stamps)
        for name, stamp_ns in stamps.items():
            watch.sent_ns[name].append(stamp_ns)
    return watch, sets


def test_true_sets_are_not_called_mixed() -> None:
    watch, sets = watched(30)
    watch.results = sets
    assert watch.mixed_sets() == 0
    assert watch.complete_cycles() == 30


@pytest.mark.parametrize("shift", [-1, 1, 3])
def test_set_with_one_image_of_another_cycle_is_found(shift: int) -> None:
    watch, sets = watched(30)
    bad: list[dict[str, Any]] = [dict(stamps) for stamps in sets]
    bad[10]["CAM_BACK"] = sets[10 + shift]["CAM_BACK"]
    bad[20]["CAM_FRONT"] = sets[20 + shift]["CAM_FRONT"]
    watch.results = bad
    assert watch.mixed_sets() == 2


def test_stamp_that_nobody_sent_counts_as_mixed() -> None:
    watch, sets = watched(5)
    watch.results = [dict(sets[2], CAM_BACK=sets[2]["CAM_BACK"] + 1)]
    assert watch.mixed_sets() == 1


def test_cycle_that_lacks_a_camera_is_not_complete() -> None:
    watch, sets = watched(10)
    watch.sent_ns["CAM_BACK_LEFT"].remove(sets[4]["CAM_BACK_LEFT"])
    assert watch.complete_cycles() == 9


@pytest.mark.slow
def test_bare_demo_drives_through_a_synthetic_town_and_scores_it(tmp_path: Path) -> None:
    pytest.importorskip("pyvista", reason="extra 'view' is not installed")
    pytest.importorskip("embreex", reason="extra 'train' is not installed")
    done = demo("--json", "--out", str(tmp_path), XDG_CACHE_HOME=str(tmp_path))
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["mixed_sets"] == 0
    assert report["truth"]["samples"] == report["sets_published"] >= 10
    # The shipped network on a town of a kind it never saw; a full grid has an IoU of about 0.2.
    assert 0.5 < report["truth"]["iou"] < 1
    assert 0.1 < report["truth"]["miou"] < 1


def test_demo_on_a_real_drive(tmp_path: Path, recording: Callable[..., Path]) -> None:
    dataroot = recording("data", "nuscenes")
    pytest.importorskip("pyvista", reason="extra 'view' is not installed")
    done = demo(
        *("--nuscenes", str(dataroot), "--json", "--out", str(tmp_path), "--seconds", "10"),
        XDG_CACHE_HOME=str(tmp_path),
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["sets_complete"] >= 3
    assert report["sets_published"] >= 3
    assert report["mixed_sets"] == 0
    assert report["received"]["occupancy"] == report["sets_published"]
    # The player may start before DDS has matched the demo's own subscriptions: it can see less.
    assert report["cycles_seen"] >= 3
    ended = report["sets_published"] + sum(report["dropped"].values())
    assert ended <= report["sets_complete"] + report["sets_partial"]
    assert report["latency_ms"]["total"]["p50"] > 0
    assert report == json.loads((tmp_path / "report.json").read_text())
    picture = cv2.imread(str(tmp_path / "demo.png"))
    assert picture.shape[1] == 1920
    assert picture.std() > 30
