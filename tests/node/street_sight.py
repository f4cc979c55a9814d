"""A network whose sight of the painted street is known, for the node in a process of its own.

The street goes on and on, so what a camera sees there depends on its mounting alone.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from renderocc_ros.prediction import Predictor
from renderocc_ros.rig.camera_set import CameraSet, PosedImage
from renderocc_ros.rig.range_check import SeenDepth
from tests.node import robot as robots
from tests.rig import street

STRIDE = 8
LIDAR = np.array([0.0, 0.0, 1.9])


def seen_by(name: str) -> SeenDepth:
    """The nearest depth in each cell, from where the camera really is."""
    pose = robots.ego_from_camera(name)
    met = street.surface(pose.translation, street.MODEL.pixel_rays() @ pose.rotation.T)
    depth_m = np.nan_to_num(pose.inverse().apply(met)[..., 2], nan=60.0)
    height, width = (side // STRIDE for side in depth_m.shape)
    cells = depth_m.reshape(height, STRIDE, width, STRIDE).min(axis=(1, 3))
    return SeenDepth.of_nearest(cells.astype(np.float32), street.MODEL)


def scan() -> NDArray[np.float32]:
    """(N, 3) in base_link, an even number of points, what a LiDAR of 32 rings meets."""
    up, around = np.meshgrid(np.radians(np.linspace(-30, 10, 32)), np.radians(np.arange(0, 360, 1)))
    rays = np.stack([np.cos(up) * np.cos(around), np.cos(up) * np.sin(around), np.sin(up)], axis=-1)
    met = street.surface(LIDAR, rays.reshape(-1, 3))
    met = met[np.isfinite(met).all(axis=1)]
    return np.asarray(met[: len(met) // 2 * 2], np.float32)


def install() -> None:
    """Let every predictor see the street."""

    def seen_depth(_: Predictor, cameras: CameraSet) -> dict[str, SeenDepth]:
        return {image.name: seen_by(image.name) for image in cameras.images if image}

    def see(_: Predictor, image: PosedImage) -> SeenDepth:
        return seen_by(image.name)

    Predictor.seen_depth, Predictor.see = seen_depth, see  # type: ignore[method-assign]
