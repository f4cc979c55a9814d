"""What is wrong with a bag is named, and the rest of it is kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from renderocc_ros.config import RigConfig
from renderocc_training.recording import messages
from renderocc_training.recording.bag_reader import BagReader
from tests.sequences.extraction.extracting import extract

ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"


def test_a_missing_camera_is_named_and_the_rest_is_kept(
    drive: Any, tables: Any, rig: RigConfig, tmp_path: Path
) -> None:
    bag = drive(without=("/rear/image_raw/compressed",)).write(tmp_path / "bag")
    report = extract(bag, tmp_path / "out", rig)
    assert report.problems == ["REAR: no images on /rear/image_raw"]
    assert report.key_frames == 6
    assert tables(tmp_path / "out").channel("REAR") == []


def test_a_camera_without_calibration_is_named_and_left_out(
    drive: Any, rig: RigConfig, tmp_path: Path
) -> None:
    bag = drive(without=("/front/camera_info",)).write(tmp_path / "bag")
    report = extract(bag, tmp_path / "out", rig)
    assert report.problems == [
        "FRONT: no CameraInfo on /front/camera_info; its images are left out: name its info_topic "
        "or the file of its calibration in the rig file"
    ]
    assert report.key_frames == 6


OTHER_TYPES = {
    "/front/image_raw/compressed": (
        "/front/image_raw/theora",
        "FRONT: no images on /front/image_raw; what is on /front/image_raw/theora "
        "(std_msgs/msg/Header) is none of CompressedImage, FFMPEGPacket, Image",
    ),
    "/front/camera_info": ("/front/camera_info", "FRONT: no CameraInfo on /front/camera_info"),
    "/tf_static": ("/tf_static", "no /tf_static: where the sensors are mounted must be in /tf"),
}


@pytest.mark.parametrize("topic", OTHER_TYPES)
def test_topics_of_other_types_are_named(
    drive: Any, rig: RigConfig, tmp_path: Path, topic: str
) -> None:
    """They were read as what their names say, and ended the command."""
    other, problem = OTHER_TYPES[topic]

    class Renamed(drive):  # type: ignore[misc,valid-type]
        def events(self) -> Any:
            for log_ns, name, message in super().events():
                if name == topic:
                    yield log_ns, other, messages.header(log_ns, "front")
                else:
                    yield log_ns, name, message

    report = extract(Renamed(seconds=0.5).write(tmp_path / "bag"), tmp_path / "out", rig)
    assert any(each.startswith(problem) for each in report.problems)
    assert bool(report.scenes) == (topic != "/tf_static")


def test_without_static_transforms_nothing_is_made_up(
    drive: Any, rig: RigConfig, tmp_path: Path
) -> None:
    bag = drive(without=("/tf_static",)).write(tmp_path / "bag")
    report = extract(bag, tmp_path / "out", rig)
    assert report.scenes == []
    assert "no /tf_static" in report.problems[0]
    reasons = dict(report.skipped.keys())
    assert "no transform names the frame 'front'" in reasons["images of FRONT"]
    assert report.skipped["images of FRONT", reasons["images of FRONT"]] == 30
    assert not list((tmp_path / "out").rglob("*.jpg"))


def test_images_in_a_hole_of_the_poses_are_left_out_not_guessed(
    drive: Any, tables: Any, rig: RigConfig, tmp_path: Path
) -> None:
    def hole(topic: str, number: int, message: Any) -> Any:
        return None if topic == "/tf" and 40 <= number < 105 else message

    report = extract(drive(edit=hole).write(tmp_path / "bag"), tmp_path / "out", rig)
    left_out = sum(n for (what, why), n in report.skipped.items() if what == "images of FRONT")
    assert left_out == 13  # poses end at 780 ms and begin again at 2100 ms
    assert "in a gap" in next(why for what, why in report.skipped if what == "images of FRONT")
    kept = len(tables(tmp_path / "out").channel("FRONT"))
    before_key = sum(n for (_, why), n in report.skipped.items() if "first key frame" in why)
    assert kept + left_out == 30
    assert before_key == 0


@pytest.mark.parametrize("jump_s", [-60.0, 60.0])
def test_a_jump_of_the_clock_ends_the_scene_and_begins_another(
    drive: Any, tables: Any, rig: RigConfig, tmp_path: Path, jump_s: float
) -> None:
    bag = drive(seconds=6.0, jump_ns=round(jump_s * 1e9)).write(tmp_path / "bag")
    report = extract(bag, tmp_path / "out", rig)
    data = tables(tmp_path / "out")
    assert [scene["name"] for scene in data["scene"]] == ["bag", "bag-2"]
    counts = [scene["nbr_samples"] for scene in data["scene"]]
    assert counts[0] == 6
    assert 4 <= counts[1] <= 6
    stamps = {sample["token"]: sample["timestamp"] for sample in data["sample"]}
    for sample in data["sample"]:
        if sample["next"]:
            assert 300_000 < stamps[sample["next"]] - sample["timestamp"] < 1_500_000
    taken = len(data.channel("FRONT", True)) + len(data.channel("FRONT", False))
    lost = sum(count for (what, _), count in report.skipped.items() if what == "images of FRONT")
    assert report.key_frames == sum(counts)
    assert taken <= 60
    assert lost <= 10


def test_broken_images_are_counted_and_the_stream_goes_on(
    drive: Any, rig: RigConfig, tmp_path: Path
) -> None:
    def damage(topic: str, number: int, message: Any) -> Any:
        if topic == "/rear/image_raw/compressed" and number in (3, 4):
            message.data = message.data[: len(message.data) // 2 if number == 3 else 10]
        return message

    report = extract(drive(edit=damage).write(tmp_path / "bag"), tmp_path / "out", rig)
    assert report.skipped["images of REAR", "the JPEG is cut off: it has no end marker"] == 1
    assert sum(n for (_, why), n in report.skipped.items() if "no readable image" in why) == 1
    assert report.skipped["sets", "without REAR"] == 2
    assert report.key_frames == 6


def test_a_truncated_file_gives_what_comes_before_its_end(
    drive: Any, tables: Any, rig: RigConfig, tmp_path: Path
) -> None:
    bag = drive(seconds=60.0).write(tmp_path / "bag")
    file = bag / "bag.mcap"
    content = file.read_bytes()
    file.write_bytes(content[: len(content) * 2 // 3])
    message = "cannot be read: .*; .*'mcap recover'.*'ros2 bag reindex'"
    with pytest.raises(ValueError, match=message), BagReader(bag):
        pass
    report = extract(bag, tmp_path / "out", rig)
    assert "cut off at byte" in report.problems[0]
    assert 20 <= report.key_frames < 100
    assert len(tables(tmp_path / "out")["sample"]) == report.key_frames


def test_a_recorder_that_was_killed_leaves_no_metadata(
    drive: Any, rig: RigConfig, tmp_path: Path
) -> None:
    bag = drive().write(tmp_path / "bag")
    (bag / "metadata.yaml").unlink()
    with pytest.raises(ValueError, match="not a bag, .*; .*'ros2 bag reindex'"), BagReader(bag):
        pass
    report = extract(bag, tmp_path / "out", rig)
    assert report.problems == ["metadata.yaml is missing: the recorder did not end properly"]
    assert report.key_frames == 6


def test_a_broken_chunk_is_skipped(drive: Any, tables: Any, rig: RigConfig, tmp_path: Path) -> None:
    bag = drive(seconds=90.0).write(tmp_path / "bag", compress=True)
    file = bag / "bag.mcap"
    content = bytearray(file.read_bytes())
    second = content.index(ZSTD_MAGIC, content.index(ZSTD_MAGIC) + 4)
    content[second : second + 8] = bytes(8)
    file.write_bytes(content)
    report = extract(bag, tmp_path / "out", rig)
    assert report.problems
    stamps = sorted(sample["timestamp"] for sample in tables(tmp_path / "out")["sample"])
    gaps = np.diff(stamps) / 1e6
    assert (gaps > 1.0).sum() == 1
    assert len(stamps) + gaps.max() / 0.5 == pytest.approx(180, abs=4)


def test_a_choice_that_the_bag_leaves_open_is_asked_for(
    drive: Any, rig: RigConfig, tmp_path: Path
) -> None:
    class TwoLidars(drive):  # type: ignore[misc,valid-type]
        def events(self) -> Any:
            for log_ns, topic, message in super().events():
                yield log_ns, topic, message
                if topic == "/points":
                    yield log_ns, "/more_points", message

    bag = TwoLidars().write(tmp_path / "bag")
    report = extract(bag, tmp_path / "out", rig)
    assert report.problems == ["lidar: choose one of /more_points, /points, or '' for none"]
    assert extract(bag, tmp_path / "out", rig, lidar="/points").key_frames == 6
