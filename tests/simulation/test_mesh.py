"""Shapes and what they are made with."""

from __future__ import annotations

import numpy as np

from renderocc_simulation.mesh import cross


def test_cross_is_numpys() -> None:
    rng = np.random.default_rng(0)
    for a, b in rng.normal(size=(50, 2, 3)):
        np.testing.assert_array_equal(cross(a, b), np.cross(a, b))
