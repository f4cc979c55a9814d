"""What is counted of a frame, on volumes with a known answer."""

from __future__ import annotations

import numpy as np
import pytest

from renderocc_ros.class_set import IGNORE_ID, ClassSet
from renderocc_ros.geometry import RigidTransform, VoxelGrid
from renderocc_ros.occupancy.occ3d_files import Occ3dTruth
from renderocc_ros.occupancy.semantic_occupancy import SemanticOccupancy
from renderocc_training.evaluation.frame_counts import FrameCounter, FrameCounts, warped
from renderocc_training.evaluation.summary import frame_scores, summarise
from renderocc_training.evaluation.voxel_scores import confusion_matrix

GRID = VoxelGrid((-50.0, -50.0, 0.0), 1.0, (100, 100, 2))
ROAD, CAR, FREE = 11, 4, 17


def occupancy(occ3d: ClassSet, labels: np.ndarray, stamp_ns: int = 0) -> SemanticOccupancy:
    confidence = np.where(labels < FREE, 255, 0).astype(np.uint8)
    return SemanticOccupancy(stamp_ns, GRID, occ3d, labels, confidence)


def truth(labels: np.ndarray, mask: np.ndarray | None = None) -> Occ3dTruth:
    seen = np.ones(labels.shape, bool) if mask is None else mask
    return Occ3dTruth(labels, seen, seen)


@pytest.fixture
def volumes() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(3)
    true = random.integers(0, 18, GRID.size).astype(np.uint8)
    predicted = np.where(random.random(GRID.size) < 0.5, true, random.integers(0, 18, GRID.size))
    return true, predicted.astype(np.uint8), random.random(GRID.size) < 0.6


def test_rings_add_up_to_the_whole_and_hold_what_lies_in_them(
    occ3d: ClassSet, volumes: tuple[np.ndarray, np.ndarray, np.ndarray]
) -> None:
    true, predicted, mask = volumes
    counts = FrameCounter("camera").count(occupancy(occ3d, predicted), truth(true, mask), None)
    assert np.array_equal(counts.voxels.confusion, confusion_matrix(true, predicted, occ3d, mask))
    x, y, _ = np.moveaxis(GRID.centres(), -1, 0)
    near = np.hypot(x, y) < 10
    assert np.array_equal(
        counts.rings.confusion[0], confusion_matrix(true, predicted, occ3d, mask & near)
    )
    beyond = np.hypot(x, y) >= 40  # the corners at 70 m are counted too
    assert np.array_equal(
        counts.rings.confusion[-1], confusion_matrix(true, predicted, occ3d, mask & beyond)
    )
    assert counts.reliability.voxels.sum() == mask.sum()


def test_counts_of_frames_add_up(
    occ3d: ClassSet, volumes: tuple[np.ndarray, np.ndarray, np.ndarray]
) -> None:
    true, predicted, mask = volumes
    first = FrameCounter("camera").count(occupancy(occ3d, predicted), truth(true, mask), None)
    second = FrameCounter("none").count(occupancy(occ3d, true), truth(true), None)
    total = FrameCounts.none(len(occ3d)) + first + second
    assert np.array_equal(total.voxels.confusion, first.voxels.confusion + second.voxels.confusion)
    scores = summarise(total, occ3d)["scores"]
    assert scores["completion"]["completion_iou"] == scores["iou"]
    assert 0.5 < scores["miou"] < 1
    assert frame_scores(second, occ3d)["miou"] == 1


def test_a_world_that_stands_still_does_not_flicker_though_the_robot_moves(
    occ3d: ClassSet,
) -> None:
    world = np.full((140, 140, 2), FREE, np.uint8)
    world[::3, ::4, 1] = ROAD
    counter, odom = FrameCounter("none"), RigidTransform.identity()
    for step in range(3):
        labels = world[20 + 5 * step :, 20:][:100, :100].copy()
        odom = RigidTransform(np.eye(3), np.array([5.0 * step, 0.0, 0.0]))
        counts = counter.count(occupancy(occ3d, labels, step + 1), None, odom)
        assert counts.changed == 0
        assert (counts.changeable > 0) == (step > 0)
    labels = labels.copy()
    labels[40, 40, 1] = CAR if labels[40, 40, 1] != CAR else ROAD
    moved = RigidTransform(np.eye(3), odom.translation)
    assert counter.count(occupancy(occ3d, labels, 9), None, moved).changed == 1


def test_flicker_knows_no_past_without_poses_or_when_time_goes_back(occ3d: ClassSet) -> None:
    counter, here = FrameCounter("none"), RigidTransform.identity()
    road = occupancy(occ3d, np.full(GRID.size, ROAD, np.uint8), 5)
    assert counter.count(road, None, here).changeable == 0
    assert counter.count(occupancy(occ3d, road.labels, 4), None, here).changeable == 0
    assert counter.count(occupancy(occ3d, road.labels, 6), None, None).changeable == 0
    assert counter.count(occupancy(occ3d, road.labels, 7), None, here).changeable == 0
    assert counter.count(occupancy(occ3d, road.labels, 8), None, here).changeable == 20_000


def test_warping_turns_and_shifts_and_marks_what_it_does_not_know() -> None:
    labels = np.full(GRID.size, FREE, np.uint8)
    labels[80, 50, 0] = CAR  # 30.5 m ahead, half a metre to the left
    left = RigidTransform.from_quaternion([0, 0, np.sqrt(0.5), np.sqrt(0.5)], np.zeros(3))
    turned = warped(labels, GRID, left)  # the robot has turned left by 90 degrees
    assert turned[50, 19, 0] == CAR and (turned == CAR).sum() == 1
    ahead = warped(labels, GRID, RigidTransform(np.eye(3), np.array([10.0, 0, 0])))
    assert ahead[70, 50, 0] == CAR
    assert (ahead[90:] == IGNORE_ID).all() and not (ahead[:90] == IGNORE_ID).any()


def test_a_frame_without_truth_has_no_scores(occ3d: ClassSet) -> None:
    road = occupancy(occ3d, np.full(GRID.size, ROAD, np.uint8))
    counts = FrameCounter("camera").count(road, None, None)
    assert not counts.scored and frame_scores(counts, occ3d) == {}


def test_what_stands_above_the_ground_has_a_score_of_its_own(occ3d: ClassSet) -> None:
    grid = VoxelGrid((0.0, 0.0, 0.0), 1.0, (10, 10, 5))
    true = np.full(grid.size, FREE, np.uint8)
    true[:, :, 0] = ROAD
    true[2:6, 3, 1:4] = CAR  # 4 voxels touch the ground, 8 are above it
    labels = true.copy()
    labels[2:4, 3, 2:4] = FREE  # 4 of the 8 are missed
    labels[8, 8, 4] = CAR  # and 2 are made up, one of them where nobody looks
    labels[9, 9, 4] = CAR
    seen = np.ones(grid.size, bool)
    seen[9, 9] = False
    confidence = np.zeros(grid.size, np.uint8)
    predicted = SemanticOccupancy(0, grid, occ3d, labels, confidence)
    counts = FrameCounter("camera").count(predicted, truth(true, seen), None)
    assert counts.voxels.above.sum(axis=0).tolist() == [[100 * 3 - 3 - 8 - 1, 1], [4, 4]]
    scores = frame_scores(counts, occ3d)
    assert scores["iou_above_ground"] == pytest.approx(4 / 9)
    assert scores["precision_above_ground"] == pytest.approx(4 / 5)
    assert scores["recall_above_ground"] == pytest.approx(4 / 8)
    slab = SemanticOccupancy(0, grid, occ3d, np.where(true == CAR, FREE, true), confidence)
    alone = FrameCounter("camera").count(slab, truth(true, seen), None)
    assert frame_scores(alone, occ3d)["iou_above_ground"] == 0
