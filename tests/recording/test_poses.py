"""Pose tracks and the frame tree of a recording, against closed forms and against the devil."""

from __future__ import annotations

import numpy as np
import pytest

from renderocc_ros.geometry import RigidTransform
from renderocc_training.recording.pose_track import PoseTrack, rotation_vector
from renderocc_training.recording.transform_tree import TransformTree

SECOND = 1_000_000_000


def turned(yaw: float, x: float = 0.0, y: float = 0.0) -> RigidTransform:
    return RigidTransform.from_quaternion((0, 0, np.sin(yaw / 2), np.cos(yaw / 2)), (x, y, 0.0))


def circle(seconds: float) -> RigidTransform:
    """4 m/s, 0.2 rad/s."""
    angle = 0.2 * seconds
    return turned(angle, 20 * np.sin(angle), 20 * (1 - np.cos(angle)))


def close(a: RigidTransform, b: RigidTransform, error: float = 1e-9) -> bool:
    return a.is_close(b, error, error)


def test_a_track_interpolates_between_its_poses_and_never_beyond() -> None:
    stamps = [i * SECOND // 10 for i in range(21)]
    track = PoseTrack(stamps, [circle(stamp * 1e-9) for stamp in stamps])
    assert close(track.at(stamps[7]), circle(0.7))
    assert close(track.at(1_234_567_890), circle(1.23456789), 2e-3)
    for outside in (-1, stamps[-1] + 1):
        with pytest.raises(ValueError, match="no pose at"):
            track.at(outside)


def test_velocity_is_in_the_body_frame() -> None:
    stamps = [i * SECOND // 50 for i in range(101)]
    track = PoseTrack(stamps, [circle(stamp * 1e-9) for stamp in stamps])
    for stamp in (0, 777_000_000, 2 * SECOND):
        linear, angular = track.velocity(stamp, SECOND // 5)
        np.testing.assert_allclose(linear, (4, 0, 0), atol=0.09)
        np.testing.assert_allclose(angular, (0, 0, 0.2), atol=1e-6)
    lonely = PoseTrack([5], [circle(0)])
    np.testing.assert_array_equal(lonely.velocity(5, SECOND), np.zeros((2, 3)))


@pytest.mark.parametrize("angle", [0.0, 1e-12, 1e-4, 1.0, 3.0, np.pi])
def test_rotation_vector(angle: float) -> None:
    axis = np.array([2.0, -1.0, 2.0]) / 3
    quaternion = [*(axis * np.sin(angle / 2)), np.cos(angle / 2)]
    rotation = RigidTransform.from_quaternion(quaternion, (0, 0, 0)).rotation
    np.testing.assert_allclose(np.abs(rotation_vector(rotation)), np.abs(axis * angle), atol=1e-9)


@pytest.mark.parametrize(("stamps", "count"), [([], 0), ([1, 1], 2), ([2, 1], 2), ([1, 2], 1)])
def test_tracks_that_make_no_sense_are_refused(stamps: list[int], count: int) -> None:
    with pytest.raises(ValueError, match="stamps"):
        PoseTrack(stamps, [circle(0)] * count)


@pytest.fixture
def tree() -> TransformTree:
    """map ─ odom ~ base ─ (camera, mast ─ lidar); odom to base moves."""
    tree = TransformTree()
    tree.add("map", "odom", 0, turned(0.3, 100, 50), static=True)
    tree.add("/base", "camera", 0, turned(0.1, 1, 0), static=True)
    tree.add("base", "mast", 0, turned(0, 0, 2), static=True)
    tree.add("mast", "lidar", 0, turned(1.0), static=True)
    for tenth in (3, 1, 0, 2, 4, 5):  # not in order
        tree.add("odom", "base", tenth * SECOND // 10, circle(tenth / 10), static=False)
    return tree


def test_chains_go_up_and_down(tree: TransformTree) -> None:
    stamp = 250_000_000
    odom_from_base = circle(0.25)
    camera = turned(0.1, 1, 0)
    lidar = turned(0, 0, 2) @ turned(1.0)
    assert close(tree.lookup("odom", "camera", stamp), odom_from_base @ camera, 1e-3)
    assert close(tree.lookup("camera", "lidar", stamp), camera.inverse() @ lidar)
    assert close(tree.lookup("lidar", "camera", 10 * SECOND), lidar.inverse() @ camera)
    assert close(tree.lookup("/map", "map", stamp), RigidTransform.identity())
    present, back = tree.lookup("map", "lidar", stamp), tree.lookup("lidar", "map", stamp)
    assert close(present @ back, RigidTransform.identity())


def test_what_stands_still_and_what_is_known(tree: TransformTree) -> None:
    assert tree.static_root("odom") == "map"
    assert tree.static_root("lidar") == "base"
    assert tree.latest_stamp_ns("map", "camera") == SECOND // 2
    assert tree.latest_stamp_ns("lidar", "camera") is None


@pytest.mark.parametrize(
    ("target", "source", "stamp", "message"),
    [
        ("odom", "camera", SECOND, "after the last"),
        ("odom", "camera", -1, "before the first"),
        ("odom", "radar", 0, "no transform names the frame 'radar'; known: base, camera"),
        ("island", "camera", 0, "no transform links 'island' and 'camera': they hang below 'sea'"),
    ],
)
def test_what_is_not_known_is_named(
    tree: TransformTree, target: str, source: str, stamp: int, message: str
) -> None:
    tree.add("sea", "island", 0, turned(0), static=True)
    with pytest.raises(ValueError, match=message):
        tree.lookup(target, source, stamp)


def test_gaps_are_not_bridged() -> None:
    tree = TransformTree(longest_gap_ns=SECOND)
    for second in (0, 1, 3):
        tree.add("odom", "base", second * SECOND, circle(second), static=False)
    tree.lookup("odom", "base", SECOND // 2)
    tree.lookup("odom", "base", 3 * SECOND)
    with pytest.raises(ValueError, match="in a gap of 2.000 s of those from 0 to 3000000000"):
        tree.lookup("odom", "base", 2 * SECOND)


def test_loops_are_refused() -> None:
    tree = TransformTree()
    tree.add("a", "b", 0, turned(0), static=True)
    tree.add("b", "a", 0, turned(0), static=True)
    with pytest.raises(ValueError, match="loop"):
        tree.lookup("a", "c", 0)


def test_forgetting_keeps_what_later_look_ups_need(tree: TransformTree) -> None:
    before = tree.lookup("map", "camera", 250_000_000)
    tree.forget_before(250_000_000)
    assert close(tree.lookup("map", "camera", 250_000_000), before)
    with pytest.raises(ValueError, match="before the first"):
        tree.lookup("map", "camera", 150_000_000)
    tree.clear_moving()
    with pytest.raises(ValueError, match="no transform"):
        tree.lookup("map", "camera", 250_000_000)
    tree.lookup("lidar", "camera", 0)


def test_a_frame_of_two_parents_is_followed_where_it_leads(tree: TransformTree) -> None:
    """As where a wheel driver and a filter both say where the robot is."""
    before = tree.lookup("map", "base", SECOND // 2)
    tree.add("map", "base", SECOND // 4, turned(2.0), static=False)
    tree.add("wheel_odom", "base", SECOND // 2, turned(1.0), static=False)
    assert close(tree.lookup("map", "base", SECOND // 4), turned(2.0))
    assert close(tree.lookup("map", "base", SECOND // 2), before)
    assert close(tree.lookup("wheel_odom", "base", SECOND // 2), turned(1.0))
    with pytest.raises(ValueError, match="'wheel_odom' from 'base' .*, 0.500 s after the last"):
        tree.lookup("wheel_odom", "camera", SECOND)


def test_a_static_transform_replaces_what_was_known_of_its_frame(tree: TransformTree) -> None:
    tree.add("roof", "lidar", 0, turned(2.0), static=True)
    assert close(tree.lookup("roof", "lidar", 0), turned(2.0))
    with pytest.raises(ValueError, match="no transform links"):
        tree.lookup("base", "lidar", 0)
