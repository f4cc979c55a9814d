"""What stands above the ground, column by column."""

import numpy as np
import pytest

from renderocc_ros.config import load_class_set
from renderocc_training.evaluation.above_ground import above_ground

CLASSES = load_class_set("occ3d")
ROAD, CAR, FREE = CLASSES.id_of("driveable_surface"), CLASSES.id_of("car"), CLASSES.free_id


def test_more_than_one_voxel_above_the_ground_of_the_column_or_of_the_nearest() -> None:
    labels = np.full((4, 3, 6), FREE, np.uint8)
    labels[:2, :, 1] = ROAD
    labels[2, :, 3] = ROAD  # a step up; the last row has no ground, and is next to it
    labels[1, 1, 2:5] = CAR
    expected = np.zeros(labels.shape, bool)
    expected[:2, :, 3:] = True
    expected[2:, :, 5:] = True
    assert np.array_equal(above_ground(labels, CLASSES), expected)


def test_traffic_below_a_bridge_and_on_it_is_above_its_own_road() -> None:
    labels = np.full((5, 1, 10), FREE, np.uint8)
    labels[:4, 0, 0] = ROAD  # a column without ground stands beside the bridge
    labels[3, 0, 5] = ROAD  # the bridge
    above = above_ground(labels, CLASSES)
    assert above[:3, 0, 2:].all() and not above[:3, 0, :2].any()
    expected = [False, False, True, True, True, False, False, True, True, True]
    assert above[3, 0].tolist() == above[4, 0].tolist() == expected


def test_a_bridge_over_ground_that_nobody_saw_has_nothing_above_ground_below_it() -> None:
    labels = np.full((1, 1, 8), FREE, np.uint8)
    labels[0, 0, 4] = ROAD
    labels[0, 0, 0:2] = CAR
    assert np.flatnonzero(above_ground(labels, CLASSES)).tolist() == [6, 7]


@pytest.mark.parametrize("seed", [0, 1])
def test_the_rule_is_that_of_distances_to_the_ground_below(seed: int) -> None:
    """By brute force, on rough ground: more than a voxel above the nearest ground below."""
    random = np.random.default_rng(seed)
    labels = np.full((6, 5, 9), FREE, np.uint8)
    for x, y in np.ndindex(6, 5):
        labels[x, y, random.choice(9, random.integers(1, 4), replace=False)] = ROAD
    above = above_ground(labels, CLASSES)
    for x, y, z in np.ndindex(labels.shape):
        below = np.flatnonzero(labels[x, y, : z + 1] == ROAD)
        assert above[x, y, z] == (below.size > 0 and z - below.max() > 1)


def test_without_ground_nothing_is_above_it() -> None:
    assert not above_ground(np.full((2, 2, 4), CAR, np.uint8), CLASSES).any()
