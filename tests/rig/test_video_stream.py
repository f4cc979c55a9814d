"""Video packets to images: the right picture with the right stamp, or the reason why not."""

from __future__ import annotations

import builtins
from typing import Any

import numpy as np
import pytest

pytest.importorskip("av", reason="PyAV is not installed")

from renderocc_ros.geometry import CameraModel
from renderocc_ros.rig.image_decoding import decode_for, decode_message
from renderocc_ros.rig.video_stream import VideoStream, codec_of
from renderocc_ros.rig.video_units import H264Units
from tests.rig.videos import GROUP, PERIOD_NS, START_NS, changed, number_of, packets

Seen = list[tuple[int, int]]


def decoded(sent: list[Any]) -> tuple[Seen, list[str]]:
    """(picture by its stamp, picture by its pixels) of all that comes out; the problems."""
    stream = VideoStream()
    images = [image for packet in sent for image in stream.decode(packet)] + stream.finish()
    seen = []
    for image in images:
        stamp = image.header.stamp
        number = (stamp.sec * 10**9 + stamp.nanosec - START_NS) // PERIOD_NS
        seen.append((number, number_of(decode_message(image))))
    return seen, stream.problems


def right(numbers: Any) -> Seen:
    return [(number, number) for number in numbers]


@pytest.mark.parametrize("b_frames", [0, 2])
@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_each_picture_has_the_stamp_of_its_own_packet(codec: str, b_frames: int) -> None:
    sent = packets(codec, b_frames=b_frames)
    order = [packet.pts for packet in sent]
    assert (order == sorted(order)) == (b_frames == 0)
    assert decoded(sent) == (right(range(18)), [])


def test_without_b_frames_a_picture_is_whole_with_its_packet() -> None:
    stream = VideoStream()
    assert [len(stream.decode(packet)) for packet in packets()] == [1] * 18


@pytest.mark.parametrize("pixel_format", ["yuv444p", "yuvj420p", "yuv422p", "nv12"])
def test_all_pixel_formats_give_their_colours(pixel_format: str) -> None:
    assert decoded(packets(pixel_format=pixel_format)) == (right(range(18)), [])


@pytest.mark.parametrize("b_frames", [0, 2])
@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_decoding_waits_for_the_first_key_frame(codec: str, b_frames: int) -> None:
    sent = packets(codec, b_frames=b_frames)
    first = 2
    seen, problems = decoded(sent[first:])
    numbers = {number for number, _ in seen}
    assert seen == right(sorted(numbers)) and set(range(GROUP + 2, 18)) <= numbers
    assert problems[0] == "it waits for a key frame: none has come yet"
    assert len(problems) + len(seen) == len(sent) - first


@pytest.mark.parametrize("b_frames", [0, 2])
@pytest.mark.parametrize("codec", ["h264", "hevc"])
@pytest.mark.parametrize("lost", range(1, GROUP - 1))
def test_after_a_lost_packet_it_waits_for_the_next_key_frame(
    codec: str, b_frames: int, lost: int
) -> None:
    """No picture is ever made of another's pixels, whichever packet is lost."""
    sent = packets(codec, b_frames=b_frames)
    seen, problems = decoded(sent[:lost] + sent[lost + 1 :])
    assert all(number == picture for number, picture in seen)
    assert [number for number, _ in seen][-GROUP:] == list(range(18 - GROUP, 18))
    assert len(seen) + len(problems) == len(sent) - 1
    if not b_frames:
        assert "lost" in problems[0]
        assert seen == right([*range(lost), *range(GROUP, 18)])


def test_a_lost_packet_is_named_by_its_number() -> None:
    sent = packets()
    _, problems = decoded(sent[:3] + sent[4:])
    assert problems[0] == "a packet was lost: its frame_num is 4, 2 came before"
    _, problems = decoded(packets("hevc")[:3] + packets("hevc")[4:])
    assert problems[0] == "a packet was lost: its pts is 4, 2 came before"


def test_a_packet_that_is_recorded_twice_is_decoded_once() -> None:
    seen, problems = decoded([each for packet in packets() for each in (packet, packet)])
    assert seen == right(range(18)) and problems == ["it repeats the packet before it"] * 18


def test_a_looped_recording_begins_anew() -> None:
    sent = packets(count=60)
    seen, problems = decoded(sent[:50] + sent[3:])
    assert [n for n, _ in seen] == [*range(50), *range(GROUP, 60)]
    assert problems == ["it waits for a key frame: the time line was set back"] * (GROUP - 3)


def test_damaged_packets_cost_what_depends_on_them() -> None:
    sent = packets()
    noise = np.random.default_rng(0).integers(0, 256, 300).astype(np.uint8)
    spoilt = [*sent[:2], changed(sent[2], data=noise), *sent[3:]]
    seen, problems = decoded(spoilt)
    assert seen == right([0, 1, *range(GROUP, 18)])
    assert "no start code" in problems[0] and "lost" in problems[1]
    cut = changed(sent[GROUP], data=sent[GROUP].data[: len(sent[GROUP].data) // 2])
    seen, problems = decoded([*sent[:GROUP], cut, *sent[GROUP + 1 :]])
    assert seen == right([*range(GROUP), *range(2 * GROUP, 18)])
    assert "damaged" in problems[0]


@pytest.mark.parametrize("b_frames", [0, 2])
@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_whatever_is_damaged_every_packet_is_accounted_for(codec: str, b_frames: int) -> None:
    sent, draw = packets(codec, b_frames=b_frames), np.random.default_rng(5)
    for place in range(0, GROUP + 2):
        data = sent[place].data.copy()
        data[draw.integers(0, len(data), 3)] ^= 1 << draw.integers(0, 8)
        spoilt = changed(sent[place], data=data[: draw.integers(1, 2 * len(data))])
        seen, problems = decoded([*sent[:place], spoilt, *sent[place + 1 :]])
        assert len(seen) + len(problems) == len(sent)


def test_sizes_are_compared_before_and_after_decoding() -> None:
    sent = packets()
    _, problems = decoded([changed(packet, width=0) for packet in sent])
    assert problems == ["a packet of 0x48 pixels is no camera's"] * 18
    _, problems = decoded([changed(packet, width=100_000, height=100_000) for packet in sent])
    assert "100000x100000" in problems[0]
    seen, problems = decoded([changed(packet, width=60) for packet in sent])
    assert not seen and problems[0] == "its picture is 64x48, the packet says 60x48"
    large = packets(size=(640, 480), count=2)  # more than its packets say: it is not even decoded
    seen, problems = decoded([changed(packet, width=64, height=48) for packet in large])
    assert not seen and "damaged" in problems[0]


def test_a_new_size_or_codec_begins_a_new_stream() -> None:
    first, second, third = packets(count=8), packets(size=(96, 48), count=8), packets("hevc")
    assert decoded(first + second + third[:8]) == (right([*range(8)] * 3), [])


def test_a_picture_of_another_view_than_the_calibration_is_refused() -> None:
    image = VideoStream().decode(packets()[0])[0]
    wide = CameraModel(192, 48, [[40.0, 0, 95.5], [0, 40.0, 23.5], [0, 0, 1]])
    with pytest.raises(ValueError, match="64x48.*192x48.*other proportions"):
        decode_for(image, wide, lambda model: 1)
    stream = VideoStream()
    assert not [image for packet in packets() for image in stream.decode(packet, wide)]
    assert all("other proportions" in problem for problem in stream.problems)
    assert not stream.decode(changed(packets()[0], width=0), wide)
    assert stream.problems[-1] == "an image of 0x48 pixels"
    half = CameraModel(128, 96, [[80.0, 0, 63.5], [0, 80.0, 47.5], [0, 0, 1]])
    pixels, model = decode_for(image, half, lambda model: 1)
    assert number_of(pixels) == 0 and (model.width, model.intrinsics[0, 0]) == (64, 40.0)


@pytest.mark.parametrize(
    ("encoding", "codec"),
    [
        ("h264", "h264"),
        ("libx264rgb", "h264"),
        ("h264_nvenc", "h264"),
        ("h264;yuv420p;bgr8;bgr8", "h264"),
        ("hevc;nv12;bgr8;rgb8", "hevc"),
        ("libx265", "hevc"),
        ("hevc_vaapi", "hevc"),
    ],
)
def test_codecs_are_told_from_encodings_old_and_new(encoding: str, codec: str) -> None:
    assert codec_of(encoding) == codec


def test_other_codecs_are_refused_by_name() -> None:
    _, problems = decoded([changed(packets()[0], encoding="libsvtav1")])
    assert problems == ["encoding 'libsvtav1' is not read: publish H.264 (h264) or H.265 (hevc)"]


def test_a_bayer_pattern_in_the_luma_keeps_its_colours() -> None:
    """``h264;yuv420p;bayer_rggb8;bayer_rggb8``: the mosaic went through the encoder as grey."""
    rgb = np.array((200, 90, 30))
    mosaic = np.zeros((48, 64), np.uint8)
    mosaic[::2, ::2], mosaic[1::2, 1::2] = rgb[0], rgb[2]
    mosaic[::2, 1::2] = mosaic[1::2, ::2] = rgb[1]
    sent = packets(
        pictures=[np.repeat(mosaic[..., None], 3, axis=2)],
        pixel_format="yuvj420p",
        encoding="h264;yuv420p;bayer_rggb8;bayer_rggb8",
    )
    image = VideoStream().decode(sent[0])[0]
    seen = decode_message(image)[8:40, 8:56].reshape(-1, 3).mean(0)
    assert image.encoding == "bayer_rggb8" and np.abs(seen - rgb).max() < 25


def test_frame_numbers_behind_scaling_lists_and_separate_planes() -> None:
    """Parameters of a high profile, written here bit by bit by 7.3.2.1.1 and 7.3.3."""

    def unsigned(number: int) -> str:
        text = f"{number + 1:b}"
        return "0" * (len(text) - 1) + text

    def unit(kind: int, bits: str) -> bytes:
        bits += "1"
        body = int(bits.ljust(-(-len(bits) // 8) * 8, "0"), 2)
        return b"\0\0\1" + bytes([kind]) + body.to_bytes(-(-len(bits) // 8), "big")

    # Twelve lists: one of 16 entries, five that are absent, one that ends at its first entry, five.
    lists = "1" + (unsigned(1) + unsigned(2)) * 8 + "0" * 5 + "1" + unsigned(16) + "0" * 5
    profile = f"{244:08b}" + "0" * 8 + f"{40:08b}" + unsigned(0)
    parameters = profile + unsigned(3) + "1" + unsigned(0) * 2 + "0" + "1" + lists + unsigned(5)

    def slice_of(number: int) -> bytes:
        return unit(0x61, unsigned(0) + unsigned(5) + unsigned(0) + "01" + f"{number:09b}")

    units = H264Units()
    assert units.content(unit(0x67, parameters) + unit(0x65, "1" * 9), False).key
    assert units.content(slice_of(1), False).lost == ""
    assert units.content(slice_of(2), False).lost == ""
    assert units.content(slice_of(300), False).lost == "its frame_num is 300, 2 came before"


def test_without_pyav_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    whole_import = builtins.__import__

    def without_pyav(name: str, *rest: Any) -> Any:
        if name == "av":
            raise ImportError(name)
        return whole_import(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without_pyav)
    with pytest.raises(ValueError, match=r"renderocc-ros\[video\]"):
        VideoStream()
