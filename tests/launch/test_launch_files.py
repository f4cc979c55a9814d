"""The launch files under the real ros2 launch, where it is installed (PyPI has none)."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.contracts.checkout import ROOT

LAUNCH_FILES = sorted((ROOT / "launch").glob("*.launch.py"))
RVIZ = ROOT / "rviz" / "renderocc.rviz"


@pytest.mark.parametrize("file", LAUNCH_FILES, ids=lambda file: file.name)
def test_launch_files_parse_and_tell_how_to_use_them(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    compile(text, str(file), "exec")
    assert f"ros2 launch renderocc_ros {file.name}" in text
    assert not re.search(r"\beval\(|\bexec\(|os\.system|urllib|requests", text)


@pytest.mark.ros
@pytest.mark.parametrize("file", LAUNCH_FILES, ids=lambda file: file.name)
def test_every_argument_is_described(file: Path) -> None:
    pytest.importorskip("launch", reason="launch is not on PyPI: needs a ROS 2 installation")
    pytest.importorskip("launch_ros", reason="launch_ros is not on PyPI")
    from launch.launch_description_sources import PythonLaunchDescriptionSource

    from launch import LaunchContext

    description = PythonLaunchDescriptionSource(str(file)).get_launch_description(LaunchContext())
    arguments = description.get_launch_arguments()
    assert arguments
    assert all(argument.description for argument in arguments)


@pytest.mark.ros
def test_live_launch_brings_the_node_up_and_ends_with_it(tmp_path: Path) -> None:
    pytest.importorskip(
        "launch_ros", reason="launch_ros is not on PyPI: needs a ROS 2 installation"
    )
    ros2 = shutil.which("ros2")
    if ros2 is None:
        pytest.skip("no ros2 command: needs a ROS 2 installation")
    from tests.node import robot as robots
    from tests.node.live import NETWORK, Listener, ros_node

    rig = robots.write_rig(tmp_path / "rig.yaml", robots.rig_content())
    command = [sys.executable, ros2, "launch", "renderocc_ros", "live.launch.py"]
    with ros_node("launch_test") as node, robots.Robot(node):
        listener = Listener(node)
        options = [f"rig:={rig}", f"network:={NETWORK}", "namespace:=fleet"]
        process = subprocess.Popen([*command, *options], start_new_session=True)
        try:
            listener.wait(
                lambda: listener.values("state", "/fleet/renderocc").get("lifecycle") == "active",
                "active node",
            )
        finally:
            os.killpg(process.pid, signal.SIGINT)  # as Ctrl-C does: launch and its children
            assert process.wait(30) == 0


def test_rviz_file_shows_what_the_node_publishes() -> None:
    displays = yaml.safe_load(RVIZ.read_text(encoding="utf-8"))["Visualization Manager"]["Displays"]
    by_class = {display["Class"].rpartition("/")[2]: display for display in displays}
    voxels = by_class["PointCloud2"]
    assert voxels["Style"] == "Boxes"
    assert voxels["Topic"]["Value"] == "/renderocc/points"
    assert voxels["Color Transformer"] == "RGB8"
    nano = yaml.safe_load((ROOT / "config" / "networks" / "nano.yaml").read_text())
    assert voxels["Size (m)"] == pytest.approx(nano["grid"]["resolution_m"])
    assert by_class["MarkerArray"]["Topic"]["Value"] == "/renderocc/markers"
    assert "TF" in by_class
    rig = yaml.safe_load((ROOT / "config" / "rigs" / "nuscenes.yaml").read_text())
    shown = {d["Topic"]["Value"] for d in displays if d["Class"].endswith("/Image")}
    assert shown == {f"/{camera['image_topic']}/compressed" for camera in rig["cameras"]}
