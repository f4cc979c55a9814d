"""The fast count of misses is the plain one, for rays of every kind."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from renderocc_ros.geometry import VoxelGrid
from renderocc_training.supervision.labels import ray_misses
from renderocc_training.supervision.labels.ray_misses import (
    TracedRays,
    count_misses,
    count_misses_plain,
)

GRID = VoxelGrid((-6.0, -4.0, -1.0), 0.5, (24, 16, 8))


def some_rays(count: int, seed: int) -> TracedRays:
    random = np.random.default_rng(seed)
    direction = random.normal(size=(count, 3))
    direction[: count // 8, random.integers(0, 3)] = 0  # along a wall of cells
    direction[count // 8 : count // 6] = np.eye(3)[random.integers(0, 3)]  # along an axis
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    range_m = random.uniform(0.1, 20, count)
    range_m[random.random(count) < 0.2] = np.inf
    return TracedRays(
        random.uniform((-9, -6, -2), (9, 6, 4), (count, 3)),
        direction,
        np.where(random.random(count) < 0.7, 0.0, random.uniform(0, 5, count)),
        range_m,
        np.where(random.random(count) < 0.5, -np.inf, random.uniform(-1, 3, count)),
    )


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 300))
def test_fast_is_plain(seed: int, count: int) -> None:
    rays = some_rays(count, seed)
    assert np.array_equal(count_misses(rays, GRID), count_misses_plain(rays, GRID))


def test_chunks_and_clean_ups_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rays = some_rays(3000, 1)
    expected = count_misses(rays, GRID)
    assert expected.sum() > 3000
    for chunk, clean_up in ((64, 1), (1000, 100), (5000, 3)):
        monkeypatch.setattr(ray_misses, "CHUNK", chunk)
        monkeypatch.setattr(ray_misses, "CLEAN_UP", clean_up)
        assert np.array_equal(count_misses(rays, GRID), expected)
