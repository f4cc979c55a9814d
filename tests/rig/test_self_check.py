"""The self-check of cameras: what it says of pictures of a street, healthy and faulty."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import cv2
import numpy as np
import pytest

from renderocc_ros.geometry import RigidTransform
from renderocc_ros.rig.camera_set import CameraSet, PosedImage
from renderocc_ros.rig.motion_check import (
    DIFFERENCE_RAD,
    MOTION_SIGMA_RAD,
    Tracks,
    View,
    errors,
    misfit,
    off_plane,
    track,
)
from renderocc_ros.rig.self_check import CameraHealth, SelfCheck
from renderocc_ros.rig.turn_estimate import Look, TurnEstimate
from tests.rig.street import FOCAL_PX, HEIGHT, MODEL, WIDTH, drive, ego_from_camera

SETS = 40  # thirteen looks at each of three cameras
NOISE_RAD = 0.7 / FOCAL_PX


def turn_about(axis: int, degrees: float) -> np.ndarray:
    return np.asarray(cv2.Rodrigues(np.deg2rad(degrees) * np.eye(3)[axis])[0])


def tracks_of(second_from_first: RigidTransform, seed: int = 0, count: int = 200) -> Tracks:
    """Points before a camera, and the same after it has moved; nothing is noisy."""
    random = np.random.default_rng(seed)
    points = random.uniform((-8, -3, 3), (8, 3, 30), (count, 3))
    there = second_from_first.apply(points)
    first, second = (each / np.linalg.norm(each, axis=1, keepdims=True) for each in (points, there))
    return Tracks(first, second, np.linalg.norm(second - first, axis=1), NOISE_RAD)


def look(tracks: Tracks, second_from_first: RigidTransform) -> Look:
    return Look.at(errors(tracks, second_from_first), np.zeros(3), DIFFERENCE_RAD, MOTION_SIGMA_RAD)


FORWARD = RigidTransform(turn_about(1, 3.0), np.array([0.1, 0.0, -1.0]))  # and a bend


def test_still_points_lie_in_the_epipolar_plane_on_the_side_of_the_motion() -> None:
    off, along = off_plane(tracks_of(FORWARD), FORWARD)
    np.testing.assert_allclose(off, 0, atol=1e-12)
    assert (along > 0).all()
    assert misfit(tracks_of(FORWARD), FORWARD) == pytest.approx(0)
    backwards = RigidTransform(FORWARD.rotation, -FORWARD.translation)
    _, along = off_plane(tracks_of(FORWARD), backwards)
    assert (along < 0).all()


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_turn_of_the_camera_comes_out_of_a_drive_with_bends(axis: int) -> None:
    true_from_said = RigidTransform(turn_about(axis, 3.0), np.zeros(3))
    estimate = TurnEstimate()
    for seed in range(12):
        bend = turn_about(1, 12.0 * (-1) ** seed) @ turn_about(0, 5.0 * (-1) ** (seed // 2))
        said = RigidTransform(bend, np.array([0.1 * seed, 0.2, -1.0]))
        # X_true = true_from_said X_said, at both images
        true = true_from_said @ said @ true_from_said.inverse()
        estimate.add(look(tracks_of(true, seed), said))
    turn_rad, directions = estimate.known_turn()
    assert directions == 3
    np.testing.assert_allclose(np.rad2deg(turn_rad), -3.0 * np.eye(3)[axis], atol=0.25)


def test_straight_ahead_a_turn_about_the_way_of_travel_stays_unknown() -> None:
    said = RigidTransform(np.eye(3), np.array([0.0, 0.0, -1.0]))
    roll = RigidTransform(turn_about(2, 3.0), np.zeros(3))
    estimate = TurnEstimate()
    for seed in range(12):
        tracks = tracks_of(roll @ said @ roll.inverse(), seed)
        estimate.add(look(tracks, said))
    turn_rad, directions = estimate.known_turn()
    assert directions == 2
    np.testing.assert_allclose(turn_rad, 0, atol=1e-3)


def test_corners_are_followed_to_where_they_have_moved() -> None:
    first, second = (
        View.of(cameras.images[0], cameras.odom_from_ego)  # type: ignore[arg-type]
        for cameras in drive(2)
    )
    tracks = track(first, second)
    second_from_first = second.odom_from_camera.inverse() @ first.odom_from_camera
    off, along = off_plane(tracks, second_from_first)
    assert len(tracks) > 50
    assert np.median(np.abs(off)) < 0.3 / FOCAL_PX
    assert np.mean(along > 0) > 0.9


# ---------------------------------------------------------------------------------------- the check

Change = Callable[[PosedImage, CameraSet], PosedImage]


@pytest.fixture(scope="module")
def street() -> list[CameraSet]:
    return drive(SETS)


def checked(
    sets: Sequence[CameraSet], changes: Mapping[str, Change] | None = None
) -> Mapping[str, CameraHealth]:
    check = SelfCheck()
    for cameras in sets:
        images = (
            (changes or {}).get(i.name, lambda image, _: image)(i, cameras) if i else None
            for i in cameras.images
        )
        check.look(replace(cameras, images=tuple(images)), max_still_percent=12.0)
    return check.health


def suspicions(health: Mapping[str, CameraHealth]) -> dict[str, str]:
    return {name: each.suspicion for name, each in health.items() if each.suspicion}


def test_healthy_cameras_raise_no_alarm(street: list[CameraSet]) -> None:
    health = checked(street)
    assert suspicions(health) == {}
    assert set(health) == {"front", "left", "rear"}
    for each in health.values():
        assert each.looks >= 9
        assert each.fit > 0.9
        assert np.linalg.norm(each.turn_deg) < 0.7
        assert each.directions >= 1
    assert health["front"].still_percent < 3


@pytest.mark.parametrize(("name", "axis"), [("front", 1), ("front", 2), ("rear", 2), ("left", 1)])
def test_turned_camera_is_named_with_its_angle(
    street: list[CameraSet], name: str, axis: int
) -> None:
    """Said to be turned by 3 degrees about an axis of the robot, it looks turned back by 3."""

    def turned(image: PosedImage, _: CameraSet) -> PosedImage:
        pose = image.ego_from_camera
        said = RigidTransform(turn_about(axis, 3.0) @ pose.rotation, pose.translation)
        return replace(image, ego_from_camera=said)

    health = checked(street, {name: turned})
    assert list(suspicions(health)) == [name]
    assert health[name].suspicion.startswith("it looks turned by ")
    np.testing.assert_allclose(health[name].turn_deg, -3.0 * np.eye(3)[axis], atol=0.8)


def test_turn_by_25_degrees_is_hardly_one_of_the_mounting(street: list[CameraSet]) -> None:
    def turned(image: PosedImage, _: CameraSet) -> PosedImage:
        pose = image.ego_from_camera
        said = RigidTransform(turn_about(2, 25.0) @ pose.rotation, pose.translation)
        return replace(image, ego_from_camera=said)

    told = suspicions(checked(street, {"left": turned}))
    assert list(told) == ["left"]
    assert "is it the topic or the frame of another camera?" in told["left"]


def test_swapped_cameras_name_each_other(street: list[CameraSet]) -> None:
    def image_of(other: str) -> Change:
        def change(image: PosedImage, cameras: CameraSet) -> PosedImage:
            source = cameras.images[cameras.names.index(other)]
            assert source is not None
            return replace(image, pixels=source.pixels)

        return change

    told = suspicions(checked(street, {"front": image_of("rear"), "rear": image_of("front")}))
    assert told.keys() == {"front", "rear"}
    assert told["front"].startswith("its images move as those of rear should")
    assert told["rear"].startswith("its images move as those of front should")


def test_swapped_cameras_are_named_though_images_are_missing_now_and_then(
    street: list[CameraSet],
) -> None:
    random, twice = np.random.default_rng(2), [*street, *street]
    thin = []
    for number, cameras in enumerate(twice):
        front, left, rear = cameras.images
        assert front is not None
        assert rear is not None
        images: list[PosedImage | None] = [
            replace(front, pixels=rear.pixels),
            left,
            replace(rear, pixels=front.pixels),
        ]
        if number % 3 == 0:
            images[random.integers(3)] = None
        later = number * 10**8
        images = [i and replace(i, stamp_ns=later) for i in images]
        thin.append(replace(cameras, stamp_ns=later, images=tuple(images)))
    assert suspicions(checked(thin)).keys() == {"front", "rear"}


def test_picture_that_stands_is_named_though_its_noise_changes(street: list[CameraSet]) -> None:
    first = street[0].images[1]
    assert first is not None

    def frozen(image: PosedImage, cameras: CameraSet) -> PosedImage:
        noise = np.random.default_rng(cameras.stamp_ns).integers(-1, 2, first.pixels.shape)
        return replace(image, pixels=np.clip(first.pixels + noise, 0, 255).astype(np.uint8))

    told = suspicions(checked(street, {"left": frozen}))
    assert told == {
        "left": "the same picture while the robot moves: restart the camera or its driver"
    }


def test_covered_part_of_a_lens_is_named_with_its_share(street: list[CameraSet]) -> None:
    def covered(image: PosedImage, _: CameraSet) -> PosedImage:
        pixels = image.pixels.copy()
        pixels[HEIGHT // 2 :, : WIDTH // 2] = (60, 50, 40)
        return replace(image, pixels=pixels)

    health = checked(street, {"front": covered})
    assert list(suspicions(health)) == ["front"]
    assert "clean the lens" in health["front"].suspicion
    assert 40 <= health["front"].still_percent <= 55  # a quarter of the image, half of it is sky


def test_all_cameras_off_alike_are_a_matter_of_the_odometry(street: list[CameraSet]) -> None:
    drifting = [
        replace(
            cameras,
            odom_from_ego=RigidTransform(
                turn_about(2, 4.0),
                cameras.odom_from_ego.translation if cameras.odom_from_ego else 0,
            ),
        )
        for cameras in street
    ]
    told = suspicions(checked(drifting))
    assert len(told) >= 2
    assert any("look at odometry and base_frame first" in text for text in told.values())


# ------------------------------------------------------------------------- what must not disturb it


def test_standing_robot_gives_no_verdict(street: list[CameraSet]) -> None:
    pose = street[0].odom_from_ego
    standing = [
        replace(
            street[0],
            stamp_ns=each.stamp_ns,
            odom_from_ego=pose,
            images=tuple(replace(i, stamp_ns=each.stamp_ns) for i in street[0].images if i),
        )
        for each in street
    ]
    assert suspicions(checked(standing)) == {}
    assert all(each.looks == 0 for each in checked(standing).values())


def test_nothing_is_judged_without_odometry(street: list[CameraSet]) -> None:
    assert checked([replace(each, odom_from_ego=None) for each in street]) == {}


def test_missing_images_new_sizes_and_time_that_goes_back_are_survived(
    street: list[CameraSet],
) -> None:
    random = np.random.default_rng(3)
    odd: list[CameraSet] = []
    for number, each in enumerate([*street, *street]):
        images: list[PosedImage | None] = []
        for image in each.images:
            assert image is not None
            if random.random() < 0.3 and any(images):
                images.append(None)
            elif random.random() < 0.2:
                half = cv2.resize(image.pixels, (WIDTH // 2, HEIGHT // 2))
                small = MODEL.resized(WIDTH // 2, HEIGHT // 2)
                images.append(replace(image, pixels=np.asarray(half), model=small))
            else:
                images.append(image)
        odd.append(replace(each, images=tuple(images)))
        if number % 11 == 5:
            odd.append(replace(each, odom_from_ego=None))
    assert suspicions(checked(odd)) == {}


@pytest.mark.parametrize("size", [(1, 1), (3, 2000), (2000, 2)])
def test_images_of_any_size_and_without_any_detail_are_taken(size: tuple[int, int]) -> None:
    width, height = size
    model, pixels = MODEL.resized(width, height), np.zeros((height, width, 3), np.uint8)
    check = SelfCheck()
    for number in range(40):
        pose = RigidTransform(np.eye(3), np.array([4.0 * number, 0, 0]))
        image = PosedImage("front", number * 10**8, pixels, model, ego_from_camera("front"))
        check.look(CameraSet(number * 10**8, ("front",), (image,), pose), 12.0)
    assert check.health["front"].looks == 0
