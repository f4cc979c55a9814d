"""Faults of raw images and of their QoS: named, and no end of the rest."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator
from typing import Any

import pytest

pytest.importorskip("rclpy", reason="no ROS 2 in this Python")

from rclpy.qos import ReliabilityPolicy
from renderocc_ros.msg import SemanticOccupancy

from tests.node import robot as robots
from tests.node.live import Control, Listener, occupancy_node, ros_node
from tests.node.scene import Scene, scene_of

pytestmark = pytest.mark.ros


def test_incompatible_image_qos_is_named_with_its_cure(tmp_path: Any) -> None:
    rig = robots.write_rig(tmp_path / "rig.yaml", robots.rig_content())
    with ros_node("lossy_robot") as node:
        listener = Listener(node)
        results = listener.listen(SemanticOccupancy, "/renderocc/occupancy")
        lossy = ReliabilityPolicy.BEST_EFFORT
        with (
            robots.Robot(node, reliability=lossy) as robot,
            occupancy_node(rig=rig, image_reliability="reliable"),
        ):
            scene = Scene(robot, listener, Control(node), results)
            scene.told("camera front", "incompatible QoS", "set image_reliability: best_effort")
            assert scene.control.set(image_reliability="best_effort") == ""
            scene.recovered()


@pytest.fixture(scope="module")
def raw_scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    content = robots.rig_content()
    for camera in content["cameras"]:
        camera["compressed"] = False
    rig = robots.write_rig(tmp_path_factory.mktemp("rig") / "rig.yaml", content)
    yield from scene_of(rig, False)


def no_encoding(message: Any) -> None:
    message.encoding = "hologram"


def of_no_colour(message: Any) -> None:
    message.encoding = "32FC1"  # metres


def of_no_size(message: Any) -> None:
    message.width = message.height = message.step = 0
    message.data = array("B")


def too_short(message: Any) -> None:
    message.data = message.data[:100]


def of_another_view(message: Any) -> None:
    message.width, message.height = message.height, message.width
    message.step = 3 * message.width


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (no_encoding, "encoding 'hologram'"),
        (of_no_colour, "'32FC1' is no picture; publish one of"),
        (of_no_size, "an image of 0x0 pixels"),
        (too_short, "100 bytes"),
        (of_another_view, "other proportions"),
    ],
)
def test_unreadable_raw_image_costs_one_camera_and_is_named(
    raw_scene: Scene, spoil: Callable[[Any], None], message: str
) -> None:
    raw_scene.robot.cameras["left"].spoil = spoil
    raw_scene.named("camera left", message)
    raw_scene.next_result(["front", "rear"])
    raw_scene.recovered()
