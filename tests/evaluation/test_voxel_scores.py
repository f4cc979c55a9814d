"""Voxel scores: hand-worked grids, brute force, and a real Occ3D truth file."""

from __future__ import annotations

import numpy as np
import pytest

from renderocc_ros.class_set import IGNORE_ID, OCCUPIED_ID, ClassSet, SemanticClass
from renderocc_ros.geometry import VoxelGrid
from renderocc_training.evaluation.voxel_scores import (
    confusion_matrix,
    distance_rings,
    flicker,
    moving_and_static,
    no_counts,
    voxel_scores,
)

TWO = ClassSet(
    "two", (SemanticClass(0, "car", (0, 0, 0), True), SemanticClass(1, "wall", (9,) * 3))
)
CAR, WALL, FREE = 0, 1, 2


def labels(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.uint8)


def test_hand_worked() -> None:
    truth = labels(CAR, CAR, WALL, WALL, FREE, FREE, FREE, IGNORE_ID)
    guess = labels(CAR, WALL, WALL, FREE, FREE, FREE, CAR, CAR)
    matrix = confusion_matrix(truth, guess, TWO)
    assert matrix.tolist() == [[1, 1, 0], [0, 1, 1], [1, 0, 2], [0, 0, 0]]
    scores = voxel_scores(matrix)
    assert np.allclose(scores.class_iou, (1 / 3, 1 / 3))
    assert scores.miou == pytest.approx(1 / 3)
    assert scores.iou == pytest.approx(3 / 5)  # 3 occupied in both, 4 in truth, 4 predicted
    assert (scores.precision, scores.recall, scores.voxels) == (0.75, 0.75, 7)


def test_the_matrix_is_brute_force_and_adds_up_over_frames() -> None:
    random = np.random.default_rng(0)
    total, expected = no_counts(2), no_counts(2)
    for _ in range(3):
        truth, guess = random.integers(0, 3, (2, 5, 4, 3)).astype(np.uint8)
        mask = random.random((5, 4, 3)) < 0.6
        total += confusion_matrix(truth, guess, TWO, mask)
        for index in np.ndindex(5, 4, 3):
            expected[truth[index], guess[index]] += mask[index]
    assert np.array_equal(total, expected)


def test_what_is_occupied_and_of_unknown_class_counts_for_geometry_alone() -> None:
    truth = labels(CAR, OCCUPIED_ID, OCCUPIED_ID, FREE)
    guess = labels(CAR, WALL, FREE, CAR)
    matrix = confusion_matrix(truth, guess, TWO)
    assert matrix.tolist() == [[1, 0, 0], [0, 0, 0], [1, 0, 0], [0, 1, 1]]
    scores = voxel_scores(matrix)
    assert (scores.class_iou[CAR], scores.voxels) == (0.5, 4)
    assert np.isnan(scores.class_iou[WALL])  # neither right nor wrong
    assert (scores.iou, scores.precision, scores.recall) == pytest.approx((2 / 4, 2 / 3, 2 / 3))


def test_a_class_that_never_occurs_leaves_the_mean() -> None:
    scores = voxel_scores(confusion_matrix(labels(CAR, FREE), labels(CAR, FREE), TWO))
    assert scores.miou == 1.0 and np.isnan(scores.class_iou[WALL])
    nothing = voxel_scores(confusion_matrix(labels(FREE), labels(FREE), TWO))
    assert np.isnan([nothing.miou, nothing.iou, nothing.precision, nothing.recall]).all()


def test_moving_and_static_classes() -> None:
    assert moving_and_static(np.array([0.4, 0.2]), TWO) == (0.4, 0.2)
    assert np.isnan(moving_and_static(np.array([np.nan, 0.2]), TWO)[0])


def test_rings_are_disjoint_and_complete() -> None:
    grid = VoxelGrid((-40, -40, -1), 0.8, (100, 100, 8))
    rings = distance_rings(grid, (0, 10, 20, 100))
    assert (np.sum(rings, axis=0) == 1).all()
    area = rings[0][..., 0].sum() * 0.8**2
    assert abs(area - np.pi * 100) < 10


def test_flicker() -> None:
    before = labels(CAR, WALL, FREE, FREE, IGNORE_ID)
    after = labels(CAR, FREE, FREE, WALL, CAR)
    assert flicker(after, before, TWO) == (2, 3)
    assert flicker(after, before, TWO, np.array([True, True, True, False, True])) == (1, 2)


def test_bad_input_is_named() -> None:
    with pytest.raises(ValueError, match="different shapes"):
        confusion_matrix(labels(0, 1), labels(0), TWO)
    with pytest.raises(ValueError, match="prediction holds label 17.*'two' ends with free = 2"):
        confusion_matrix(labels(0, 1), labels(0, 17), TWO)


def test_a_real_occ3d_truth_against_itself_and_shifted(occ3d_truth: dict, occ3d: ClassSet) -> None:
    truth, mask = occ3d_truth["semantics"], occ3d_truth["mask_camera"].astype(bool)
    same = voxel_scores(confusion_matrix(truth, truth, occ3d, mask))
    assert same.miou == 1.0 and same.iou == 1.0 and same.voxels == 43_355
    shifted = np.roll(truth, 1, axis=0)
    scores = voxel_scores(confusion_matrix(truth, shifted, occ3d, mask))
    road_truth, road_shifted = truth[mask] == 11, shifted[mask] == 11
    iou = (road_truth & road_shifted).sum() / (road_truth | road_shifted).sum()
    assert scores.class_iou[11] == pytest.approx(iou)
    assert 0 < scores.miou < 0.9
