"""What labels by height alone can reach, beside brute force and on scenes with a known answer."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from renderocc_ros.class_set import OCCUPIED_ID, ClassSet
from renderocc_training.evaluation.best_constant import best_classes, best_layers
from renderocc_training.evaluation.voxel_counts import (
    VoxelCounts,
    constant_class_miou,
    constant_scores,
    count_voxels,
    occupancy_scores,
)
from renderocc_training.evaluation.voxel_scores import confusion_matrix

ROAD, WALL, CAR, FREE = 11, 15, 4, 17


def random_layers(seed: int, layers: int = 4, classes: int = 3) -> np.ndarray:
    """(Z, C + 1) voxels of each layer, some of them none."""
    random = np.random.default_rng(seed)
    counts = random.integers(0, (10, 1000)[seed % 2], (layers, classes + 1))
    return np.asarray(counts * (random.random(counts.shape) < 0.7), np.int64)


def iou(layers: np.ndarray, chosen: np.ndarray) -> float:
    """Of the layers called occupied."""
    occupied, free = layers[:, :-1].sum(axis=1), layers[:, -1]
    whole = occupied.sum() + free[chosen].sum()
    return float(occupied[chosen].sum() / whole) if whole else 0.0


def mean_iou(layers: np.ndarray, labels: np.ndarray) -> float:
    """Over the classes that occur."""
    there = layers.sum(axis=0)
    shares = []
    for c in np.flatnonzero(there[:-1]):
        right = layers[labels == c, c].sum()
        shares.append(right / (there[c] + layers[labels == c].sum() - right))
    return float(np.mean(shares)) if shares else 0.0


@pytest.mark.parametrize("seed", range(60))
def test_no_set_of_layers_has_a_better_iou(seed: int) -> None:
    layers = random_layers(seed, layers=6)
    chosen = best_layers(layers[:, :-1].sum(axis=1), layers[:, -1])
    every = (np.array(s, bool) for s in product((False, True), repeat=len(layers)))
    assert iou(layers, chosen) == pytest.approx(max(iou(layers, s) for s in every))


def test_classes_are_as_good_as_brute_force_nearly_always_and_never_behind_a_slab() -> None:
    short = []
    for seed in range(60):
        layers = random_layers(seed)
        score = mean_iou(layers, best_classes(layers, range(3)))
        best = max(mean_iou(layers, np.array(s)) for s in product(range(4), repeat=4))
        slabs = (
            mean_iou(layers, np.where(np.array(s, bool), c, 3))
            for s in product((0, 1), repeat=4)
            for c in range(3)
        )
        assert max(slabs) <= score + 1e-12 and score <= best + 1e-12
        short.append(best - score)
    assert np.count_nonzero(np.array(short) > 1e-12) <= 1 and max(short) < 0.02


def street() -> np.ndarray:
    """Eight by eight columns of road, a wall along one side, a car on the road."""
    labels = np.full((8, 8, 5), FREE, np.uint8)
    labels[:, :, 1] = ROAD
    labels[:, 0, 1:5] = WALL
    labels[2:4, 4, 2:4] = CAR
    return labels


def counted(truth: np.ndarray, predicted: np.ndarray, classes: ClassSet) -> VoxelCounts:
    mask = np.ones(truth.shape, bool)
    mask[:, :, 0] = False  # nobody sees below the road
    return count_voxels(truth, predicted, classes, mask)


def test_a_slab_scores_what_the_best_constant_has(occ3d: ClassSet) -> None:
    truth = street()
    slab = np.full(truth.shape, FREE, np.uint8)
    slab[:, :, 1] = ROAD
    counts = counted(truth, slab, occ3d)
    scores, constant = (score(counts, occ3d) for score in (occupancy_scores, constant_scores))
    assert scores["iou"] == constant["iou"] == pytest.approx(64 / (64 + 24 + 4))
    assert (constant["precision"], constant["recall"]) == (1, pytest.approx(64 / 92))
    road = 56 / 64
    assert scores["class_iou"]["driveable_surface"] == road
    assert constant["class_iou"]["driveable_surface"] == road
    # Each class by itself: the wall's four layers, the road's among them; the car's two.
    assert constant["class_iou"]["manmade"] == pytest.approx(32 / (32 + 4 * 56))
    assert constant["class_iou"]["car"] == pytest.approx(4 / 128)
    # One label a layer: the wall leaves the lowest to the road, and one more to the car.
    assert constant["miou"] == pytest.approx((road + 16 / (32 + 2 * 56) + 2 / (4 + 62)) / 3)
    assert constant["miou_static"] == pytest.approx((road + 24 / (32 + 3 * 56)) / 2)
    assert constant["miou_moving"] == constant["class_iou"]["car"]
    # The two layers above the ground hold 16 voxels of wall and 2 of the car among 128.
    assert scores["iou_above_ground"] == scores["recall_above_ground"] == 0
    assert np.isnan(scores["precision_above_ground"])
    assert constant["iou_above_ground"] == pytest.approx(18 / 128)
    assert constant["recall_above_ground"] == 1


def test_counts_of_frames_add_up_and_unknown_classes_count_for_geometry(occ3d: ClassSet) -> None:
    truth = street()
    nameless = np.where(truth == CAR, np.uint8(OCCUPIED_ID), truth)
    one, two = counted(truth, truth, occ3d), counted(nameless, truth, occ3d)
    total = VoxelCounts.none(len(occ3d)) + one + two
    stacked = VoxelCounts.stacked([one, two])
    for name, array in vars(stacked.total()).items():
        assert np.array_equal(array, getattr(total, name))
    thrice = stacked.total(np.array([3, 0]))
    assert np.array_equal(thrice.above, 3 * one.above)
    mask = np.ones(truth.shape, bool)
    mask[:, :, 0] = False
    assert np.array_equal(one.confusion, confusion_matrix(truth, truth, occ3d, mask))
    assert constant_scores(two, occ3d)["iou"] == constant_scores(one, occ3d)["iou"]
    assert np.isnan(constant_scores(two, occ3d)["class_iou"]["car"])


def test_without_truth_there_is_no_constant(occ3d: ClassSet) -> None:
    empty = np.full((2, 2, 3), FREE, np.uint8)
    for counts in (VoxelCounts.none(len(occ3d)), counted(empty, empty, occ3d)):
        scores = constant_scores(counts, occ3d)
        assert np.isnan([scores["miou"], scores["iou"], scores["iou_above_ground"]]).all()


def test_one_class_for_all_pixels() -> None:
    confusion = np.array([[5, 0, 1], [0, 0, 2], [1, 1, 0], [0, 0, 0]])  # 6 cars, 2 walls, 2 free
    assert constant_class_miou(confusion) == pytest.approx(6 / 10 / 2)
    assert np.isnan(constant_class_miou(np.zeros((4, 3), np.int64)))
