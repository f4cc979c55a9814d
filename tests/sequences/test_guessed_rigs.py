"""The rig that ``doctor --bag`` writes for recordings of real robots, made bags of."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from renderocc_ros.config import RigConfig, load_rig
from renderocc_training.recording.bag_survey import survey
from renderocc_training.recording.rig_file import rig_file
from renderocc_training.recording.rig_guess import RigGuess, guess_rig
from renderocc_training.sequences.data_sets import open_sequences
from renderocc_training.sequences.model import CameraImage, RecordedSequence
from renderocc_training.sequences.nuscenes_to_bag import frame_of, write_sequence
from tests.recording.test_rig_guess import sets_of

# Data set: its layout, the version of nuScenes tables, number of cameras, and the reference.
RECORDINGS = {
    "nuscenes": ("nuscenes", "v1.0-mini", 6, "cam_front"),
    "semantickitti": ("semantickitti", None, 2, "cam_2"),
    "ddad": ("ddad", None, 6, "cam_01"),
}


def guessed(bag: Path) -> tuple[RigGuess, RigConfig]:
    """The guess, and the rig as it is read from the file that is written of it."""
    guess = guess_rig(survey(bag), "robot")
    file = bag.parent / "rig.yaml"
    file.write_text(rig_file(guess, bag.name), encoding="utf-8")
    return guess, load_rig(str(file))


def images_of(sequence: RecordedSequence) -> list[CameraImage]:
    """Without those of stamp 0, where KITTI begins: that says that there is no stamp."""
    images = [each for each in sequence.measurements() if isinstance(each, CameraImage)]
    return [image for image in images if image.stamp_ns > 0]


@pytest.fixture(scope="module", params=RECORDINGS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def sequence(name: str, recording: Callable[..., Path]) -> RecordedSequence:
    layout, version, *_ = RECORDINGS[name]
    root = recording("data", name)
    (opened,) = open_sequences(root, layout, version, as_recorded=True)  # type: ignore[arg-type]
    return opened


@pytest.fixture(scope="module")
def bag(sequence: RecordedSequence, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its images, with poses and calibrations."""
    path = tmp_path_factory.mktemp("guessed") / "bag"
    write_sequence(sequence, images_of(sequence), path)
    return path


def test_every_image_is_in_a_set_where_it_was_taken(
    name: str, sequence: RecordedSequence, bag: Path
) -> None:
    _, _, count, reference = RECORDINGS[name]
    guess, rig = guessed(bag)
    assert guess.usable and not guess.lacking and not guess.unused
    assert (len(rig.cameras), rig.reference) == (count, reference)
    assert (rig.base_frame, rig.odom_frame, rig.ego_radius_m) == ("base_link", "odom", None)
    images = images_of(sequence)
    assert {camera.frame for camera in rig.cameras} == {frame_of(image) for image in images}
    sets, left_out = sets_of(bag, rig)
    assert not left_out
    taken = {(name, image.stamp_ns): image for each in sets for name, image in each.images.items()}
    assert taken.keys() == {(image.name.lower(), image.stamp_ns) for image in images}
    assert len(sets) == sum(frame.stamp_ns > 0 for frame in sequence.frames)
    for image in images:
        read = taken[image.name.lower(), image.stamp_ns]
        assert np.allclose(read.base_from_camera.matrix, image.ego_from_sensor.matrix, atol=1e-6)
        assert np.allclose(read.model.intrinsics, image.model.intrinsics)


@pytest.mark.parametrize("name", ["nuscenes"], indirect=True)
def test_sets_are_those_of_the_shipped_rig(bag: Path) -> None:
    _, rig = guessed(bag)
    written, by_hand = (
        [
            (each.stamp_ns, {name.lower(): image.stamp_ns for name, image in each.images.items()})
            for each in sets_of(bag, one)[0]
        ]
        for one in (rig, load_rig("nuscenes"))
    )
    assert written == by_hand and len(written) == 40
