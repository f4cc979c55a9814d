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

from renderocc_ros.config import load_rig
from renderocc_ros.network_config import load_network_config
from renderocc_ros.viewing.rviz_config import rviz_config
from renderocc_ros.viewing.viewed_node import ViewedNode
from tests.contracts.checkout import ROOT

LAUNCH_FILES = sorted((ROOT / "launch").glob("*.launch.py"))
RVIZ = ROOT / "rviz" / "renderocc.rviz"


@pytest.mark.parametrize("file", LAUNCH_FILES, ids=lambda file: file.name)
def test_launch_files_parse_and_tell_how_to_use_them(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    compile(text, str(file), "exec")
    assert f"ros2 launch renderocc_ros {file.name}" in text
    assert '"RENDEROCC_LAUNCH_PID": str(os.getpid())' in text  # what it starts ends with it
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


def test_shipped_rviz_file_is_what_the_command_writes() -> None:
    """`renderocc rviz-config --rig nuscenes --out rviz/renderocc.rviz` makes it anew."""
    nano = load_network_config("nano").grid.build()
    written = rviz_config(ViewedNode("/renderocc", load_rig("nuscenes"), nano))
    assert RVIZ.read_text(encoding="utf-8") == written


PARAMETERS = """
/**: {ros__parameters: {rig: two_cameras, network: r50}}
/fleet/*: {ros__parameters: {network: r50-fast}}
other: {ros__parameters: {rig: surround_fisheye}}
far: {away: {renderocc: {ros__parameters: {rig: nuscenes}}}}
"""


@pytest.mark.ros
@pytest.mark.parametrize(
    ("name", "given", "rig", "cell_m"),
    [
        ("/renderocc", {}, "two_cameras", 0.4),
        ("/other", {}, "surround_fisheye", 0.4),
        ("/fleet/renderocc", {"rig": "nuscenes"}, "nuscenes", 0.4),
        ("/far/away/renderocc", {"network": "nano"}, "nuscenes", 0.8),
    ],
)
def test_rviz_is_set_up_for_what_the_node_will_run(
    tmp_path: Path, name: str, given: dict[str, str], rig: str, cell_m: float
) -> None:
    pytest.importorskip("rclpy", reason="no ROS 2 in this Python")
    from renderocc_ros.tools.launched_node import launched_node, parameters_of

    file = tmp_path / "params.yaml"
    file.write_text(PARAMETERS)
    node = launched_node(name, file, given)
    assert (node.name, node.rig.name, node.grid.resolution_m) == (name, rig, cell_m)
    fleet = parameters_of(file, "/fleet/renderocc")
    assert fleet == {"rig": "two_cameras", "network": "r50-fast"}
    with pytest.raises(ValueError, match="no readable parameter file"):
        launched_node(name, tmp_path / "none.yaml", {})
