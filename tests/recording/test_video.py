"""Bags of cameras that send video: the right pictures at the right stamps, for all who read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("av", reason="PyAV is not installed")

from renderocc_ros.network_config import ImageConfig
from renderocc_ros.rig.image_decoding import decode_message
from renderocc_training.evaluation.recorded_sets import RecordedSets
from renderocc_training.recording import message_content
from tests.recording.test_frame_sets import assert_whole, rig_with, sets_of
from tests.rig import videos
from tests.rig.videos import GROUP, number_of
from tests.sequences.extraction.conftest import MODEL, MS, START_NS, Drive, Tables
from tests.sequences.extraction.extracting import extract

SIZE = (MODEL.width, MODEL.height)
COUNT = 18


class VideoDrive(Drive):
    """Both cameras send video; packets are recorded in the order in which an encoder gives them.

    Args:
        lost: numbers of the front camera's packets that are not recorded.
    """

    def __init__(self, b_frames: int = 0, lost: Any = ()) -> None:
        super().__init__(seconds=COUNT / 10)
        self.b_frames, self.lost = b_frames, lost

    def events(self) -> Iterator[Any]:
        for event in super().events():
            if not event[1].endswith("/compressed"):
                yield event
        for place, name in enumerate(("front", "rear")):
            sent = videos.packets(count=COUNT, b_frames=self.b_frames, size=SIZE)
            for number, packet in enumerate(sent):
                if name == "rear" or number not in self.lost:
                    stamp_ns = START_NS + packet.pts * 100 * MS + place * 20 * MS
                    header = videos.messages.header(stamp_ns, name)
                    log_ns = START_NS + number * 100 * MS + place * 20 * MS + MS
                    topic = f"/{name}/image_raw/ffmpeg"
                    yield log_ns, topic, videos.changed(packet, header=header)


def seen(image: Any) -> tuple[int, int]:
    """Which picture it is by its stamp, and by its pixels."""
    return (image.stamp_ns - START_NS) // (100 * MS), number_of(decode_message(image.message))


@pytest.mark.parametrize("b_frames", [0, 2])
def test_sets_are_those_of_the_pictures(b_frames: int, tmp_path: Path) -> None:
    bag = VideoDrive(b_frames).write(tmp_path / "bag")
    sets, left_out = sets_of(bag)
    assert not left_out
    assert_whole(sets, COUNT)
    for number, each in enumerate(sets):
        assert {seen(image) for image in each.images.values()} == {(number, number)}


def test_extraction_and_evaluation_read_the_same_pictures(tmp_path: Path) -> None:
    bag = VideoDrive().write(tmp_path / "bag")
    report = extract(bag, tmp_path / "data", rig_with(), key_frame_s=0.0)
    tables = Tables(tmp_path / "data")
    assert report.key_frames == COUNT and {what for what, _ in report.skipped} == {"boxes"}
    for name in ("FRONT", "REAR"):
        files = [tmp_path / "data" / record["filename"] for record in tables.channel(name)]
        pixels = [cv2.cvtColor(cv2.imread(str(file)), cv2.COLOR_BGR2RGB) for file in files]
        assert [number_of(each) for each in pixels] == list(range(COUNT))
    image = ImageConfig(height=32, width=48)
    sets = list(RecordedSets(bag, rig_with(), image))
    assert len(sets) == COUNT
    for number, camera_set in enumerate(sets):
        assert {number_of(posed.pixels) for posed in camera_set.images if posed} == {number}


def test_a_lost_packet_costs_that_camera_until_its_next_key_frame(tmp_path: Path) -> None:
    bag = VideoDrive(lost=(GROUP + 2,)).write(tmp_path / "bag")
    sets, left_out = sets_of(bag)
    without = [(each.stamp_ns - START_NS) // (100 * MS) for each in sets if len(each.images) == 1]
    assert len(sets) == COUNT and without == list(range(GROUP + 2, 2 * GROUP))
    for number, each in enumerate(sets):
        assert {seen(image) for image in each.images.values()} == {(number, number)}
    assert left_out == {
        ("images of FRONT", "a packet was lost: its frame_num is 3, 1 came before"): 1,
        ("images of FRONT", "it waits for a key frame: a packet was lost"): GROUP - 4,
    }


def test_a_bag_that_begins_between_key_frames(tmp_path: Path) -> None:
    sets, left_out = sets_of(VideoDrive(lost=range(2)).write(tmp_path / "bag"))
    assert ["FRONT" in each.images for each in sets] == [False] * GROUP + [True] * (COUNT - GROUP)
    assert left_out == {
        ("images of FRONT", "it waits for a key frame: none has come yet"): GROUP - 2
    }


def test_the_packet_s_size_and_the_calibration_must_fit(tmp_path: Path) -> None:
    def of_another_size(topic: str, number: int, message: Any) -> Any:
        if topic == "/front/camera_info":
            message.width = 3 * message.width
        return message

    drive = VideoDrive()
    drive.edit = of_another_size
    report = extract(drive.write(tmp_path / "bag"), tmp_path / "data", rig_with(), key_frame_s=0.0)
    assert report.key_frames == COUNT
    (problem,) = [why for what, why in report.skipped if what == "images of FRONT"]
    assert "48x32" in problem and "144x32" in problem


def test_stamps_are_those_of_the_messages(tmp_path: Path) -> None:
    sets, _ = sets_of(VideoDrive(b_frames=2).write(tmp_path / "bag"))
    for each in sets:
        for image in each.images.values():
            assert message_content.stamp_ns(image.message) == image.stamp_ns
    assert np.all(np.diff([each.stamp_ns for each in sets]) == 100 * MS)
