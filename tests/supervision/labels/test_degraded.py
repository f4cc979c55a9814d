"""Labels that are made worse on purpose: by how much, and always alike."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from box_world import STREET

from renderocc_ros.class_set import IGNORE_ID, ClassSet
from renderocc_training.sequences.model import CameraImage, Frame, RecordedSequence
from renderocc_training.supervision.labels.degraded import DegradedLabels
from renderocc_training.supervision.labels.dense import pixel_grid
from renderocc_training.supervision.rays.ray_batch import NO_BOX, PixelLabels


class Base:
    """10 m everywhere but sky in the first row of pixels; half of the pixels have class 1 or 2."""

    name, reach = "base", 2

    def label(self, sequence: RecordedSequence, frame: Frame, camera: CameraImage) -> PixelLabels:
        pixels, row, column = pixel_grid(camera, 2)
        range_m = np.where(row == row.min(), np.inf, 10.0).astype(np.float32)
        class_id = np.where(column % 4 < 2, IGNORE_ID, 1 + (row // 2) % 2).astype(np.uint8)
        return PixelLabels(pixels, range_m, class_id, np.full(len(pixels), NO_BOX, np.int32))


@pytest.fixture(scope="module")
def sequence(tmp_path_factory: pytest.TempPathFactory) -> RecordedSequence:
    return STREET.record(tmp_path_factory.mktemp("street"), frames=6)


def degraded(
    occ3d: ClassSet, sequence: RecordedSequence, number: int, noise: float, wrong: float
) -> tuple[PixelLabels, PixelLabels]:
    frame = sequence.frames[number]
    camera = next(filter(None, frame.cameras))
    base = Base()
    labeller = DegradedLabels(occ3d, base, noise, wrong)
    assert labeller.reach == 2 and labeller.name == "base+degraded"
    return base.label(sequence, frame, camera), labeller.label(sequence, frame, camera)


def test_ranges_are_off_smoothly_by_as_much_as_asked(
    occ3d: ClassSet, sequence: RecordedSequence
) -> None:
    errors = []
    for number in range(len(sequence)):
        true, off = degraded(occ3d, sequence, number, 0.2, 0.0)
        sky = np.isinf(true.range_m)
        assert np.isinf(off.range_m[sky]).all() and np.array_equal(off.class_id, true.class_id)
        errors.append(np.log(off.range_m[~sky] / 10.0))
        neighbours = np.abs(np.diff(errors[-1]))
        assert np.median(neighbours) < 0.02  # smooth
    spread = np.concatenate(errors)
    assert abs(spread.mean()) < 0.08 and spread.std() == pytest.approx(0.2, abs=0.06)
    again = degraded(occ3d, sequence, 0, 0.2, 0.0)[1]
    first = degraded(occ3d, sequence, 0, 0.2, 0.0)[1]
    assert np.array_equal(again.range_m, first.range_m)
    assert not np.allclose(errors[0], errors[1])


def test_as_many_classes_are_wrong_as_asked(occ3d: ClassSet, sequence: RecordedSequence) -> None:
    true, off = degraded(occ3d, sequence, 0, 0.0, 0.4)
    known = true.class_id != IGNORE_ID
    assert np.array_equal(off.class_id[~known], true.class_id[~known])
    assert set(off.class_id[known].tolist()) == {1, 2}
    # Half of those that are drawn get their own class again.
    assert (off.class_id[known] != true.class_id[known]).mean() == pytest.approx(0.2, abs=0.02)
    assert np.array_equal(off.range_m, true.range_m)


def test_without_known_classes_nothing_is_drawn(
    occ3d: ClassSet, sequence: RecordedSequence, monkeypatch: pytest.MonkeyPatch
) -> None:
    label = Base.label
    monkeypatch.setattr(
        Base,
        "label",
        lambda *args: replace(label(*args), class_id=np.full_like(label(*args).class_id, 255)),
    )
    assert (degraded(occ3d, sequence, 0, 0.1, 0.5)[1].class_id == IGNORE_ID).all()
