"""Poses in all kinds of messages, and transforms that contradict each other: read, or named."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from renderocc_ros.geometry import RigidTransform
from renderocc_training.recording import message_content, messages
from tests.recording.test_frame_sets import Changed, assert_whole, near, sets_of
from tests.sequences.extraction.conftest import MS, OPTICAL, START_NS


def odometry(stamp_ns: int, pose: RigidTransform) -> Any:
    return messages.odometry(stamp_ns, "odom", "base_link", pose, (5, 0, 0), (0, 0, 0.1))


def pose_stamped(stamp_ns: int, pose: RigidTransform) -> Any:
    kind = "geometry_msgs/msg/PoseStamped"
    header = messages.header(stamp_ns, "odom")
    return messages.make(kind, header=header, pose=messages.pose(pose))


def pose_with_covariance(stamp_ns: int, pose: RigidTransform) -> Any:
    kind = "geometry_msgs/msg/PoseWithCovariance"
    inner = messages.make(kind, pose=messages.pose(pose), covariance=np.zeros(36))
    header = messages.header(stamp_ns, "odom")
    return messages.make(f"{kind}Stamped", header=header, pose=inner)


def transform(stamp_ns: int, pose: RigidTransform) -> Any:
    return messages.transform_stamped(stamp_ns, "odom", "base_link", pose)


def instead_of_tf(make: Any) -> Any:
    def change(log_ns: int, topic: str, message: Any) -> Iterator[Any]:
        if topic != "/tf":
            yield log_ns, topic, message
            return
        for entry in message.transforms:
            stamp_ns = message_content.stamp_ns(entry)
            yield log_ns, "/pose", make(stamp_ns, message_content.transform_of(entry))

    return change


@pytest.mark.parametrize("make", [odometry, pose_stamped, pose_with_covariance, transform])
def test_every_message_of_a_pose_gives_the_ego_pose(make: Any, tmp_path: Path) -> None:
    bag = Changed(instead_of_tf(make)).write(tmp_path / "bag")
    sets, left_out = sets_of(bag, odometry="/pose")
    assert_whole(sets)
    assert {what for what, _ in left_out} <= {"odometry"}
    unnamed = make in (pose_stamped, pose_with_covariance)
    assert bool(left_out["odometry", "no child_frame_id: taken as of 'base_link'"]) == unnamed


def test_a_topic_of_no_poses_is_refused_by_type(tmp_path: Path) -> None:
    bag = Changed(instead_of_tf(odometry)).write(tmp_path / "bag")
    with pytest.raises(
        ValueError, match=r"odometry: '/points' is sensor_msgs/msg/PointCloud2; giv"
    ):
        sets_of(bag, odometry="/points")


def test_odometry_that_holds_speeds_alone_is_no_pose(tmp_path: Path) -> None:
    """Its poses say that the robot stands still, whatever it does."""
    still = RigidTransform.identity()
    change = instead_of_tf(lambda stamp_ns, pose: odometry(stamp_ns, still))
    sets, left_out = sets_of(Changed(change).write(tmp_path / "bag"))
    assert len(sets) <= 1  # the first may have begun at zero
    why = "it moves and stays at zero: it holds speeds alone; choose an odometry with poses"
    assert left_out["/pose", why] == 49


@pytest.mark.parametrize("topic", ["/tf_static", "/tf"])
def test_a_camera_at_two_places_is_named(topic: str, tmp_path: Path) -> None:
    elsewhere = OPTICAL @ RigidTransform(np.eye(3), np.array([0.0, 0.0, 0.25]))

    def twice(log_ns: int, name: str, message: Any) -> Iterator[Any]:
        yield log_ns, name, message
        if name == "/tf_static":
            for place in (OPTICAL, elsewhere):  # the first says nothing new
                at_ns = START_NS - 500 * MS
                entry = messages.transform_stamped(at_ns, "base_link", "front", place)
                yield log_ns + 1, topic, messages.tf([entry])

    sets, left_out = sets_of(Changed(twice).write(tmp_path / "bag"))
    reason = "'front' is at two places in 'base_link', 0.250 m apart or turned: the later counts"
    if topic == "/tf_static":
        assert left_out == {("transforms", reason): 1}
        assert all(near(each.images["FRONT"].base_from_camera, elsewhere) for each in sets)
    assert all(near(each.images["REAR"].base_from_camera, OPTICAL) for each in sets)
