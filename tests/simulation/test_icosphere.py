"""The sphere: round, closed, and turned outwards."""

from __future__ import annotations

import numpy as np
import pytest

from renderocc_simulation.icosphere import icosphere


@pytest.mark.parametrize("level", [0, 1, 3])
def test_the_sphere_is_round_closed_and_turned_outwards(level: int) -> None:
    points, faces = icosphere(level)
    assert faces.shape == (20 * 4**level, 3)
    assert len(points) == len(faces) / 2 + 2  # Euler
    np.testing.assert_allclose(np.linalg.norm(points, axis=1), 1, atol=1e-12)
    a, b, c = np.moveaxis(points[faces], 1, 0)
    assert (np.einsum("ij,ij->i", np.cross(b - a, c - a), a) > 0).all()
    edges = faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
    present, back = (set(map(tuple, way.tolist())) for way in (edges, edges[:, ::-1]))
    assert (
        len(present) == len(edges) and present == back
    )  # two faces at each, once in each direction
