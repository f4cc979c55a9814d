"""The voxel grid: corners, centres and indices agree, and the order in memory is (x, y, z)."""

from __future__ import annotations

import numpy as np
import pytest

from renderocc_ros.geometry import VoxelGrid

OCC3D = VoxelGrid((-40, -40, -1), 0.4, (200, 200, 16))


def test_corners_and_centres_of_the_occ3d_grid() -> None:
    assert np.allclose(OCC3D.upper_m, (40, 40, 5.4))
    assert OCC3D.cell_count == 640_000
    assert np.allclose(OCC3D.centres([0, 0, 0]), (-39.8, -39.8, -0.8))
    assert np.allclose(OCC3D.centres()[199, 100, 15], (39.8, 0.2, 5.2))


def test_grids_are_close_whatever_rounding_did_to_them() -> None:
    grid = VoxelGrid((-40.0, -40.0, -1.0), 0.4, (200, 200, 16))
    assert grid.is_close(VoxelGrid((-40.00001, -40.0, -1.0), float(np.float32(0.4)), grid.size))
    for other in (
        VoxelGrid((-40.0, -40.0, -1.2), 0.4, grid.size),
        VoxelGrid(grid.origin_m, 0.401, grid.size),
        VoxelGrid(grid.origin_m, 0.4, (200, 200, 15)),
    ):
        assert not grid.is_close(other)


def test_every_centre_lies_in_its_own_cell_and_flat_order_is_memory_order() -> None:
    grid = VoxelGrid((-3.1, 2.0, 0.3), 0.7, (5, 4, 3))
    indices, inside = grid.index_of(grid.centres())
    assert inside.all()
    assert np.array_equal(indices, np.moveaxis(np.indices(grid.size), 0, -1))
    assert np.array_equal(grid.flat_index(indices).ravel(), np.arange(60))


def test_the_lower_face_is_inside_the_upper_face_is_not() -> None:
    grid = VoxelGrid((0, 0, 0), 1.0, (2, 2, 2))
    indices, inside = grid.index_of(
        [[0, 0, 0], [1, 1, 1], [2, 1, 1], [-1e-9, 0, 0], [np.nan, 0, 0], [np.inf, 0, 0]]
    )
    assert inside.tolist() == [True, True, False, False, False, False]
    assert indices[1].tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    "arguments",
    [((0, 0, 0), 0.0, (1, 1, 1)), ((0, 0, 0), 1.0, (1, 0, 1)), ((0, 0, np.nan), 1.0, (1, 1, 1))],
)
def test_impossible_grids_are_refused(arguments: tuple) -> None:
    with pytest.raises(ValueError, match="must be"):
        VoxelGrid(*arguments)
