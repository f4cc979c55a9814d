"""Dense truth: surfaces in the right cells, and what a sensor sees of them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from renderocc_ros.geometry import RigidTransform, VoxelGrid
from renderocc_simulation.caster import Instant, StaticScene
from renderocc_simulation.mesh import Mesh, MeshBuilder, standing
from renderocc_simulation.truth import (
    Voxeliser,
    sample_triangles,
    seen_cells,
    stable_order,
)

GRID = VoxelGrid((-4.0, -4.0, -1.0), 0.4, (20, 20, 8))
HERE = RigidTransform.identity()


def plane(z: float) -> Mesh:
    builder = MeshBuilder(11)
    builder.quads([(-9, -9, z), (9, -9, z), (9, 9, z), (-9, 9, z)], 0)
    return builder.build()


def wall(x: float) -> Mesh:
    builder = MeshBuilder(15)
    builder.quads([(x, -9, -0.2), (x, 9, -0.2), (x, 9, 9), (x, -9, 9)], 0)
    return builder.build()


@given(numbers=st.lists(st.sampled_from([0, 1, 65535, 65536, 65537, 640_000, 2**32 - 1])))
def test_two_sorts_by_counting_are_one_stable_sort(numbers: list[int]) -> None:
    array = np.array(numbers, np.int64)
    np.testing.assert_array_equal(stable_order(array), np.argsort(array, kind="stable"))


@given(z=st.floats(-0.95, 2.1))
@settings(max_examples=30, deadline=None)
def test_flat_ground_lies_in_the_layer_that_contains_it(z: float) -> None:
    cells = Voxeliser(plane(z), GRID).surface(Mesh.empty(), HERE)
    layers = cells.flat % GRID.size[2]
    inside = (z + 1.0) / 0.4
    if abs(inside - round(inside)) > 1e-4:
        assert set(layers.tolist()) == {int(np.floor(inside))}
        assert len(cells.flat) == 400
    assert set(cells.labels.tolist()) == {11}


def test_the_class_of_most_surface_wins_and_moving_things_count() -> None:
    cells = Voxeliser(plane(0.1), GRID).surface(wall(1.0), HERE)
    labels = np.full(GRID.cell_count, 17, np.uint8)
    labels[cells.flat] = cells.labels
    volume = labels.reshape(GRID.size)
    column = volume[12, 10]  # x from 0.8 to 1.2 m holds the wall
    assert column.tolist() == [17, 17, 15, 15, 15, 15, 15, 15] or column[3:].tolist() == [15] * 5
    assert volume[5, 5].tolist() == [17, 17, 11, 17, 17, 17, 17, 17]


def test_the_grid_turns_and_moves_with_the_robot() -> None:
    world_from_ego = standing(10.0, 20.0, 3.0, np.pi / 2)
    world = wall(1.0).placed(world_from_ego)
    cells = Voxeliser(world, GRID).surface(Mesh.empty(), world_from_ego)
    assert set((cells.flat // (20 * 8)).tolist()) == {12}


def test_points_lie_inside_their_cells() -> None:
    cells = Voxeliser(Mesh.joined([plane(0.1), wall(1.0)]), GRID).surface(Mesh.empty(), HERE)
    index, inside = GRID.index_of(cells.points)
    assert inside.all()
    assert (GRID.flat_index(index) == cells.flat[:, None]).all()


@given(seed=st.integers(0, 1000), spacing=st.floats(0.05, 0.5))
@settings(max_examples=40, deadline=None)
def test_samples_lie_on_their_triangle_and_leave_no_gap(seed: int, spacing: float) -> None:
    rng = np.random.default_rng(seed)
    triangle = rng.uniform(-1.5, 1.5, (1, 3, 3)).astype(np.float32)
    points, owner = sample_triangles(triangle, spacing)
    assert set(owner.tolist()) == {0}
    a, b, c = triangle[0].astype(float)
    weights = np.linalg.lstsq(np.stack([b - a, c - a], axis=1), (points - a).T, rcond=None)[0]
    assert (weights > -1e-3).all()
    assert (weights.sum(axis=0) < 1 + 1e-3).all()
    rest = a + weights.T @ np.stack([b - a, c - a])
    np.testing.assert_allclose(rest, points, atol=1e-3)
    share = rng.dirichlet([1, 1, 1], 50)
    anywhere = share @ triangle[0]
    nearest = np.linalg.norm(anywhere[:, None] - points[None], axis=2).min(axis=1)
    assert nearest.max() < 1.2 * spacing


def test_a_wall_hides_what_is_behind_it() -> None:
    town = Mesh.joined([plane(-0.1), wall(1.0)])
    surface = Voxeliser(town, GRID).surface(Mesh.empty(), HERE)
    instant = Instant(StaticScene(town), Mesh.empty())
    eye = np.array([-3.0, 0.0, 1.0])
    seen = seen_cells(GRID, surface, instant, HERE, eye, lambda points: points[:, 0] > -3)
    assert seen[12, :, 3:].all()  # the wall itself
    assert not seen[13:].any()  # behind it
    assert seen[3:12, :, 2:].all()  # free air and ground before it
    assert not seen[:, :, 0].any()  # below the ground
    assert not seen[:2].any()  # behind the camera


@pytest.mark.parametrize("spacing", [0.1, 0.4])
def test_a_tiny_triangle_still_counts(spacing: float) -> None:
    triangle = np.array([[[0, 0, 0], [0.01, 0, 0], [0, 0.01, 0]]], np.float32)
    points, _ = sample_triangles(triangle, spacing)
    assert len(points) == 1
    assert (points[0, :2] > 0).all()
    assert points[0, :2].sum() < 0.0101
