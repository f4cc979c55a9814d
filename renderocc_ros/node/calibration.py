"""CameraInfo messages as camera models."""

from __future__ import annotations

from typing import Any

import numpy as np

from renderocc_ros.geometry import CameraModel

ASPECT_TOLERANCE = 0.01
# Names that drivers use for the models of sensor_msgs/distortion_models.hpp.
MODEL_NAMES = {"": "none", "fisheye": "equidistant"}


def camera_model(info: Any, rectified: bool = False) -> CameraModel:
    """The projection that a sensor_msgs/CameraInfo describes, of the image as it is sent.

    Binning and region of interest are applied, as the comments of CameraInfo.msg say, so it is the
    model of the published image.

    Args:
        info: the message.
        rectified: the images are rectified: P holds, without distortion; else K and D.

    Raises:
        ValueError: not calibrated, not finite, or an unknown distortion model.
    """
    name = info.distortion_model or MODEL_NAMES[""]
    name = MODEL_NAMES.get(name, name)
    coefficients = tuple(float(value) for value in info.d)
    if rectified:
        intrinsics = np.array(info.p, np.float64).reshape(3, 4)[:, :3]
        name, coefficients = "none", ()
    else:
        intrinsics = np.array(info.k, np.float64).reshape(3, 3)
    if not any(coefficients):  # all zero: no distortion, whatever the model and their number
        name, coefficients = "none", ()
    full = CameraModel(info.width, info.height, intrinsics, name, coefficients)
    roi = info.roi
    if roi.width and roi.height:
        full = full.cropped(roi.x_offset, roi.y_offset, roi.width, roi.height)
    across, down = max(1, info.binning_x), max(1, info.binning_y)
    return full if across == down == 1 else full.resized(full.width // across, full.height // down)


def fitted(model: CameraModel, width: int, height: int) -> CameraModel:
    """The model of the same view at the size of an image.

    Raises:
        ValueError: the image has other proportions, so it shows another view.
    """
    if (model.width, model.height) == (width, height):
        return model
    if abs(width / height / (model.width / model.height) - 1) > ASPECT_TOLERANCE:
        raise ValueError(
            f"the image has {width}x{height} pixels, its CameraInfo describes "
            f"{model.width}x{model.height}: other proportions, so another view; publish the "
            "CameraInfo that belongs to the image (with its roi, if the driver crops)"
        )
    return model.resized(width, height)
