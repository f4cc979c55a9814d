"""Recordings are told apart by content and path: never by a name, a stamp, or a count."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from renderocc_ros.config import RigConfig
from renderocc_training.recording import messages
from renderocc_training.recording.message_content import stamp_ns
from renderocc_training.sequences.data_sets import open_sequences
from renderocc_training.sequences.extraction.job import Job
from renderocc_training.sequences.extraction.options import ExtractOptions
from renderocc_training.sequences.extraction.pool import extract
from renderocc_training.sequences.extraction.report import ExtractionReport
from renderocc_training.supervision.labels.label_images import read_label_image
from tests.sequences.extraction.extracting import VERSION, tree

CLASSES = "classes=/{camera}/classes"


@pytest.fixture
def run(rig: RigConfig, tmp_path: Path) -> Callable[..., list[ExtractionReport]]:
    def run(*bags: Path, out: str = "out", **options: Any) -> list[ExtractionReport]:
        jobs = [Job(bag, tmp_path / out, rig, ExtractOptions(**options)) for bag in bags]
        return extract(jobs, VERSION)

    return run


@pytest.fixture
def days(drive: Any, tmp_path: Path) -> list[Path]:
    """Two bags of one name that both begin at time zero, and label images that differ."""

    def of_class(class_id: int) -> Any:
        def edit(topic: str, number: int, message: Any) -> Any:
            if topic != "/rear/image_raw/compressed":
                return message
            content = message.data.tobytes() + bytes([class_id])  # after the JPEG's end
            return messages.compressed_image(stamp_ns(message), "rear", content)

        class Labelled(drive):  # type: ignore[misc,valid-type]
            def events(self) -> Any:
                for log_ns, topic, message in super().events():
                    yield log_ns, topic, message
                    if topic == "/front/image_raw/compressed":
                        labels = np.full((32, 48), class_id, np.uint8)
                        image = messages.image(stamp_ns(message), "front", labels, "mono8")
                        yield log_ns, "/front/classes", image

        return Labelled(seconds=1.0, start_ns=0, edit=edit)

    for day in ("monday", "tuesday"):
        (tmp_path / day).mkdir()
    return [
        of_class(number).write(tmp_path / day / "bag")
        for number, day in ((3, "monday"), (4, "tuesday"))
    ]


@pytest.mark.parametrize("together", [True, False])
def test_two_bags_of_one_name_span_and_count_are_two_sequences(
    run: Any, days: list[Path], tables: Any, tmp_path: Path, together: bool
) -> None:
    reports = (
        run(*days, labels=(CLASSES,))
        if together
        else [run(day, labels=(CLASSES,))[0] for day in days]
    )
    assert [report.scenes for report in reports] == [["bag"], ["bag-2"]]
    assert "called 'bag-2': the data set has another 'bag' already" in reports[1].problems
    data = tables(tmp_path / "out")
    assert len(data["sample"]) == len({s["token"] for s in data["sample"]}) == 4
    files = [record["filename"] for record in data["sample_data"]]
    assert len(files) == len(set(files)) and all((tmp_path / "out" / f).is_file() for f in files)
    sequences = open_sequences(tmp_path / "out")
    assert [(sequence.name, len(sequence)) for sequence in sequences] == [("bag", 2), ("bag-2", 2)]
    for sequence, class_id in zip(sequences, (3, 4), strict=True):
        camera = sequence.frames[1].cameras[0]
        assert camera is not None
        assert set(read_label_image(sequence, "classes", camera)[1].ravel()) == {class_id}


def test_the_same_bag_is_known_wherever_it_lies(run: Any, days: list[Path], tmp_path: Path) -> None:
    run(*days)
    before = tree(tmp_path / "out")
    again = run(*days)  # nothing to do
    assert [report.scenes for report in again] == [["bag"], ["bag-2"]]
    shutil.move(tmp_path / "monday", tmp_path / "moved")
    (moved,) = run(tmp_path / "moved" / "bag")
    assert moved.scenes == ["bag"] and tree(tmp_path / "out") == before
    run(tmp_path / "moved" / "bag", out="elsewhere")
    tokens = [
        {frame.token for frame in open_sequences(tmp_path / out, names=["bag"])[0].frames}
        for out in ("out", "elsewhere")
    ]
    assert tokens[0] == tokens[1]


def test_a_copy_beside_the_first_is_another_recording(
    run: Any, days: list[Path], tables: Any, tmp_path: Path
) -> None:
    copy = tmp_path / "copy" / "bag"
    shutil.copytree(days[0], copy)
    reports = run(days[0], copy)
    assert [report.scenes for report in reports] == [["bag"], ["bag-2"]]
    assert len({s["token"] for s in tables(tmp_path / "out")["sample"]}) == 4


def test_what_is_recorded_over_a_bag_is_read(run: Any, days: list[Path]) -> None:
    assert run(days[0])[0].scenes == ["bag"]
    shutil.rmtree(days[0])
    shutil.copytree(days[1], days[0])
    assert run(days[0])[0].scenes == ["bag-2"]


def test_data_sets_with_sequences_of_one_name_are_kept_apart(
    tiny_nuscenes: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    shutil.copytree(tiny_nuscenes, other)
    image = next((other / "samples" / "CAM_BACK").iterdir())
    assert cv2.imwrite(str(image), np.zeros((36, 64, 3), np.uint8))
    jobs = [
        Job(root, tmp_path / "out", None, ExtractOptions(), "nuscenes")
        for root in (tiny_nuscenes, other)
    ]
    reports = extract(jobs, VERSION)
    assert [report.scenes for report in reports] == [["scene-9001"], ["scene-9001-2"]]
    one, two = open_sequences(tmp_path / "out")
    assert {frame.token for frame in one.frames}.isdisjoint(frame.token for frame in two.frames)
    assert {f.file for f in one.measurements()}.isdisjoint(f.file for f in two.measurements())


def test_a_data_set_of_another_version_is_not_mixed_with(
    run: Any, days: list[Path], tmp_path: Path
) -> None:
    run(days[0])
    (done,) = (tmp_path / "out" / ".extraction").glob("*/done.json")
    content = json.loads(done.read_text())
    del content["format"]
    done.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="extracted by another version.*into a new folder"):
        run(days[1])
