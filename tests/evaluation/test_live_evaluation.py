"""The real node, in a process of its own over DDS, says what the replay says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from renderocc_ros.config import load_rig
from renderocc_training.evaluation.results import read_results
from tests.evaluation.conftest import SETS

pytest.importorskip("rclpy", reason="no ROS here")
pytest.importorskip("renderocc_ros.msg", reason="the messages are not built: use ./run test")
pytestmark = pytest.mark.ros
OFFSETS_MS = (0.0, 0.0)


def test_live_and_replay_agree_voxel_for_voxel(drive: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = [sys.executable, "-m", "renderocc_ros.cli", "evaluate", "nano", str(drive)]
    rig = load_rig("two_cameras").model_dump()
    for camera, offset_ms in zip(rig["cameras"], OFFSETS_MS, strict=True):
        camera["offset_ms"] = offset_ms  # what two seconds are too short to learn
    rig["sync"]["period_s"] = 0.5
    (tmp_path / "rig.yaml").write_text(yaml.safe_dump(rig))
    command += ["--rig", str(tmp_path / "rig.yaml"), "--out", str(out), "--live", "--rate", "0.5"]
    command += ["--threads", "1", "--json"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=300, check=False, env=environment
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout.strip().splitlines()[-1])
    agreement = report["live_agreement"]
    # The first set may come before the first CameraInfo and transforms have.
    assert agreement["sets"] >= SETS - 2
    assert agreement["voxels_different"] == 0
    assert agreement["sets_identical"] == agreement["sets"]
    results = read_results(out)
    assert len(results.frames) == agreement["sets"]
    for frame in results.frames:
        published = np.load(out / "live" / f"{frame.stamp_ns}.npz")
        kept = results.prediction(frame.token)
        assert kept is not None and kept.occupied.any()
        assert np.array_equal(published["semantics"], kept.labels)
