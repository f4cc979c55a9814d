"""The node as a process: how it takes what publishers offer, and how it ends."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="no ROS 2 in this Python")

from rclpy.qos import ReliabilityPolicy
from sensor_msgs.msg import PointCloud2

from tests.node import robot as robots
from tests.node.live import Listener, occupancy_node, ros_node

pytestmark = pytest.mark.ros


@pytest.mark.parametrize("reliability", list(ReliabilityPolicy)[1:3])
def test_raw_images_arrive_from_reliable_and_best_effort_publishers(
    tmp_path: Path, reliability: ReliabilityPolicy
) -> None:
    content = robots.rig_content()
    for camera in content["cameras"]:
        camera["compressed"] = False
    rig = robots.write_rig(tmp_path / "rig.yaml", content)
    with ros_node("raw_robot") as node:
        listener = Listener(node)
        clouds = listener.listen(PointCloud2, "/renderocc/points")
        with (
            robots.Robot(node, compressed=False, reliability=reliability),
            occupancy_node(rig=rig),
        ):
            listener.wait(lambda: len(clouds) > 2, "points from raw images")


def test_signal_ends_a_node_that_is_still_loading(tmp_path: Path) -> None:
    rig = robots.write_rig(tmp_path / "rig.yaml", robots.rig_content())
    slow = "import time; occupancy_node.load_predictor = lambda parameters: time.sleep(60)"
    own_name = ("-r", "__node:=still_loading")  # that of an earlier test's may linger in the graph
    with (
        ros_node("signal_robot") as node,
        occupancy_node(*own_name, rig=rig, first=slow) as process,
    ):
        listener = Listener(node)
        listener.wait(lambda: "still_loading" in node.get_node_names(), "the node in the graph")
        started_s = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
        assert time.monotonic() - started_s < 1.0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_ends_the_process_cleanly_within_a_second(
    tmp_path: Path, number: signal.Signals
) -> None:
    rig = robots.write_rig(tmp_path / "rig.yaml", robots.rig_content())
    with ros_node("signal_robot") as node:
        listener = Listener(node)
        clouds = listener.listen(PointCloud2, "/renderocc/points")
        with robots.Robot(node), occupancy_node(rig=rig) as process:
            listener.wait(lambda: clouds, "points")
            started_s = time.monotonic()
            process.send_signal(number)
            assert process.wait(10) == 0
            assert time.monotonic() - started_s < 1.0
