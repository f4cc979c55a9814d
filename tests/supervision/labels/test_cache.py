"""Labels on disk: made once, made again when what they depend on changes, never half written."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from box_world import STREET

from renderocc_ros.class_set import ClassSet
from renderocc_ros.geometry import RigidTransform
from renderocc_training.sequences.model import CameraImage, Frame, RecordedSequence
from renderocc_training.supervision.labels.cache import LabelStore
from renderocc_training.supervision.labels.label_images import label_image_file
from renderocc_training.supervision.labels.label_source import LabelSource, open_store
from renderocc_training.supervision.rays.ray_batch import PixelLabels


class Counting:
    """Labels one pixel with the number of calls so far."""

    name, reach, calls = "counting", 0, 0

    def label(self, sequence: RecordedSequence, frame: Frame, camera: CameraImage) -> PixelLabels:
        self.calls += 1
        return PixelLabels(
            np.full((1, 2), 7, np.float32),
            np.full(1, self.calls, np.float32),
            np.full(1, 4, np.uint8),
            np.full(1, -1, np.int32),
        )


@pytest.fixture(scope="module")
def sequence(tmp_path_factory: pytest.TempPathFactory) -> RecordedSequence:
    return STREET.record(tmp_path_factory.mktemp("street"), frames=3)


def ranges(store: LabelStore, sequence: RecordedSequence, number: int = 0) -> list[float]:
    return store.labels(sequence, sequence.frames[number]).labels.range_m.tolist()


def test_a_second_run_reads_what_the_first_wrote(
    sequence: RecordedSequence, tmp_path: Path
) -> None:
    first, second = Counting(), Counting()
    store = LabelStore(first, tmp_path, {"a": 1})
    assert ranges(store, sequence) == [1, 2] and ranges(store, sequence, 1) == [3, 4]
    again = LabelStore(second, tmp_path, {"a": 1})
    assert again.has(sequence, sequence.frames[1]) and not again.has(sequence, sequence.frames[2])
    assert ranges(again, sequence, 1) == [3, 4] and second.calls == 0
    assert ranges(again, sequence, 2) == [1, 2] and second.calls == 2
    assert again.labels(sequence, sequence.frames[2]).camera.tolist() == [0, 1]


def test_other_settings_have_other_labels(sequence: RecordedSequence, tmp_path: Path) -> None:
    ranges(LabelStore(Counting(), tmp_path, {"a": 1}), sequence)
    other = Counting()
    ranges(LabelStore(other, tmp_path, {"a": 2}), sequence)
    assert other.calls == 2


def moved(frame: Frame) -> Frame:
    shift = RigidTransform(np.eye(3), np.array([0.01, 0, 0]))
    camera = frame.cameras[0]
    assert camera is not None
    other = replace(camera, world_from_ego=camera.world_from_ego @ shift)
    return replace(frame, cameras=(other, *frame.cameras[1:]))


def test_a_changed_pose_or_box_makes_the_labels_anew(
    sequence: RecordedSequence, tmp_path: Path
) -> None:
    ranges(LabelStore(Counting(), tmp_path, {}), sequence)
    track = sequence.tracks[0]
    longer = {**sequence.tracks, 0: replace(track, size_m=(9.0, 2.0, 2.0))}
    for changed in (
        replace(sequence, frames=(moved(sequence.frames[0]), *sequence.frames[1:])),
        replace(sequence, tracks=longer),
    ):
        counting = Counting()
        ranges(LabelStore(counting, tmp_path, {}), changed)
        assert counting.calls == 2
        ranges(LabelStore(counting, tmp_path, {}), changed)
        assert counting.calls == 2


def test_only_frames_within_reach_matter(sequence: RecordedSequence, tmp_path: Path) -> None:
    store = LabelStore(Counting(), tmp_path, {})
    later = replace(sequence, frames=(*sequence.frames[:2], moved(sequence.frames[2])))
    part = sequence.part(0, 2)
    first = sequence.frames[0]
    assert store.key(sequence, first) == store.key(later, first) == store.key(part, part.frames[0])
    store.labeller.reach = 2
    assert store.key(sequence, first) != store.key(later, first)


def test_a_damaged_file_is_made_anew(sequence: RecordedSequence, tmp_path: Path) -> None:
    store = LabelStore(Counting(), tmp_path, {})
    ranges(store, sequence)
    file = store.file(sequence.frames[0])
    assert file is not None
    for content in (b"", file.read_bytes()[:200]):
        file.write_bytes(content)
        counting = Counting()
        assert ranges(LabelStore(counting, tmp_path, {}), sequence) == [1, 2]
    assert sorted(path.name for path in file.parent.iterdir()) == ["frame0.npz", "settings.json"]


def test_the_fingerprint_of_settings_holds_the_mapping_files_content(
    occ3d: ClassSet, tmp_path: Path
) -> None:
    mapping = tmp_path / "boxes.yaml"
    text = "kind: boxes\ncategories: {vehicle: car}\non_road: ignore\noff_road: ignore\n"
    mapping.write_text(text)
    config = LabelSource(mapping=str(mapping))
    before = config.fingerprint(occ3d)
    mapping.write_text(text.replace("car", "truck"))
    assert config.fingerprint(occ3d) != before


OTHER_VALUES = {
    "depth": "mono",
    "semantics": "points",
    "mapping": "semantickitti",
    "sweeps": 3,
    "ego_radius_m": 0.0,
    "road_mask": Path("map.png"),
    "stride_px": 5,
    "segmentation_model": "a/b",
    "min_probability": 0.5,
    "depth_model": "a/c",
    "mono_farthest_m": 50.0,
    "range_noise": 0.1,
    "wrong_classes": 0.1,
}


@pytest.mark.parametrize("key", LabelSource.model_fields)
def test_every_key_of_a_label_source_makes_labels_of_its_own(key: str, occ3d: ClassSet) -> None:
    """A new key must have another value above."""
    config = LabelSource()
    changed = config.model_copy(update={key: OTHER_VALUES[key]})
    assert changed.fingerprint(occ3d) != config.fingerprint(occ3d)


@pytest.mark.parametrize("key", ["segmentation_model", "depth_model"])
def test_a_model_that_was_trained_further_makes_labels_anew(
    key: str, occ3d: ClassSet, tmp_path: Path
) -> None:
    config = LabelSource().model_copy(update={key: str(tmp_path)})
    seen = []
    for content in (b"1", b"2"):
        rewritten(tmp_path / "model.safetensors", content)
        seen.append(config.fingerprint(occ3d))
    assert seen[0] != seen[1]


def test_the_robot_s_size_alone_makes_labels_anew(
    sequence: RecordedSequence, occ3d: ClassSet, tmp_path: Path
) -> None:
    """A rig whose ``ego_radius_m`` was corrected: nothing else in its data set changes."""
    config, frame = LabelSource(semantics="none"), sequence.frames[0]
    nearest = {}
    for radius_m in (0.5, 12.0, 0.5):
        store = open_store(config, occ3d, tmp_path)
        sized = replace(sequence, origin=replace(sequence.origin, ego_radius_m=radius_m))
        nearest[radius_m] = store.labels(sized, frame).labels.range_m.min()
        assert open_store(config, occ3d, tmp_path).has(sized, frame)
    assert nearest[0.5] < 9 < nearest[12.0]
    in_one_go = open_store(config, occ3d, None)
    for radius_m in (0.5, 12.0):
        sized = replace(sequence, origin=replace(sequence.origin, ego_radius_m=radius_m))
        assert in_one_go.labels(sized, frame).labels.range_m.min() == nearest[radius_m]


def rewritten(file: Path, content: bytes) -> Path:
    """A file that is a minute younger than the last time."""
    before = file.stat().st_mtime if file.exists() else 0
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    os.utime(file, (before + 60, before + 60))
    return file


def test_a_road_map_that_comes_later_or_changes_makes_the_labels_anew(
    sequence: RecordedSequence, occ3d: ClassSet, tmp_path: Path
) -> None:
    content = ("vehicle: car", "human: pedestrian", "static: manmade")
    mapping = tmp_path / "boxes.yaml"
    mapping.write_text(
        f"kind: boxes\ncategories: {{{', '.join(content)}}}\n"
        "on_road: driveable_surface\noff_road: other_flat\n"
    )
    config = LabelSource(mapping=str(mapping))

    def ground(sequence: RecordedSequence, config: LabelSource = config) -> set[int]:
        store = open_store(config, occ3d, tmp_path / "labels")
        result = set(store.labels(sequence, sequence.frames[0]).labels.class_id.tolist())
        assert store.has(sequence, sequence.frames[0])
        return result & {occ3d.id_of("driveable_surface"), occ3d.id_of("other_flat")}

    assert ground(sequence) == {occ3d.id_of("other_flat")}
    road = tmp_path / "map.png"
    assert cv2.imwrite(str(road), np.full((3000, 3000), 255, np.uint8))
    mapped = replace(sequence, road_mask=road)
    assert occ3d.id_of("driveable_surface") in ground(mapped)
    given = config.model_copy(update={"road_mask": road})
    ground(sequence, given)
    rewritten(road, road.read_bytes())
    for changed, settings in ((mapped, config), (sequence, given)):
        store = open_store(settings, occ3d, tmp_path / "labels")
        assert not store.has(changed, changed.frames[0])
    ground(mapped)
    moved = rewritten(tmp_path / "elsewhere" / road.name, road.read_bytes())
    os.utime(moved, (road.stat().st_mtime,) * 2)
    copied = replace(mapped, road_mask=moved)
    assert open_store(config, occ3d, tmp_path / "labels").has(copied, copied.frames[0])


@pytest.mark.parametrize("kind", ["classes", "depth", "points"])
def test_edited_label_files_make_the_labels_of_their_frame_anew(
    sequence: RecordedSequence, occ3d: ClassSet, tmp_path: Path, kind: str
) -> None:
    sequence = replace(sequence, root=tmp_path)
    frame = sequence.frames[1]
    assert frame.cameras[0] is not None and frame.lidar is not None
    points = tmp_path / "1.label"
    sweep = replace(frame.lidar, labels=points)
    frames = (sequence.frames[0], replace(frame, lidars=(sweep,)), sequence.frames[2])
    sequence = replace(sequence, frames=frames)
    file = points if kind == "points" else label_image_file(sequence, kind, frame.cameras[0])
    config = LabelSource(
        depth="lidar" if kind == "points" else "images",
        semantics="points" if kind == "points" else "images",
    )
    store = open_store(config, occ3d, tmp_path / "labels")
    seen = set()
    for content in (None, b"1234", b"1234", b"12345"):
        if content is not None:
            rewritten(file, content)
        seen.add((store.key(sequence, frames[0]), store.key(sequence, frames[1])))
    assert len({first for first, _ in seen}) == 1 and len({own for _, own in seen}) == 4


def test_files_that_are_not_read_do_not_matter(sequence: RecordedSequence, occ3d: ClassSet) -> None:
    config = LabelSource(semantics="none")
    store = open_store(config, occ3d, None)
    mapped = replace(sequence, road_mask=Path("anywhere.png"))
    assert store.key(sequence, sequence.frames[0]) == store.key(mapped, mapped.frames[0])


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
        LabelSource(**given)  # type: ignore[arg-type]
