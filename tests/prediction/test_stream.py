"""Which past frames a stream fuses, at any rate, and how much it keeps."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from renderocc_ros.geometry import RigidTransform
from renderocc_ros.network_config import TemporalConfig
from renderocc_ros.prediction.stream import KEPT_PER_INTERVAL, VolumeStream

SECOND = 1_000_000_000


def run(stamps_s: list[float], **config: float) -> tuple[list[list[float]], list[int]]:
    """For each stamp the ages of what is fused, and how many volumes are kept."""
    stream = VolumeStream(TemporalConfig(**config))  # type: ignore[arg-type]
    fused, kept = [], []
    for stamp_s in stamps_s:
        stamp_ns = round(stamp_s * SECOND)
        pose = RigidTransform(np.eye(3), np.array([stamp_s, 0.0, 0.0]))
        past = stream.past(stamp_ns, pose)
        # The robot drives at 1 m/s along x: the motion tells how old the frame is.
        ages = [frame.past_from_current[0, 0, 3].item() for frame in past]
        for frame, age in zip(past, ages, strict=True):
            assert frame.volume.item() == pytest.approx(stamp_s - age, abs=1e-4)
        fused.append([round(age, 3) for age in ages])
        stream.add(stamp_ns, pose, torch.tensor(stamp_s))
        kept.append(len(stream))
    return fused, kept


def test_frames_at_the_training_rate() -> None:
    fused, _ = run([0, 0.5, 1.0, 1.5], past_frames=2)
    assert fused == [[], [0.5], [0.5, 1.0], [0.5, 1.0]]


def test_a_faster_stream_reaches_back_as_far() -> None:
    fused, kept = run([i / 12 for i in range(40)], past_frames=1)
    assert fused[1] == [0.083], "at the start the oldest there is"
    assert all(abs(ages[0] - 0.5) <= 0.5 / KEPT_PER_INTERVAL for ages in fused[8:])
    assert max(kept) <= KEPT_PER_INTERVAL + 1


@given(gaps=st.lists(st.floats(0.02, 1.4), min_size=1, max_size=60), past_frames=st.integers(1, 3))
def test_any_rate(gaps: list[float], past_frames: int) -> None:
    stamps = np.cumsum([0.0, *gaps]).tolist()
    fused, kept = run(stamps, past_frames=past_frames)
    for number, ages in enumerate(fused):
        assert all(age > 0 for age in ages)
        assert ages == sorted(set(ages)), "newest first, each once"
        assert len(ages) <= past_frames
        assert ages or number == 0, "after the first set there is always something to fuse"
    assert max(kept) <= past_frames * KEPT_PER_INTERVAL + 1


def test_a_jump_back_or_a_long_gap_starts_anew() -> None:
    fused, kept = run([10, 10.5, 3.0, 3.5, 9.0], past_frames=1)
    assert fused == [[], [0.5], [], [0.5], []]
    assert kept[2] == kept[4] == 1


def test_nothing_is_kept_without_odometry_or_without_fusion() -> None:
    stream = VolumeStream(TemporalConfig(past_frames=1))
    stream.add(0, None, torch.zeros(1))
    assert len(stream) == 0
    stream = VolumeStream(TemporalConfig())
    stream.add(0, RigidTransform.identity(), torch.zeros(1))
    assert len(stream) == 0
