"""What a tf2 buffer answers."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
import yaml

tf2_ros = pytest.importorskip(
    "tf2_ros", reason="needs tf2_ros: ./run sets it up, or source a ROS 2"
)

from builtin_interfaces.msg import Time as TimeMessage  # noqa: E402
from geometry_msgs.msg import TransformStamped  # noqa: E402
from rclpy.duration import Duration  # noqa: E402
from rclpy.time import Time  # noqa: E402

S = 1_000_000_000
LATEST = Time()


def yaw(angle: float) -> tuple[float, float, float, float]:
    return (0.0, 0.0, math.sin(angle / 2), math.cos(angle / 2))


def transform(
    parent: str,
    child: str,
    stamp_ns: int = 0,
    xyz: tuple[float, float, float] = (0.0, 0.0, 0.0),
    xyzw: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 1.0),
) -> TransformStamped:
    message = TransformStamped()
    message.header.frame_id, message.child_frame_id = parent, child
    message.header.stamp = Time(nanoseconds=stamp_ns).to_msg()
    shift, turn = message.transform.translation, message.transform.rotation
    shift.x, shift.y, shift.z = xyz
    turn.x, turn.y, turn.z, turn.w = xyzw
    return message


def at(stamp_ns: int) -> Time:
    return Time(nanoseconds=stamp_ns)


def shift_of(message: TransformStamped) -> tuple[float, float, float]:
    vector = message.transform.translation
    return (vector.x, vector.y, vector.z)


def turn_of(message: TransformStamped) -> tuple[float, float, float, float]:
    q = message.transform.rotation
    return (q.x, q.y, q.z, q.w)


def stamp_of(message: TransformStamped) -> int:
    return Time.from_msg(message.header.stamp).nanoseconds


def matrix_of(message: TransformStamped) -> np.ndarray:
    """The 4x4 matrix, from the quaternion by its definition."""
    x, y, z, w = turn_of(message)
    matrix = np.identity(4)
    matrix[:3, :3] = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    matrix[:3, 3] = shift_of(message)
    return matrix


@pytest.fixture
def buffer() -> tf2_ros.Buffer:
    return tf2_ros.Buffer()


def test_a_transform_maps_the_child_frame_into_its_parent(buffer: tf2_ros.Buffer) -> None:
    buffer.set_transform(transform("map", "robot", 5 * S, (1.0, 2.0, 3.0), yaw(math.pi / 2)), "me")
    answer = buffer.lookup_transform("map", "robot", at(5 * S))
    assert (answer.header.frame_id, answer.child_frame_id) == ("map", "robot")
    assert stamp_of(answer) == 5 * S
    assert shift_of(answer) == pytest.approx((1.0, 2.0, 3.0))
    assert turn_of(answer) == pytest.approx(yaw(math.pi / 2))
    back = buffer.lookup_transform("robot", "map", at(5 * S))
    assert shift_of(back) == pytest.approx((-2.0, 1.0, -3.0))
    assert turn_of(back) == pytest.approx(yaw(-math.pi / 2))


def test_any_way_through_a_tree_is_the_product_of_its_matrices(buffer: tf2_ros.Buffer) -> None:
    dice = random.Random(7)
    parent_of = {f"f{i}": f"f{dice.randrange(i)}" for i in range(1, 12)}
    root_from = {"f0": np.identity(4)}
    for child, parent in parent_of.items():
        q = np.array([dice.gauss(0, 1) for _ in range(4)])
        message = transform(
            parent,
            child,
            S,
            tuple(dice.uniform(-5, 5) for _ in range(3)),
            tuple(q / np.linalg.norm(q)),
        )
        buffer.set_transform(message, "me")
        root_from[child] = root_from[parent] @ matrix_of(message)
    for target, root_from_target in root_from.items():
        for source, root_from_source in root_from.items():
            answer = matrix_of(buffer.lookup_transform(target, source, at(S)))
            expected = np.linalg.inv(root_from_target) @ root_from_source
            np.testing.assert_allclose(answer, expected, atol=1e-9)


def test_between_two_times_shifts_are_linear_and_turns_spherical(buffer: tf2_ros.Buffer) -> None:
    buffer.set_transform(transform("a", "b", 10 * S, (0.0, 0.0, 0.0), yaw(0.0)), "me")
    buffer.set_transform(transform("a", "b", 11 * S, (4.0, -8.0, 2.0), yaw(2.0)), "me")
    answer = buffer.lookup_transform("a", "b", at(10 * S + S // 4))
    assert shift_of(answer) == pytest.approx((1.0, -2.0, 0.5))
    assert turn_of(answer) == pytest.approx(yaw(0.5))
    assert stamp_of(answer) == 10 * S + S // 4


@pytest.mark.parametrize(("start", "end"), [(0.2, 0.6), (-1.75, -2.27), (1.75, 2.27), (2.9, 3.5)])
def test_interpolation_takes_the_shorter_way_round(
    buffer: tf2_ros.Buffer, start: float, end: float
) -> None:
    other_sign = tuple(-c for c in yaw(end))  # the same rotation as yaw(end)
    buffer.set_transform(transform("a", "b", 1 * S, xyzw=yaw(start)), "me")
    buffer.set_transform(transform("a", "b", 2 * S, xyzw=other_sign), "me")
    answer = matrix_of(buffer.lookup_transform("a", "b", at(S + S // 2)))
    middle = (start + end) / 2
    assert answer[0, :2] == pytest.approx([math.cos(middle), -math.sin(middle)])


def test_the_stored_times_themselves_give_the_stored_values(buffer: tf2_ros.Buffer) -> None:
    for second in (3, 1, 2):  # the order of arrival does not matter
        buffer.set_transform(transform("a", "b", second * S, (float(second), 0.0, 0.0)), "me")
    for second in (1, 2, 3):
        assert shift_of(buffer.lookup_transform("a", "b", at(second * S)))[0] == second


def test_time_zero_means_the_newest_time_that_all_parts_have(buffer: tf2_ros.Buffer) -> None:
    for second in range(1, 8):
        buffer.set_transform(transform("map", "odom", second * S, (float(second), 0.0, 0.0)), "me")
    for tenth in range(10, 51):
        message = transform("odom", "base", tenth * S // 10, (0.0, tenth / 10, 0.0))
        buffer.set_transform(message, "me")
    buffer.set_transform_static(transform("base", "camera", 0, (0.0, 0.0, 9.0)), "me")
    answer = buffer.lookup_transform("map", "camera", LATEST)
    assert stamp_of(answer) == 5 * S
    assert shift_of(answer) == pytest.approx((5.0, 5.0, 9.0))
    assert buffer.get_latest_common_time("map", "camera") == at(5 * S)
    sideways = buffer.lookup_transform("camera", "map", LATEST)
    assert stamp_of(sideways) == 5 * S


def test_static_transforms_hold_at_all_times(buffer: tf2_ros.Buffer) -> None:
    buffer.set_transform_static(transform("base", "camera", 50 * S, (1.0, 0.0, 0.0)), "me")
    for stamp_ns in (0, 1, 49 * S, 10**18):
        assert shift_of(buffer.lookup_transform("base", "camera", at(stamp_ns)))[0] == 1.0
    assert stamp_of(buffer.lookup_transform("base", "camera", LATEST)) == 0
    buffer.set_transform_static(transform("base", "camera", 0, (2.0, 0.0, 0.0)), "me")
    assert shift_of(buffer.lookup_transform("base", "camera", LATEST))[0] == 2.0


def test_the_same_frame_is_the_identity_even_if_unknown(buffer: tf2_ros.Buffer) -> None:
    answer = buffer.lookup_transform("nowhere", "nowhere", at(3 * S))
    assert shift_of(answer) == (0.0, 0.0, 0.0)
    assert turn_of(answer) == (0.0, 0.0, 0.0, 1.0)
    assert stamp_of(answer) == 3 * S
    assert buffer.can_transform("nowhere", "nowhere", at(3 * S))


def test_message_times_are_times_too(buffer: tf2_ros.Buffer) -> None:
    buffer.set_transform(transform("a", "b", 1 * S + 5), "me")
    assert buffer.can_transform("a", "b", TimeMessage(sec=1, nanosec=5))
    assert stamp_of(buffer.lookup_transform("a", "b", TimeMessage(sec=1, nanosec=5))) == S + 5


def test_motion_is_compensated_through_a_fixed_frame(buffer: tf2_ros.Buffer) -> None:
    for second in (1, 2):  # drives 10 m along x and turns left by 90 degrees
        pose = transform(
            "odom", "base", second * S, (10.0 * second, 0.0, 0.0), yaw(math.pi / 2 * (second - 1))
        )
        buffer.set_transform(pose, "me")
    buffer.set_transform_static(transform("base", "camera", 0, (1.0, 0.0, 0.0)), "me")
    answer = buffer.lookup_transform_full("base", at(2 * S), "camera", at(1 * S), "odom")
    assert shift_of(answer) == pytest.approx((0.0, 9.0, 0.0))  # was at odom x = 11, base is at 20
    assert turn_of(answer) == pytest.approx(yaw(-math.pi / 2))
    assert stamp_of(answer) == 2 * S
    assert buffer.can_transform_full("base", at(2 * S), "camera", at(1 * S), "odom")
    assert not buffer.can_transform_full("base", at(3 * S), "camera", at(1 * S), "odom")
    assert not buffer.can_transform_full("base", at(2 * S), "camera", at(1 * S), "nowhere")


def test_after_a_change_of_parent_the_older_one_holds_until_the_newer(
    buffer: tf2_ros.Buffer,
) -> None:
    buffer.set_transform_static(transform("world", "left", 0, (100.0, 0.0, 0.0)), "me")
    buffer.set_transform_static(transform("world", "right", 0, (200.0, 0.0, 0.0)), "me")
    buffer.set_transform(transform("left", "tool", 1 * S, (1.0, 0.0, 0.0)), "me")
    buffer.set_transform(transform("right", "tool", 2 * S, (2.0, 0.0, 0.0)), "me")
    assert shift_of(buffer.lookup_transform("world", "tool", at(2 * S - 1)))[0] == 101.0
    assert shift_of(buffer.lookup_transform("world", "tool", at(2 * S)))[0] == 202.0


def test_quaternions_come_out_at_unit_length_and_with_positive_w(buffer: tf2_ros.Buffer) -> None:
    raw = tuple(-1.001 * c for c in yaw(0.5))
    buffer.set_transform(transform("a", "b", S, xyzw=raw), "me")
    assert turn_of(buffer.lookup_transform("a", "b", at(S))) == pytest.approx(yaw(0.5), abs=1e-12)


def test_slashes_before_frame_names_are_taken_off_on_the_way_in(buffer: tf2_ros.Buffer) -> None:
    buffer.set_transform(transform("/map", "/odom", S), "me")
    assert buffer.can_transform("map", "odom", at(S))


def test_the_buffer_reaches_ten_seconds_back_or_as_told() -> None:
    for buffer, reach_s in ((tf2_ros.Buffer(), 10), (tf2_ros.Buffer(Duration(seconds=2)), 2)):
        for second in range(100, 131):
            buffer.set_transform(transform("a", "b", second * S), "me")
        oldest = 130 - reach_s
        assert buffer.can_transform("a", "b", at(oldest * S))
        assert not buffer.can_transform("a", "b", at((oldest - 2) * S))
        buffer.set_transform(transform("a", "b", (oldest - 2) * S), "me")  # too old by now
        assert not buffer.can_transform("a", "b", at((oldest - 2) * S))


def test_clearing_forgets_what_moves_and_keeps_what_is_static(buffer: tf2_ros.Buffer) -> None:
    buffer.set_transform(transform("odom", "base", S), "me")
    buffer.set_transform_static(transform("base", "camera", 0, (1.0, 0.0, 0.0)), "me")
    buffer.clear()
    assert not buffer.can_transform("odom", "base", LATEST)
    assert shift_of(buffer.lookup_transform("base", "camera", LATEST))[0] == 1.0


def test_a_frame_may_turn_from_moving_to_static_and_back(buffer: tf2_ros.Buffer) -> None:
    buffer.set_transform(transform("a", "b", S, (1.0, 0.0, 0.0)), "me")
    buffer.set_transform_static(transform("a", "b", S, (2.0, 0.0, 0.0)), "me")
    assert shift_of(buffer.lookup_transform("a", "b", at(99 * S)))[0] == 2.0
    buffer.set_transform(transform("a", "b", 3 * S, (3.0, 0.0, 0.0)), "me")
    assert not buffer.can_transform("a", "b", at(99 * S))
    assert shift_of(buffer.lookup_transform("a", "b", LATEST))[0] == 3.0


def test_all_frames_are_listed(buffer: tf2_ros.Buffer) -> None:
    assert yaml.safe_load(buffer.all_frames_as_yaml()) == []
    for second in range(1, 6):
        buffer.set_transform(transform("odom", "base", second * S), "driver")
    buffer.set_transform_static(transform("base", "camera", 0), "mounts")
    listed = yaml.safe_load(buffer.all_frames_as_yaml())
    assert set(listed) == {"base", "camera"}
    base = listed["base"]
    assert (base["parent"], base["broadcaster"]) == ("odom", "driver")
    assert base["rate"] == pytest.approx(5 / 4, abs=1e-3)
    assert (base["oldest_transform"], base["most_recent_transform"]) == (1.0, 5.0)
    assert base["buffer_length"] == 4.0
    assert listed["camera"]["parent"] == "base"
    lines = buffer.all_frames_as_string().splitlines()
    assert "Frame base exists with parent odom." in lines
    assert "Frame camera exists with parent base." in lines
