"""Faults: what is written, and what it does to the recording."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from renderocc_simulation.drive import write_drive
from renderocc_simulation.faults import KINDS, Fault, parse_fault
from renderocc_simulation.frames import DriveRenderer
from renderocc_simulation.spec import (
    EPOCH_NS,
    LEAD_S,
    SEED_SPACING_NS,
    DriveSpec,
)
from renderocc_simulation.world.town import TownSpec
from renderocc_training.recording.bag_reader import BagReader
from renderocc_training.recording.message_content import stamp_ns, transform_of

FIRST_NS = EPOCH_NS + 3 * SEED_SPACING_NS + round(LEAD_S * 1e9)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("dropped-camera@3", Fault("dropped-camera", 3, 2, "", 0)),
        ("frozen_image@1.5+4:CAM_BACK", Fault("frozen-image", 1.5, 4, "CAM_BACK", 0)),
        ("wrong-extrinsics@0:left=2.5", Fault("wrong-extrinsics", 0, math.inf, "left", 2.5)),
        ("clock-jump@2=-10", Fault("clock-jump", 2, math.inf, "", -10)),
    ],
)
def test_faults_are_read(text: str, fault: Fault) -> None:
    assert parse_fault(text) == fault
    assert parse_fault(str(fault)) == fault


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("droped-camera@3", "did you mean 'dropped-camera'"),
        ("earthquake@3", "known: dropped-camera"),
        ("late-tf", "KIND@SECONDS"),
        ("late-tf@", "KIND@SECONDS"),
        ("late-tf@1.2.3", "malformed"),
    ],
)
def test_nonsense_is_answered(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_fault(text)


def test_every_kind_is_tried_here(faulty_drive: Path) -> None:
    with BagReader(faulty_drive) as bag:
        written = bag.custom_data["faults"]
    assert all(kind in written for kind in KINDS)


def by_set(path: Path, topic: str) -> dict[int, tuple[int, Any]]:
    """Messages by the number of their set: log time and content."""
    with BagReader(path) as bag:
        result = [(m.log_time_ns, bag.decode(m)) for m in bag.messages([topic])]
    return {round((log_ns - FIRST_NS) / 250e6): (log_ns, message) for log_ns, message in result}


def test_a_dropped_camera_is_silent_for_a_while(faulty_drive: Path) -> None:
    for name in ("image_raw/compressed", "camera_info"):
        assert sorted(by_set(faulty_drive, f"/behind/{name}")) == [0, 1, 3, 4, 5, 6, 7]
        assert sorted(by_set(faulty_drive, f"/ahead/{name}")) == list(range(8))


def test_a_frozen_image_has_new_stamps(faulty_drive: Path) -> None:
    images = by_set(faulty_drive, "/behind/image_raw/compressed")
    data = {number: bytes(message.data) for number, (_, message) in images.items()}
    assert data[4] == data[3]
    assert len(set(data.values())) == len(data) - 1
    stamps = [stamp_ns(message) for _, message in images.values()]
    assert len(set(stamps)) == len(stamps)


def test_broken_jpegs_are_broken(faulty_drive: Path) -> None:
    images = by_set(faulty_drive, "/ahead/image_raw/compressed")
    whole = bytes(images[3][1].data)
    assert whole.endswith(b"\xff\xd9")
    assert not bytes(images[4][1].data).endswith(b"\xff\xd9")  # cut off
    assert bytes(images[5][1].data).endswith(b"\xff\xd9")  # overwritten inside
    assert bytes(images[6][1].data).endswith(b"\xff\xd9")


def test_overexposure_is_bright(faulty_drive: Path) -> None:
    images = by_set(faulty_drive, "/ahead/image_raw/compressed")
    light = {
        number: cv2.imdecode(np.asarray(message.data), cv2.IMREAD_GRAYSCALE).mean()
        for number, (_, message) in images.items()
        if number < 4
    }
    assert light[1] > light[0] + 60
    assert abs(light[2] - light[0]) < 40


def test_late_transforms_arrive_late(faulty_drive: Path) -> None:
    with BagReader(faulty_drive) as bag:
        delays = {}
        for recorded in bag.messages(["/tf"]):
            stamp = stamp_ns(bag.decode(recorded).transforms[0])
            delays[(stamp - FIRST_NS) / 1e9] = (recorded.log_time_ns - stamp) / 1e9
    for since, delay in delays.items():
        if since > -0.2:  # stamps of the time after the clock's jump lie before
            assert delay == pytest.approx(0.4 if 0.5 <= since < 1.0 else 0.0, abs=1e-6)


def test_wrong_extrinsics_turn_one_camera(faulty_drive: Path) -> None:
    with BagReader(faulty_drive) as bag:
        sent = [bag.decode(m) for m in bag.messages(["/tf_static"])]
    assert len(sent) == 2
    first = {t.child_frame_id: transform_of(t) for t in sent[0].transforms}
    (changed,) = sent[1].transforms
    assert changed.child_frame_id == "behind_optical"
    relative = first["behind_optical"].inverse() @ transform_of(changed)
    angle = np.rad2deg(np.arccos((np.trace(relative.rotation) - 1) / 2))
    assert angle == pytest.approx(5.0, abs=1e-6)


def test_the_clock_jumps_for_everyone(faulty_drive: Path) -> None:
    for topic in ("/ahead/camera_info", "/lidar/points"):
        for number, (log_ns, message) in by_set(faulty_drive, topic).items():
            jump = (stamp_ns(message) - log_ns) / 1e9
            assert jump == pytest.approx(-3.0 if number >= 6 else 0.0, abs=1e-6)


def test_a_raw_camera_freezes_too_and_has_no_jpeg_to_damage(tmp_path: Path) -> None:
    town = TownSpec(seed=5, seconds=1.5)
    faults = (parse_fault("frozen-image@0.5:rear"),)
    spec = DriveSpec(town, "two_cameras", "tiny", faults=faults)
    write_drive(spec, tmp_path / "frozen")
    with BagReader(tmp_path / "frozen") as bag:
        sent = [bag.decode(m) for m in bag.messages(["/rear_camera/image_raw"])]
    first, second, third = (bytes(image.data) for image in sent)
    assert first == second == third
    assert len({stamp_ns(image) for image in sent}) == 3
    broken = replace(spec, faults=(parse_fault("jpeg-corruption@0:rear"),))
    with pytest.raises(ValueError, match="rear sends raw images, no JPEG"):
        write_drive(broken, tmp_path / "broken")


def test_overexposure_strikes_the_sets_that_it_names(tmp_path: Path) -> None:
    """CAM_FRONT_LEFT fires before the reference, CAM_FRONT at it or after: both in the same set."""
    faults = tuple(parse_fault(f"overexposure@0+0.5:{n}") for n in ("CAM_FRONT_LEFT", "CAM_BACK"))
    dark = DriveSpec(TownSpec(seed=5, seconds=1.0, light="dusk"), preset="tiny")
    renderer = DriveRenderer(dark)
    struck = DriveRenderer(replace(dark, faults=faults), renderer.town)
    for number in range(2):
        plain, bright = renderer.render(number).cameras, struck.render(number).cameras
        for name in ("CAM_FRONT_LEFT", "CAM_BACK"):
            assert (plain[name].jpeg != bright[name].jpeg) == (number == 0), (name, number)
