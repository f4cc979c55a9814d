"""Rigid transforms: group laws, quaternions of every angle, interpolation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from renderocc_ros.geometry.rigid_transform import RigidTransform, interpolate

numbers = st.floats(-1, 1)
transforms = st.builds(
    lambda x, y, z, w, t: RigidTransform.from_quaternion((x, y, z, w), t),
    numbers, numbers, numbers, st.floats(0.05, 1) | st.floats(-1, -0.05),
    st.tuples(*[st.floats(-100, 100)] * 3),
)  # fmt: skip


@given(transforms, transforms)
def test_product_and_inverse_are_those_of_the_matrices(
    a: RigidTransform, b: RigidTransform
) -> None:
    assert np.allclose((a @ b).matrix, a.matrix @ b.matrix)
    assert np.allclose((a @ a.inverse()).matrix, np.eye(4), atol=1e-9)
    point = np.array([1.0, -2.0, 3.0])
    assert np.allclose((a @ b).apply(point), a.apply(b.apply(point)))


@given(transforms)
def test_quaternion_round_trip(a: RigidTransform) -> None:
    again = RigidTransform.from_quaternion(a.quaternion_xyzw, a.translation)
    assert np.allclose(again.matrix, a.matrix, atol=1e-12)
    assert a.quaternion_xyzw[3] >= 0


def test_a_quarter_turn_to_the_left() -> None:
    half = np.sqrt(0.5)
    ego_from_rack = RigidTransform.from_quaternion((0, 0, half, half), (2, 0, 1))
    assert np.allclose(ego_from_rack.apply([[1, 0, 0], [0, 1, 0]]), [[2, 1, 1], [1, 0, 1]])


def test_interpolation_turns_and_moves_evenly() -> None:
    start = RigidTransform.identity()
    end = RigidTransform.from_quaternion((0, 0, np.sin(0.4), np.cos(0.4)), (4, 0, 0))
    quarter = interpolate(start, end, 0.25)
    assert np.allclose(quarter.quaternion_xyzw, (0, 0, np.sin(0.1), np.cos(0.1)))
    assert np.allclose(quarter.translation, (1, 0, 0))
    assert interpolate(start, end, 1.0).is_close(end, 1e-9, 1e-9)


def test_what_is_no_transform_is_refused() -> None:
    with pytest.raises(ValueError, match="describes no rotation"):
        RigidTransform.from_quaternion((0, 0, 0, 0), (0, 0, 0))
    with pytest.raises(ValueError, match="not a rotation matrix"):
        RigidTransform(np.diag([1.0, 1.0, -1.0]), np.zeros(3))
    with pytest.raises(ValueError, match="finite"):
        RigidTransform(np.eye(3), np.array([0, np.nan, 0]))
    with pytest.raises(ValueError, match="extrapolate"):
        interpolate(RigidTransform.identity(), RigidTransform.identity(), 1.2)
