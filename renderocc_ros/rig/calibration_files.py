"""Calibrations that a rig file names, where nobody publishes CameraInfo."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from renderocc_ros.config import CameraConfig
from renderocc_ros.geometry import CameraModel
from renderocc_ros.rig.calibration import camera_model


def fixed_model(camera: CameraConfig) -> CameraModel | None:
    """The calibration that the rig file gives a camera; None if it gives none.

    Raises:
        ValueError: neither what camera_calibration writes nor Kalibr's camchain, or one that does
            not name this camera.
    """
    if camera.calibration is None:
        return None
    try:
        if isinstance(camera.calibration, str):
            raise ValueError(f"{camera.calibration} was not read: load the rig with load_rig")
        if "camera_matrix" in camera.calibration:
            return _of_camera_calibration(camera.calibration, camera.rectified)
        return _of_kalibr(camera.calibration, camera.image_topic)
    except (KeyError, TypeError, ValueError) as error:
        what = f"no key {error}" if isinstance(error, KeyError) else str(error)
        raise ValueError(f"camera '{camera.name}': calibration: {what}") from error


def _of_camera_calibration(content: Mapping[str, Any], rectified: bool) -> CameraModel:
    """As camera_calibration_parsers writes it."""
    projection = content.get("projection_matrix") or {"data": ()}
    return camera_model(
        width=content["image_width"],
        height=content["image_height"],
        k=content["camera_matrix"]["data"],
        d=content["distortion_coefficients"]["data"],
        p=projection["data"],
        distortion_model=content["distortion_model"],
        rectified=rectified,
    )


def _of_kalibr(content: Mapping[str, Any], image_topic: str) -> CameraModel:
    """One camera of a camchain: the one of this topic, or the only one."""
    chain = [each for name, each in content.items() if re.fullmatch(r"cam\d+", name)]
    topics = [str(each.get("rostopic", "")).strip("/") for each in chain]
    names = (image_topic.strip("/"), f"{image_topic.strip('/')}/compressed")
    own = [each for each, topic in zip(chain, topics, strict=True) if topic in names]
    if len(chain) != 1 and len(own) != 1:
        raise ValueError(
            f"{len(own)} cameras of {image_topic} in a camchain of {', '.join(topics) or 'none'}: "
            "its rostopic must be the camera's image_topic"
        )
    (camera,) = own if own else chain
    if camera["camera_model"] != "pinhole":
        raise ValueError(f"camera_model '{camera['camera_model']}' of Kalibr is not pinhole")
    fx, fy, cx, cy = camera["intrinsics"]
    width, height = camera["resolution"]
    return camera_model(
        width=width,
        height=height,
        k=(fx, 0.0, cx, 0.0, fy, cy, 0.0, 0.0, 1.0),
        d=camera["distortion_coeffs"],
        distortion_model=camera["distortion_model"],
    )
