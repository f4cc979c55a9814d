"""What a CameraInfo message says, as a camera model. Plain numbers in; no ROS in here."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from renderocc_ros.geometry import CameraModel

# Names that drivers use besides those of sensor_msgs/distortion_models.hpp.
MODEL_NAMES = {"": "none", "fisheye": "equidistant", "radtan": "plumb_bob"}
ASPECT_TOLERANCE = 0.01
# Of the longer side: lenses from 179 degrees to 0.6, and a centre that may lie outside of a crop.
FOCAL_SIZES, CENTRE_SIZES = np.array((0.005, 100.0)), np.array((-10.0, 11.0))


def camera_model(
    *,
    width: int,
    height: int,
    k: Sequence[float],
    d: Sequence[float] = (),
    p: Sequence[float] = (),
    distortion_model: str = "",
    binning: tuple[int, int] = (1, 1),
    roi: tuple[int, int, int, int] = (0, 0, 0, 0),
    rectified: bool = False,
) -> CameraModel:
    """The projection of the image that is published with a CameraInfo.

    Args:
        width, height: of the calibrated full image, pixels.
        k: 9 numbers, row by row, of the raw image; k[0] = 0 means not calibrated.
        d: distortion; empty or all zero means none, whatever the model.
        p: 12 numbers, row by row, of the rectified image.
        distortion_model: a name of sensor_msgs/distortion_models.hpp.
        binning: pixels joined across and down; 0 means 1.
        roi: left, top, width, height of the window that the driver cut out of the full image,
            before binning; all zero means the full image.
        rectified: the image is the rectified one: p holds, and no distortion.

    Raises:
        ValueError: not calibrated, numbers that are not finite, or an unknown distortion model.
    """
    name, coefficients = "none", tuple(float(value) for value in d)
    if rectified:
        intrinsics = np.array(p, np.float64).reshape(3, 4)[:, :3] if len(p) == 12 else np.zeros(0)
        if intrinsics.size == 0 or intrinsics[0, 0] <= 0:
            raise ValueError(
                f"P = {list(p)} describes no rectified image: calibrate the camera, or set "
                "rectified: false for this camera if its images are raw"
            )
    else:
        name = MODEL_NAMES.get(distortion_model, distortion_model)
        if len(k) != 9:
            raise ValueError(f"K must have 9 numbers, got {len(k)}")
        intrinsics = np.array(k, np.float64).reshape(3, 3)
    if name == "none" or (name in ("plumb_bob", "rational_polynomial") and not any(coefficients)):
        name, coefficients = "none", ()
    _require_plausible(intrinsics, int(width), int(height))
    model = CameraModel(int(width), int(height), intrinsics, name, coefficients)
    left, top, roi_width, roi_height = map(int, roi)
    if roi_width and roi_height:
        model = model.cropped(left, top, roi_width, roi_height)
    across, down = (max(1, int(count)) for count in binning)
    if (across, down) == (1, 1):
        return model
    whole_width, whole_height = model.width // across, model.height // down
    model = model.cropped(0, 0, whole_width * across, whole_height * down)
    return model.resized(whole_width, whole_height)


def scaled_to_image(model: CameraModel, width: int, height: int) -> CameraModel:
    """The same view at the size of an image, since drivers scale images and leave CameraInfo.

    Raises:
        ValueError: the image has other proportions, so it shows another view.
    """
    if (model.width, model.height) == (width, height):
        return model
    if abs(width * model.height / (height * model.width) - 1) > ASPECT_TOLERANCE:
        raise ValueError(
            f"the image has {width}x{height} pixels, its CameraInfo describes "
            f"{model.width}x{model.height}: other proportions, so another view; publish the "
            "CameraInfo that belongs to the image (with its roi, if the driver crops)"
        )
    return model.resized(width, height)


def _require_plausible(intrinsics: NDArray[np.float64], width: int, height: int) -> None:
    """Refuse a focal length or a centre that no lens has; a calibration may be off, not absurd."""
    size, names = max(width, height), ("fx", "fy", "cx", "cy")
    values = (intrinsics[0, 0], intrinsics[1, 1], intrinsics[0, 2], intrinsics[1, 2])
    for name, value in zip(names, values, strict=True):
        focal = name.startswith("f")
        lowest, highest = (FOCAL_SIZES if focal else CENTRE_SIZES) * np.array(size)
        if np.isfinite(value) and value != 0 and not lowest <= value <= highest:
            raise ValueError(
                f"{name} = {value:.6g} px cannot be that of an image of {width}x{height}: give "
                f"{lowest:.6g} to {highest:.6g}"
            )
