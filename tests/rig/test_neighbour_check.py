"""What two cameras both see, and what it says of their mountings, in a painted street."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import cv2
import numpy as np
import pytest

from renderocc_ros.geometry import CameraModel, RigidTransform
from renderocc_ros.rig.camera_set import CameraSet, PosedImage
from renderocc_ros.rig.neighbour_check import NeighbourCheck, errors
from renderocc_ros.rig.neighbour_matches import Matches, matches_of
from renderocc_ros.rig.self_check import CameraHealth, SelfCheck
from renderocc_ros.rig.turn_estimate import Look, TurnEstimate
from tests.rig.street import BODY_FROM_OPTICAL, HEIGHT, MODEL, WIDTH, picture, surface

FISHEYE = CameraModel(
    200,
    200,
    np.array([[64.0, 0, 99.5], [0, 64.0, 99.5], [0, 0, 1]]),
    "equidistant",
    (0.01, 0.0, 0.0, 0.0),
)
PLACES = {"left": (0.4, 0.4, 1.5), "front": (0.7, 0.0, 1.6), "right": (0.4, -0.4, 1.5)}
YAW_DEG = {"left": 52.0, "front": 0.0, "right": -52.0}
SETS = 32


def turn_about(axis: int, degrees: float) -> np.ndarray:
    return np.asarray(cv2.Rodrigues(np.deg2rad(degrees) * np.eye(3)[axis])[0])


def mounting(name: str) -> RigidTransform:
    return RigidTransform(turn_about(2, YAW_DEG[name]) @ BODY_FROM_OPTICAL, np.array(PLACES[name]))


def image(name: str, number: int = 0, model: CameraModel = MODEL) -> PosedImage:
    """Of the street, from where the robot is after so many sets."""
    pose = RigidTransform(np.eye(3), np.array([0.8 * number, 0.0, 0.0]))
    pixels = picture(pose @ mounting(name), model)
    return PosedImage(name, number * 10**8, pixels, model, mounting(name))


def cameras(number: int) -> CameraSet:
    pose = RigidTransform(np.eye(3), np.array([0.8 * number, 0.0, 0.0]))
    images = tuple(image(name, number) for name in PLACES)
    return CameraSet(number * 10**8, tuple(PLACES), images, pose)


@pytest.fixture(scope="module")
def street() -> list[CameraSet]:
    """Three cameras that see a third of their neighbour's image, straight on."""
    return [cameras(number) for number in range(SETS)]


def turned(posed: PosedImage, axis: int, degrees: float) -> PosedImage:
    """Said to be mounted otherwise than it is, about an axis of the robot."""
    pose = posed.ego_from_camera
    said = RigidTransform(turn_about(axis, degrees) @ pose.rotation, pose.translation)
    return replace(posed, ego_from_camera=said)


# ---------------------------------------------------------------------------------------- matches


@pytest.mark.parametrize("model", [MODEL, FISHEYE], ids=["pinhole", "fisheye"])
@pytest.mark.parametrize("pair", [("left", "front"), ("front", "left"), ("right", "front")])
def test_matches_are_the_same_place_on_a_wall_or_the_ground(
    model: CameraModel, pair: tuple[str, str]
) -> None:
    first, second = (image(name, model=model) for name in pair)
    matches = matches_of(first, second)
    assert len(matches) >= 12
    there = surface(first.ego_from_camera.translation, matches.first)
    expected = there - second.ego_from_camera.translation
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    off_px = np.linalg.norm(expected - matches.second, axis=1) * model.intrinsics[0, 0]
    assert np.median(off_px) < 0.35
    assert np.mean(off_px < 1.0) > 0.9
    baseline = first.ego_from_camera.translation - second.ego_from_camera.translation
    np.testing.assert_allclose(matches.baseline, np.tile(baseline, (len(matches), 1)))


def test_cameras_of_unlike_size_and_upside_down_are_matched() -> None:
    first, front = image("left"), image("front")
    head_over = replace(
        front,
        pixels=np.ascontiguousarray(front.pixels[::-1, ::-1]),
        ego_from_camera=RigidTransform(
            mounting("front").rotation @ np.diag([-1.0, -1.0, 1.0]), mounting("front").translation
        ),
    )
    large = image("front", model=MODEL.resized(WIDTH * 2, HEIGHT * 2))
    for second in (head_over, large):
        matches = matches_of(first, second)
        off, _ = errors(matches)(np.zeros((1, 6)))
        assert len(matches) >= 12
        assert np.median(np.abs(off)) < 0.5


def _elsewhere(posed: PosedImage) -> PosedImage:
    return replace(posed, pixels=image("right", 9).pixels)


def _same_place(posed: PosedImage) -> PosedImage:
    there = mounting("left").translation
    return replace(posed, ego_from_camera=RigidTransform(mounting("front").rotation, there))


def _looking_back(posed: PosedImage) -> PosedImage:
    there = RigidTransform(turn_about(2, 230.0) @ BODY_FROM_OPTICAL, np.array(PLACES["front"]))
    return replace(posed, ego_from_camera=there)


def _flat(posed: PosedImage) -> PosedImage:
    return replace(posed, pixels=np.full_like(posed.pixels, 128))


@pytest.mark.parametrize("change", [_same_place, _looking_back, _flat])
def test_nothing_in_common_is_no_match(change: Callable[[PosedImage], PosedImage]) -> None:
    assert len(matches_of(image("left"), change(image("front")))) == 0


@pytest.mark.parametrize("size", [(1, 1), (3, 400), (400, 2), (17, 17)])
def test_images_of_any_size_are_taken(size: tuple[int, int]) -> None:
    model = MODEL.resized(*size)
    tiny = PosedImage(
        "front", 0, np.zeros((size[1], size[0], 3), np.uint8), model, mounting("front")
    )
    assert len(matches_of(image("left"), tiny)) == 0
    assert len(matches_of(tiny, image("left"))) == 0


# ------------------------------------------------------------------------------------------ errors


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_turn_comes_out_of_what_is_seen_at_all_distances(axis: int) -> None:
    """Points around two cameras one above the other and aside: all of their relative turn shows."""
    random = np.random.default_rng(3)
    points = random.uniform((2, -6, -3), (20, 6, 5), (400, 3))
    places = np.array([[0.0, 0.5, 1.0], [0.3, -0.5, 2.0]])
    first, second = (points - place for place in places)
    first, second = (each / np.linalg.norm(each, axis=1, keepdims=True) for each in (first, second))
    said = second @ turn_about(axis, 2.0).T  # as if the second were turned
    baseline = np.tile(places[0] - places[1], (400, 1))
    matches = Matches(first, said, baseline, np.full(400, np.deg2rad(0.1)))
    off, counts = errors(matches)(np.zeros((1, 6)))
    assert counts.all()
    assert np.abs(off).mean() > 2
    estimate = TurnEstimate.of_two()
    estimate.add(Look.at(errors(matches), estimate.turn, 1e-4, np.deg2rad(0.01)))
    relative = np.rad2deg(estimate.turn[3:] - estimate.turn[:3])
    np.testing.assert_allclose(relative, -2.0 * np.eye(3)[axis], atol=0.1)
    off, _ = errors(matches)(estimate.turn[None])
    assert np.abs(off).max() < 0.2


# -------------------------------------------------------------------------------------- the check

Change = Callable[[PosedImage, CameraSet], PosedImage]


def looked_at(
    street: list[CameraSet], changes: Mapping[str, Callable[[PosedImage], PosedImage]]
) -> NeighbourCheck:
    check = NeighbourCheck()
    for each in street:
        assert each.odom_from_ego is not None
        images = {
            i.name: changes.get(i.name, lambda posed: posed)(i)
            for i in each.images
            if i is not None
        }
        check.look(images, each.odom_from_ego)
    return check


def test_pairs_are_looked_at_in_turn_and_agree_where_nothing_is_wrong(
    street: list[CameraSet],
) -> None:
    check = looked_at(street, {})
    assert set(check.pairs) == {("left", "front"), ("front", "right")}
    for state in check.pairs.values():
        assert state.looks == 10 + (SETS - 10) // 2  # both, until they are known
        relative_deg = np.rad2deg(state.estimate.turn[:3] - state.estimate.turn[3:])
        assert np.linalg.norm(relative_deg[:2]) < 0.3
        assert abs(relative_deg[2]) < 0.7  # along the epipolar lines: hardly known
    assert check.looks("front") == 2 * check.looks("left") == 42
    assert check.is_known("right")
    assert not check.is_known("nobody")


def test_pictures_of_another_place_are_of_chance(street: list[CameraSet]) -> None:
    check = looked_at(street, {"front": _elsewhere})
    assert all(state.looks == 0 for state in check.pairs.values())


def test_few_matches_add_up_until_they_are_a_look(street: list[CameraSet]) -> None:
    def behind_a_board(posed: PosedImage) -> PosedImage:
        """Little is left of what the other one sees, too."""
        pixels = posed.pixels.copy()
        pixels[: HEIGHT // 2 - 7] = pixels[HEIGHT // 2 + 7 :] = 90
        return replace(posed, pixels=pixels)

    whole, part = looked_at(street, {}), looked_at(street, {"left": behind_a_board})
    pair = ("left", "front")
    assert 2 <= part.pairs[pair].looks < whole.pairs[pair].looks


def test_standing_robot_is_looked_at_once(street: list[CameraSet]) -> None:
    check = looked_at([street[0]] * 20, {})
    assert {state.looks for state in check.pairs.values()} == {1}


def checked(
    street: list[CameraSet], changes: Mapping[str, Change], names: tuple[str, ...] = tuple(PLACES)
) -> Mapping[str, CameraHealth]:
    check = SelfCheck()
    for each in street:
        images = tuple(
            changes.get(i.name, lambda posed, _: posed)(i, each) if i and i.name in names else None
            for i in each.images
        )
        check.look(replace(each, images=images), 100.0)
    return check.health


def suspects(health: Mapping[str, CameraHealth]) -> list[str]:
    return [name for name, each in health.items() if each.suspicion]


def test_healthy_neighbours_raise_no_alarm(street: list[CameraSet]) -> None:
    health = checked(street, {})
    assert suspects(health) == []
    for each in health.values():
        assert each.neighbour_looks >= 8
        assert np.linalg.norm(each.turn_deg) < 0.5
    assert health["front"].directions == 3


@pytest.mark.parametrize("name", ["left", "front", "right"])
@pytest.mark.parametrize("degrees", [3.0, -3.0])
def test_turn_about_the_way_of_travel_shows_straight_ahead(
    street: list[CameraSet], name: str, degrees: float
) -> None:
    """By its motion alone no camera could tell, whichever it is."""

    def change(posed: PosedImage, _: CameraSet) -> PosedImage:
        return turned(posed, 0, degrees)

    changes = {name: change}
    health = checked(street, changes)
    assert suspects(health) == [name]
    np.testing.assert_allclose(health[name].turn_deg, (-degrees, 0, 0), atol=0.4)
    assert suspects(checked(street, changes, (name,))) == []


def test_frozen_picture_does_not_make_its_neighbours_look_turned(street: list[CameraSet]) -> None:
    still = street[0].images[1]
    assert still is not None
    health = checked(street, {"front": lambda posed, _: replace(posed, pixels=still.pixels)})
    assert suspects(health) == ["front"]
    assert health["front"].suspicion.startswith("the same picture")


def test_swapped_pictures_do_not_make_others_look_turned(street: list[CameraSet]) -> None:
    def of(number: int) -> Change:
        def change(posed: PosedImage, each: CameraSet) -> PosedImage:
            other = each.images[number]
            assert other is not None
            return replace(posed, pixels=other.pixels)

        return change

    health = checked(street, {"left": of(2), "right": of(0)})
    assert sorted(suspects(health)) == ["left", "right"]
    assert all("are the two swapped" in health[name].suspicion for name in ("left", "right"))
