"""Depth against LiDAR and neighbours, in a street whose depth is known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import cv2
import numpy as np
import pytest

from renderocc_ros.geometry import RigidTransform
from renderocc_ros.rig.camera_set import CameraSet, PosedImage
from renderocc_ros.rig.range_check import RangeCheck, RangeSources, SeenDepth
from renderocc_ros.rig.self_check import SelfCheck
from tests.rig.street import MODEL, drive, picture, surface

STRIDE = 8
SETS = 30  # ten looks at each of three cameras
MOUNT = np.array([0.0, 0.0, 1.9])


def seen_depth(odom_from_camera: RigidTransform) -> SeenDepth:
    """As a network is taught it: the nearest depth in each cell."""
    rays = MODEL.pixel_rays() @ odom_from_camera.rotation.T
    met = surface(odom_from_camera.translation, rays)
    depth_m = odom_from_camera.inverse().apply(met)[..., 2]
    depth_m = np.where(np.isfinite(depth_m), depth_m, 60.0)
    height, width = (side // STRIDE for side in depth_m.shape)
    cells = depth_m.reshape(height, STRIDE, width, STRIDE).min(axis=(1, 3))
    return SeenDepth.of_nearest(cells.astype(np.float32), MODEL)


def scan(odom_from_ego: RigidTransform) -> np.ndarray:
    """(N, 3) what a LiDAR of 32 rings meets, in the odometry frame."""
    up, around = np.meshgrid(np.radians(np.linspace(-30, 10, 32)), np.radians(np.arange(0, 360, 1)))
    rays = np.stack([np.cos(up) * np.cos(around), np.cos(up) * np.sin(around), np.sin(up)], axis=-1)
    met = surface(odom_from_ego.apply(MOUNT), rays.reshape(-1, 3))
    return np.asarray(met[np.isfinite(met).all(axis=1)])


def turned(image: PosedImage, axis: int, degrees: float) -> PosedImage:
    """Said to be mounted otherwise than it is, about an axis of the robot."""
    turn = cv2.Rodrigues(np.deg2rad(degrees) * np.eye(3)[axis])[0]
    pose = image.ego_from_camera
    return replace(image, ego_from_camera=RigidTransform(turn @ pose.rotation, pose.translation))


def sources(seen: Mapping[str, SeenDepth], points: np.ndarray | None) -> RangeSources:
    return RangeSources(seen, points_near=lambda stamp_ns: points)


class Scene:
    """Sets, with what networks and LiDAR see."""

    def __init__(self, sets: list[CameraSet]) -> None:
        self.sets = sets
        self.seen: list[Mapping[str, SeenDepth]] = []
        self.scans: list[np.ndarray] = []
        for cameras in sets:
            pose = cameras.odom_from_ego
            assert pose is not None
            images = [image for image in cameras.images if image]
            self.seen.append({i.name: seen_depth(pose @ i.ego_from_camera) for i in images})
            self.scans.append(scan(pose))

    def said(self, axis: int, degrees: float, names: tuple[str, ...]) -> list[CameraSet]:
        """The sets with cameras that are not where they are said to be."""
        return [
            replace(
                each,
                images=tuple(
                    turned(image, axis, degrees) if image and image.name in names else image
                    for image in each.images
                ),
            )
            for each in self.sets
        ]

    def ranged(self, sets: list[CameraSet]) -> RangeCheck:
        check = RangeCheck()
        for cameras, seen, points in zip(sets, self.seen, self.scans, strict=True):
            check.look(cameras, sources(seen, points))
        return check

    def checked(self, sets: list[CameraSet]) -> SelfCheck:
        check = SelfCheck()
        for cameras, seen, points in zip(sets, self.seen, self.scans, strict=True):
            check.look(cameras, 100.0, sources(seen, points))
        return check


@pytest.fixture(scope="module")
def street() -> Scene:
    """Cameras to the front and the rear, and one that looks 40 degrees to the left of the front."""
    sets = []
    for cameras in drive(SETS, names=("front", "rear")):
        front, rear = cameras.images
        assert front is not None
        assert cameras.odom_from_ego is not None
        side = turned(front, 2, 40.0)
        pixels = picture(cameras.odom_from_ego @ side.ego_from_camera)
        side = replace(side, name="side", pixels=pixels)
        sets.append(replace(cameras, names=("front", "side", "rear"), images=(front, side, rear)))
    return Scene(sets)


def test_cells_surfaces_are_where_they_are_seen(street: Scene) -> None:
    seen = street.seen[0]["front"]
    off, shown = seen.off(seen.points())
    in_range = (seen.log_m > np.log(1.6)) & (seen.log_m < np.log(43))
    assert shown.reshape(seen.log_m.shape)[1:-1, 1:-1][in_range[1:-1, 1:-1]].all()
    np.testing.assert_allclose(off[shown], 0, atol=1e-5)


def test_depth_fits_the_points_where_nothing_is_wrong(street: Scene) -> None:
    check = street.ranged(street.sets)
    for name in ("front", "side", "rear"):
        state = check.cameras[name]
        assert state.looks == 10
        assert np.mean(state.errors) < 0.1
        assert state.is_trusted
        turn_rad, directions = state.estimate.known_turn()
        assert directions >= 2
        assert np.rad2deg(np.linalg.norm(turn_rad)) < 0.4


@pytest.mark.parametrize(
    ("name", "axis"), [("front", 0), ("front", 1), ("front", 2), ("side", 1), ("rear", 0)]
)
def test_turn_about_every_axis_is_told(street: Scene, name: str, axis: int) -> None:
    """The robot drives straight on: by its motion a turn about x could not be told."""
    health = street.checked(street.said(axis, 3.0, (name,))).health
    assert [each for each in health if health[each].suspicion] == [name]
    assert health[name].suspicion.startswith("it looks turned by ")
    np.testing.assert_allclose(health[name].turn_deg, -3.0 * np.eye(3)[axis], atol=0.5)


def test_all_cameras_off_alike_are_a_matter_of_the_lidar(street: Scene) -> None:
    health = street.checked(street.said(1, 3.0, ("front", "side", "rear"))).health
    told = [each.suspicion for each in health.values()]
    assert all("look at the LiDAR and base_frame first" in text for text in told), told


def test_network_that_sees_badly_accuses_nobody(street: Scene) -> None:
    random = np.random.default_rng(1)
    noisy = [
        {
            name: replace(each, log_m=each.log_m + random.normal(0, 0.4, each.log_m.shape))
            for name, each in seen.items()
        }
        for seen in street.seen
    ]
    check = SelfCheck()
    for cameras, seen, points in zip(
        street.said(0, 3.0, ("front",)), noisy, street.scans, strict=True
    ):
        check.look(cameras, 100.0, sources(seen, points))
    assert check.health["front"].range_looks == 10
    assert check.health["front"].range_error > 0.2
    assert not check.health["front"].suspicion


def test_neighbours_that_see_the_same_agree(street: Scene) -> None:
    scene = Scene(street.sets[:6])
    agree = scene.ranged(scene.sets).cameras
    assert np.mean(agree["front"].overlap) > 0.9
    assert np.mean(agree["side"].overlap) > 0.9
    scene.seen = [
        {**seen, "side": replace(seen["side"], log_m=seen["side"].log_m - np.float32(0.5))}
        for seen in scene.seen
    ]
    assert np.mean(scene.ranged(scene.sets).cameras["front"].overlap) < 0.2


def test_camera_without_a_neighbour_has_no_overlap(street: Scene) -> None:
    assert not street.ranged(street.sets).cameras["rear"].overlap


def test_standing_robot_is_looked_at_once(street: Scene) -> None:
    check = RangeCheck()
    for _ in range(30):
        check.look(street.sets[0], sources(street.seen[0], street.scans[0]))
    assert {name: state.looks for name, state in check.cameras.items()} == {
        "front": 1,
        "side": 1,
        "rear": 1,
    }


@pytest.mark.parametrize(
    "points",
    [
        None,
        np.zeros((0, 3)),
        np.zeros((5, 3)),
        np.full((3000, 3), 1e30),
        np.tile([[-50.0, 0.0, 0.0]], (3000, 1)),
    ],
)
def test_points_of_no_use_are_no_look(street: Scene, points: np.ndarray | None) -> None:
    check = RangeCheck()
    for cameras, seen in zip(street.sets, street.seen, strict=True):
        check.look(cameras, sources({"front": seen["front"]}, points))
    assert check.cameras["front"].looks == 0


def test_without_depth_or_odometry_nothing_is_looked_at(street: Scene) -> None:
    check = RangeCheck()
    alone = replace(street.sets[0], odom_from_ego=None)
    assert check.look(alone, sources(street.seen[0], street.scans[0])) is None
    assert check.look(street.sets[0], sources({}, street.scans[0])) is None
    assert check.cameras == {}
