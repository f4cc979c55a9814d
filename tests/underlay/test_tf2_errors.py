"""When a tf2 buffer has no answer, and what it says then."""

from __future__ import annotations

import math

import pytest

tf2_ros = pytest.importorskip(
    "tf2_ros", reason="needs tf2_ros: ./run sets it up, or source a ROS 2"
)

from geometry_msgs.msg import TransformStamped  # noqa: E402
from rclpy.time import Time  # noqa: E402

S = 1_000_000_000
LATEST = Time()


def transform(parent: str, child: str, stamp_s: float = 0.0) -> TransformStamped:
    message = TransformStamped()
    message.header.frame_id, message.child_frame_id = parent, child
    message.header.stamp = Time(nanoseconds=round(stamp_s * S)).to_msg()
    message.transform.rotation.w = 1.0
    return message


@pytest.fixture
def buffer() -> tf2_ros.Buffer:
    """odom <- base at 10 s and 11 s; base <- camera static; an island of its own."""
    buffer = tf2_ros.Buffer()
    for stamp_s in (10.0, 11.0):
        buffer.set_transform(transform("odom", "base", stamp_s), "me")
    buffer.set_transform_static(transform("base", "camera"), "me")
    buffer.set_transform_static(transform("island", "palm"), "me")
    return buffer


def reason(buffer: tf2_ros.Buffer, target: str, source: str, time: Time) -> str:
    """Why there is no transform; can_transform and lookup_transform must agree."""
    possible, message = buffer.can_transform(target, source, time, return_debug_tuple=True)
    assert not possible
    assert not buffer.can_transform(target, source, time)
    return str(message)


@pytest.mark.parametrize(("target", "source"), [("odom", "camera"), ("camera", "odom")])
def test_extrapolation_into_the_future(buffer: tf2_ros.Buffer, target: str, source: str) -> None:
    expected = (
        "Lookup would require extrapolation into the future.  Requested time 11.500000 but the "
        f"latest data is at time 11.000000, when looking up transform from frame [{source}] to "
        f"frame [{target}]"
    )
    time = Time(seconds=11, nanoseconds=S // 2)
    with pytest.raises(tf2_ros.ExtrapolationException) as caught:
        buffer.lookup_transform(target, source, time)
    assert str(caught.value) == expected
    assert reason(buffer, target, source, time) == expected


@pytest.mark.parametrize(("target", "source"), [("odom", "camera"), ("camera", "odom")])
def test_extrapolation_into_the_past(buffer: tf2_ros.Buffer, target: str, source: str) -> None:
    expected = (
        "Lookup would require extrapolation into the past.  Requested time 9.500000 but the "
        f"earliest data is at time 10.000000, when looking up transform from frame [{source}] to "
        f"frame [{target}]"
    )
    time = Time(seconds=9, nanoseconds=S // 2)
    with pytest.raises(tf2_ros.ExtrapolationException) as caught:
        buffer.lookup_transform(target, source, time)
    assert str(caught.value) == expected
    assert reason(buffer, target, source, time) == expected


def test_a_single_transform_answers_for_its_own_time_alone(buffer: tf2_ros.Buffer) -> None:
    buffer.set_transform(transform("map", "odom", 10.0), "me")
    assert buffer.can_transform("map", "odom", Time(seconds=10))
    with pytest.raises(tf2_ros.ExtrapolationException, match=r"at time 10\.5.*only time 10\.0"):
        buffer.lookup_transform("map", "odom", Time(seconds=10, nanoseconds=S // 2))


def test_a_frame_never_heard_of(buffer: tf2_ros.Buffer) -> None:
    with pytest.raises(tf2_ros.LookupException, match='"mars" passed to .* does not exist'):
        buffer.lookup_transform("mars", "base", LATEST)
    with pytest.raises(tf2_ros.LookupException, match='"mars" passed to .* does not exist'):
        buffer.lookup_transform("base", "mars", LATEST)
    assert "mars" in reason(buffer, "base", "mars", LATEST)


@pytest.mark.parametrize("name", ["", "/base"])
def test_names_that_cannot_be_frames(buffer: tf2_ros.Buffer, name: str) -> None:
    with pytest.raises(tf2_ros.InvalidArgumentException, match=f'Invalid argument "{name}"'):
        buffer.lookup_transform("odom", name, LATEST)
    assert "Invalid frame ID" in reason(buffer, "odom", name, LATEST)


@pytest.mark.parametrize("time", [LATEST, Time(seconds=10)])
def test_frames_of_two_trees(buffer: tf2_ros.Buffer, time: Time) -> None:
    expected = (
        "Could not find a connection between 'odom' and 'palm' because they are not part of the "
        "same tree.Tf has two or more unconnected trees."
    )
    with pytest.raises(tf2_ros.ConnectivityException) as caught:
        buffer.lookup_transform("odom", "palm", time)
    assert str(caught.value) == expected
    assert reason(buffer, "odom", "palm", time) == expected


def test_frames_in_a_circle() -> None:
    buffer = tf2_ros.Buffer()
    for parent, child in (("a", "b"), ("b", "c"), ("c", "a"), ("x", "y")):
        buffer.set_transform(transform(parent, child, 1.0), "me")
    with pytest.raises(tf2_ros.LookupException, match="contains a loop"):
        buffer.lookup_transform("x", "a", Time(seconds=1))


def test_all_errors_are_transform_exceptions() -> None:
    for name in ("Lookup", "Connectivity", "Extrapolation", "InvalidArgument", "Timeout"):
        assert issubclass(getattr(tf2_ros, f"{name}Exception"), tf2_ros.TransformException)


def test_what_makes_no_sense_is_ignored() -> None:
    buffer = tf2_ros.Buffer()
    wrong = [
        transform("a", "a", 1.0),
        transform("a", "", 1.0),
        transform("", "b", 1.0),
        transform("a", "b", 1.0),
        transform("a", "b", 1.0),
        transform("a", "b", 1.0),
    ]
    wrong[3].transform.translation.y = math.nan
    wrong[4].transform.rotation.x = math.nan
    wrong[5].transform.rotation.w = 0.0  # no rotation at all
    for message in wrong:
        buffer.set_transform(message, "me")
        buffer.set_transform_static(message, "me")
    assert not buffer.can_transform("a", "b", LATEST)
    assert buffer.all_frames_as_string() == ""


def test_a_time_must_be_a_time(buffer: tf2_ros.Buffer) -> None:
    with pytest.raises(TypeError, match="nanoseconds"):
        buffer.lookup_transform("odom", "base", 10.0)
