"""A set of camera images as the arrays that a network takes."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from renderocc_ros.geometry import CameraModel
from renderocc_ros.network_config import ImageConfig
from renderocc_ros.rig.camera_set import CameraReading, CameraSet


@dataclass(frozen=True, eq=False)
class NetworkInput:
    """What the network takes, of N cameras.

    Attributes:
        images: (N, 3, H, W) float32, normalised; zero where a camera is missing.
        intrinsics: (N, 3, 3) float64 of these images, pixels, without distortion.
        ego_from_camera: (N, 4, 4) float64, metres.
        valid: (N,) bool; the other fields mean nothing where it is false.
    """

    images: NDArray[np.float32]
    intrinsics: NDArray[np.float64]
    ego_from_camera: NDArray[np.float64]
    valid: NDArray[np.bool_]


def network_input(cameras: CameraSet, config: ImageConfig) -> NetworkInput:
    """Undistort, scale to the network's width, crop at the top, normalise."""
    count = len(cameras.names)
    images = np.zeros((count, 3, config.height, config.width), np.float32)
    intrinsics = np.tile(np.eye(3), (count, 1, 1))
    poses = np.tile(np.eye(4), (count, 1, 1))
    valid = np.zeros(count, np.bool_)
    for i, reading in enumerate(cameras.readings):
        if reading is None:
            continue
        images[i], model = _image(reading, config)
        intrinsics[i], poses[i] = model.intrinsics, reading.ego_from_camera.matrix
        valid[i] = True
    return NetworkInput(images, intrinsics, poses, valid)


def _image(reading: CameraReading, config: ImageConfig) -> tuple[NDArray[np.float32], CameraModel]:
    image, model = reading.image, reading.model
    if model.distortion_model == "equidistant":
        raise ValueError(f"camera '{reading.name}': fisheye images are not supported yet")
    if any(model.distortion):
        image = cv2.undistort(image, model.intrinsics, np.array(model.distortion))
        model = model.undistorted()
    scale = max(config.width / model.width, config.height / model.height)
    width, height = round(model.width * scale), round(model.height * scale)
    image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    left, top = (width - config.width) // 2, height - config.height
    image = image[top : top + config.height, left : left + config.width]
    model = model.resized(width, height).cropped(left, top, config.width, config.height)
    if config.channel_order == "bgr":
        image = image[..., ::-1]
    normalised = (image - np.array(config.mean)) / np.array(config.std)
    return normalised.transpose(2, 0, 1).astype(np.float32), model
