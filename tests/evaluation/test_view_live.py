"""`renderocc view --live` brings together what comes over DDS of one instant."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from numpy.typing import NDArray

from renderocc_ros.config import load_class_set, load_rig
from renderocc_ros.occupancy.messages import occupancy_of
from renderocc_ros.occupancy.semantic_occupancy import SemanticOccupancy
from renderocc_ros.viewing.voxel_surface import visible_cells
from renderocc_training.recording.bag_reader import BagReader
from renderocc_training.recording.bag_writer import LATCHED, BagWriter
from tests.evaluation.test_view import read_rrd, value_of

pytest.importorskip("rclpy", reason="no ROS here")
pytest.importorskip("renderocc_ros.msg", reason="the messages are not built: use ./run test")
pytestmark = pytest.mark.ros
TRUTH, SAID, LATE_NS = "/ground_truth/occupancy", "/renderocc/occupancy", 300_000_000


def as_if_a_node_had_run(drive: Path, path: Path) -> Path:
    """The drive with a node's output in it: the truth, a little later."""
    with BagReader(drive) as reader, BagWriter(path) as writer:
        for name, topic in reader.topics.items():
            if topic.latched:
                writer.add_topic(name, topic.message_type, LATCHED)
        messages = [(m.log_time_ns, m.topic, reader.decode(m)) for m in reader.messages()]
        messages += [(t + LATE_NS, SAID, m) for t, topic, m in messages if topic == TRUTH]
        for log_time_ns, topic_name, message in sorted(messages, key=lambda entry: entry[0]):
            writer.write(topic_name, message, log_time_ns)
    return path


def road_centres(occupancy: SemanticOccupancy) -> NDArray[np.float64]:
    """(N, 3) metres: the centres of the cells of the road that are not buried among others."""
    cells = visible_cells(occupancy)
    road = occupancy.class_set.names.index("driveable_surface")
    return occupancy.grid.centres(cells[occupancy.labels[tuple(cells.T)] == road])


def test_the_viewer_sees_what_the_node_gets_and_says(drive: Path, tmp_path: Path) -> None:
    bag = as_if_a_node_had_run(drive, tmp_path / "bag")
    rig = load_rig("two_cameras").model_dump()
    for camera in rig["cameras"]:
        camera["offset_ms"] = 0.0  # what two seconds are too short to learn
    rig["sync"]["period_s"] = 0.5
    (tmp_path / "rig.yaml").write_text(yaml.safe_dump(rig))
    ours = [sys.executable, "-m", "renderocc_ros.cli"]
    looking = [*ours, "view", "--live", "--rig", str(tmp_path / "rig.yaml")]
    looking += ["--seconds", "1.2", "--save", str(tmp_path / "seen.rrd")]
    with subprocess.Popen(looking, stderr=subprocess.PIPE, text=True) as viewer:
        playing = [*ours, "play", str(bag), "--rate", "0.5", "--wait-for-subscribers"]
        subprocess.run(playing, check=True, timeout=120)
        output = viewer.communicate(timeout=60)[1]  # the fourth set, after 1.5 s, ends it
    assert viewer.returncode == 0, output
    seen = read_rrd(tmp_path / "seen.rrd")
    with BagReader(bag) as reader:
        truth = [
            occupancy_of(reader.decode(m), load_class_set("occ3d"))
            for m in reader.messages([TRUTH])
        ][:3]
    assert [stamp.value for stamp in seen.column("time")] == [each.stamp_ns for each in truth]
    # What is predicted where no camera looks is left out; truth is shown whole.
    for kind, volume in (("prediction", truth[2]), ("truth", replace(truth[2], in_view=None))):
        entity = f"/world/ego/{kind}/driveable_surface:PoseTranslation3D"
        assert len(roads := road_centres(volume)) > 100
        assert np.allclose(value_of(seen, entity, 2), roads, atol=1e-5)
    for name in load_rig("two_cameras").names:
        assert value_of(seen, f"/world/ego/cameras/{name}:Blob", 2)
        assert np.linalg.norm(value_of(seen, f"/world/ego/cameras/{name}:Translation3D", 2)) > 0.5
