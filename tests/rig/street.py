"""A street between two walls, all of them painted with noise, and pictures of it."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from renderocc_ros.geometry import CameraModel, RigidTransform
from renderocc_ros.rig.camera_set import CameraSet, PosedImage

WIDTH, HEIGHT, FOCAL_PX = 176, 96, 100.0
MODEL = CameraModel(
    WIDTH,
    HEIGHT,
    np.array([[FOCAL_PX, 0, (WIDTH - 1) / 2], [0, FOCAL_PX, (HEIGHT - 1) / 2], [0, 0, 1]]),
)
NAMES = ("front", "left", "rear")
BODY_FROM_OPTICAL = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
TEXEL_M = 0.12
# The ground and two walls: n · p = d, and the two axes that the paint runs along.
PLANES = (((0, 0, 1), 0.0, (0, 1)), ((0, 1, 0), 5.0, (0, 2)), ((0, -1, 0), 6.0, (0, 2)))


def _paint() -> NDArray[np.uint8]:
    noise = np.random.default_rng(7).integers(0, 256, (1024, 1024)).astype(np.uint8)
    return np.asarray(
        cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 1.2), None, 20, 235, 32), np.uint8
    )


PAINT = _paint()


def picture(world_from_camera: RigidTransform, model: CameraModel = MODEL) -> NDArray[np.uint8]:
    """(H, W, 3) of the street from a pose in it; grey above the walls and far away."""
    rays = model.pixel_rays() @ world_from_camera.rotation.T
    image = np.full(rays.shape[:2], 128, np.uint8)
    for number, hit, points in _hits(world_from_camera.translation, rays):
        axes = PLANES[number][2]
        where = np.mod(points[..., axes] / TEXEL_M + 300 * number, 1000).astype(np.float32)
        painted = cv2.remap(PAINT, where[..., 0], where[..., 1], cv2.INTER_LINEAR)
        image[hit] = painted[hit]
    return np.repeat(image[..., None], 3, axis=2)


def surface(eye: NDArray[np.float64], rays: NDArray[np.float64]) -> NDArray[np.float64]:
    """(..., 3) where rays from a place meet the street; NaN where they meet nothing."""
    met = np.full(rays.shape, np.nan)
    for _, hit, points in _hits(eye, rays):
        met[hit] = points[hit]
    return met


def _hits(
    eye: NDArray[np.float64], rays: NDArray[np.float64]
) -> Iterator[tuple[int, NDArray[np.bool_], NDArray[np.float64]]]:
    """Of each plane its number, which rays meet it before those that came first, and where."""
    nearest = np.full(rays.shape[:-1], 60.0)
    for number, (normal, offset, _) in enumerate(PLANES):
        towards = rays @ np.array(normal, float)
        with np.errstate(divide="ignore", invalid="ignore"):
            range_m = (offset - eye @ np.array(normal, float)) / towards
        points = eye + rays * np.nan_to_num(range_m, posinf=0, neginf=0)[..., None]
        hit = (range_m > 0.1) & (range_m < nearest) & (points[..., 2] < 9.0)
        nearest[hit] = range_m[hit]
        yield number, hit, points


def ego_from_camera(name: str) -> RigidTransform:
    """1.5 m high, looking along its name."""
    angle = {"front": 0.0, "left": np.pi / 2, "rear": np.pi}[name]
    c, s = np.cos(angle), np.sin(angle)
    turn = np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
    return RigidTransform(turn @ BODY_FROM_OPTICAL, turn @ np.array([0.5, 0.0, 1.5]))


def drive(sets: int, step_m: float = 0.8, names: tuple[str, ...] = NAMES) -> list[CameraSet]:
    """Straight on through the street, ten sets a second."""
    taken = []
    for number in range(sets):
        odom_from_ego = RigidTransform(np.eye(3), np.array([step_m * number, 0.0, 0.0]))
        images = tuple(
            PosedImage(
                name,
                number * 100_000_000,
                picture(odom_from_ego @ ego_from_camera(name)),
                MODEL,
                ego_from_camera(name),
            )
            for name in names
        )
        taken.append(CameraSet(number * 100_000_000, names, images, odom_from_ego))
    return taken
