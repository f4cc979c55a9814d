"""Traversal against dense sampling along the rays, and first hits in a room with known walls."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from renderocc_ros.geometry import VoxelGrid
from renderocc_ros.geometry.voxel_traversal import clip_to_box, first_hits, traverse

GRID = VoxelGrid((-2.0, -1.5, 0.5), 0.5, (9, 7, 5))


def random_rays(seed: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    origins = random.uniform((-4, -4, -1), (4, 4, 5), (count, 3))
    directions = random.normal(size=(count, 3))
    directions[: count // 4, seed % 3] = 0.0  # rays along the planes of the grid too
    return origins, directions / np.linalg.norm(directions, axis=1, keepdims=True)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000))
def test_the_cells_are_those_that_dense_sampling_meets(seed: int) -> None:
    origins, directions = random_rays(seed, 40)
    lengths = np.zeros((40, *GRID.size))
    last = np.zeros(40)
    for crossing in traverse(GRID, origins, directions):
        x, y, z = crossing.cells.T
        assert (lengths[crossing.rays, x, y, z] == 0).all()  # never twice in one cell
        assert (crossing.enter_m >= last[crossing.rays] - 1e-12).all()
        lengths[crossing.rays, x, y, z] = crossing.leave_m - crossing.enter_m
        last[crossing.rays] = crossing.leave_m
    t = (np.arange(12_000) + 0.5) * 1e-3
    for ray in range(40):
        cells, inside = GRID.index_of(origins[ray] + t[:, None] * directions[ray])
        sampled = np.zeros(GRID.size)
        np.add.at(sampled, tuple(cells[inside].T), 1e-3)
        assert np.abs(sampled - lengths[ray]).max() < 2.1e-3


def test_first_hits_in_a_box_room() -> None:
    grid = VoxelGrid((0, 0, 0), 1.0, (10, 8, 4))
    room = np.zeros(grid.size, dtype=bool)
    room[[0, -1]] = room[:, [0, -1]] = True
    room[..., 0] = True
    directions = np.array([[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, 0, -1], [0, 0, 1]], dtype=float)
    result = first_hits(room, grid, np.full((5, 3), (4.5, 3.5, 2.5)), directions)
    assert result.hit.tolist() == [True, True, True, True, False]
    assert np.allclose(result.enter_m[:4], (4.5, 3.5, 3.5, 1.5))
    assert np.allclose(result.leave_m, (5.5, 4.5, 4.5, 2.5, 1.5))
    assert result.cells.tolist() == [[9, 3, 2], [0, 3, 2], [4, 7, 2], [4, 3, 0], [4, 3, 3]]


def test_rays_that_miss_the_grid() -> None:
    result = first_hits(
        np.ones(GRID.size, dtype=bool),
        GRID,
        [[10.0, 0, 1], [10.0, 0, 1]],
        [[1.0, 0, 0], [-1, 0, 0]],
    )
    assert result.hit.tolist() == [False, True]
    assert np.isnan(result.enter_m[0]) and abs(result.enter_m[1] - 7.5) < 1e-12


def test_a_ray_along_a_face_is_inside() -> None:
    near, far = clip_to_box(
        np.array([[0.0, 0.0, 0.0]]), np.array([[1.0, 0, 0]]), (0, 0, 0), (2,) * 3
    )
    assert (near[0], far[0]) == (0.0, 2.0)


def test_shapes_are_checked() -> None:
    with pytest.raises(ValueError, match=r"the grid \(9, 7, 5\)"):
        first_hits(np.ones((2, 2, 2), dtype=bool), GRID, [[0, 0, 0]], [[1, 0, 0]])
    with pytest.raises(ValueError, match=r"\(R, 3\)"):
        next(traverse(GRID, [0, 0, 0], [1, 0, 0]))
