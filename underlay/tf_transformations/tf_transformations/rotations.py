"""Quaternions (x, y, z, w), Euler angles, and the matrices of both."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from transforms3d import affines, axangles, euler, quaternions

from tf_transformations.vectors import random_vector, unit_vector

Quaternion = tuple[float, float, float, float]
_CLOSE = 4.0 * np.finfo(float).eps


def _to_wxyz(quaternion: Sequence[float]) -> Quaternion:
    x, y, z, w = quaternion
    return (w, x, y, z)


def _to_xyzw(quaternion: Sequence[float]) -> Quaternion:
    w, x, y, z = quaternion
    return (x, y, z, w)


def _matrix(rotation: np.ndarray) -> np.ndarray:
    matrix = np.identity(4)
    matrix[:3, :3] = rotation
    return matrix


def euler_matrix(ai: float, aj: float, ak: float, axes: Any = "sxyz") -> np.ndarray:
    """The 4x4 rotation matrix of three Euler angles."""
    return _matrix(euler.euler2mat(ai, aj, ak, axes=axes))


def euler_from_matrix(matrix: Any, axes: Any = "sxyz") -> tuple[float, float, float]:
    """Euler angles of a rotation matrix, 3x3 or 4x4."""
    return euler.mat2euler(np.asarray(matrix)[:3, :3], axes=axes)


def euler_from_quaternion(
    quaternion: Sequence[float], axes: Any = "sxyz"
) -> tuple[float, float, float]:
    """Euler angles of a quaternion."""
    return euler_from_matrix(quaternion_matrix(quaternion), axes)


def quaternion_from_euler(ai: float, aj: float, ak: float, axes: Any = "sxyz") -> Quaternion:
    """The quaternion of three Euler angles."""
    return _to_xyzw(euler.euler2quat(ai, aj, ak, axes=axes))


def quaternion_about_axis(angle: float, axis: Sequence[float]) -> Quaternion:
    """The rotation by `angle` about `axis`, of any length."""
    return _to_xyzw(quaternions.axangle2quat(axis, angle))


def quaternion_matrix(quaternion: Sequence[float]) -> np.ndarray:
    """The 4x4 rotation matrix of a quaternion of any length but 0; of 0 it is the identity."""
    return _matrix(quaternions.quat2mat(_to_wxyz(quaternion)))


def quaternion_from_matrix(matrix: Any) -> Quaternion:
    """The quaternion, w >= 0, of a 4x4 matrix; its scale and shear are left out."""
    _, rotation, _, _ = affines.decompose(np.asarray(matrix, dtype=np.float64))
    return _to_xyzw(quaternions.mat2quat(rotation))


def quaternion_multiply(quaternion1: Sequence[float], quaternion0: Sequence[float]) -> Quaternion:
    """The rotation that applies `quaternion0` first, then `quaternion1`."""
    return _to_xyzw(quaternions.qmult(_to_wxyz(quaternion1), _to_wxyz(quaternion0)))


def quaternion_conjugate(quaternion: Sequence[float]) -> np.ndarray:
    """(-x, -y, -z, w)."""
    x, y, z, w = quaternion
    return np.array((-x, -y, -z, w), dtype=np.float64)


def quaternion_inverse(quaternion: Sequence[float]) -> np.ndarray:
    """The quaternion whose product with the given one is (0, 0, 0, 1)."""
    return quaternion_conjugate(quaternion) / np.dot(quaternion, quaternion)


def quaternion_slerp(
    quat0: Sequence[float],
    quat1: Sequence[float],
    fraction: float,
    spin: int = 0,
    shortestpath: bool = True,
) -> np.ndarray:
    """Spherical linear interpolation: `quat0` at fraction 0, `quat1` at 1, both made unit.

    `spin` adds that many half turns on the way; `shortestpath` goes to -quat1 where that is nearer.
    """
    start, end = unit_vector(quat0[:4]), unit_vector(quat1[:4])
    if fraction == 0.0:
        return start
    if fraction == 1.0:
        return end
    cosine = float(start @ end)
    if abs(abs(cosine) - 1.0) < _CLOSE:
        return start
    if shortestpath and cosine < 0.0:
        cosine, end = -cosine, -end
    angle = math.acos(cosine) + spin * math.pi
    if abs(angle) < _CLOSE:
        return start
    weight_start = math.sin((1.0 - fraction) * angle)
    weight_end = math.sin(fraction * angle)
    return (weight_start * start + weight_end * end) / math.sin(angle)


def random_quaternion(rand: Sequence[float] | None = None) -> np.ndarray:
    """A unit quaternion, uniform over rotations for three uniform numbers of [0, 1).

    K. Shoemake, "Uniform random rotations", Graphics Gems III, 1992.
    """
    first, second, third = random_vector(3) if rand is None else rand
    low, high = math.sqrt(1.0 - first), math.sqrt(first)
    a, b = 2.0 * math.pi * second, 2.0 * math.pi * third
    return np.array((math.sin(a) * low, math.cos(a) * low, math.sin(b) * high, math.cos(b) * high))


def rotation_of(matrix: Any) -> tuple[float, np.ndarray, np.ndarray]:
    """Angle, axis and a point on the axis (homogeneous) of a 4x4 rotation matrix."""
    direction, angle, point = axangles.aff2axangle(np.asarray(matrix, dtype=np.float64))
    return angle, direction, point
