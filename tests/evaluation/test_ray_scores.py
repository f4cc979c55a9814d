"""RayIoU: identity is 1, a shift by a known distance fails exactly the thresholds below it."""

from __future__ import annotations

import numpy as np
import pytest

from renderocc_ros.class_set import ClassSet, SemanticClass
from renderocc_ros.geometry import VoxelGrid
from renderocc_training.evaluation.ray_scores import (
    choose_origins,
    count_rays,
    lidar_directions,
    ray_scores,
)

TWO = ClassSet("two", (SemanticClass(0, "car", (0,) * 3, True), SemanticClass(1, "wall", (9,) * 3)))
GRID = VoxelGrid((-40, -40, -1), 0.4, (200, 200, 16))
ORIGIN = np.array([[0.0, 0.0, 1.8]])


def wall_at(index: int) -> np.ndarray:
    labels = np.full(GRID.size, TWO.free_id, dtype=np.uint8)
    labels[index] = 1  # a wall across the road
    return labels


def test_the_directions_are_those_of_the_metric() -> None:
    directions = lidar_directions()
    assert np.allclose(np.linalg.norm(directions, axis=1), 1)
    pitch = np.unique(np.round(np.arcsin(directions[:, 2]), 9))
    assert len(directions) == 360 * len(pitch)
    assert pitch[0] == pytest.approx(-np.pi / 4)
    assert pitch[9] == pytest.approx(-(np.pi / 2 - np.arctan(10)))
    assert pitch[-2] < 0.21 <= pitch[-1]
    assert np.allclose(np.diff(pitch[8:]), pitch[9] - pitch[8])


@pytest.mark.parametrize(("cells", "passed"), [(0, 3), (2, 3), (4, 2), (8, 1), (12, 0)])
def test_a_wall_moved_by_a_known_distance(cells: int, passed: int) -> None:
    truth, moved = wall_at(150), wall_at(150 + cells)
    counts = count_rays(truth, moved, GRID, TWO, ORIGIN)
    # Rays straight ahead are off by exactly the shift, oblique ones by more.
    full = [hits > 0 for hits in counts.hits[:, 1]]
    assert sum(full) == passed
    if cells == 0:
        assert ray_scores(counts).ray_iou == 1.0


def test_brute_force_on_a_small_cluttered_grid() -> None:
    random = np.random.default_rng(3)
    grid = VoxelGrid((-4, -4, -1), 0.8, (10, 10, 5))
    truth = random.choice([0, 1, 2], p=[0.03, 0.03, 0.94], size=grid.size).astype(np.uint8)
    guess = np.where(random.random(grid.size) < 0.1, random.integers(0, 3, grid.size), truth)
    guess = guess.astype(np.uint8)
    origins = np.array([[0.13, 0.07, 0.9], [-2.03, 1.11, 0.5]])
    counts = count_rays(truth, guess, grid, TWO, origins)

    def answer(labels: np.ndarray, origin: np.ndarray, direction: np.ndarray) -> tuple[int, float]:
        t = (np.arange(14_000) + 0.5) * 1e-3
        cells, inside = grid.index_of(origin + t[:, None] * direction)
        on_ray = np.where(inside, labels[tuple(cells.T)], 2)
        if (on_ray == 2).all():
            return 2, 0.0
        first = np.flatnonzero(on_ray != 2)[0]
        same_cell = (cells[first:] == cells[first]).all(axis=1) & inside[first:]
        return int(on_ray[first]), t[first + np.argmin(np.append(same_cell, False)) - 1]

    directions = lidar_directions()[::23]
    expected_truth, expected_hits = np.zeros(2, dtype=int), np.zeros((3, 2), dtype=int)
    for origin in origins:
        for direction in directions:
            true_class, true_m = answer(truth, origin, direction)
            class_, at_m = answer(guess, origin, direction)
            if true_class == 2:
                continue
            expected_truth[true_class] += 1
            error = abs(true_m - at_m)
            expected_hits[:, true_class] += (class_ == true_class) & (error < np.array([1, 2, 4]))
    assert np.abs(expected_truth * 23 / counts.truth - 1).max() < 0.1
    assert np.abs(expected_hits * 23 / counts.hits - 1).max() < 0.1


def test_counts_add_up() -> None:
    one = count_rays(wall_at(150), wall_at(152), GRID, TWO, ORIGIN)
    two = count_rays(wall_at(150), wall_at(152), GRID, TWO, np.repeat(ORIGIN, 2, axis=0))
    assert np.array_equal((one + one).hits, two.hits)
    assert np.array_equal((one + one).predicted, two.predicted)


def test_origins_are_near_and_at_most_eight() -> None:
    line = np.stack([np.linspace(-60, 60, 41), np.zeros(41), np.ones(41)], axis=1)
    chosen = choose_origins(line)
    assert len(chosen) == 8 and (np.abs(chosen[:, 0]) < 39).all()
    assert chosen[0, 0] == -36 and chosen[-1, 0] == 36
    assert len(choose_origins(line[20:23])) == 3


def test_a_real_occ3d_truth_against_itself(occ3d_truth: dict, occ3d: ClassSet) -> None:
    truth = occ3d_truth["semantics"]
    scores = ray_scores(count_rays(truth, truth, GRID, occ3d, ORIGIN))
    assert scores.ray_iou == 1.0
