"""A sphere of nearly equal triangles: an icosahedron whose faces are cut in four, and again."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

# Corners of the 20 faces, counter-clockwise from outside; the points are those of ``_corners``.
FACES = """
0 11 5  0 5 1  0 1 7  0 7 10  0 10 11  1 5 9  5 11 4  11 10 2  10 7 6  7 1 8
3 9 4  3 4 2  3 2 6  3 6 8  3 8 9  4 9 5  2 4 11  6 2 10  8 6 7  9 8 1
"""


@lru_cache(maxsize=4)
def icosphere(level: int) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
    """Points (P, 3) on the unit sphere and corners (F, 3) of its 20 · 4^level faces."""
    points, faces = _corners(), np.array(FACES.split(), np.int32).reshape(-1, 3)
    for _ in range(level):
        edges = np.sort(faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)
        # Each edge is that of two faces, and has one middle.
        number = edges[:, 1] * len(points) + edges[:, 0]
        _, first, which = np.unique(number, return_index=True, return_inverse=True)
        (a, b, c), (ab, bc, ca) = faces.T, which.reshape(-1, 3).T.astype(np.int32) + len(points)
        faces = np.stack([a, ab, ca, ab, b, bc, ca, bc, c, ab, bc, ca], axis=1).reshape(-1, 3)
        points = np.concatenate([points, points[edges[first]].mean(axis=1)])
        length = np.linalg.norm(points, axis=1, keepdims=True)
        points += points / length * (1 - length)
    return points, faces


def _corners() -> NDArray[np.float64]:
    """The icosahedron's twelve: on three golden rectangles, each in a plane of two axes."""
    golden = (1 + np.sqrt(5)) / 2
    x, y = np.array([1, golden]) / np.sqrt(1 + golden**2)
    rectangle = np.array([(-x, y, 0), (x, y, 0), (-x, -y, 0), (x, -y, 0)])
    return np.concatenate([np.roll(rectangle, turn, axis=1) for turn in (0, 1, 2)])
