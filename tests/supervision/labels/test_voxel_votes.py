"""Votes against brute force, and the grazing rule on flat ground of every height."""

from __future__ import annotations

import numpy as np
import pytest

from renderocc_ros.class_set import IGNORE_ID, OCCUPIED_ID, ClassSet, SemanticClass
from renderocc_ros.geometry import VoxelGrid
from renderocc_training.supervision.labels.voxel_votes import count_votes, voted_labels
from renderocc_training.supervision.rays.ray_batch import RayBatch

ROAD, CAR, FREE = 0, 1, 2
CLASSES = ClassSet(
    "two",
    (
        SemanticClass(ROAD, "road", (9, 9, 9), ground=True),
        SemanticClass(CAR, "car", (0, 0, 99), moves=True),
    ),
)


def rays_to(ends: np.ndarray, origin: tuple[float, float, float], class_id: int) -> RayBatch:
    origins = np.tile(np.array(origin, dtype=np.float32), (len(ends), 1))
    offset = (ends - origins).astype(np.float32)
    range_m = np.linalg.norm(offset, axis=1)
    columns = vars(RayBatch.padding(len(ends)))
    return RayBatch(
        **{
            **columns,
            "origin": origins,
            "direction": offset / range_m[:, None],
            "range_m": range_m,
            "class_id": np.full(len(ends), class_id, dtype=np.uint8),
            "valid": np.ones(len(ends), dtype=bool),
        }
    )


def test_counts_are_those_of_dense_sampling() -> None:
    grid = VoxelGrid((-3, -3, -1), 0.5, (12, 12, 6))
    random = np.random.default_rng(0)
    ends = random.uniform((-4, -4, -1), (4, 4, 2), (60, 3))
    rays = rays_to(ends, (0.1, 0.2, 0.3), CAR)
    votes = count_votes(rays, grid, CLASSES)
    misses, hits = np.zeros(grid.size, dtype=int), np.zeros(grid.size, dtype=int)
    for origin, direction, range_m in zip(rays.origin, rays.direction, rays.range_m, strict=True):
        t = np.arange(1e-4, range_m, 1e-3)[:, None]
        cells, inside = grid.index_of(origin.astype(np.float64) + t * direction)
        visited = {tuple(cell) for cell in cells[inside]}
        (end,), end_inside = grid.index_of(origin + range_m * direction[None])
        if end_inside:
            hits[tuple(end)] += 1
            visited.discard(tuple(end))
        for cell in visited:
            misses[cell] += 1
    assert np.array_equal(votes.hits[..., CAR], hits)
    assert np.abs(votes.misses - misses).sum() <= 4  # cells cut by less than the sampling step


@pytest.mark.parametrize("height", [-0.95, -0.8, -0.63, -0.5, -0.25, -0.15, 0.0, 0.15])
def test_flat_ground_is_voted_into_the_layer_that_contains_it(height: float) -> None:
    grid = VoxelGrid((0, -8, -1), 0.4, (100, 40, 16))
    x, y = np.meshgrid(np.linspace(2, 39.9, 500), np.linspace(-7.5, 7.5, 150))
    ends = np.stack([x.ravel(), y.ravel(), np.full(x.size, height)], axis=1)
    labels = voted_labels(count_votes(rays_to(ends, (0, 0, 1.6), ROAD), grid, CLASSES), CLASSES)
    layer = int(np.floor((height + 1) / 0.4))
    road = labels == ROAD
    assert road[..., layer].sum() > 0.9 * 95 * 38
    assert not np.delete(road, layer, axis=2).any()
    # Passes may skim far ground, but never erase it: nothing in the ground's layer is free.
    assert not (labels[6:, 2:38, layer] == FREE).any()


def test_rays_to_the_sky_free_all_they_pass_and_unknown_ranges_say_nothing() -> None:
    grid = VoxelGrid((0, 0, 0), 1.0, (10, 1, 1))
    one = rays_to(np.array([[5.5, 0.5, 0.5]] * 4), (0.2, 0.5, 0.5), CAR)
    sky = RayBatch(**{**vars(one), "range_m": np.full(4, np.inf, dtype=np.float32)})
    assert (voted_labels(count_votes(sky, grid, CLASSES), CLASSES) == FREE).all()
    unknown = RayBatch(**{**vars(one), "range_m": np.full(4, np.nan, dtype=np.float32)})
    assert count_votes(unknown, grid, CLASSES).misses.sum() == 0
    labels = voted_labels(count_votes(one, grid, CLASSES), CLASSES)
    assert labels.ravel().tolist() == [FREE] * 5 + [CAR] + [IGNORE_ID] * 4


def test_a_ray_that_moved_with_its_object_says_nothing_before_its_start() -> None:
    grid = VoxelGrid((0, 0, 0), 1.0, (10, 1, 1))
    rays = rays_to(np.array([[5.5, 0.5, 0.5]] * 4), (0.2, 0.5, 0.5), CAR)
    rays = RayBatch(**{**vars(rays), "start_m": np.full(4, 2.5, dtype=np.float32)})
    labels = voted_labels(count_votes(rays, grid, CLASSES), CLASSES)
    assert labels.ravel().tolist() == [IGNORE_ID] * 3 + [FREE] * 2 + [CAR] + [IGNORE_ID] * 4


def test_the_foot_of_what_stands_outweighs_the_ground_around_it() -> None:
    grid = VoxelGrid((0, 0, 0), 1.0, (4, 1, 1))
    foot, beside = np.array([[2.5, 0.5, 0.5]]), np.array([[2.5, 0.5, 0.1]])

    def label(car: int, road: int) -> int:
        ends = ((foot, car, CAR), (beside, road, ROAD))
        rays = [rays_to(np.repeat(end, n, axis=0), (0.2, 0.5, 0.9), kind) for end, n, kind in ends]
        votes = count_votes(RayBatch.concatenate(rays), grid, CLASSES)
        return int(voted_labels(votes, CLASSES, object_weight=5)[2, 0, 0])

    assert label(car=2, road=9) == CAR
    assert label(car=2, road=11) == ROAD


def test_gaps_in_the_ground_are_not_free_and_what_is_above_it_is() -> None:
    grid = VoxelGrid((0, 0, 0), 1.0, (9, 5, 3))
    x, y = np.meshgrid(np.arange(9) + 0.5, np.arange(5) + 0.5, indexing="ij")
    ground = np.stack([x.ravel(), y.ravel(), np.full(x.size, 0.2)], axis=1)
    gap = (ground[:, 0] == 6.5) & (ground[:, 1] == 2.5)
    hole = ground[:, 0] == 3.5  # never seen
    beyond = np.tile([8.99, 2.5, 0.4], (4, 1))  # a low wall, seen over the gap
    high = np.tile([8.99, 2.5, 1.5], (4, 1))
    rays = [rays_to(ground[~gap & ~hole], (4.5, 2.5, 2.9), ROAD)]
    rays += [rays_to(end, (0.0, 2.5, 0.9), CAR) for end in (beyond, high)]
    votes = count_votes(RayBatch.concatenate(rays), grid, CLASSES)
    assert votes.misses[6, 2, 0] == 4
    labels = voted_labels(votes, CLASSES)
    assert labels[6, 2, 0] == IGNORE_ID
    assert labels[6, 2, 1] == FREE
    assert labels[5, 2, 0] == labels[7, 2, 0] == ROAD
    assert not (labels[..., 0] == FREE).any()


def test_free_cells_beside_one_cell_of_ground_stay_free() -> None:
    grid = VoxelGrid((0, 0, 0), 1.0, (6, 1, 1))
    rays = rays_to(np.array([[5.5, 0.5, 0.5]] * 4), (0.2, 0.5, 0.5), CAR)
    road = rays_to(np.array([[2.5, 0.5, 0.5]] * 4), (2.5, 0.5, 0.9), ROAD)
    votes = count_votes(RayBatch.concatenate([rays, road]), grid, CLASSES)
    assert voted_labels(votes, CLASSES).ravel().tolist() == [FREE, FREE, ROAD, FREE, FREE, CAR]


def test_a_cell_of_unknown_class_is_occupied_not_free() -> None:
    grid = VoxelGrid((0, 0, 0), 1.0, (4, 1, 1))
    near = rays_to(np.array([[1.5, 0.5, 0.5]] * 3), (0.2, 0.5, 0.5), IGNORE_ID)
    far = rays_to(np.array([[3.5, 0.5, 0.5]] * 3), (0.2, 0.5, 0.5), CAR)
    votes = count_votes(RayBatch.concatenate([near, far]), grid, CLASSES)
    assert voted_labels(votes, CLASSES).ravel().tolist() == [FREE, OCCUPIED_ID, FREE, CAR]
