"""Depth scores worked by hand; calibration of a coin of known bias."""

from __future__ import annotations

import numpy as np
import pytest

from renderocc_training.evaluation.calibration_scores import reliability
from renderocc_training.evaluation.view_scores import DepthSums, depth_scores, depth_sums


def test_depth_scores_by_hand() -> None:
    label = np.array([10.0, 20.0, 0.0, np.nan, 4.0])
    rendered = np.array([11.0, 20.0, 5.0, 5.0, 8.0])
    scores = depth_scores(depth_sums(rendered, label))
    assert scores.pixels == 3
    assert scores.abs_rel == pytest.approx((0.1 + 0 + 1) / 3)
    assert scores.rmse_m == pytest.approx(np.sqrt((1 + 0 + 16) / 3))
    assert scores.rmse_log == pytest.approx(np.sqrt((np.log(1.1) ** 2 + np.log(2) ** 2) / 3))
    assert scores.delta == pytest.approx((2 / 3, 2 / 3, 2 / 3))


def test_depth_sums_add_up_over_frames() -> None:
    random = np.random.default_rng(0)
    label, rendered = random.uniform(1, 50, (2, 8, 100))
    parts = sum((depth_sums(r, t) for r, t in zip(rendered, label, strict=True)), DepthSums())
    whole, summed = depth_scores(depth_sums(rendered, label)), depth_scores(parts)
    assert summed.abs_rel == pytest.approx(whole.abs_rel)
    assert summed.delta == whole.delta


def test_depth_that_cannot_be_scored_is_an_error_not_a_zero() -> None:
    with pytest.raises(ValueError, match="1 of 2 rendered depths"):
        depth_sums(np.array([np.nan, 1.0]), np.array([1.0, 1.0]))
    assert np.isnan(depth_scores(depth_sums(np.ones(2), np.zeros(2))).abs_rel)


def test_a_calibrated_and_an_overconfident_forecast() -> None:
    random = np.random.default_rng(0)
    probability = random.uniform(0, 1, 200_000)
    occupied = random.random(200_000) < probability
    honest = reliability(probability[:100_000], occupied[:100_000])
    honest += reliability(probability[100_000:], occupied[100_000:])
    assert honest.expected_calibration_error < 0.01
    mean, part = honest.curve()
    assert np.abs(mean - part).max() < 0.02
    sure = np.where(probability > 0.5, 1.0, 0.0)
    assert reliability(sure, occupied).expected_calibration_error == pytest.approx(0.25, abs=0.01)


def test_probabilities_outside_of_zero_to_one_are_refused() -> None:
    with pytest.raises(ValueError, match="-0.5 to 1.0"):
        reliability(np.array([-0.5, 1.0]), np.array([True, False]))
