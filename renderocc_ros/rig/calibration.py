"""What a CameraInfo message says, as a camera model. Plain numbers in; no ROS in here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from renderocc_ros.geometry import CameraModel, RigidTransform

# Names that drivers use, in lower case, without blanks and underscores. Those of the first line are
# one model of OpenCV, which takes as many coefficients as there are.
BROWN = ("plumbbob", "radtan", "brownconrady", "rationalpolynomial", "rational")
FISHEYE = ("equidistant", "fisheye", "kannalabrandt", "kannalabrandt4", "opencvfisheye", "equi")
NO_LENS = ("", "none", "pinhole", "perspective")  # where coefficients may stand all the same
BROWN_COUNTS = (4, 5, 8, 12, 14)
ASPECT_TOLERANCE = 0.01
SIGHT_SAMPLES, LEAST_SIGHT = 9, 0.1  # each way; share of the image, of which a fisheye fills half
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
        d: distortion; empty or all zero means none, but for a fisheye. Zeros at the end are
            dropped; where the model's name says nothing, the number of coefficients does.
        p: 12 numbers, row by row, of the rectified image. Its fourth column becomes ``centre_m``.
        distortion_model: a name of sensor_msgs/distortion_models.hpp, or what drivers call it.
        binning: pixels joined across and down; 0 means 1.
        roi: left, top, width, height of the window that the driver cut out of the full image,
            before binning; all zero means the full image.
        rectified: the image is the rectified one: p holds, and no distortion.

    Raises:
        ValueError: not calibrated, numbers that are not finite, an unknown distortion model, or
            one that does not take so many coefficients.
    """
    if width <= 0 or height <= 0:
        raise ValueError(f"a calibration of {width}x{height} pixels: calibrate the camera")
    name, coefficients = "none", tuple[float, ...]()
    if rectified:
        projection = np.array(p, np.float64).reshape(3, 4) if len(p) == 12 else np.zeros((3, 4))
        intrinsics = projection[:, :3]
        if intrinsics[0, 0] <= 0:
            raise ValueError(
                f"P = {list(p)} describes no rectified image: calibrate the camera, or set "
                "rectified: false for this camera if its images are raw"
            )
    else:
        name, coefficients = _lens(distortion_model, tuple(float(value) for value in d))
        if len(k) != 9:
            raise ValueError(f"K must have 9 numbers, got {len(k)}")
        intrinsics = np.array(k, np.float64).reshape(3, 3)
    _require_plausible(intrinsics, int(width), int(height))
    model = CameraModel(int(width), int(height), intrinsics, name, coefficients)
    if rectified and any(projection[:2, 3]):  # P (x - centre) = P x + (Tx, Ty)
        tx, ty = projection[:2, 3]
        model = replace(model, centre_m=(-tx / intrinsics[0, 0], -ty / intrinsics[1, 1]))
    _require_sight(model)
    left, top, roi_width, roi_height = map(int, roi)
    if roi_width and roi_height:
        if left + roi_width > width or top + roi_height > height:
            raise ValueError(
                f"roi {roi_width}x{roi_height} at ({left}, {top}) reaches out of the "
                f"{width}x{height} pixels: width and height are those of the full image, and roi "
                "is in its pixels"
            )
        model = model.cropped(left, top, roi_width, roi_height)
    across, down = (max(1, int(count)) for count in binning)
    if (across, down) == (1, 1):
        return model
    whole_width, whole_height = model.width // across, model.height // down
    model = model.cropped(0, 0, whole_width * across, whole_height * down)
    return model.resized(whole_width, whole_height)


def _lens(driver_name: str, d: tuple[float, ...]) -> tuple[str, tuple[float, ...]]:
    """Model and coefficients as ``CameraModel`` takes them."""
    name = "".join(letter for letter in driver_name.lower() if letter.isalnum())
    used = len(d) - next((i for i, value in enumerate(reversed(d)) if value != 0), len(d))
    if name in FISHEYE:
        return "equidistant", (*d[: max(used, 4)], *(0.0,) * (4 - len(d)))
    if name not in BROWN + NO_LENS:
        return driver_name, d  # refused by name
    if used == 0:
        return "none", ()
    if name in NO_LENS and len(d) == 4:
        raise ValueError(
            f"distortion_model '{driver_name}' with the coefficients {list(d)}: name the model, "
            "plumb_bob or equidistant; 4 coefficients may be either"
        )
    count = next((count for count in BROWN_COUNTS if count >= max(used, min(len(d), 5))), None)
    if count is None or (used > 5 and len(d) not in BROWN_COUNTS):
        raise ValueError(
            f"distortion_model '{driver_name}' with {len(d)} coefficients: there are models of "
            f"{', '.join(map(str, BROWN_COUNTS))}"
        )
    return ("plumb_bob" if count <= 5 else "rational_polynomial"), d[:count]


def centred(
    model: CameraModel, target_from_frame: RigidTransform, camera: str, frames: Mapping[str, str]
) -> tuple[CameraModel, RigidTransform]:
    """The camera seen from its own centre: model without ``centre_m``, ``target_from_camera``.

    ``centre_m`` counts where the camera shares its frame with another one, as the two of a
    rectified pair may. A camera that has a frame of its own stands where that frame is.

    Args:
        frames: optical frame by camera, of all cameras of the rig that are known.
    """
    if not any(model.centre_m):
        return model, target_from_frame
    if list(frames.values()).count(frames[camera]) > 1:
        offset = np.array([*model.centre_m, 0.0])
        target_from_frame = target_from_frame @ RigidTransform(np.eye(3), offset)
    return replace(model, centre_m=(0.0, 0.0)), target_from_frame


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
    if abs(intrinsics[0, 1]) > intrinsics[0, 0] > 0:
        raise ValueError(f"skew = {intrinsics[0, 1]:.6g} px is more than fx: no camera's")


def _require_sight(model: CameraModel) -> None:
    """Refuse distortion by which next to no pixel of the image has a ray."""
    across = np.linspace(0, model.width - 1, SIGHT_SAMPLES)
    down = np.linspace(0, model.height - 1, SIGHT_SAMPLES)
    with np.errstate(all="ignore"):
        rays = model.rays(np.stack(np.meshgrid(across, down), axis=-1))
    if np.isfinite(rays).all(axis=-1).mean() < LEAST_SIGHT:
        raise ValueError(
            f"distortion {list(model.distortion)} of '{model.distortion_model}' leaves next to no "
            "pixel of the image with a ray: calibrate the camera anew"
        )
