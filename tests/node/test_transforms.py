"""Poses of cameras at their own stamps, from a real tf2 buffer; reasons instead of guesses."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

os.environ.setdefault("ROS_DOMAIN_ID", "43")
rclpy = pytest.importorskip("rclpy", reason="needs rclpy: ./run sets it up, or source a ROS 2")
tf2_ros = pytest.importorskip("tf2_ros", reason="needs tf2_ros")
message_filters = pytest.importorskip("message_filters", reason="needs message_filters")

from geometry_msgs.msg import TransformStamped  # noqa: E402
from rclpy.node import Node  # noqa: E402
from rclpy.task import Future  # noqa: E402
from rclpy.time import Time  # noqa: E402
from sensor_msgs.msg import CompressedImage  # noqa: E402

from renderocc_ros.geometry import RigidTransform  # noqa: E402
from renderocc_ros.node.pose_filter import PoseFilter  # noqa: E402
from renderocc_ros.node.transforms import SetPoses, TransformReader  # noqa: E402
from renderocc_ros.rig.matched_set import MatchedImage, MatchedSet  # noqa: E402
from tests.rig.drive import MS, rig_of  # noqa: E402

S = 1000 * MS
CAMERAS = ("left_optical", "right_optical")
LEFT = RigidTransform.from_quaternion((-0.5, 0.5, -0.5, 0.5), (1.5, 0.4, 1.2))
RIGHT = RigidTransform.from_quaternion((0.5, -0.5, 0.5, -0.5), (1.5, -0.4, 1.2))


def odom_from_base(stamp_ns: int) -> RigidTransform:
    """10 m/s forward while turning at 0.5 rad/s."""
    seconds = stamp_ns / S
    yaw = 0.5 * seconds
    return RigidTransform.from_quaternion(
        (0.0, 0.0, np.sin(yaw / 2), np.cos(yaw / 2)), (10.0 * seconds, 0.0, 0.0)
    )


def message(target: str, source: str, pose: RigidTransform, stamp_ns: int = 0) -> TransformStamped:
    out = TransformStamped()
    out.header.frame_id, out.child_frame_id = target, source
    out.header.stamp.sec, out.header.stamp.nanosec = divmod(stamp_ns, 10**9)
    rotation, place = out.transform.rotation, out.transform.translation
    rotation.x, rotation.y, rotation.z, rotation.w = map(float, pose.quaternion_xyzw)
    place.x, place.y, place.z = map(float, pose.translation)
    return out


@pytest.fixture
def node() -> Iterator[Node]:
    rclpy.init()
    node = rclpy.create_node("transforms_test")
    yield node
    node.destroy_node()
    rclpy.try_shutdown()


@pytest.fixture
def buffer(node: Node) -> Any:
    """Two cameras on base_link; odometry every 20 ms from 10.0 s to 10.2 s."""
    buffer = tf2_ros.Buffer(node=node)
    fill_static(buffer)
    for step in range(11):
        add_odometry(buffer, 10 * S + step * 20 * MS)
    return buffer


def fill_static(buffer: Any) -> None:
    buffer.set_transform_static(message("base_link", "left_optical", LEFT), "test")
    buffer.set_transform_static(message("base_link", "right_optical", RIGHT), "test")


def add_odometry(buffer: Any, stamp_ns: int) -> None:
    pose = odom_from_base(stamp_ns)
    buffer.set_transform(message("odom", "base_link", pose, stamp_ns), "test")


def test_prefetching_reads_each_transform_once_and_only_what_is_there(buffer: Any) -> None:
    asked: list[tuple[str, str, int]] = []
    look_up = buffer.lookup_transform

    def counted(target: str, source: str, stamp: Time) -> Any:
        asked.append((target, source, stamp.nanoseconds))
        return look_up(target, source, stamp)

    buffer.lookup_transform = counted
    stamp_ns, late_ns = 10 * S + 100 * MS, 10 * S + 220 * MS
    cameras = {"left": (CAMERAS[0], stamp_ns - 30 * MS), "right": (CAMERAS[1], stamp_ns)}
    plain = TransformReader(buffer, "base_link", "odom").poses(stamp_ns, cameras)
    reader = TransformReader(buffer, "base_link", "odom")
    for frame, camera_ns in cameras.values():
        reader.prefetch(frame, camera_ns)
    asked.clear()
    poses = reader.poses(stamp_ns, cameras)
    assert not asked
    for name in cameras:
        assert np.allclose(poses.ego_from_camera[name].matrix, plain.ego_from_camera[name].matrix)
    # What TF lacks is no error now, and is found once it has come.
    reader.prefetch(CAMERAS[0], late_ns)
    with pytest.raises(Exception, match="latest"):
        reader.lookup("odom", "base_link", late_ns)
    add_odometry(buffer, late_ns)
    assert np.allclose(
        reader.lookup("odom", "base_link", late_ns).matrix, odom_from_base(late_ns).matrix
    )
    reader.clear()
    asked.clear()
    reader.poses(stamp_ns, cameras)
    assert asked


def test_ego_motion_between_the_stamps_is_in_the_pose(buffer: Any) -> None:
    reader = TransformReader(buffer, "base_link", "odom")
    stamp, later = 10 * S + 40 * MS, 10 * S + 91 * MS
    poses = reader.poses(stamp, {"l": ("left_optical", stamp), "r": ("right_optical", later)})
    assert not poses.missing
    assert poses.odom_from_ego is not None
    assert poses.odom_from_ego.is_close(odom_from_base(stamp), 1e-6, 1e-6)
    assert poses.ego_from_camera["l"].is_close(LEFT, 1e-6, 1e-6)
    expected = odom_from_base(stamp).inverse() @ odom_from_base(later) @ RIGHT
    assert poses.ego_from_camera["r"].is_close(expected, 1e-5, 1e-5)
    moved = poses.ego_from_camera["r"].translation - RIGHT.translation
    assert np.linalg.norm(moved[:2]) == pytest.approx(0.51, abs=0.06)


def test_it_is_what_tf2_itself_says_through_the_fixed_frame(buffer: Any) -> None:
    stamp, later = 10 * S + 40 * MS, 10 * S + 91 * MS
    poses = TransformReader(buffer, "base_link", "odom").poses(
        stamp, {"r": ("right_optical", later)}
    )
    given = buffer.lookup_transform_full(
        "base_link", Time(nanoseconds=stamp), "right_optical", Time(nanoseconds=later), "odom"
    ).transform
    q, t = given.rotation, given.translation
    expected = RigidTransform.from_quaternion((q.x, q.y, q.z, q.w), (t.x, t.y, t.z))
    assert poses.ego_from_camera["r"].is_close(expected, 1e-6, 1e-6)


def test_the_rig_file_s_mount_counts_and_tf_is_not_asked_for_it(buffer: Any) -> None:
    mounts = {"roof_optical": RIGHT, "left_optical": RIGHT}
    reader = TransformReader(buffer, "base_link", "odom", mounts)
    stamp, later = 10 * S + 40 * MS, 10 * S + 91 * MS
    poses = reader.poses(stamp, {"l": ("left_optical", stamp), "r": ("roof_optical", later)})
    assert poses.ego_from_camera["l"].is_close(RIGHT, 1e-9, 1e-9)
    expected = odom_from_base(stamp).inverse() @ odom_from_base(later) @ RIGHT
    assert poses.ego_from_camera["r"].is_close(expected, 1e-5, 1e-5)


def test_without_odometry_the_mounting_alone_counts(buffer: Any) -> None:
    reader = TransformReader(buffer, "base_link", None)
    poses = reader.poses(99 * S, {"l": ("left_optical", 98 * S)})
    assert poses.odom_from_ego is None
    assert poses.ego_from_camera["l"].is_close(LEFT, 1e-6, 1e-6)


@pytest.mark.parametrize(
    ("stamp_ns", "frame", "camera_ns", "reason", "may_come"),
    [
        (10 * S, "left_optical", 10 * S + 300 * MS,
         "no transform odom ← base_link at 10.300 (latest 10.200)", True),
        (11 * S, "left_optical", 11 * S,
         "no transform odom ← base_link at 11.000 (latest 10.200)", True),
        (10 * S, "left_optical", 9 * S,
         "no transform odom ← base_link at 9.000: TF no longer, or not yet, reaches that far back "
         "(latest 10.200)", False),
        (10 * S, "rear_optical", 10 * S,
         "no transform base_link ← rear_optical at 10.000: TF has no frame 'rear_optical'", True),
        (10 * S, "island", 10 * S,
         "no transform base_link ← island at 10.000: the two frames are in separate trees", True),
        (10 * S, "", 10 * S, "the image header names no frame_id", False),
        (10 * S, "/left_optical", 10 * S,
         "no transform base_link ← /left_optical at 10.000", False),
    ],
)  # fmt: skip
def test_what_is_missing_is_said_in_words(
    buffer: Any, stamp_ns: int, frame: str, camera_ns: int, reason: str, may_come: bool
) -> None:
    buffer.set_transform_static(message("sea", "island", LEFT), "test")
    poses = TransformReader(buffer, "base_link", "odom").poses(stamp_ns, {"c": (frame, camera_ns)})
    assert not poses.ego_from_camera, "a missing pose must never be made up"
    assert str(poses.missing["c"]).startswith(reason)
    assert poses.missing["c"].may_come == may_come


def test_an_empty_buffer_says_so(node: Node) -> None:
    poses = TransformReader(tf2_ros.Buffer(node=node), "base_link", "odom").poses(
        0, {"c": ("left_optical", 0)}
    )
    assert str(poses.missing["c"]).endswith("nothing has come on /tf and /tf_static yet")


def test_one_camera_without_a_pose_does_not_spoil_the_others(buffer: Any) -> None:
    poses = TransformReader(buffer, "base_link", "odom").poses(
        10 * S, {"l": ("left_optical", 10 * S), "rear": ("rear_optical", 10 * S)}
    )
    assert set(poses.ego_from_camera) == {"l"} and set(poses.missing) == {"rear"}


# ------------------------------------------------------------------------------ the pending queue


class Bench:
    """A PoseFilter behind a plain filter, with what comes out of it."""

    def __init__(self, node: Node, buffer: Any, **options: Any) -> None:
        self.node = node
        self.source = message_filters.SimpleFilter()
        rig = rig_of(2, (0.0, 0.0), **options.pop("sync", {}))
        self.filter = PoseFilter(rig, self.source, buffer, node, **options)
        self.out: list[tuple[MatchedSet[Any], SetPoses]] = []
        self.filter.registerCallback(self._keep)
        self.arrival = Future()

    def _keep(self, matched: MatchedSet[Any], poses: SetPoses) -> None:
        self.out.append((matched, poses))
        if not self.arrival.done():
            self.arrival.set_result(None)

    def send(self, stamp_ns: int, frames: tuple[str, str] = CAMERAS) -> None:
        images = []
        for frame in frames:
            item = CompressedImage()
            item.header.frame_id = frame
            images.append(MatchedImage(stamp_ns, item))
        self.source.signalMessage(MatchedSet(stamp_ns, ("cam0", "cam1"), tuple(images)))

    def wait(self) -> None:
        rclpy.spin_until_future_complete(self.node, self.arrival, timeout_sec=20.0)
        assert self.arrival.done(), "nothing within 20 s"
        self.arrival = Future()


def test_a_set_whose_transforms_are_there_goes_through_at_once(node: Node, buffer: Any) -> None:
    bench = Bench(node, buffer)
    bench.send(10 * S)
    assert len(bench.out) == 1 and bench.filter.waiting == 0
    assert bench.out[0][1].ego_from_camera["cam0"].is_close(LEFT, 1e-6, 1e-6)


def test_a_set_waits_for_the_transform_and_goes_when_that_arrives(node: Node, buffer: Any) -> None:
    bench = Bench(node, buffer, wait_s=1000.0)
    bench.send(10 * S + 210 * MS)
    assert not bench.out and bench.filter.waiting == 1
    add_odometry(buffer, 10 * S + 220 * MS)
    bench.wait()
    assert bench.out[0][0].stamp_ns == 10 * S + 210 * MS and not bench.out[0][1].missing
    assert not bench.filter.dropped and not bench.filter.problems


def test_several_that_wait_come_out_in_order(node: Node, buffer: Any) -> None:
    bench = Bench(node, buffer, wait_s=1000.0)
    stamps = [10 * S + 210 * MS, 10 * S + 250 * MS, 10 * S + 290 * MS]
    for stamp in stamps:
        bench.send(stamp)
    add_odometry(buffer, 10 * S + 260 * MS)
    bench.wait()
    add_odometry(buffer, 10 * S + 300 * MS)
    bench.wait()
    assert [matched.stamp_ns for matched, _ in bench.out] == stamps


def test_at_the_bound_it_goes_without_the_camera_that_has_no_pose(node: Node, buffer: Any) -> None:
    bench = Bench(node, buffer, wait_s=0.05)
    bench.send(10 * S, ("left_optical", "rear_optical"))
    assert not bench.out
    bench.wait()
    assert set(bench.out[0][1].ego_from_camera) == {"cam0"}
    assert bench.filter.problems == {
        "cam1": "no transform base_link ← rear_optical at 10.000: TF has no frame 'rear_optical'"
    }


def test_too_few_poses_drop_the_set_with_its_reason(node: Node, buffer: Any) -> None:
    bench = Bench(node, buffer, wait_s=0.05, sync={"min_cameras": 2})
    bench.send(10 * S, ("left_optical", "rear_optical"))
    bench.send(10 * S + 100 * MS)
    bench.wait()
    assert [matched.stamp_ns for matched, _ in bench.out] == [10 * S + 100 * MS]
    assert bench.filter.dropped == {"superseded": 1}
    assert bench.filter.waiting == 0
    bench.send(9 * S)  # hopeless: not waited for
    assert bench.filter.dropped == {"superseded": 1, "no transform": 1}
    assert "9.000" in bench.filter.problems["cam0"]


def test_where_only_whole_sets_count_one_missing_pose_drops_the_set(
    node: Node, buffer: Any
) -> None:
    bench = Bench(node, buffer, sync={"missing": "skip"})
    bench.send(10 * S, ("left_optical", ""))
    assert not bench.out and bench.filter.dropped == {"no transform": 1}
    bench.send(10 * S)
    assert len(bench.out) == 1 and not bench.filter.problems


def test_the_oldest_goes_when_too_many_wait_and_a_jump_clears(node: Node, buffer: Any) -> None:
    bench = Bench(node, buffer, wait_s=1000.0, capacity=2)
    for step in range(3):
        bench.send(20 * S + step * 100 * MS)
    assert bench.filter.waiting == 2 and bench.filter.dropped == {"buffer full": 1}
    bench.filter.clear()
    assert bench.filter.waiting == 0
    assert bench.filter.dropped == {"buffer full": 1, "time jump": 2}


def test_transforms_over_dds_release_a_waiting_set(node: Node) -> None:
    buffer = tf2_ros.Buffer(node=node)
    listener = tf2_ros.TransformListener(buffer, node)
    bench = Bench(node, buffer, wait_s=1000.0)
    bench.send(10 * S + 50 * MS)
    assert not bench.out
    static = tf2_ros.StaticTransformBroadcaster(node)
    static.sendTransform(
        [message("base_link", "left_optical", LEFT), message("base_link", "right_optical", RIGHT)]
    )
    moving = tf2_ros.TransformBroadcaster(node)

    def send_odometry() -> None:
        for stamp in (10 * S, 10 * S + 100 * MS):
            moving.sendTransform(message("odom", "base_link", odom_from_base(stamp), stamp))

    timer = node.create_timer(0.02, send_odometry)  # again, until it has been discovered
    bench.wait()
    timer.cancel()
    assert bench.out[0][1].ego_from_camera["cam1"].is_close(RIGHT, 1e-6, 1e-6)
    listener.unregister()
