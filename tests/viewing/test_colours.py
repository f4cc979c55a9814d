"""Colours of ranges and classes."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from renderocc_ros.class_set import IGNORE_ID, ClassSet
from renderocc_ros.config import load_class_set
from renderocc_ros.viewing.colours import FAR_M, NEAR_M, SKY, UNKNOWN, class_colours, range_colours


@pytest.fixture
def occ3d() -> ClassSet:
    return load_class_set("occ3d")


def test_ranges_go_logarithmically_from_near_to_far() -> None:
    middle_m = np.sqrt(NEAR_M * FAR_M)
    ranges_m = np.array([[0.1, NEAR_M, middle_m], [FAR_M, 1e6, np.inf]])
    colours = range_colours(ranges_m)
    scale = np.array([[255, 255, 127], [0, 0, 0]], np.uint8)
    expected = cv2.applyColorMap(scale, cv2.COLORMAP_TURBO)[..., ::-1].copy()
    expected[1, 2] = SKY
    assert np.array_equal(colours, expected)
    assert range_colours(np.array([np.nan])).tolist() == [list(UNKNOWN)]
    assert range_colours(np.zeros(0)).shape == (0, 3)


def test_classes_have_their_colours(occ3d: ClassSet) -> None:
    shown = class_colours(np.array([[4, occ3d.free_id, IGNORE_ID]], np.uint8), occ3d)
    assert shown.tolist() == [[occ3d.colours[4].tolist(), list(SKY), list(UNKNOWN)]]
