"""Sets of one cycle each: against a brute-force oracle that knows the true cycles."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from renderocc_ros.rig.matched_set import DropReason, MatchedSet
from renderocc_ros.rig.stamp_matching import StampMatcher, match_recording
from tests.rig.drive import (
    MS,
    Drive,
    Message,
    assert_accounts,
    complete_cycles,
    cycles_of,
    nuscenes_stamps,
    rig_of,
    shifts,
)

POLICIES = ("wait", "skip", "mask", "reuse")
SWEEP = (0.0, 16.0, 32.0, 48.0, 64.0, 80.0)  # 80 ms at 12 Hz: all but 3 ms of the period
NUSCENES = (0.0, 8.0, 15.7, 25.1, 35.0, -7.6)


def run(
    messages: list[Message], count: int, given_ms: tuple[float, ...] | None = None, **sync: Any
) -> tuple[StampMatcher[int], list[MatchedSet[int]]]:
    matcher: StampMatcher[int] = StampMatcher(rig_of(count, given_ms, **sync))
    return matcher, list(match_recording(matcher, messages))


def assert_no_mix_and_all_complete(
    drive: Drive, matcher: StampMatcher[int], sets: list[MatchedSet[int]]
) -> None:
    shift = shifts(matcher, drive)
    out = [cycles_of(matched, shift) for matched in sets]
    assert all(len(cycles) == 1 for cycles in out), "a set mixes two cycles"
    order = [cycles.pop() for cycles in out]
    assert order == sorted(set(order)), "sets out of order, or a cycle twice"
    whole = [k for k, matched in zip(order, sets, strict=True) if matched.complete]
    assert set(whole) == complete_cycles(drive.messages(), shift)
    assert_accounts(matcher)


drives = st.builds(
    Drive,
    offsets_ms=st.one_of(
        st.just(SWEEP),
        st.just(NUSCENES),
        st.lists(st.floats(-40, 80), min_size=1, max_size=7).map(lambda x: (0.0, *x)),
    ),
    jitter_ms=st.sampled_from([0.0, 0.5, 4.0]),
    loss=st.sampled_from([0.0, 0.05]),
    latency_ms=st.sampled_from([(0.0, 0.0), (5.0, 25.0), (0.0, 60.0)]),
    seed=st.integers(0, 10_000),
)


@settings(max_examples=300, deadline=None)
@given(drive=drives, policy=st.sampled_from(POLICIES), known=st.booleans())
def test_no_set_mixes_cycles_and_every_complete_cycle_comes_out_once(
    drive: Drive, policy: str, known: bool
) -> None:
    matcher, sets = run(
        drive.messages(),
        len(drive.offsets_ms),
        drive.offsets_ms if known else None,
        missing=policy,
        timeout_s=0.3,
    )
    assert_no_mix_and_all_complete(drive, matcher, sets)
    if policy in ("wait", "skip"):
        assert all(matched.complete for matched in sets)
    if known:
        assert shifts(matcher, drive) == [0] * len(drive.offsets_ms)


@settings(max_examples=100, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    dead=st.integers(0, 5),
    span=st.tuples(st.integers(0, 40), st.integers(1, 60)),
    loss=st.sampled_from([0.0, 0.05]),
    offsets=st.sampled_from([SWEEP, NUSCENES]),
)
def test_a_camera_that_dies_and_comes_back(
    seed: int, dead: int, span: tuple[int, int], loss: float, offsets: tuple[float, ...]
) -> None:
    gone = {dead: (span[0], span[0] + span[1])}
    drive = Drive(offsets, cycles=90, jitter_ms=1.0, loss=loss, gone=gone, seed=seed)
    messages = drive.messages()
    matcher, sets = run(messages, 6, missing="mask")
    shift = shifts(matcher, drive)
    out = [cycles_of(matched, shift) for matched in sets]
    assert all(len(cycles) == 1 for cycles in out)
    order = [cycles.pop() for cycles in out]
    assert order == sorted(set(order))
    assert_accounts(matcher)
    # Every cycle of which any image arrived has its set, but for what is late around a return.
    present = {cycle + shift[int(camera[3:])] for camera, _, cycle, _ in messages}
    assert len(present - set(order)) <= 2
    # All complete ones are complete, but for those in which a silent camera returned.
    whole = {k for k, matched in zip(order, sets, strict=True) if matched.complete}
    lacking = complete_cycles(messages, shift) - whole
    assert all(abs(k - gone[dead][1]) <= 5 for k in lacking)


def test_a_dead_camera_costs_no_latency_once_it_is_known_to_be_silent() -> None:
    drive = Drive(NUSCENES, gone={3: (0, 60)})
    matcher: StampMatcher[int] = StampMatcher(rig_of(6, NUSCENES, missing="mask", period_s=1 / 12))
    waits_ms = []
    for camera, stamp, cycle, arrival in drive.messages():
        for matched in matcher.push(camera, stamp, cycle, arrival):
            waits_ms.append((arrival - matched.stamp_ns) / MS)
    assert matched.missing == ("cam3",)
    assert max(waits_ms[:3]) > 150  # at first it is waited for
    assert max(waits_ms[10:]) < 35 + 25 + 1  # the last shutter and its latency


def test_without_its_reference_a_set_carries_the_time_it_was_due() -> None:
    drive = Drive(SWEEP, gone={0: (20, 60)}, jitter_ms=0.2)
    _, sets = run(drive.messages(), 6, SWEEP, missing="mask")
    due = [(drive.start_ms + k * drive.period_ms) * MS for k in range(60)]
    assert len(sets) == 60 and sets[-1].missing == ("cam0",)
    assert max(abs(s.stamp_ns - t) for s, t in zip(sets, due, strict=True)) < 1 * MS


def test_a_reference_that_never_comes() -> None:
    drive = Drive(NUSCENES, gone={0: (0, 60)}, jitter_ms=0.5)
    matcher, sets = run(drive.messages(), 6, missing="mask")
    shift = shifts(matcher, drive)
    whole = complete_cycles(drive.messages(), shift) | set(range(1, 59))
    assert {s.missing for s in sets[1:-1]} == {("cam0",)}
    assert whole <= {cycles_of(s, shift).pop() for s in sets if len(cycles_of(s, shift)) == 1}
    assert all(len(cycles_of(s, shift)) == 1 for s in sets)
    assert matcher.offsets_ns["cam0"] is None


def test_learned_offsets_are_the_nearest_to_zero_modulo_the_period() -> None:
    drive = Drive(SWEEP, jitter_ms=0.5)
    matcher, _ = run(drive.messages(), 6)
    learned = [(matcher.offsets_ns[f"cam{i}"] or 0) / MS for i in range(6)]
    expected = [0.0, 16.0, 32.0, 48.0 - 1000 / 12, 64.0 - 1000 / 12, 80.0 - 1000 / 12]
    assert learned == pytest.approx(expected, abs=0.8)
    assert matcher.timing.period_ns == pytest.approx(1e9 / 12, rel=0.01)


def test_real_nuscenes_stamps_with_and_without_losses() -> None:
    messages = nuscenes_stamps()
    matcher, sets = run(messages, 6, missing="wait")
    assert [cycles_of(s, [0] * 6) for s in sets] == [{k} for k in range(40)]
    assert all(s.complete for s in sets) and not matcher.counters.dropped
    learned = [(matcher.offsets_ns[f"cam{i}"] or 0) / MS for i in range(6)]
    assert max(map(abs, learned)) < 40 and len(set(learned)) == 6
    for seed in range(20):
        rng = np.random.default_rng(seed)
        kept = [m for m in messages if rng.random() > 0.05]
        matcher, sets = run(kept, 6, missing="mask")
        assert [cycles_of(s, [0] * 6) for s in sets] == [{k} for k in range(40)]
        assert {k for k, s in enumerate(sets) if s.complete} == complete_cycles(kept, [0] * 6)
        assert_accounts(matcher)


def test_a_looped_recording_goes_on_in_every_loop() -> None:
    drive = Drive(SWEEP, cycles=24, jitter_ms=0.5)
    messages = drive.messages()
    length = 24 * drive.period_ms * MS
    loops = [
        (camera, stamp, cycle, arrival + round(loop * length))
        for loop in range(4)
        for camera, stamp, cycle, arrival in messages
    ]
    matcher, sets = run(loops, 6, SWEEP, missing="wait")
    assert matcher.counters.time_jumps == 3
    assert all(len(cycles_of(s, [0] * 6)) == 1 for s in sets)
    counts = Counter(cycles_of(s, [0] * 6).pop() for s in sets)
    assert counts == dict.fromkeys(range(24), 4)
    assert_accounts(matcher)


def test_stragglers_of_the_last_loop_do_not_undo_the_jump() -> None:
    drive = Drive(NUSCENES, cycles=30)
    first = [(c, s + 100_000 * MS, k, a) for c, s, k, a in drive.messages()]
    second = [(c, s, k, a + 4000 * MS) for c, s, k, a in drive.messages()]
    stragglers, first = first[-4:], first[:-4]
    mixed = [*first, second[0], *stragglers, *second[1:]]
    matcher, sets = run(mixed, 6, NUSCENES, missing="wait", period_s=1 / 12)
    assert matcher.counters.time_jumps == 1
    assert len(sets) == 30 - 1 + 30 or len(sets) == 60
    assert_accounts(matcher)


def test_one_broken_clock_does_not_stop_the_others() -> None:
    drive = Drive(NUSCENES, cycles=60)
    messages = [
        (c, s + (3_600_000 * MS if c == "cam2" else 0), k, a) for c, s, k, a in drive.messages()
    ]
    matcher, sets = run(messages, 6, missing="mask")
    rest = [s for s in sets if set(s.missing) == {"cam2"}]
    assert len(rest) >= 55
    assert matcher.counters.dropped["cam2", DropReason.TIME_JUMP] >= 50
    assert_accounts(matcher)


def test_a_gap_of_all_cameras_loses_nothing_after_it() -> None:
    before = Drive(SWEEP, cycles=20).messages()
    after = Drive(SWEEP, cycles=20, start_ms=1_700_000_060_000.0).messages()
    matcher, sets = run(before + after, 6, SWEEP, missing="mask")
    assert len(sets) == 40 and all(s.complete for s in sets)
    assert_accounts(matcher)


def test_a_camera_whose_phase_changed_is_learned_anew() -> None:
    before = Drive(NUSCENES, cycles=40)
    later = before.start_ms + 40 * before.period_ms
    moved = (*NUSCENES[:3], NUSCENES[3] + 40.0, *NUSCENES[4:])
    after = Drive(moved, cycles=60, start_ms=later)
    matcher, sets = run(before.messages() + after.messages(), 6, missing="mask")
    assert all(s.complete for s in sets[-41:-1])
    assert_accounts(matcher)


def test_cameras_that_drift_through_a_whole_period_stay_matched_to_the_nearest() -> None:
    steady = Drive((0.0, 5.0), cycles=1200)
    drifting = Drive((0.0,), cycles=1200, period_ms=steady.period_ms * 1.002)
    messages = steady.messages()
    messages += [("cam2", s, k, a) for _, s, k, a in drifting.messages()]
    matcher, sets = run(sorted(messages, key=lambda m: m[3]), 3, missing="mask")
    assert sum(s.complete for s in sets) > 1150
    for s in sets:
        stamps = [image.stamp_ns for image in s.images if image]
        assert max(stamps) - min(stamps) < 0.8 * steady.period_ms * MS
    assert_accounts(matcher)


def test_a_camera_twice_as_fast_gives_its_nearest_images() -> None:
    slow = Drive((0.0, 5.0), cycles=60)
    fast = Drive((2.0,), cycles=120, period_ms=slow.period_ms / 2, seed=1)
    messages = slow.messages() + [("cam2", s, k, a) for _, s, k, a in fast.messages()]
    matcher, sets = run(
        sorted(messages, key=lambda m: m[3]), 3, (0.0, 5.0, 2.0), missing="mask", period_s=1 / 12
    )
    assert sum(s.complete for s in sets) == 60
    for s in sets[10:]:
        image = s.images[2]
        assert image is not None and abs(image.stamp_ns - s.stamp_ns - 2 * MS) < MS
    assert_accounts(matcher)


def feed(policy: str, **sync: Any) -> tuple[StampMatcher[int], list[MatchedSet[int]]]:
    """Three cycles of two cameras at 10 Hz; the second camera lacks the middle one."""
    matcher: StampMatcher[int] = StampMatcher(
        rig_of(2, (0.0, 0.0), missing=policy, period_s=0.1, timeout_s=0.05, **sync)
    )
    sets = []
    for cycle in range(3):
        now = cycle * 100 * MS
        sets += matcher.push("cam0", now, cycle, now)
        if cycle != 1:
            sets += matcher.push("cam1", now + MS, cycle, now + MS)
        sets += matcher.tick(now + 49 * MS)
        assert len(sets) == (1 if cycle == 1 else len(sets))
        sets += matcher.tick(now + 50 * MS)
    assert_accounts(matcher)
    return matcher, sets


def test_each_policy_does_what_it_says_with_a_missing_image() -> None:
    matcher, sets = feed("wait")
    assert [s.stamp_ns for s in sets] == [0, 200 * MS]
    assert matcher.counters.dropped == {("cam0", DropReason.SUPERSEDED): 1}
    matcher, sets = feed("skip")
    assert [s.stamp_ns for s in sets] == [0, 200 * MS]
    assert matcher.counters.dropped == {("cam0", DropReason.TIMEOUT): 1}
    assert matcher.counters.sets_dropped == {DropReason.TIMEOUT: 1}
    matcher, sets = feed("mask")
    assert [s.missing for s in sets] == [(), ("cam1",), ()] and not matcher.counters.dropped
    matcher, sets = feed("reuse")
    reused = sets[1].images[1]
    assert reused is not None and reused.reused and reused.item == 0 and not sets[1].complete
    matcher, sets = feed("reuse", reuse_max_age_s=0.05)
    assert sets[1].missing == ("cam1",)
    matcher, sets = feed("mask", min_cameras=2)
    assert len(sets) == 2 and matcher.counters.dropped == {("cam0", DropReason.TOO_FEW): 1}


def test_late_duplicate_and_stray_images_are_told_apart() -> None:
    matcher: StampMatcher[int] = StampMatcher(
        rig_of(2, (0.0, 0.0), missing="mask", period_s=0.1, timeout_s=0.05)
    )
    matcher.push("cam0", 0, 0, 0)
    matcher.push("cam0", 0, 0, 0)
    assert len(matcher.tick(60 * MS)) == 1
    matcher.push("cam1", MS, 0, 61 * MS)
    matcher.push("cam1", 50 * MS, 0, 62 * MS)
    assert matcher.counters.dropped == {
        ("cam0", DropReason.DUPLICATE): 1,
        ("cam1", DropReason.LATE): 1,
        ("cam1", DropReason.UNMATCHED): 1,
    }
    assert_accounts(matcher)


def test_waiting_for_ever_holds_no_more_than_the_buffer() -> None:
    drive = Drive((0.0, 0.0), gone={1: (0, 60)})
    matcher: StampMatcher[int] = StampMatcher(
        rig_of(2, (0.0, 0.0), missing="wait", period_s=1 / 12, buffer_size=4)
    )
    for camera, stamp, cycle, arrival in drive.messages():
        assert matcher.push(camera, stamp, cycle, arrival) == []
        assert matcher.waiting["cam0"] <= 4
    assert matcher.counters.dropped == {("cam0", DropReason.BUFFER_FULL): 56}
    assert matcher.next_deadline_ns is None


def test_a_clock_that_is_set_back_does_not_stop_time_outs() -> None:
    matcher: StampMatcher[int] = StampMatcher(
        rig_of(2, (0.0, 0.0), missing="mask", period_s=0.1, timeout_s=0.05)
    )
    matcher.push("cam0", 0, 0, 10_000 * MS)
    assert matcher.tick(0) == []
    assert matcher.next_deadline_ns == 50 * MS
    assert len(matcher.tick(50 * MS)) == 1


@settings(max_examples=200, deadline=None)
@given(
    stamps=st.lists(
        st.tuples(st.integers(0, 2), st.integers(0, 3000), st.integers(0, 40)), max_size=80
    ),
    policy=st.sampled_from(POLICIES),
    known=st.booleans(),
)
def test_every_image_is_accounted_for_whatever_comes(
    stamps: list[tuple[int, int, int]], policy: str, known: bool
) -> None:
    matcher: StampMatcher[int] = StampMatcher(
        rig_of(3, (0.0, 0.0, 0.0) if known else None, missing=policy, buffer_size=3)
    )
    now, out = 0, 0
    for camera, stamp, wait in stamps:
        now += wait * MS
        sets = matcher.push(f"cam{camera}", stamp * MS, 0, now)
        out += sum(s.images[i] is not None for s in sets for i in range(3))
        assert_accounts(matcher)
    sets = matcher.flush()
    out += sum(s.images[i] is not None for s in sets for i in range(3))
    assert_accounts(matcher)
    assert not any(matcher.waiting.values())
    reused = sum(matcher.counters.reused.values())
    assert out == sum(matcher.counters.used.values()) + reused


def test_a_recording_gives_the_same_sets_each_time() -> None:
    messages = Drive(SWEEP, loss=0.05, jitter_ms=4.0).messages()
    assert run(messages, 6)[1] == run(messages, 6)[1]


def test_a_tolerance_keeps_out_what_lies_further_away() -> None:
    config = rig_of(2, (0.0, 10.0), missing="mask", period_s=0.1, tolerance_s=0.005)
    matcher: StampMatcher[int] = StampMatcher(config)
    matcher.push("cam0", 0, 0, 0)
    assert matcher.push("cam1", 16 * MS, 0, 16 * MS) == []
    assert matcher.counters.dropped == {("cam1", DropReason.UNMATCHED): 1}
    assert len(matcher.push("cam1", 14 * MS, 0, 17 * MS)) == 1
    with pytest.raises(
        ValueError, match=r"tolerance_s = 0.05 must be below half of period_s = 0.1"
    ):
        rig_of(2, period_s=0.1, tolerance_s=0.05)


def test_offsets_are_relative_to_the_reference_wherever_it_stands() -> None:
    drive = Drive((0.0, 30.0, 70.0), cycles=20)
    config = rig_of(3, (-30.0, 0.0, 40.0), missing="wait").model_copy(update={"reference": "cam1"})
    matcher: StampMatcher[int] = StampMatcher(config)
    sets = list(match_recording(matcher, drive.messages()))
    assert len(sets) == 20 and all(s.complete for s in sets)
    assert all(s.images[1] is not None and s.stamp_ns == s.images[1].stamp_ns for s in sets)
    assert matcher.offsets_ns == {"cam0": -30 * MS, "cam1": 0, "cam2": 40 * MS}


def test_an_unknown_camera_is_named() -> None:
    matcher: StampMatcher[int] = StampMatcher(rig_of(2))
    with pytest.raises(ValueError, match="no camera 'left' in the rig: cam0, cam1"):
        matcher.push("left", 0, 0, 0)
