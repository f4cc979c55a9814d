"""Rays of pixels meet the points that were labelled; sampling spends its budget by weight."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from renderocc_ros.class_set import IGNORE_ID
from renderocc_ros.geometry import CameraModel, RigidTransform
from renderocc_training import losses
from renderocc_training.supervision.rays.ray_batch import PixelLabels, RayBatch, rays_of_pixels
from renderocc_training.supervision.rays.weighted_sampling import (
    drawn,
    frame_weights,
    paper_class_weights,
    ray_weights,
    tempered_class_weights,
)

CAMERA = CameraModel(
    640, 360, [[300, 0, 320], [0, 300, 180], [0, 0, 1]], "equidistant", (0.1, 0.0, 0.0, 0.0)
)
EGO_FROM_CAMERA = RigidTransform(
    np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]]), np.array([1.2, 0.3, 1.5])
)


def some_rays(count: int, seed: int = 0) -> RayBatch:
    random = np.random.default_rng(seed)
    labels = PixelLabels(
        random.uniform((0, 0), (640, 360), (count, 2)).astype(np.float32),
        random.uniform(1, 50, count).astype(np.float32),
        random.integers(0, 17, count).astype(np.uint8),
        np.full(count, -1, dtype=np.int32),
    )
    return rays_of_pixels(labels, CAMERA, EGO_FROM_CAMERA)


def weighted(rays: RayBatch, weight: np.ndarray) -> RayBatch:
    columns = {**vars(rays), "weight": weight.astype(np.float32)}
    return RayBatch(**columns)


def test_a_ray_ends_where_its_point_is() -> None:
    points = np.array([[8.0, 1.0, 0.2], [20.0, -4.0, 3.0], [5.0, 3.0, 0.0]])  # ego frame
    in_camera = EGO_FROM_CAMERA.inverse().apply(points)
    pixels, inside = CAMERA.project(in_camera)
    assert inside.all()
    distance = np.linalg.norm(in_camera, axis=1)
    labels = PixelLabels(
        pixels.astype(np.float32), distance.astype(np.float32),
        np.array([4, 15, IGNORE_ID], np.uint8), np.full(3, -1, np.int32),
    )  # fmt: skip
    rays = rays_of_pixels(labels, CAMERA, EGO_FROM_CAMERA)
    assert np.abs(rays.origin + rays.range_m[:, None] * rays.direction - points).max() < 1e-4


def test_ranges_that_are_no_distance_are_refused() -> None:
    with pytest.raises(ValueError, match="range of -1.0 m"):
        PixelLabels(
            np.zeros((2, 2), np.float32), np.array([np.nan, -1], np.float32),
            np.zeros(2, np.uint8), np.zeros(2, np.int32),
        )  # fmt: skip


def test_columns_of_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="different lengths.*'weight': 2"):
        weighted(some_rays(3), np.ones(2))


@given(st.integers(0, 60), st.integers(1, 80), st.integers(0, 5))
def test_the_budget_is_spent_and_never_on_a_ray_of_weight_zero(
    count: int, budget: int, seed: int
) -> None:
    random = np.random.default_rng(seed)
    weight = random.choice([0.0, 0.3, 5.0], size=count).astype(np.float32)
    chosen = drawn(weight, budget, random)
    assert len(chosen) == min(int((weight > 0).sum()), budget)
    assert (weight[chosen] > 0).all()
    assert (np.diff(chosen) > 0).all()  # ascending, without replacement


def test_heavier_rays_are_drawn_more_often() -> None:
    random = np.random.default_rng(0)
    weight = np.repeat([1.0, 4.0], 500).astype(np.float32)
    heavy = np.mean([(weight[drawn(weight, 50, random)] == 4).mean() for _ in range(200)])
    assert heavy == pytest.approx(0.8, abs=0.02)


def test_what_moves_counts_only_in_its_own_frame_unless_it_follows_its_box() -> None:
    class_id = np.array([4, 4, 11, 11, 4], dtype=np.uint8)
    auxiliary = np.array([False, True, False, True, True])
    follows = np.array([False, False, False, False, True])
    weights = frame_weights(class_id, auxiliary, {4}, follows_box=follows)
    assert np.allclose(weights, (1, 0, 1, 0.3, 0.3))


def test_tempered_weights_are_bounded_and_favour_the_rare() -> None:
    counts = np.array([10_000_000, 10_000, 100, 1, 0])
    weights = tempered_class_weights(counts)
    assert (np.diff(weights[:4]) >= 0).all() and weights[3] > weights[0]
    assert weights.min() >= 0.1 and weights.max() <= 10 and weights[4] == 1
    assert np.array_equal(tempered_class_weights(np.zeros(3, dtype=int)), np.ones(3))


@given(st.lists(st.integers(0, 3000), min_size=1, max_size=17))
def test_rays_are_drawn_by_the_weights_of_the_losses(counts: list[int]) -> None:
    weights = tempered_class_weights(np.array(counts))
    class_id = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    in_losses = losses.tempered_class_weights(class_id[None], len(counts))[0].numpy()
    assert np.allclose(weights, in_losses, rtol=1e-6)


def test_the_median_of_an_even_number_of_classes_is_the_mean_of_the_middle_two() -> None:
    assert tempered_class_weights(np.array([100, 0, 4])) ** 2 == pytest.approx([0.52, 1, 13])


def test_unknown_class_counts_as_average() -> None:
    weights = ray_weights(
        np.array([0, IGNORE_ID], np.uint8), np.array([5.0], np.float32), np.ones(2, np.float32)
    )
    assert weights.tolist() == [5.0, 1.0]


def test_bad_weights_are_refused() -> None:
    with pytest.raises(ValueError, match="finite and not negative"):
        drawn(np.array([1, np.inf, 1], np.float32), 2, np.random.default_rng())


@pytest.mark.parametrize("counts_from", ["dataset", "batch"])
def test_the_papers_weights_are_those_of_the_official_code(
    counts_from: str, recording: Callable[..., Path]
) -> None:
    with np.load(recording("parity", "A", "rays.npz")) as official:
        times = np.repeat(official["input.time_ids_keys"], official["input.time_ids"].shape[1])
        order = official["input.time_ids"].ravel()
        class_id = official["input.segs"][order].astype(np.uint8)
        auxiliary = np.repeat(times != 0, class_id.shape[1])
        class_id = class_id.ravel()
        counts = official["dataset_class_counts"]
        if counts_from == "batch":
            counts = np.bincount(class_id, minlength=17).astype(np.float32)
        else:
            assert np.allclose(
                paper_class_weights(counts), official["dataset_balance_weight"], rtol=1e-5
            )
        frame = frame_weights(class_id, auxiliary, official["dynamic_class"].tolist())
        weights = ray_weights(class_id, paper_class_weights(counts), frame)
        assert np.allclose(weights, official[f"weights_{counts_from}"], rtol=1e-5)
