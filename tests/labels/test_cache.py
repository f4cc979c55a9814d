"""Labels on disk: made once, made again when what they depend on changes, never half written."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from box_world import STREET

from renderocc_ros.class_set import ClassSet
from renderocc_ros.geometry import RigidTransform
from renderocc_training.dataset.frames import CameraFrame, Drive, Frame
from renderocc_training.labels.cache import LabelStore
from renderocc_training.labels.config import LabelConfig
from renderocc_training.rays.ray_batch import PixelLabels


class Counting:
    """Labels one pixel with the number of calls so far."""

    name, reach, calls = "counting", 0, 0

    def label(self, drive: Drive, frame: Frame, camera: CameraFrame) -> PixelLabels:
        self.calls += 1
        return PixelLabels(
            np.full((1, 2), 7, np.float32),
            np.full(1, self.calls, np.float32),
            np.full(1, 4, np.uint8),
            np.full(1, -1, np.int32),
        )


@pytest.fixture(scope="module")
def drive(tmp_path_factory: pytest.TempPathFactory) -> Drive:
    return STREET.record(tmp_path_factory.mktemp("street"), frames=3)


def ranges(store: LabelStore, drive: Drive, number: int = 0) -> list[float]:
    return store.labels(drive, drive.frames[number]).labels.range_m.tolist()


def test_a_second_run_reads_what_the_first_wrote(drive: Drive, tmp_path: Path) -> None:
    first, second = Counting(), Counting()
    store = LabelStore(first, tmp_path, {"a": 1})
    assert ranges(store, drive) == [1, 2] and ranges(store, drive, 1) == [3, 4]
    again = LabelStore(second, tmp_path, {"a": 1})
    assert again.has(drive, drive.frames[1]) and not again.has(drive, drive.frames[2])
    assert ranges(again, drive, 1) == [3, 4] and second.calls == 0
    assert ranges(again, drive, 2) == [1, 2] and second.calls == 2
    assert again.labels(drive, drive.frames[2]).camera.tolist() == [0, 1]


def test_other_settings_have_other_labels(drive: Drive, tmp_path: Path) -> None:
    ranges(LabelStore(Counting(), tmp_path, {"a": 1}), drive)
    other = Counting()
    ranges(LabelStore(other, tmp_path, {"a": 2}), drive)
    assert other.calls == 2


def moved(frame: Frame) -> Frame:
    shift = RigidTransform(np.eye(3), np.array([0.01, 0, 0]))
    camera = frame.cameras[0]
    assert camera is not None
    other = replace(camera, world_from_camera=camera.world_from_camera @ shift)
    return replace(frame, cameras=(other, *frame.cameras[1:]))


def test_a_changed_pose_or_box_makes_the_labels_anew(drive: Drive, tmp_path: Path) -> None:
    ranges(LabelStore(Counting(), tmp_path, {}), drive)
    track = drive.tracks[0]
    longer = {**drive.tracks, 0: replace(track, size_m=(9.0, 2.0, 2.0))}
    for changed in (
        replace(drive, frames=(moved(drive.frames[0]), *drive.frames[1:])),
        replace(drive, tracks=longer),
    ):
        counting = Counting()
        ranges(LabelStore(counting, tmp_path, {}), changed)
        assert counting.calls == 2
        ranges(LabelStore(counting, tmp_path, {}), changed)
        assert counting.calls == 2


def test_only_frames_within_reach_matter(drive: Drive, tmp_path: Path) -> None:
    store = LabelStore(Counting(), tmp_path, {})
    later = replace(drive, frames=(*drive.frames[:2], moved(drive.frames[2])))
    part = drive.part(0, 2)
    first = drive.frames[0]
    assert store.key(drive, first) == store.key(later, first) == store.key(part, part.frames[0])
    store.labeller.reach = 2
    assert store.key(drive, first) != store.key(later, first)


def test_a_damaged_file_is_made_anew(drive: Drive, tmp_path: Path) -> None:
    store = LabelStore(Counting(), tmp_path, {})
    ranges(store, drive)
    file = store.file(drive.frames[0])
    assert file is not None
    for content in (b"", file.read_bytes()[:200]):
        file.write_bytes(content)
        counting = Counting()
        assert ranges(LabelStore(counting, tmp_path, {}), drive) == [1, 2]
    assert sorted(path.name for path in file.parent.iterdir()) == ["frame0.npz", "settings.json"]


def test_the_fingerprint_of_settings_holds_the_mapping_files_content(
    occ3d: ClassSet, tmp_path: Path
) -> None:
    mapping = tmp_path / "boxes.yaml"
    text = "kind: boxes\ncategories: {vehicle: car}\non_road: ignore\noff_road: ignore\n"
    mapping.write_text(text)
    config = LabelConfig(mapping=str(mapping))
    before = config.fingerprint(occ3d)
    mapping.write_text(text.replace("car", "truck"))
    assert config.fingerprint(occ3d) != before


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"depth": "images", "semantics": "boxes"}, "labels LiDAR points"),
        ({"semantics": "segmentation"}, "needs segmentation_model"),
        ({"depth": "mono", "semantics": "none"}, "needs depth_model"),
        ({"depth": "none", "semantics": "none"}, "labels nothing"),
    ],
)
def test_sources_that_do_not_fit_are_refused(given: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LabelConfig(**given)  # type: ignore[arg-type]
