"""Posed sets of images from recordings as robots make them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from renderocc_ros.config import RigConfig, validate
from renderocc_ros.geometry import RigidTransform
from renderocc_ros.network_config import ImageConfig
from renderocc_training.evaluation.recorded_sets import RecordedSets
from renderocc_training.recording import message_content, messages
from renderocc_training.recording.bag_layout import TopicOptions, find_layout
from renderocc_training.recording.bag_poses import BagPoses
from renderocc_training.recording.bag_reader import BagReader
from renderocc_training.recording.frame_sets import FrameSet, FrameSets
from renderocc_training.recording.left_out import LeftOut
from tests.sequences.extraction.conftest import MODEL, MS, OPTICAL, RIG, START_NS, Drive, pose_at

SECOND = 1000 * MS
# Turned by 90 degrees, 1 m ahead: base_from_imu.
IMU = RigidTransform.from_quaternion((0, 0, 0.5**0.5, 0.5**0.5), (1.0, 0.0, 0.0))
STILL = RigidTransform.identity()


def rig_with(**changes: Any) -> RigConfig:
    return validate(RIG | changes, RigConfig, "the rig")


def sets_of(
    bag: Path, rig: RigConfig | None = None, **options: Any
) -> tuple[list[FrameSet], LeftOut]:
    left_out = LeftOut()
    with BagReader(bag) as reader:
        layout = find_layout(reader.topics, rig or rig_with(), TopicOptions(**options))
        poses = BagPoses(layout, left_out)
        return list(FrameSets(reader, layout, poses, left_out)), left_out


def assert_whole(sets: list[FrameSet], count: int = 10) -> None:
    """Both cameras in every set, where they were."""
    assert [each.stamp_ns for each in sets] == [START_NS + i * 100 * MS for i in range(count)]
    for each in sets:
        assert list(each.images) == ["FRONT", "REAR"]
        ego_pose = pose_at(each.stamp_ns)
        assert each.odom_from_ego is not None and near(each.odom_from_ego, ego_pose)
        for image in each.images.values():
            assert near(image.base_from_camera, OPTICAL)
            across = ego_pose.inverse() @ pose_at(image.stamp_ns)
            assert near(image.ego_from_camera, across @ OPTICAL)


def near(a: RigidTransform, b: RigidTransform) -> bool:
    return np.allclose(a.matrix, b.matrix, atol=1e-6)


def edited(**edits: Callable[[Any], Any]) -> Callable[[str, int, Any], Any]:
    """Edits by the last part of a topic's name."""

    def edit(topic: str, number: int, message: Any) -> Any:
        change = edits.get(topic.rpartition("/")[2])
        return change(message) if change else message

    return edit


class Changed(Drive):
    """A drive whose events another function changes."""

    def __init__(self, change: Callable[[int, str, Any], Any], **options: Any) -> None:
        super().__init__(seconds=1.0, **options)
        self.change = change

    def events(self) -> Any:
        for event in super().events():
            yield from self.change(*event)


def test_extraction_and_evaluation_read_the_same_sets(tmp_path: Path) -> None:
    bag = Drive(seconds=1.0, raw=True).write(tmp_path / "bag")
    sets, left_out = sets_of(bag)
    assert_whole(sets)
    assert not left_out
    decoded = list(RecordedSets(bag, rig_with(), ImageConfig(height=32, width=48)))
    assert [each.stamp_ns for each in decoded] == [each.stamp_ns for each in sets]
    for camera_set, frame_set in zip(decoded, sets, strict=True):
        for posed in camera_set.images:
            assert posed is not None
            image = frame_set.images[posed.name]
            assert posed.stamp_ns == image.stamp_ns and posed.model == image.model
            assert near(posed.ego_from_camera, image.ego_from_camera)


@pytest.mark.parametrize("off_s", [-30, -3, -1, 100])
def test_a_transform_of_another_time_changes_nothing(off_s: int, tmp_path: Path) -> None:
    """Live, tf2 puts it in its place: neither one nor three of them set the time line back."""

    def stray(log_ns: int, topic: str, message: Any) -> Any:
        yield log_ns, topic, message
        if topic == "/tf" and log_ns - START_NS in range(400 * MS, 460 * MS):
            (entry,) = message.transforms
            stamp_ns = message_content.stamp_ns(entry) + off_s * SECOND
            far_away = RigidTransform(np.eye(3), np.array([500.0, 0, 0]))
            entry = messages.transform_stamped(stamp_ns, "odom", "base_link", far_away)
            yield log_ns + 1, topic, messages.tf([entry])

    sets, left_out = sets_of(Changed(stray).write(tmp_path / "bag"))
    assert_whole(sets)
    assert not left_out


def test_poses_are_forgotten_where_the_images_are_set_back(tmp_path: Path) -> None:
    """The second time round the robot stands elsewhere; the old poses must not be mixed in."""

    def again(log_ns: int, topic: str, message: Any) -> Any:
        yield log_ns, topic, message
        if topic == "/tf_static":
            return
        if topic == "/tf":
            (entry,) = message.transforms
            moved = RigidTransform(np.eye(3), np.array([500.0, 0, 0]))
            stamp_ns = message_content.stamp_ns(entry)
            pose = moved @ message_content.transform_of(entry)
            message = messages.tf([messages.transform_stamped(stamp_ns, "odom", "base_link", pose)])
        yield log_ns + 2 * SECOND, topic, message

    sets, left_out = sets_of(Changed(again).write(tmp_path / "bag"))
    assert_whole(sets[:10])
    assert left_out["time line", "set back"] == 1
    assert len(sets) >= 18
    for each in sets[10:]:
        assert each.odom_from_ego is not None
        x = (each.odom_from_ego.translation - pose_at(each.stamp_ns).translation)[0]
        assert x == pytest.approx(500.0, abs=1e-3)


@pytest.mark.parametrize("late_ms", [400, 1000])
def test_images_that_were_recorded_late_are_in_their_sets(late_ms: int, tmp_path: Path) -> None:
    def late(log_ns: int, topic: str, message: Any) -> Any:
        yield log_ns + late_ms * MS * topic.startswith("/rear/image"), topic, message

    sets, left_out = sets_of(Changed(late).write(tmp_path / "bag"))
    assert_whole(sets)
    assert not left_out


def test_a_single_late_image_is_in_its_set_too(tmp_path: Path) -> None:
    def late(log_ns: int, topic: str, message: Any) -> Any:
        is_fourth = log_ns - START_NS in range(300 * MS, 400 * MS)
        yield log_ns + 180 * MS * (is_fourth and topic.startswith("/rear/image")), topic, message

    assert_whole(sets_of(Changed(late).write(tmp_path / "bag"))[0])


def test_two_cameras_may_share_one_camera_info(tmp_path: Path) -> None:
    def shared(log_ns: int, topic: str, message: Any) -> Any:
        if topic != "/rear/camera_info":
            yield log_ns, topic.replace("/front/camera_info", "/camera_info"), message

    cameras = [camera | {"info_topic": "/camera_info"} for camera in RIG["cameras"]]  # type: ignore[attr-defined]
    bag = Changed(shared).write(tmp_path / "bag")
    assert_whole(sets_of(bag, rig_with(cameras=cameras))[0])


def test_a_transform_that_is_no_rotation_costs_its_own_frame_alone(tmp_path: Path) -> None:
    def zero(message: Any) -> Any:
        lidar = message.transforms[2]
        nothing = replace(lidar.transform.rotation, x=0.0, y=0.0, z=0.0, w=0.0)
        lidar.transform.rotation = nothing
        return message

    bag = Drive(seconds=1.0, edit=edited(tf_static=zero)).write(tmp_path / "bag")
    sets, left_out = sets_of(bag)
    assert_whole(sets)
    ((what, why),) = left_out
    assert what == "transforms" and "'base_link' from 'lidar': quaternion" in why


@pytest.mark.parametrize("rig_too", [False, True])
def test_leading_slashes_mean_nothing(rig_too: bool, tmp_path: Path) -> None:
    def slash(message: Any) -> Any:
        message.header.frame_id = "/" + message.header.frame_id
        return message

    def slashes(message: Any) -> Any:
        for entry in message.transforms:
            slash(entry).child_frame_id = "/" + entry.child_frame_id
        return message

    edit = edited(tf=slashes, tf_static=slashes, compressed=slash, camera_info=slash)
    frames = {"base_frame": "/base_link", "odom_frame": "/odom"} if rig_too else {}
    bag = Drive(seconds=1.0, edit=edit).write(tmp_path / "bag")
    assert_whole(sets_of(bag, rig_with(**frames))[0])


def test_a_namespace_has_its_own_transforms(tmp_path: Path) -> None:
    def named(log_ns: int, topic: str, message: Any) -> Any:
        yield log_ns, f"/robot1{topic}", message

    bag = Changed(named).write(tmp_path / "bag")
    sets, _ = sets_of(bag, namespace="robot1")
    assert_whole(sets)
    with BagReader(bag) as reader:
        cameras = [
            camera | {"image_topic": "/robot1/" + camera["image_topic"]}
            for camera in RIG["cameras"]  # type: ignore[attr-defined]
        ]
        layout = find_layout(reader.topics, rig_with(cameras=cameras), TopicOptions())
    assert [text for text in layout.problems if "--namespace robot1 has its own" in text] == [
        "no ego poses: neither /tf nor an Odometry topic; --namespace robot1 has its own",
        "no /tf_static: where the sensors are mounted must be in /tf, or as 'mount' in "
        "the rig file; --namespace robot1 has its own",
    ]


def test_the_rig_file_may_hold_calibration_and_mounts(tmp_path: Path) -> None:
    """As of a bag that has neither CameraInfo nor static transforms."""
    bag = Drive(
        seconds=1.0, without=("/tf_static", "/front/camera_info", "/rear/camera_info")
    ).write(tmp_path / "bag")
    content = {
        "image_width": 48,
        "image_height": 32,
        "camera_matrix": {"data": [40.0, 0, 23.5, 0, 41.0, 15.5, 0, 0, 1]},
        "distortion_model": "plumb_bob",
        "distortion_coefficients": {"data": [0.0] * 5},
    }
    own = {
        "calibration": content,
        "mount": {"position_m": OPTICAL.translation.tolist()},
    }
    cameras = [
        camera | own | {"frame": camera["name"].lower()}  # type: ignore[attr-defined]
        for camera in RIG["cameras"]  # type: ignore[attr-defined]
    ]
    sets, left_out = sets_of(bag, rig := rig_with(cameras=cameras))
    assert_whole(sets)
    assert not left_out
    assert all(image.model == MODEL for each in sets for image in each.images.values())
    with BagReader(bag) as reader:
        layout = find_layout(reader.topics, rig, TopicOptions())
    assert "FRONT: calibrated by the rig file" in layout.problems
    assert "FRONT: mounted as the rig file says" in layout.problems


def test_images_without_a_stamp_are_refused_by_name(tmp_path: Path) -> None:
    def unstamped(message: Any) -> Any:
        message.header.stamp = messages.time(0)
        return message

    bag = Drive(seconds=1.0, edit=edited(compressed=unstamped)).write(tmp_path / "bag")
    sets, left_out = sets_of(bag)
    assert sets == []
    why = "its stamp is 0 ns: the driver is to stamp its images"
    assert left_out == {(f"/{name}/image_raw/compressed", why): 10 for name in ("front", "rear")}


def with_odometry(
    frame: str, child: str, base_from_child: RigidTransform, tf: RigidTransform | None
) -> Changed:
    """Odometry of a body, and what /tf says of the robot: off by a transform, or nothing."""

    def change(log_ns: int, topic: str, message: Any) -> Any:
        if topic == "/tf_static":
            mount = messages.transform_stamped(START_NS, "base_link", "imu_link", IMU)
            message = messages.tf([*message.transforms, mount])
        if topic != "/tf":
            yield log_ns, topic, message
            return
        (entry,) = message.transforms
        stamp_ns, pose = message_content.stamp_ns(entry), message_content.transform_of(entry)
        body = pose @ base_from_child
        odometry = messages.odometry(stamp_ns, frame, child, body, (5, 0, 0), (0, 0, 0.1))
        yield log_ns, "/odometry", odometry
        if tf is not None:
            wrong = messages.transform_stamped(stamp_ns, "odom", "base_link", tf @ pose)
            yield log_ns + 1, "/tf", messages.tf([wrong])

    return Changed(change)


OFF = RigidTransform(np.eye(3), np.array([0.0, 3.0, 0.0]))


@pytest.mark.parametrize("frame", ["odom", "camera_init"])
@pytest.mark.parametrize(
    ("child", "mount"), [("base_link", STILL), ("/imu_link", IMU), ("", STILL)]
)
@pytest.mark.parametrize("beside_tf", [False, True])
def test_odometry_of_any_body_gives_the_pose_of_the_robot(
    frame: str, child: str, mount: RigidTransform, beside_tf: bool, tmp_path: Path
) -> None:
    drive = with_odometry(frame, child, mount, OFF if beside_tf else None)
    options = {"odometry": "/odometry"} if beside_tf else {}
    sets, left_out = sets_of(drive.write(tmp_path / "bag"), **options)
    assert_whole(sets)
    named = {("odometry", "no child_frame_id: taken as of 'base_link'"): 50}
    assert left_out == ({} if child else named)


def test_tf_gives_the_pose_where_no_odometry_is_chosen(tmp_path: Path) -> None:
    drive = with_odometry("odom", "base_link", OFF, STILL)
    assert_whole(sets_of(drive.write(tmp_path / "bag"))[0])


def test_odometry_of_a_body_that_nothing_links_is_refused_by_name(tmp_path: Path) -> None:
    sets, left_out = sets_of(with_odometry("odom", "body", IMU, None).write(tmp_path / "bag"))
    assert sets == []
    (why,) = [why for what, why in left_out if what == "/odometry"]
    assert "the odometry is of 'body': no transform names the frame 'body'" in why
    assert "name it as the rig's base_frame" in why


def test_reasons_that_differ_in_numbers_count_as_one_in_the_words_of_the_first() -> None:
    left_out = LeftOut()
    left_out.note("images of cam1", "no transform from 'cam1_optical' at 100.5 ns")
    left_out.note("images of cam1", "no transform from 'cam1_optical' at 200 ns", 2)
    left_out.note("images of cam2", "no transform from 'cam2_optical' at 100 ns")
    left_out.note("images of cam2", "other", 0)
    assert left_out == {
        ("images of cam1", "no transform from 'cam1_optical' at 100.5 ns"): 3,
        ("images of cam2", "no transform from 'cam2_optical' at 100 ns"): 1,
    }
