"""The real node, in a process of its own over DDS, says what the replay says."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from renderocc_ros.config import load_rig
from renderocc_ros.paths import share_path
from renderocc_training.evaluation.results import read_results
from tests.evaluation.conftest import SETS
from tests.evaluation.test_view import read_rrd, value_of

pytest.importorskip("rclpy", reason="no ROS here")
pytest.importorskip("renderocc_ros.msg", reason="the messages are not built: use ./run test")
pytestmark = pytest.mark.ros
OFFSETS_MS = (0.0, 0.0)


def test_live_and_replay_agree_voxel_for_voxel(drive: Path, tmp_path: Path) -> None:
    """And a viewer that looks on sees the same."""
    out = tmp_path / "out"
    command = [sys.executable, "-m", "renderocc_training.cli", "evaluate", "nano", str(drive)]
    rig = load_rig("two_cameras").model_dump()
    for camera, offset_ms in zip(rig["cameras"], OFFSETS_MS, strict=True):
        camera["offset_ms"] = offset_ms  # what two seconds are too short to learn
    rig["sync"]["period_s"] = 0.5
    (tmp_path / "rig.yaml").write_text(yaml.safe_dump(rig))
    command += ["--rig", str(tmp_path / "rig.yaml"), "--out", str(out), "--live", "--rate", "0.5"]
    command += ["--threads", "1", "--json"]
    profile = str(share_path("config", "fastdds_loopback.xml"))
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "FASTDDS_DEFAULT_PROFILES_FILE": profile,
        "FASTRTPS_DEFAULT_PROFILES_FILE": profile,
    }
    looking = [sys.executable, "-m", "renderocc_ros.cli", "view", "--live", "--rig"]
    looking += [str(tmp_path / "rig.yaml"), "--save", str(tmp_path / "seen.rrd")]
    with subprocess.Popen(looking, stderr=subprocess.PIPE, text=True, env=environment) as viewer:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=300, check=False, env=environment
        )
        viewer.send_signal(signal.SIGINT)
        words = viewer.communicate(timeout=60)[1]
    assert viewer.returncode == 0, words
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.strip().splitlines()[-1])
    agreement = said["live_agreement"]
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
    seen = read_rrd(tmp_path / "seen.rrd")
    stamps = [stamp.value for stamp in seen.column("time")]
    assert stamps == [frame.stamp_ns for frame in results.frames]
    truths = 0
    for row, frame in enumerate(results.frames):
        truth, cameras = results.truth(frame.token), results.cameras(frame)
        assert truth is not None and cameras is not None
        roads = value_of(seen, "/world/ego/truth/driveable_surface:PoseTranslation3D", row)
        if roads is not None:
            truths += 1
            cells, inside = results.grid.index_of(np.array(roads))
            assert inside.all() and (truth.labels[tuple(cells.T)] == 11).all()
        for reading in cameras.readings:
            assert reading is not None
            entity = f"/world/ego/cameras/{reading.name}"
            place = value_of(seen, f"{entity}:Translation3D", row)
            assert np.allclose(place, reading.ego_from_camera.translation, atol=1e-4)
            assert value_of(seen, f"{entity}:Blob", row)
    # The player waits for the node alone: the first truth may come before the viewer listens.
    assert truths >= seen.num_rows - 1
    # The LiDAR's topic is looked for when the first set comes.
    assert len(value_of(seen, "/world/ego/lidar:Position3D", seen.num_rows - 1)) > 500
