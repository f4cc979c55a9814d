"""Period and offset from stamps alone, with losses, jitter and the wrap at half a period."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from renderocc_ros.rig.stamp_learning import (
    camera_period_ns,
    median_ns,
    nearest,
    offset_ns,
    rig_period_ns,
    wrapped_ns,
)

MS = 1_000_000


@given(time=st.integers(-(10**12), 10**12), period=st.integers(1, 10**9))
def test_a_wrapped_time_is_the_one_nearest_to_zero(time: int, period: int) -> None:
    wrapped = wrapped_ns(time, period)
    assert (time - wrapped) % period == 0
    assert -period < 2 * wrapped <= period


@given(
    entries=st.lists(st.integers(-1000, 1000), min_size=1).map(sorted),
    time=st.integers(-2000, 2000),
)
def test_nearest_is_brute_forces(entries: list[int], time: int) -> None:
    assert abs(nearest(entries, time) - time) == min(abs(entry - time) for entry in entries)


def test_median_of_even_and_odd_numbers() -> None:
    assert median_ns([3, 1, 2]) == 2 and median_ns([4, 1, 2, 100]) == 3


@pytest.mark.parametrize("lost", [(), (1,), (1, 3), (2, 3, 4)])
def test_lost_images_do_not_change_the_period(lost: tuple[int, ...]) -> None:
    stamps = [k * 83 * MS for k in range(9) if k not in lost]
    assert camera_period_ns(stamps) == 83 * MS
    assert camera_period_ns(list(reversed(stamps))) == 83 * MS


def test_there_is_no_period_in_one_stamp() -> None:
    assert camera_period_ns([5]) is None and camera_period_ns([5, 5]) is None
    assert rig_period_ns([None, None]) is None


def test_one_odd_camera_has_no_say_in_the_rigs_period() -> None:
    assert rig_period_ns([100, 100, 33, None, 100]) == 100
    assert rig_period_ns([100, 33]) == 33  # of two, the shorter: it allows less


@settings(max_examples=200)
@given(
    offset_ms=st.floats(-200, 200),
    jitter_ms=st.floats(0, 3),
    seed=st.integers(0, 1000),
)
def test_an_offset_is_known_modulo_the_period(
    offset_ms: float, jitter_ms: float, seed: int
) -> None:
    draw = np.random.default_rng(seed)
    period = 100 * MS
    cycles = [round(k * period + draw.uniform(-1, 1) * jitter_ms * MS) for k in range(12)]
    stamps = [
        round(k * period + (offset_ms + draw.uniform(-1, 1) * jitter_ms) * MS) for k in range(12)
    ]
    kept = [cycle for cycle in cycles if draw.random() > 0.2] or cycles
    learned = offset_ns(stamps, kept, period)
    assert learned is not None and -period < 2 * learned <= period
    off = wrapped_ns(learned - round(offset_ms * MS), period)
    assert abs(off) <= 2 * jitter_ms * MS + 2


def test_stamps_far_from_every_cycle_say_nothing() -> None:
    assert offset_ns([10_000 * MS], [0], 100 * MS) is None
    assert offset_ns([5], [], 100) is None
