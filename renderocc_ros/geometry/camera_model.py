"""Camera models: pixels to rays and back, for the distortion models of sensor_msgs/CameraInfo.

Pixel convention, as in OpenCV and ROS: the centre of the top left pixel is (0, 0), so an image of
width w covers u from -0.5 to w - 0.5.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

# Undistortion is iterated to this many pixels of the normalised image plane.
UNDISTORT_CRITERIA = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 100, 1e-12)
# Tangents of the angle off the optical axis at which a distortion polynomial is looked at for its
# turning point: beyond it two rays would share a pixel.
TANGENTS = np.linspace(0.0, 6.0, 6001)
ANGLES_RAD = np.linspace(0.0, np.pi, 3142)

# Number of coefficients that each model of sensor_msgs/distortion_models.hpp takes.
DISTORTION_MODELS: dict[str, tuple[int, ...]] = {
    "none": (0,),
    "plumb_bob": (4, 5),
    "rational_polynomial": (8, 12, 14),
    "equidistant": (4,),
}


@dataclass(frozen=True, eq=False)
class CameraModel:
    """The projection of one camera: optical frame x right, y down, z forward.

    Attributes:
        width, height: pixels of the image that this model describes.
        intrinsics: (3, 3) float64: fx, skew, cx; 0, fy, cy; 0, 0, 1, in pixels.
        distortion_model: "none", "plumb_bob" (k1 k2 p1 p2 k3), "rational_polynomial" (k1 k2 p1 p2
            k3 k4 k5 k6, then s1 s2 s3 s4 of a thin prism, then the tilt τx τy of the sensor) or
            "equidistant" (k1 k2 k3 k4, fisheye).
        distortion: the coefficients, in that order.
        centre_m: (x, y) of the optical centre in the frame that points are given in, metres. Not
            zero for the second camera of a rectified pair whose images carry the first one's frame.

    Raises:
        ValueError: not calibrated (fx = 0), not finite, an unknown model, or a wrong number of
            coefficients.
    """

    width: int
    height: int
    intrinsics: Array
    distortion_model: str = "none"
    distortion: tuple[float, ...] = ()
    centre_m: tuple[float, float] = (0.0, 0.0)

    def __post_init__(self) -> None:
        intrinsics = np.array(self.intrinsics, dtype=np.float64)
        if self.width < 1 or self.height < 1:
            raise ValueError(f"image size {self.width}x{self.height} is not a size")
        if intrinsics.shape != (3, 3) or not np.isfinite(intrinsics).all():
            raise ValueError(f"intrinsics must be 3x3 finite numbers, got {intrinsics.tolist()}")
        if intrinsics[0, 0] <= 0 or intrinsics[1, 1] <= 0:
            raise ValueError(
                f"focal lengths fx={intrinsics[0, 0]}, fy={intrinsics[1, 1]} must be above 0; "
                "K[0] = 0 in a CameraInfo means that the camera is not calibrated: calibrate it"
            )
        if intrinsics[1, 0] != 0 or intrinsics[2].tolist() != [0.0, 0.0, 1.0]:
            raise ValueError(
                "intrinsics must be [[fx, skew, cx], [0, fy, cy], [0, 0, 1]], got "
                f"{intrinsics.tolist()}"
            )
        counts = DISTORTION_MODELS.get(self.distortion_model)
        if counts is None:
            known = ", ".join(DISTORTION_MODELS)
            raise ValueError(f"distortion_model '{self.distortion_model}' is not one of: {known}")
        distortion = tuple(float(value) for value in self.distortion)
        if len(distortion) not in counts or not np.isfinite(distortion).all():
            wanted = " or ".join(map(str, counts))
            raise ValueError(
                f"distortion model '{self.distortion_model}' takes {wanted} finite coefficients, "
                f"got {list(distortion)}"
            )
        intrinsics.flags.writeable = False
        object.__setattr__(self, "intrinsics", intrinsics)
        object.__setattr__(self, "distortion", distortion)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, CameraModel):
            return NotImplemented
        return self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def project(self, points: ArrayLike) -> tuple[Array, NDArray[np.bool_]]:
        """Points in front of the camera to pixels.

        Args:
            points: (..., 3) metres in the optical frame.

        Returns:
            pixels (..., 2), and (...) bool: the point has a place on this image plane and that
            place lies inside the image. Pixels of points with no place are NaN.
        """
        # Axis by axis: numpy is slow where its inner loop has two or three turns.
        x, y, z = np.moveaxis(np.asarray(points, dtype=np.float64), -1, 0)
        if any(self.centre_m):
            x, y = x - self.centre_m[0], y - self.centre_m[1]
        with np.errstate(divide="ignore", invalid="ignore"):
            if self.distortion_model == "equidistant":
                plane = self._project_fisheye(x, y, z)
            else:
                plane = self._project_pinhole(x, y, z)
        a, b = plane
        pixels = np.stack([a * ka + b * kb + k for ka, kb, k in self.intrinsics[:2]], axis=-1)
        return pixels, self.contains(pixels)

    def rays(self, pixels: ArrayLike) -> Array:
        """Unit directions (..., 3) in the optical frame, from its centre, through pixels (..., 2).

        NaN for a pixel that no ray of the distortion model meets (the dark rim of a fisheye).
        """
        pixels = np.asarray(pixels, dtype=np.float64)
        # Solved by hand: LAPACK wakes its threads even for two rows, which may take a millisecond.
        (fx, skew, cx), (_, fy, cy) = self.intrinsics[:2]
        y = (pixels[..., 1] - cy) / fy
        plane = np.stack([(pixels[..., 0] - cx - skew * y) / fx, y], axis=-1)
        if self.distortion_model == "equidistant":
            return self._rays_fisheye(plane)
        ideal = self._undistort(plane)
        directions = np.concatenate([ideal, np.ones_like(ideal[..., :1])], axis=-1)
        return np.asarray(directions / np.linalg.norm(directions, axis=-1, keepdims=True))

    def pixel_rays(self) -> Array:
        """Unit directions (height, width, 3) through the centres of all pixels."""
        u, v = np.meshgrid(np.arange(self.width), np.arange(self.height))
        return self.rays(np.stack([u, v], axis=-1))

    def contains(self, pixels: ArrayLike) -> NDArray[np.bool_]:
        """(...) bool: whether pixels (..., 2) lie inside the image; NaN does not."""
        u, v = np.moveaxis(np.asarray(pixels), -1, 0)
        inside = (u >= -0.5) & (u < self.width - 0.5) & (v >= -0.5) & (v < self.height - 0.5)
        return np.asarray(inside)

    def resized(self, width: int, height: int) -> CameraModel:
        """The model of this image scaled to width x height pixels."""
        scale = np.diag([width / self.width, height / self.height, 1.0])
        intrinsics = scale @ self.intrinsics
        # The image's edge, not the first pixel's centre, stays in place: u' + 0.5 = s (u + 0.5).
        intrinsics[:2, 2] += 0.5 * (scale[[0, 1], [0, 1]] - 1.0)
        return replace(self, width=width, height=height, intrinsics=intrinsics)

    def cropped(self, left: int, top: int, width: int, height: int) -> CameraModel:
        """The model of the width x height window whose top left pixel is (left, top).

        The window may reach beyond the image.
        """
        intrinsics = self.intrinsics.copy()
        intrinsics[:2, 2] -= (left, top)
        return replace(self, width=width, height=height, intrinsics=intrinsics)

    def undistorted(self) -> CameraModel:
        """The ideal pinhole camera with the same intrinsics and size."""
        return replace(self, distortion_model="none", distortion=())

    def _project_pinhole(self, x: Array, y: Array, z: Array) -> tuple[Array, Array]:
        a, b = x / z, y / z
        visible = (z > 0) & (np.sqrt(a * a + b * b) < self._largest_tangent)
        a, b = self._distort(a, b)
        return np.where(visible, a, np.nan), np.where(visible, b, np.nan)

    def _distort(self, x: Array, y: Array) -> tuple[Array, Array]:
        """Brown's model, rational, with thin prism and tilt (OpenCV, camera calibration)."""
        if not any(self.distortion):
            return x, y
        k1, k2, p1, p2, k3, k4, k5, k6, s1, s2, s3, s4, *tilt = self._fourteen()
        r2 = x * x + y * y
        radial = (1 + r2 * (k1 + r2 * (k2 + r2 * k3))) / (1 + r2 * (k4 + r2 * (k5 + r2 * k6)))
        across = x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x) + r2 * (s1 + r2 * s2)
        down = y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y + r2 * (s3 + r2 * s4)
        if not any(tilt):
            return across, down
        (a, b, c), (d, e, f), (g, h, i) = _tilted_plane(*tilt)
        scale = g * across + h * down + i
        return (a * across + b * down + c) / scale, (d * across + e * down + f) / scale

    def _undistort(self, plane: Array) -> Array:
        if not any(self.distortion) or not plane.size:
            return plane
        flat = np.ascontiguousarray(plane.reshape(-1, 1, 2))
        ideal = cv2.undistortPointsIter(
            flat, np.eye(3), np.array(self.distortion), np.eye(3), np.eye(3), UNDISTORT_CRITERIA
        ).reshape(plane.shape)
        again = np.stack(self._distort(ideal[..., 0], ideal[..., 1]), axis=-1)
        solved = np.abs(again - plane).max(axis=-1) < 1e-8
        solved &= np.linalg.norm(ideal, axis=-1) < self._largest_tangent
        return np.where(solved[..., None], ideal, np.nan)

    def _project_fisheye(self, x: Array, y: Array, z: Array) -> tuple[Array, Array]:
        off_axis = np.hypot(x, y)
        angle = np.arctan2(off_axis, z)
        scale = np.where(off_axis > 0, self._bend(angle) / off_axis, 0.0)
        visible = (angle < self._largest_angle) & ((off_axis > 0) | (z != 0))
        scale = np.where(visible, scale, np.nan)
        return x * scale, y * scale

    def _rays_fisheye(self, plane: Array) -> Array:
        radius = np.linalg.norm(plane, axis=-1)
        # The table gives a start within 1e-6 rad; two Newton steps make it exact.
        inside = self._bend_table[1] <= self._largest_angle
        angle = np.interp(radius, self._bend_table[0][inside], self._bend_table[1][inside])
        for _ in range(3):
            angle = angle - (self._bend(angle) - radius) / self._bend_slope(angle)
        solved = (np.abs(self._bend(angle) - radius) < 1e-9) & (angle < self._largest_angle)
        angle = np.where(solved, angle, np.nan)
        with np.errstate(divide="ignore", invalid="ignore"):
            sine = np.where(radius > 0, np.sin(angle) / radius, 0.0)
        directions = [plane * sine[..., None], np.cos(angle)[..., None]]
        return np.where(solved[..., None], np.concatenate(directions, axis=-1), np.nan)

    def _bend(self, angle: Array) -> Array:
        """Image radius of a ray's angle: θ (1 + k1 θ² + k2 θ⁴ + k3 θ⁶ + k4 θ⁸) (OpenCV fisheye)."""
        k1, k2, k3, k4 = self.distortion
        t2 = angle * angle
        return np.asarray(angle * (1 + t2 * (k1 + t2 * (k2 + t2 * (k3 + t2 * k4)))))

    def _bend_slope(self, angle: Array) -> Array:
        k1, k2, k3, k4 = self.distortion
        t2 = angle * angle
        return np.asarray(1 + t2 * (3 * k1 + t2 * (5 * k2 + t2 * (7 * k3 + t2 * 9 * k4))))

    @cached_property
    def _bend_table(self) -> tuple[Array, Array]:
        return self._bend(ANGLES_RAD), ANGLES_RAD

    @cached_property
    def _largest_angle(self) -> float:
        """Angle in radians up to which the fisheye's image radius grows."""
        turned = np.flatnonzero(self._bend_slope(ANGLES_RAD) <= 0)
        return float(ANGLES_RAD[turned[0] - 1]) if turned.size else float(np.pi)

    @cached_property
    def _largest_tangent(self) -> float:
        """Tangent of the angle up to which the radial distortion is one to one."""
        if not any(self.distortion):
            return float("inf")
        radial = replace(self, distortion_model="rational_polynomial", distortion=self._radial())
        line, _ = radial._distort(TANGENTS, np.zeros_like(TANGENTS))
        turned = np.flatnonzero(np.diff(line) <= 0)
        return float(TANGENTS[turned[0]]) if turned.size else float("inf")

    def _fourteen(self) -> tuple[float, ...]:
        return self.distortion + (0.0,) * (14 - len(self.distortion))

    def _radial(self) -> tuple[float, ...]:
        k1, k2, _, _, k3, k4, k5, k6, *_ = self._fourteen()
        return (k1, k2, 0.0, 0.0, k3, k4, k5, k6)

    def _key(self) -> tuple[Any, ...]:
        lens = (self.distortion_model, self.distortion, self.centre_m)
        return (self.width, self.height, *lens, self.intrinsics.tobytes())


def _tilted_plane(tilt_x_rad: float, tilt_y_rad: float) -> Array:
    """(3, 3) homography of a sensor that is turned against the lens (OpenCV's tilted model)."""
    cos_x, sin_x = np.cos(tilt_x_rad), np.sin(tilt_x_rad)
    cos_y, sin_y = np.cos(tilt_y_rad), np.sin(tilt_y_rad)
    turned = np.array([[cos_y, 0, -sin_y], [0, 1, 0], [sin_y, 0, cos_y]]) @ np.array(
        [[1, 0, 0], [0, cos_x, sin_x], [0, -sin_x, cos_x]]
    )
    towards = np.array(
        [[turned[2, 2], 0, -turned[0, 2]], [0, turned[2, 2], -turned[1, 2]], [0, 0, 1]]
    )
    return np.asarray(towards @ turned)
