"""A recording that is played again and again: the node starts anew with every pass."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import cv2
import pytest

pytest.importorskip("rclpy", reason="no ROS 2 in this Python")

import numpy as np
from renderocc_ros.msg import SemanticOccupancy

from renderocc_ros.geometry import CameraModel
from renderocc_ros.occupancy.messages import stamp_ns_of
from renderocc_training.recording import messages
from renderocc_training.recording.bag_writer import BagWriter
from tests.node import robot as robots
from tests.node.live import Listener, occupancy_node, ros_node

pytestmark = pytest.mark.ros
START_NS = 1_600_000_000_000_000_000
CYCLES = 16


def record(path: Path) -> Path:
    """1.6 s of the robot of the other tests, long ago."""
    matrix = [[robots.FOCAL_PX, 0, 95.5], [0, robots.FOCAL_PX, 39.5], [0, 0, 1]]
    model = CameraModel(robots.WIDTH, robots.HEIGHT, np.array(matrix))
    with BagWriter(path) as writer:
        mounts = [
            messages.transform_stamped(
                START_NS, "base_link", f"{name}_optical", robots.ego_from_camera(name)
            )
            for name in robots.NAMES
        ]
        writer.write("/tf_static", messages.tf(mounts), START_NS)
        for cycle in range(CYCLES):
            now_ns = START_NS + round(cycle * robots.PERIOD_S * 1e9)
            for stamp_ns in (now_ns - 20_000_000, now_ns + 20_000_000):
                pose = robots.odom_from_ego(stamp_ns, START_NS)
                moved = messages.transform_stamped(stamp_ns, "odom", "base_link", pose)
                writer.write("/tf", messages.tf([moved]), now_ns)
            for number, name in enumerate(robots.NAMES):
                stamp_ns, frame = now_ns + 5_000_000 * number, f"{name}_optical"
                pixels = cv2.cvtColor(robots.test_image(name, cycle), cv2.COLOR_RGB2BGR)
                jpeg = cv2.imencode(".jpg", pixels)[1].tobytes()
                info = messages.camera_info(stamp_ns, frame, model)
                writer.write(f"/{name}/camera_info", info, stamp_ns)
                image = messages.compressed_image(stamp_ns, frame, jpeg)
                writer.write(f"/{name}/image_raw/compressed", image, stamp_ns)
    return path


def test_every_pass_of_a_looping_bag_brings_results(tmp_path: Path) -> None:
    bag = record(tmp_path / "drive")
    rig = robots.write_rig(tmp_path / "rig.yaml", robots.rig_content())
    play = [sys.executable, "-m", "renderocc_ros.cli", "play", str(bag), "--loop"]
    play += ["--wait-for-subscribers", "--clock"]
    with ros_node("loop_test") as node:
        listener = Listener(node)
        results = listener.listen(SemanticOccupancy, "/renderocc/occupancy")

        def passes() -> list[int]:
            """Whole sets in each pass; a pass begins where the stamps go back."""
            counts, newest_ns = [0], 0
            for message in results:
                stamp_ns = stamp_ns_of(message.header.stamp)
                if stamp_ns < newest_ns:
                    counts.append(0)
                newest_ns = stamp_ns
                counts[-1] += len(message.cameras_used) == len(robots.NAMES)
            return counts

        sim_time = ("-p", "use_sim_time:=true")
        with occupancy_node(*sim_time, rig=rig), subprocess.Popen(play) as player:
            try:
                listener.wait(lambda: len([n for n in passes() if n]) >= 3, "results of 3 passes")
                stamps = [stamp_ns_of(message.header.stamp) for message in results]
                assert min(stamps) >= START_NS
                assert max(stamps) < START_NS + CYCLES * robots.PERIOD_S * 1e9
                listener.wait(
                    lambda: int(listener.values("state").get("time_jumps", 0)) >= 2, "two jumps"
                )
            finally:
                player.terminate()
