"""Whether a camera sees the robot's own motion as its mounting says; two of its images suffice.

What stands still moves between two images along epipolar lines that mounting and odometry give.
Tracked corners that leave these lines tell by how much the mounting is turned. Nothing here needs
depths, classes or another camera. A turn about the robot's way of travel does not show while the
robot drives straight ahead: the lines stay the same.

Symbols: b1, b2 unit bearings (N, 3) of a corner in two images, R and t carry points from the
camera's frame at the first one to that at the second, b' = R b1. The epipolar plane has the normal
n = t × b'; a point that stands still has b2 · n = 0 (Longuet-Higgins 1981), and lies on the side of
b' to which t points.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from renderocc_ros.geometry import CameraModel, RigidTransform
from renderocc_ros.rig.camera_set import PosedImage
from renderocc_ros.rig.turn_estimate import Errors, Floats, rotations

Grey = NDArray[np.uint8]

MAX_WIDTH = 480  # larger images are scaled down first
MAX_CORNERS, MIN_QUALITY, MIN_SPACING_PX = 120, 0.01, 6
WINDOW_PX, LEVELS = 11, 3
ENOUGH = cv2.TERM_CRITERIA_COUNT + cv2.TERM_CRITERIA_EPS, 10, 0.03  # steps, or pixels
MAX_RETURN_PX = 1.0  # of a corner that is tracked to the second image and back
NOISE_PX = 0.7
TRACKING = 0.5  # times NOISE_PX is what tracks scatter by where nothing is wrong
MOTION_SIGMA_RAD = np.deg2rad(1.5)  # of the way between two images
DIFFERENCE_RAD = 1e-4
MISFIT = 9.0  # of a corner that is three sigma off, or on the wrong side


@dataclass(frozen=True, eq=False)
class View:
    """A grey image, and where it was taken.

    Attributes:
        stamp_ns: acquisition time.
        grey: (H, W) uint8.
        model: of this very image; ``full_model`` before it was scaled.
        odom_from_camera: at the stamp.
    """

    stamp_ns: int
    grey: Grey
    model: CameraModel
    full_model: CameraModel
    odom_from_camera: RigidTransform

    @staticmethod
    def of(image: PosedImage, odom_from_ego: RigidTransform) -> View:
        """Of an image of a set, which is at ``odom_from_ego``."""
        grey, model = cv2.cvtColor(image.pixels, cv2.COLOR_RGB2GRAY), image.model
        if model.width > MAX_WIDTH:
            size = MAX_WIDTH, max(1, round(model.height * MAX_WIDTH / model.width))
            grey, model = cv2.resize(grey, size, interpolation=cv2.INTER_AREA), model.resized(*size)
        pose = odom_from_ego @ image.ego_from_camera
        return View(image.stamp_ns, np.asarray(grey, np.uint8), model, image.model, pose)


@dataclass(frozen=True, eq=False)
class Tracks:
    """Corners that are in both images.

    Attributes:
        first, second: (N, 3) unit bearings.
        shift_px: (N,) way in the image.
        noise_rad: standard deviation of a bearing.
    """

    first: Floats
    second: Floats
    shift_px: Floats
    noise_rad: float

    def __len__(self) -> int:
        return len(self.first)


def track(first: View, second: View) -> Tracks:
    """Corners of the first image in the second, by Lucas and Kanade's method with pyramids."""
    noise_rad = NOISE_PX / float(first.model.intrinsics[0, 0])
    corners = cv2.goodFeaturesToTrack(first.grey, MAX_CORNERS, MIN_QUALITY, MIN_SPACING_PX)
    if corners is None:
        return Tracks(np.empty((0, 3)), np.empty((0, 3)), np.empty(0), noise_rad)
    there, ok = _followed(first.grey, second.grey, corners)
    back, ok_back = _followed(second.grey, first.grey, there)
    returned = np.linalg.norm((back - corners)[:, 0], axis=1) < MAX_RETURN_PX
    start, end = corners[:, 0], there[:, 0]
    b1, b2 = first.model.rays(start), second.model.rays(end)
    kept = (ok & ok_back)[:, 0].astype(bool) & returned & second.model.contains(end)
    kept &= np.isfinite(b1).all(axis=1) & np.isfinite(b2).all(axis=1)
    shift_px = np.linalg.norm(end - start, axis=1).astype(np.float64)
    return Tracks(b1[kept], b2[kept], shift_px[kept], noise_rad)


def _followed(start: Grey, end: Grey, corners: Any) -> tuple[Any, Any]:
    window = (WINDOW_PX, WINDOW_PX)
    there, ok, _ = cv2.calcOpticalFlowPyrLK(
        start, end, corners, None, winSize=window, maxLevel=LEVELS, criteria=ENOUGH
    )
    return there, ok


def off_plane(
    tracks: Tracks, second_from_first: RigidTransform, turns: Floats | None = None
) -> tuple[Floats, Floats]:
    """(..., N) angle of b2 off the epipolar plane, and its way in the plane towards t; radians.

    Args:
        second_from_first: motion of the camera as it is said to be mounted; its way is not zero.
        turns: (K, 3) rotation vectors, radians: the camera as it is mounted in the frame of that.
    """
    r, t = second_from_first.rotation, second_from_first.translation
    if turns is not None:
        said_from_true = rotations(turns)
        true_from_said = said_from_true.transpose(0, 2, 1)
        r, t = true_from_said @ r @ said_from_true, (true_from_said @ t)[:, None]
    return off_epipolar(t, tracks.first @ np.swapaxes(r, -1, -2), tracks.second)


def off_epipolar(t: Floats, first: Floats, second: Floats) -> tuple[Floats, Floats]:
    """The same for bearings (..., N, 3) that are seen from two places, in one frame.

    Args:
        t: (..., 3) from the second place to the first; not zero.
    """
    normal = _cross(t / np.linalg.norm(t, axis=-1, keepdims=True), first)
    normal /= np.maximum(np.linalg.norm(normal, axis=-1, keepdims=True), 1e-3)
    along = _cross(first, normal)
    return (second * normal).sum(axis=-1), (second * along).sum(axis=-1)


def _cross(a: Floats, b: Floats) -> Floats:
    """As ``np.cross`` of (..., 3), in a third of its time."""
    (ax, ay, az), (bx, by, bz) = np.moveaxis(a, -1, 0), np.moveaxis(b, -1, 0)
    return np.stack([ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx], axis=-1)


def squares(sigmas: Floats) -> Floats:
    """Of errors in standard deviations, each at most ``MISFIT``."""
    return np.minimum(sigmas**2, MISFIT)


def misfit(tracks: Tracks, second_from_first: RigidTransform, turn: Floats | None = None) -> float:
    """Mean of the squared angles off the plane in sigmas, each at most ``MISFIT``: about 1 or less
    for the right mounting, for that of another camera several."""
    turns = None if turn is None else turn[None]
    off, along = off_plane(tracks, second_from_first, turns)
    is_behind = along < -3 * tracks.noise_rad
    return float(np.where(is_behind, MISFIT, squares(off / tracks.noise_rad)).mean())


def errors(tracks: Tracks, second_from_first: RigidTransform) -> Errors:
    """How far the tracks are off the epipolar plane, for ``Look.at``."""

    def of(turns: Floats) -> tuple[Floats, NDArray[np.bool_]]:
        off, along = off_plane(tracks, second_from_first, turns)
        return off / (TRACKING * tracks.noise_rad), along >= -3 * tracks.noise_rad

    return of
