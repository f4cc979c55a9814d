"""What is taken of /tf, and what is told of it, message by message."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="no ROS 2 in this Python")

import rclpy
from tf2_msgs.msg import TFMessage
from tf2_ros import Buffer

from renderocc_ros.geometry import RigidTransform
from renderocc_ros.node import transform_input
from renderocc_ros.node.transform_input import TransformInput
from tests.node.live import ros_node
from tests.node.robot import transform

pytestmark = pytest.mark.ros
START_NS = 1_700_000_000_000_000_000
SECOND_NS = 1_000_000_000


class Source:
    """Hands messages, as DDS brings them, to the input, while images of ``image_ns`` come."""

    def __init__(self, node: Any) -> None:
        self.image_ns, self.leaps = START_NS, 0
        self.buffer = Buffer()
        self.input = TransformInput(
            self.buffer, node, lambda: (self.image_ns, 0.0), self._count_leap
        )

    def send(self, parent: str, child: str, x_m: float = 0.0, seconds: float = 0.0) -> None:
        pose = RigidTransform(np.eye(3), np.array([x_m, 0.0, 0.0]))
        message = transform(parent, child, pose, START_NS + round(seconds * SECOND_NS))
        self.input._take(
            "/tf", rclpy.serialization.serialize_message(TFMessage(transforms=[message]))
        )

    def complaints(self) -> str:
        return "; ".join(self.input.problems())

    def _count_leap(self) -> None:
        self.leaps += 1


@pytest.fixture
def source() -> Iterator[Source]:
    with ros_node("transform_source") as node:
        yield Source(node)


def test_frames_in_a_loop_are_refused_and_the_others_taken(source: Source) -> None:
    source.send("a", "b")
    source.send("b", "c")
    source.send("c", "a")
    assert source.complaints() == "/tf: c ← a closes a loop of frames; not used"
    assert source.buffer.can_transform("a", "c", rclpy.time.Time(nanoseconds=START_NS))
    source.send("b", "d")
    assert source.buffer.can_transform("a", "d", rclpy.time.Time(nanoseconds=START_NS))


def test_tree_that_is_turned_round_is_taken_when_the_old_one_has_ended(
    source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transform_input, "PARENT_HOLDS_S", -1.0)  # ended at once
    for parent, child in (("a", "b"), ("b", "a"), ("a", "b"), ("b", "a"), ("a", "c")):
        source.send(parent, child)
    assert source.complaints() == ""


def test_two_sources_are_told_and_a_fast_robot_is_not(source: Source) -> None:
    for step in range(20):
        source.send("odom", "car", x_m=4.0 * step, seconds=0.1 * step)  # 40 m/s
    assert source.complaints() == ""
    for step in range(20, 25):
        source.send("odom", "car", x_m=4.0 * step, seconds=0.1 * step)
        source.send("odom", "car", x_m=4.0 * step + 60.0, seconds=0.1 * step - 0.05)
    assert "odom ← car jumps by 6" in source.complaints()


def test_robot_that_is_put_elsewhere_once_is_no_second_source(source: Source) -> None:
    for step in range(10):
        source.send("map", "robot", x_m=50.0 * (step > 4), seconds=0.1 * step)
    assert source.complaints() == ""


def test_what_was_told_of_the_time_to_come_is_forgotten_when_the_clock_is_right_again(
    source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transform_input, "AHEAD_FOR_S", -1.0)  # told at once
    for step in range(5):
        source.send("odom", "robot", x_m=9.0, seconds=3.0 + 0.1 * step)
    assert "odom ← robot is 3.4 s ahead of the images" in source.complaints()
    for step in range(5):
        source.send("odom", "robot", x_m=1.0, seconds=0.1 * step)
    time = rclpy.time.Time(nanoseconds=START_NS + SECOND_NS // 5)
    assert source.buffer.lookup_transform("odom", "robot", time).transform.translation.x == 1.0
    late = rclpy.time.Time(nanoseconds=START_NS + 3 * SECOND_NS)
    assert not source.buffer.can_transform("odom", "robot", late)


def test_time_that_leaps_for_all_is_no_complaint(source: Source) -> None:
    for step in range(5):
        source.send("odom", "robot", seconds=0.1 * step)
    source.send("odom", "robot", seconds=100.0)
    assert "100.0 s" not in source.complaints() and "99.6 s ahead" in source.complaints()
    source.image_ns += 100 * SECOND_NS
    source.send("odom", "robot", seconds=100.1)
    assert (source.complaints(), source.leaps) == ("", 0)
    source.image_ns -= 100 * SECOND_NS
    source.send("odom", "robot", seconds=0.2)
    assert (source.complaints(), source.leaps) == ("", 1)


def test_leap_that_the_images_make_as_well_is_no_complaint(source: Source) -> None:
    source.send("odom", "robot", seconds=100.0)
    source.send("odom", "robot", seconds=50.0)
    assert "50.0 s behind" in source.complaints()
    source.input.clear()  # the cameras have gone back
    source.send("odom", "robot", seconds=50.1)
    assert source.complaints() == ""
