"""A running stream against the three-frame call, and when it starts anew."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from renderocc_ros.network.official import StereoFrame, SwinBStereo, SwinBStereoStream
from renderocc_ros.network.official.streaming import Reset

FrameAt = Callable[..., StereoFrame]
NS = 1_000_000_000


def assert_same_field(stream_field: object, call_field: object) -> None:
    for name in ("density", "semantics", "depth"):
        ours, expected = getattr(stream_field, name), getattr(call_field, name)
        torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-6)


def test_stream_equals_the_three_frame_call(network: SwinBStereo, frame_at: FrameAt) -> None:
    stream = SwinBStereoStream(network)
    frames = [frame_at(0.5 * i) for i in range(5)]
    for i, frame in enumerate(frames):
        output = stream.step(frame, i * NS // 2)
        newest_first = frames[max(0, i - 2) : i + 1][::-1]
        with torch.inference_mode():
            expected = network(newest_first)
        assert_same_field(output.field, expected)
        assert output.past_age_s == (0.5 if i else None) and output.reset is None
    assert not stream.resets


def test_past_frames_and_their_poses_matter(network: SwinBStereo, frame_at: FrameAt) -> None:
    """The equality above is not that of outputs which ignore the past."""
    with torch.inference_mode():
        full = network([frame_at(1.0), frame_at(0.5), frame_at(0.0)]).density
        for other in (
            [frame_at(1.0), frame_at(0.5), frame_at(0.5)],
            [frame_at(1.0), frame_at(0.0), frame_at(0.0)],
            [frame_at(1.0), replace(frame_at(0.5), global_from_ego=frame_at(0.4).global_from_ego)],
        ):
            assert (network(other).density - full).abs().max() > 1e-4


def test_fast_stream_fuses_frames_of_the_training_interval(
    network: SwinBStereo, frame_at: FrameAt
) -> None:
    stream = SwinBStereoStream(network, past_age_s=0.4)
    ages = []
    for i in range(11):
        output = stream.step(frame_at(0.1 * i), i * NS // 10)
        ages.append(output.past_age_s)
        assert len(stream._memory) <= 5
    assert ages == [None, 0.1, 0.2, 0.3] + [0.4] * 7
    with torch.inference_mode():
        assert_same_field(output.field, network([frame_at(t) for t in (1.0, 0.6, 0.2)]))


@pytest.mark.parametrize(
    ("reason", "stamp_ns", "scene"),
    [
        (Reset.TIME_BACKWARD, NS // 2, "a"),
        (Reset.TIME_BACKWARD, NS, "a"),
        (Reset.TIME_GAP, 4 * NS, "a"),
        (Reset.SCENE_CHANGE, 3 * NS // 2, "b"),
    ],
)
def test_stream_starts_anew(
    network: SwinBStereo, frame_at: FrameAt, reason: Reset, stamp_ns: int, scene: str
) -> None:
    stream = SwinBStereoStream(network)
    stream.step(frame_at(0.5), NS // 2, "a")
    stream.step(frame_at(1.0), NS, "a")
    output = stream.step(frame_at(1.5), stamp_ns, scene)
    assert output.reset is reason and stream.resets == {reason: 1} and output.past_age_s is None
    with torch.inference_mode():
        assert_same_field(output.field, network([frame_at(1.5)]))


@pytest.mark.parametrize(
    ("field", "index", "value"),
    [
        ("intrinsics", (0, 1, 0, 0), 61.0),
        ("post_translation", (0, 0, 1), -12.0),
        ("ego_from_camera", (0, 2, 0, 3), 9.0),
    ],
)
def test_new_calibration_starts_anew(
    network: SwinBStereo,
    frame_at: FrameAt,
    changed: Callable[..., StereoFrame],
    field: str,
    index: tuple[int, ...],
    value: float,
) -> None:
    stream = SwinBStereoStream(network)
    stream.step(frame_at(0.5), NS // 2)
    output = stream.step(changed(frame_at(1.0), field, index, value), NS)
    assert output.reset is Reset.CALIBRATION_CHANGE


def test_reset_on_request_is_counted(network: SwinBStereo, frame_at: FrameAt) -> None:
    stream = SwinBStereoStream(network)
    stream.step(frame_at(0.5), NS // 2)
    stream.reset()
    assert stream.step(frame_at(1.0), NS).past_age_s is None
    assert stream.resets == {Reset.REQUESTED: 1}


def test_refused_frame_leaves_the_stream_as_it_was(
    network: SwinBStereo, frame_at: FrameAt, changed: Callable[..., StereoFrame]
) -> None:
    stream = SwinBStereoStream(network)
    stream.step(frame_at(0.5), NS // 2)
    with pytest.raises(ValueError, match="global_from_ego of camera 1 holds nan"):
        stream.step(changed(frame_at(1.0), "global_from_ego", (0, 1, 2, 3), float("nan")), NS)
    output = stream.step(frame_at(1.0), NS)
    assert output.past_age_s == 0.5 and not stream.resets


def test_intervals_that_cannot_be_are_refused(network: SwinBStereo) -> None:
    with pytest.raises(ValueError, match="past_age_s must be from 0 to max_gap_s"):
        SwinBStereoStream(network, past_age_s=2.0, max_gap_s=1.0)
