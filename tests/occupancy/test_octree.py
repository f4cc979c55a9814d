"""Octrees hold what they are made of; their bytes are those of OctoMap's format."""

from __future__ import annotations

import numpy as np
import pytest

from renderocc_ros.class_set import IGNORE_ID, ClassSet
from renderocc_ros.geometry import VoxelGrid
from renderocc_ros.occupancy.octree import (
    FREE,
    LEVELS,
    OCCUPIED,
    UNKNOWN,
    cell_states,
    octree_cells,
    to_octree,
)
from renderocc_ros.occupancy.semantic_occupancy import SemanticOccupancy
from tests.occupancy.octree_reader import read_leaves, read_states

GRIDS = (
    VoxelGrid((-4.0, -2.0, -1.2), 0.8, (13, 7, 4)),  # half a voxel aside in height
    VoxelGrid((0.0, 0.0, 0.0), 0.05, (5, 6, 1)),
    VoxelGrid((-10.0, 3.0, -1.0), 0.4, (5, 6, 40)),
    VoxelGrid((-0.8, -0.8, -0.8), 0.4, (4, 4, 4)),
    VoxelGrid((-16384.0, 16376.0, -1.0), 0.5, (8, 16, 2)),  # up to the last cell of all
)
MIXTURES = ((1, 0, 0), (0, 1, 0), (0, 0, 1), (0.3, 0.4, 0.3), (0.9, 0.05, 0.05))


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("mixture", MIXTURES)
def test_every_cell_is_read_as_it_was_written(
    grid: VoxelGrid, mixture: tuple[float, float, float]
) -> None:
    states = np.random.default_rng(3).choice(3, grid.size, p=mixture).astype(np.uint8)
    tree = to_octree(grid, states)
    assert np.array_equal(read_states(tree.data, tree.cell_m, grid), states)


def test_the_bytes_of_a_single_cell() -> None:
    """At the origin: the last child of the root, then the first child of every node below."""
    tree = to_octree(VoxelGrid((0, 0, 0), 0.4, (1, 1, 1)), np.full((1, 1, 1), OCCUPIED, np.uint8))
    assert tree.data == b"\x00\xc0" + 14 * b"\x03\x00" + b"\x02\x00"
    header = b"# Octomap OcTree binary file\nid OcTree\nsize 17\nres 0.4\ndata\n"
    assert tree.file == header + tree.data


def test_eight_cells_of_one_kind_are_one_leaf_and_nothing_is_no_tree() -> None:
    grid = VoxelGrid((-8.0, 0.0, 0.0), 1.0, (16, 8, 8))
    states = np.full(grid.size, FREE, np.uint8)
    assert sorted(read_leaves(to_octree(grid, states).data)) == [
        ((-8, 0, 0), 8, FREE),
        ((0, 0, 0), 8, FREE),
    ]
    nothing = to_octree(grid, np.full(grid.size, UNKNOWN, np.uint8))
    assert nothing.data == b"" and b"size 0\n" in nothing.file


@pytest.mark.parametrize(("x_m", "parts"), [(-40.0, 1), (-40.2, 2), (-40.05, 8)])
def test_voxels_are_divided_until_their_borders_fit(x_m: float, parts: int) -> None:
    assert octree_cells(VoxelGrid((x_m, -8.0, -0.8), 0.4, (2, 2, 2))) == (parts, 0.4 / parts)


def test_a_grid_that_octomap_does_not_fit_or_reach_is_told() -> None:
    states = np.zeros((2, 2, 2), np.uint8)
    with pytest.raises(ValueError, match=r"origin \(-40\.03, .* is at no multiple"):
        to_octree(VoxelGrid((-40.03, -8.0, -1.0), 0.4, (2, 2, 2)), states)
    far_m = 2 ** (LEVELS - 1) - 1.0
    with pytest.raises(ValueError, match=r"OctoMap reaches 32768 m .*32769"):
        to_octree(VoxelGrid((far_m, 0.0, 0.0), 1.0, (2, 2, 2)), states)
    with pytest.raises(ValueError, match="OctoMap reaches"):
        to_octree(VoxelGrid((-far_m - 2, 0.0, 0.0), 1.0, (2, 2, 2)), states)


def test_what_is_hidden_or_filtered_out_is_unknown(occ3d: ClassSet) -> None:
    grid = VoxelGrid((0, 0, 0), 1.0, (6, 1, 1))
    car, free = occ3d.id_of("car"), occ3d.free_id
    labels = np.array([car, car, free, free, free, IGNORE_ID], np.uint8).reshape(grid.size)
    in_view = np.array([1, 0, 1, 1, 0, 1], bool).reshape(grid.size)
    visible = np.array([0, 0, 1, 0, 1, 1], bool).reshape(grid.size)
    result = SemanticOccupancy(5, grid, occ3d, labels, labels, in_view)

    def states(of: SemanticOccupancy, seen: np.ndarray | None) -> list[int]:
        return cell_states(of, seen).ravel().tolist()

    assert states(result, visible) == [OCCUPIED, UNKNOWN, FREE, UNKNOWN, FREE, UNKNOWN]
    assert states(result, None) == [OCCUPIED, UNKNOWN, FREE, FREE, UNKNOWN, UNKNOWN]
    assert states(result.keeping(["truck"]), visible)[0] == UNKNOWN
    unseen = SemanticOccupancy(5, grid, occ3d, labels, labels)
    assert states(unseen, None) == [OCCUPIED, OCCUPIED, FREE, FREE, FREE, UNKNOWN]
