"""The node as a process: how it takes what publishers offer, and how it ends."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="no ROS 2 in this Python")

from rclpy.qos import ReliabilityPolicy
from sensor_msgs.msg import PointCloud2

from renderocc_ros.node.process import SEGMENT_LOCK, SHARED_MEMORY, YOUNG_S
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


def segments_of(pid: int) -> set[Path]:
    """Locks of the shared memory that a process holds."""
    held = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
    inodes = {int(line[5].rpartition(":")[2]) for line in held if line[4] == str(pid)}
    locks = [path for path in SHARED_MEMORY.iterdir() if SEGMENT_LOCK.fullmatch(path.name)]
    return {path for path in locks if path.exists() and path.stat().st_ino in inodes}


def test_shared_memory_is_given_back_by_a_node_that_ends_and_after_one_that_was_killed(
    tmp_path: Path,
) -> None:
    rig = robots.write_rig(tmp_path / "rig.yaml", robots.rig_content())
    with ros_node("memory_test") as node:
        if not segments_of(os.getpid()):
            pytest.skip("this DDS, or its profile, shares no memory")
        listener = Listener(node)

        def run(name: str, end: signal.Signals) -> set[Path]:
            """The segments that a node has made."""
            with occupancy_node("-r", f"__node:={name}", rig=rig, autostart=False) as process:
                own = listener.wait(lambda: segments_of(process.pid), "memory of the node")
                listener.wait(lambda: name in node.get_node_names(), "the node in the graph")
                process.send_signal(end)
                process.wait(10)
            return set(own)

        assert not any(path.exists() for path in run("ends", signal.SIGTERM))
        left = run("killed", signal.SIGKILL)
        assert all(path.exists() for path in left)
        for path in left:
            old_s = time.time() - 2 * YOUNG_S
            os.utime(path, (old_s, old_s))
        run("cleans", signal.SIGTERM)
        assert not any(path.exists() for path in left)


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


LAUNCH = """
import os, subprocess, sys
node = [sys.executable, "-m", "renderocc_ros.node.occupancy_node", "--ros-args"]
node += ["-r", "__node:=launched", "-p", "autostart:=false"]
environment = {**os.environ, "RENDEROCC_LAUNCH_PID": str(os.getpid())}
print(subprocess.Popen(node, env=environment).pid, flush=True)
sys.stdin.read()
"""


def test_node_ends_with_the_launch_that_started_it() -> None:
    """A launch that gets SIGTERM, as from systemd, leaves its processes to themselves."""
    command = [sys.executable, "-c", LAUNCH]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with ros_node("launch_test") as node, subprocess.Popen(command, **pipes) as launch:
        listener = Listener(node)
        assert launch.stdout is not None
        ended = os.pidfd_open(int(launch.stdout.readline()))
        try:
            listener.wait(lambda: "launched" in node.get_node_names(), "the node in the graph")
            launch.terminate()
            assert select.select([ended], [], [], 5.0)[0], "the node lives on"
        finally:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(ended, signal.SIGKILL)
            os.close(ended)
