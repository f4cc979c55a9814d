"""What stands above the ground, column by column."""

import numpy as np

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


def test_without_ground_nothing_is_above_it() -> None:
    assert not above_ground(np.full((2, 2, 4), CAR, np.uint8), CLASSES).any()
