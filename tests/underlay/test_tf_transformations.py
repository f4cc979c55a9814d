"""Quaternions (x, y, z, w), Euler angles and matrices."""

from __future__ import annotations

import math
from functools import reduce

import numpy as np
import pytest

tf = pytest.importorskip(
    "tf_transformations", reason="needs tf_transformations: ./run sets it up, or source a ROS 2"
)

RNG = np.random.default_rng(5)
AXES = [
    s + a
    for s in "sr"
    for a in (["xyz", "xyx", "xzy", "xzx", "yzx", "yzy", "yxz", "yxy", "zxy", "zxz", "zyx", "zyz"])
]


def about(axis: str, angle: float) -> np.ndarray:
    """The 3x3 rotation about a coordinate axis, from its definition."""
    i, j = {"x": (1, 2), "y": (2, 0), "z": (0, 1)}[axis]
    matrix = np.identity(3)
    matrix[i, i] = matrix[j, j] = math.cos(angle)
    matrix[j, i], matrix[i, j] = math.sin(angle), -math.sin(angle)
    return matrix


def rotation_of(q: np.ndarray) -> np.ndarray:
    """The 3x3 rotation of a unit quaternion, from q v q*."""
    x, y, z, w = q
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.identity(3) + 2 * w * cross + 2 * cross @ cross


def same_rotation(a: np.ndarray, b: np.ndarray) -> bool:
    return np.allclose(a, b) or np.allclose(a, -np.asarray(b))


@pytest.mark.parametrize("axes", AXES)
def test_all_conventions_of_euler_angles_against_products_of_turns(axes: str) -> None:
    for angles in RNG.uniform(-1.2, 1.2, (5, 3)):
        turns = [about(axis, angle) for axis, angle in zip(axes[1:], angles, strict=True)]
        if axes[0] == "s":
            turns.reverse()
        expected = reduce(np.matmul, turns)
        matrix = tf.euler_matrix(*angles, axes)
        np.testing.assert_allclose(matrix[:3, :3], expected, atol=1e-12)
        assert matrix[3].tolist() == [0, 0, 0, 1]
        q = np.array(tf.quaternion_from_euler(*angles, axes=axes))
        np.testing.assert_allclose(rotation_of(q), expected, atol=1e-12)
        again = tf.euler_matrix(*tf.euler_from_matrix(matrix, axes), axes)
        np.testing.assert_allclose(again, matrix, atol=1e-9)
        again = tf.euler_matrix(*tf.euler_from_quaternion(q, axes), axes)
        np.testing.assert_allclose(again, matrix, atol=1e-9)


def test_yaw_is_the_third_angle_and_w_is_last() -> None:
    q = tf.quaternion_from_euler(0.0, 0.0, math.pi / 2)
    assert tuple(q) == pytest.approx((0.0, 0.0, 0.5**0.5, 0.5**0.5))
    assert tuple(tf.euler_from_quaternion((0.0, 0.0, 0.0, 1.0))) == pytest.approx((0, 0, 0))


def test_quaternions_and_matrices_agree() -> None:
    for _ in range(20):
        q = tf.random_quaternion()
        assert np.linalg.norm(q) == pytest.approx(1.0)
        matrix = tf.quaternion_matrix(q)
        np.testing.assert_allclose(matrix[:3, :3], rotation_of(q), atol=1e-12)
        np.testing.assert_allclose(tf.quaternion_matrix(3.0 * q), matrix, atol=1e-12)
        assert same_rotation(np.array(tf.quaternion_from_matrix(matrix)), q)
        assert tf.quaternion_from_matrix(matrix)[3] >= 0.0


def test_products_apply_the_right_one_first() -> None:
    for _ in range(20):
        a, b = tf.random_quaternion(), tf.random_quaternion()
        product = np.array(tf.quaternion_multiply(a, b))
        np.testing.assert_allclose(rotation_of(product), rotation_of(a) @ rotation_of(b), atol=1e-9)
    assert np.allclose(tf.quaternion_multiply([1, -2, 3, 4], [-5, 6, 7, 8]), [-44, -14, 48, 28])


def test_inverses_undo() -> None:
    q = 2.0 * tf.random_quaternion()
    assert np.allclose(tf.quaternion_multiply(q, tf.quaternion_inverse(q)), [0, 0, 0, 1])
    x, y, z, w = q
    assert tf.quaternion_conjugate(q).tolist() == [-x, -y, -z, w]


def test_turns_about_an_axis_of_any_length() -> None:
    q = tf.quaternion_about_axis(0.123, (2, 0, 0))
    assert np.allclose(q, [math.sin(0.0615), 0, 0, math.cos(0.0615)])


def test_interpolation_turns_evenly() -> None:
    start, end = tf.quaternion_from_euler(0, 0, 0.2), tf.quaternion_from_euler(0, 0, 1.0)
    for fraction in (0.0, 0.25, 0.5, 1.0):
        expected = tf.quaternion_from_euler(0, 0, 0.2 + 0.8 * fraction)
        assert np.allclose(tf.quaternion_slerp(start, end, fraction), expected)
    other_sign = -np.array(end)
    assert np.allclose(
        tf.quaternion_slerp(start, other_sign, 0.5), tf.quaternion_from_euler(0, 0, 0.6)
    )
    long_way = tf.quaternion_slerp(start, other_sign, 0.5, shortestpath=False)
    assert not same_rotation(long_way, np.array(tf.quaternion_from_euler(0, 0, 0.6)))
    assert np.allclose(tf.quaternion_slerp(start, start, 0.5), start)


def test_random_quaternions_come_from_three_numbers() -> None:
    given = [0.2, 0.4, 0.6]
    a, b = 2 * math.pi * 0.4, 2 * math.pi * 0.6
    low, high = math.sqrt(0.8), math.sqrt(0.2)
    expected = [math.sin(a) * low, math.cos(a) * low, math.sin(b) * high, math.cos(b) * high]
    assert np.allclose(tf.random_quaternion(given), expected)
    assert np.allclose(tf.random_rotation_matrix(given), tf.quaternion_matrix(expected))


def test_translations() -> None:
    matrix = tf.translation_matrix((1, 2, 3))
    assert (matrix @ [10, 20, 30, 1]).tolist() == [11, 22, 33, 1]
    turned = tf.concatenate_matrices(matrix, tf.euler_matrix(0.1, 0.2, 0.3))
    assert np.allclose(tf.translation_from_matrix(turned), (1, 2, 3))


def test_rotations_about_a_line() -> None:
    matrix = tf.rotation_matrix(math.pi / 2, (0, 0, 1), (1, 0, 0))
    assert np.allclose(matrix @ [2, 0, 0, 1], [1, 1, 0, 1])
    angle, direction, point = tf.rotation_from_matrix(matrix)
    assert tf.is_same_transform(tf.rotation_matrix(angle, direction, point), matrix)


def test_scales_mirrors_and_shears() -> None:
    assert np.allclose(tf.scale_matrix(2.0, origin=(1, 0, 0)) @ [2, 3, 0, 1], [3, 6, 0, 1])
    along = tf.scale_matrix(2.0, direction=(0, 1, 0))
    assert np.allclose(along @ [2, 3, 4, 1], [2, 6, 4, 1])
    factor, origin, direction = tf.scale_from_matrix(along)
    assert tf.is_same_transform(tf.scale_matrix(factor, origin, direction), along)
    mirror = tf.reflection_matrix((0, 0, 1, 1), (0, 0, 1))
    assert np.allclose(mirror @ [5, 6, 3, 1], [5, 6, -1, 1])
    assert tf.is_same_transform(tf.reflection_matrix(*tf.reflection_from_matrix(mirror)), mirror)
    shear = tf.shear_matrix(math.pi / 4, (1, 0, 0), (0, 0, 0), (0, 0, 1))
    assert np.allclose(shear @ [0, 0, 2, 1], [2, 0, 2, 1])


def test_matrices_come_apart_and_together() -> None:
    whole = tf.compose_matrix((1, 2, 3), (0.1, 0.2, 0.3), (0.3, -0.2, 0.1), (4, 5, 6))
    parts = tf.decompose_matrix(whole)
    for part, expected in zip(
        parts, [(1, 2, 3), (0.1, 0.2, 0.3), (0.3, -0.2, 0.1), (4, 5, 6)], strict=False
    ):
        assert np.allclose(part, expected)
    assert tf.is_same_transform(tf.compose_matrix(*parts), whole)
    assert np.allclose(tf.inverse_matrix(whole) @ whole, tf.identity_matrix())
    assert np.allclose(tf.compose_matrix(), np.identity(4))


def test_homogeneous_scale_does_not_matter() -> None:
    matrix = tf.euler_matrix(1, 2, 3)
    assert tf.is_same_transform(matrix, 5.0 * matrix)
    assert not tf.is_same_transform(matrix, np.identity(4))


def test_lengths_and_directions() -> None:
    vectors = RNG.normal(size=(4, 3))
    assert tf.vector_norm([3.0, 4.0]) == 5.0
    assert np.allclose(tf.vector_norm(vectors, axis=1), np.linalg.norm(vectors, axis=1))
    assert np.allclose(tf.unit_vector([0.0, 0.0, 2.0]), [0, 0, 1])
    assert np.allclose(np.linalg.norm(tf.unit_vector(vectors, axis=-1), axis=-1), 1.0)
    out = np.empty((4, 3))
    tf.unit_vector(vectors, axis=1, out=out)
    assert np.allclose(out, vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
    assert tf.random_vector(10).shape == (10,)
