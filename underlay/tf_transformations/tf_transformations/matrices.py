"""4x4 matrices that move, turn, mirror, scale and shear."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from transforms3d import affines, axangles, euler, reflections, shears, zooms

from tf_transformations.rotations import (
    euler_from_matrix,
    quaternion_matrix,
    random_quaternion,
    rotation_of,
)

Vector = Sequence[float]


def identity_matrix() -> np.ndarray:
    """The 4x4 identity."""
    return np.identity(4)


def translation_matrix(direction: Vector) -> np.ndarray:
    """Moves by `direction`."""
    matrix = np.identity(4)
    matrix[:3, 3] = direction[:3]
    return matrix


def translation_from_matrix(matrix: Any) -> np.ndarray:
    """The last column's x, y, z."""
    return np.array(matrix, dtype=np.float64)[:3, 3]


def rotation_matrix(angle: float, direction: Vector, point: Vector | None = None) -> np.ndarray:
    """Turns by `angle` about the axis `direction` through `point`, the origin unless told."""
    return axangles.axangle2aff(direction, angle, point=point)


def rotation_from_matrix(matrix: Any) -> tuple[float, np.ndarray, np.ndarray]:
    """Angle, axis, and a point on the axis."""
    return rotation_of(matrix)


def reflection_matrix(point: Vector, normal: Vector) -> np.ndarray:
    """Mirrors at the plane through `point` across `normal`."""
    return reflections.rfnorm2aff(normal, point[:3])


def reflection_from_matrix(matrix: Any) -> tuple[np.ndarray, np.ndarray]:
    """Point and normal of the mirror plane."""
    normal, point = reflections.aff2rfnorm(matrix)
    return point, normal


def scale_matrix(
    factor: float, origin: Vector | None = None, direction: Vector | None = None
) -> np.ndarray:
    """Scales around `origin`, everywhere or along `direction` alone."""
    return zooms.zfdir2aff(factor, direction=direction, origin=origin)


def scale_from_matrix(matrix: Any) -> tuple[float, np.ndarray, np.ndarray | None]:
    """Factor, origin, and direction, None where it scales everywhere."""
    factor, direction, origin = zooms.aff2zfdir(matrix)
    return factor, origin, direction


def shear_matrix(angle: float, direction: Vector, point: Vector, normal: Vector) -> np.ndarray:
    """Shears by `angle` along `direction` in the plane through `point` with `normal`."""
    return shears.sadn2aff(angle, direction, normal, point)


def shear_from_matrix(matrix: Any) -> tuple[float, np.ndarray, np.ndarray, np.ndarray]:
    """Angle, direction, point and normal of a shear."""
    angle, direction, normal, point = shears.aff2sadn(matrix)
    return angle, direction, point, normal


def decompose_matrix(matrix: Any) -> tuple[Any, Any, Any, Any, None]:
    """Scale, shear, Euler angles (sxyz) and translation; perspective is not supported: None."""
    translation, rotation, scale, shear = affines.decompose(np.asarray(matrix, dtype=np.float64))
    return scale, shear, euler_from_matrix(rotation), translation, None


def compose_matrix(
    scale: Vector | None = None,
    shear: Vector | None = None,
    angles: Vector | None = None,
    translate: Vector | None = None,
    perspective: Vector | None = None,
) -> np.ndarray:
    """The inverse of decompose_matrix; what is left out changes nothing, perspective is ignored."""
    return affines.compose(
        np.zeros(3) if translate is None else translate,
        np.identity(3) if angles is None else euler.euler2mat(*angles),
        np.ones(3) if scale is None else scale,
        np.zeros(3) if shear is None else shear,
    )


def random_rotation_matrix(rand: Vector | None = None) -> np.ndarray:
    """A rotation, uniform for three uniform numbers of [0, 1)."""
    return quaternion_matrix(random_quaternion(rand))


def inverse_matrix(matrix: Any) -> np.ndarray:
    """The inverse of a square matrix."""
    return np.linalg.inv(matrix)


def concatenate_matrices(*matrices: Any) -> np.ndarray:
    """The product of 4x4 matrices; the last is applied first."""
    product = np.identity(4)
    for matrix in matrices:
        product = product @ np.asarray(matrix)
    return product


def is_same_transform(matrix0: Any, matrix1: Any) -> bool:
    """Whether two 4x4 matrices do the same, whatever their homogeneous scale."""
    first, second = np.asarray(matrix0, np.float64), np.asarray(matrix1, np.float64)
    return bool(np.allclose(first / first[3, 3], second / second[3, 3]))
