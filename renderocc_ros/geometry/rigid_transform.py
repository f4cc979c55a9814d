"""Rigid transforms between named frames, in float64."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

# A rotation read from a float32 message is off by about 1e-7; above this it is another matrix.
ORTHONORMAL_TOLERANCE = 1e-5


@dataclass(frozen=True, eq=False)
class RigidTransform:
    """``target_from_source``: takes points of the source frame to the target frame.

    Attributes:
        rotation: (3, 3) float64, orthonormal with determinant +1.
        translation: (3,) float64, metres: the source frame's origin in the target frame.

    Raises:
        ValueError: not finite, wrong shape, or not a rotation.
    """

    rotation: Array
    translation: Array

    def __post_init__(self) -> None:
        rotation = _frozen(self.rotation, (3, 3), "rotation")
        translation = _frozen(self.translation, (3,), "translation")
        error = np.abs(rotation @ rotation.T - np.eye(3)).max()
        if error > ORTHONORMAL_TOLERANCE or np.linalg.det(rotation) < 0:
            raise ValueError(
                f"rotation is not a rotation matrix (R·Rᵀ is off the identity by {error:.2g}): "
                f"{rotation.tolist()}; give an orthonormal matrix with determinant +1"
            )
        object.__setattr__(self, "rotation", rotation)
        object.__setattr__(self, "translation", translation)

    @staticmethod
    def identity() -> RigidTransform:
        """The transform of a frame to itself."""
        return RigidTransform(np.eye(3), np.zeros(3))

    @staticmethod
    def from_matrix(matrix: ArrayLike) -> RigidTransform:
        """From a homogeneous (4, 4) matrix whose last row is (0, 0, 0, 1)."""
        full = np.asarray(matrix, dtype=np.float64)
        if full.shape != (4, 4) or not np.allclose(full[3], (0, 0, 0, 1)):
            raise ValueError(f"not a homogeneous (4, 4) transform: {full.tolist()}")
        return RigidTransform(full[:3, :3], full[:3, 3])

    @staticmethod
    def from_quaternion(quaternion_xyzw: ArrayLike, translation: ArrayLike) -> RigidTransform:
        """From a quaternion in ROS order (x, y, z, w), of any length but zero, and metres."""
        quaternion = np.asarray(quaternion_xyzw, dtype=np.float64)
        norm = np.linalg.norm(quaternion)
        if quaternion.shape != (4,) or not np.isfinite(norm) or norm < 1e-6:
            raise ValueError(
                f"quaternion (x, y, z, w) = {quaternion.tolist()} describes no rotation; "
                "a publisher that leaves it at zero must send (0, 0, 0, 1)"
            )
        x, y, z, w = (quaternion / norm).tolist()
        rotation = np.array(
            [
                [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
                [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
                [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
            ]
        )
        return RigidTransform._of(rotation, _frozen(translation, (3,), "translation"))

    @staticmethod
    def _of(rotation: Array, translation: Array) -> RigidTransform:
        """Of arrays that are of the right kind by how they were made; the checks cost 20 µs."""
        made = object.__new__(RigidTransform)
        for name, array in (("rotation", rotation), ("translation", translation)):
            array.flags.writeable = False
            object.__setattr__(made, name, array)
        return made

    @property
    def matrix(self) -> Array:
        """Homogeneous (4, 4) float64 matrix."""
        matrix = np.eye(4)
        matrix[:3, :3] = self.rotation
        matrix[:3, 3] = self.translation
        return matrix

    @cached_property
    def quaternion_xyzw(self) -> Array:
        """(4,) unit quaternion (x, y, z, w) with w ≥ 0."""
        r = self.rotation
        # The eigenvector of the largest eigenvalue of this symmetric matrix is the quaternion
        # (Bar-Itzhack 2000, eq. 2): no case distinction, stable for every angle.
        k = np.array(
            [
                [r[0, 0] - r[1, 1] - r[2, 2], 0, 0, 0],
                [r[1, 0] + r[0, 1], r[1, 1] - r[0, 0] - r[2, 2], 0, 0],
                [r[2, 0] + r[0, 2], r[2, 1] + r[1, 2], r[2, 2] - r[0, 0] - r[1, 1], 0],
                [r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1], np.trace(r)],
            ]
        )
        quaternion = np.asarray(np.linalg.eigh(k, UPLO="L")[1][:, 3])
        quaternion = -quaternion if quaternion[3] < 0 else quaternion
        quaternion.flags.writeable = False
        return quaternion

    def inverse(self) -> RigidTransform:
        """``source_from_target``."""
        return RigidTransform._of(self.rotation.T, -self.rotation.T @ self.translation)

    def __matmul__(self, other: RigidTransform) -> RigidTransform:
        """``a_from_b @ b_from_c`` is ``a_from_c``."""
        return RigidTransform._of(
            self.rotation @ other.rotation, self.rotation @ other.translation + self.translation
        )

    def apply(self, points: ArrayLike) -> Array:
        """Points (..., 3) of the source frame, in metres, in the target frame."""
        return np.asarray(points, dtype=np.float64) @ self.rotation.T + self.translation

    def is_close(self, other: RigidTransform, angle_rad: float, distance_m: float) -> bool:
        """Whether two transforms of the same frames differ by less than both bounds."""
        relative = self.rotation.T @ other.rotation
        sine = np.linalg.norm(relative - relative.T) / np.sqrt(8.0)
        angle = np.arctan2(sine, (np.trace(relative) - 1) / 2)
        moved = np.linalg.norm(self.translation - other.translation)
        return bool(angle < angle_rad and moved < distance_m)


def interpolate(start: RigidTransform, end: RigidTransform, fraction: float) -> RigidTransform:
    """Between two transforms of the same frames: slerp of the rotation, lerp of the translation.

    Args:
        fraction: 0 gives start, 1 gives end; values outside [0, 1] would extrapolate and are
            refused.
    """
    if not 0.0 <= fraction <= 1.0:
        raise ValueError(f"fraction {fraction} lies outside [0, 1]: that would extrapolate a pose")
    first, last = start.quaternion_xyzw, end.quaternion_xyzw
    cosine = float(first @ last)
    if cosine < 0:  # the two signs of a quaternion are one rotation: take the shorter way
        last, cosine = -last, -cosine
    angle = np.arccos(min(cosine, 1.0))
    if angle < 1e-8:
        weights = (1 - fraction, fraction)
    else:
        sines = np.sin([(1 - fraction) * angle, fraction * angle])
        weights = tuple(sines / np.sin(angle))
    quaternion = weights[0] * first + weights[1] * last
    translation = (1 - fraction) * start.translation + fraction * end.translation
    return RigidTransform.from_quaternion(quaternion, translation)


def _frozen(value: Any, shape: tuple[int, ...], name: str) -> Array:
    array = np.array(value, dtype=np.float64)
    if array.shape != shape or not np.isfinite(array).all():
        raise ValueError(f"{name} must be {shape} finite numbers, got {array.tolist()}")
    array.flags.writeable = False
    return array
