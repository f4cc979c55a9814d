"""Readers of nuScenes, SemanticKITTI and DDAD on real recordings, and what they refuse."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from renderocc_ros.class_set import IGNORE_ID, ClassSet
from renderocc_ros.geometry import RigidTransform
from renderocc_training.sequences.data_sets import hold_out, open_sequences
from renderocc_training.sequences.model import Frame, RecordedSequence, inside_box
from renderocc_training.sequences.sensor_files import read_point_labels, read_points
from renderocc_training.supervision.labels.interface import NoClasses
from renderocc_training.supervision.labels.lidar_depth import LidarLabels
from renderocc_training.supervision.labels.lidar_semantics import PointFileClasses
from renderocc_training.supervision.labels.mapping import load_numbers

Recording = Callable[..., Path]


@pytest.fixture(scope="module")
def boston(recording: Recording) -> RecordedSequence:
    return open_sequences(recording("data", "nuscenes"), as_recorded=True)[0]


def test_a_nuscenes_scene(boston: RecordedSequence) -> None:
    assert len(boston) == 40 and len(boston.camera_names) == 6 and len(boston.tracks) == 155
    gaps = np.diff([frame.stamp_ns for frame in boston.frames]) * 1e-9
    assert gaps.min() > 0.39 and gaps.max() < 0.61
    assert sum(len(track.stamps_ns) for track in boston.tracks.values()) == 2625


def test_one_ego_pose_a_frame_and_each_camera_at_its_own_stamp(boston: RecordedSequence) -> None:
    for frame in boston.frames[:5]:
        assert frame.lidar is not None and frame.stamp_ns == frame.lidar.stamp_ns
        assert frame.world_from_ego.is_close(frame.lidar.world_from_ego, 1e-9, 1e-9)
        mounts = []
        for camera in frame.cameras:
            assert camera is not None and 1e6 < frame.stamp_ns - camera.stamp_ns < 50e6
            ego_from_camera = frame.world_from_ego.inverse() @ camera.world_from_sensor
            mounts.append(ego_from_camera.translation)
        # Where the cameras were, seen from one ego frame: up to 0.45 m behind their mounts.
        assert np.ptp(mounts, axis=0)[0] > 1.0


def test_boxes_hold_the_points_that_were_counted(boston: RecordedSequence) -> None:
    """The annotations' own counts, so poses, sizes and axes of the boxes are right."""
    table = boston.root / "v1.0-mini" / "sample_annotation.json"
    counts = {
        (record["sample_token"], tuple(np.round(record["translation"], 3))): record["num_lidar_pts"]
        for record in json.loads(table.read_text())
    }
    frame = boston.frames[7]
    assert frame.lidar is not None
    world = (frame.world_from_ego @ frame.lidar.ego_from_sensor).apply(read_points(frame.lidar))
    checked = 0
    for track in boston.tracks.values():
        pose = track.at(frame.stamp_ns)
        if pose is None or frame.stamp_ns not in track.stamps_ns:
            continue
        count = counts[(frame.token, tuple(np.round(pose.translation, 3)))]
        result = int(inside_box(world, pose.inverse(), track.size_m).sum())
        checked += 1
        assert result == count
    assert checked > 30


def test_the_only_version_is_found_and_others_are_asked_for(
    recording: Recording, tmp_path: Path
) -> None:
    root = recording("data", "nuscenes")
    with pytest.raises(ValueError, match="no scene scene-0001; there are 1: scene-0523"):
        open_sequences(root, names=["scene-0001"])
    with pytest.raises(ValueError, match="holds no tables of nuScenes.*--format"):
        open_sequences(tmp_path)
    for version in ("v1.0-mini", "v1.0-trainval"):
        (tmp_path / version).mkdir()
        (tmp_path / version / "sample_data.json").write_text("[]")
    with pytest.raises(ValueError, match="has tables of v1.0-mini, v1.0-trainval: give one of"):
        open_sequences(tmp_path)
    with pytest.raises(ValueError, match="is not there"):
        open_sequences(tmp_path / "nowhere")


def test_point_labels_of_extraction_and_lidarseg_are_found(
    recording: Recording, tmp_path: Path, occ3d: ClassSet
) -> None:
    """lidarseg as nuScenes ships it: a table, and one byte for every point."""
    source = recording("data", "nuscenes")
    shutil.copytree(source / "v1.0-mini", tmp_path / "v1.0-mini")
    for folder in ("samples", "maps"):
        (tmp_path / folder).symlink_to(source / folder)
    plain = open_sequences(tmp_path)[0]
    sweep = plain.frames[0].lidar
    assert sweep is not None and sweep.labels is None
    extracted = tmp_path / "labels" / "points" / "LIDAR_TOP" / f"{sweep.stamp_ns // 1000}.label"
    extracted.parent.mkdir(parents=True)
    np.full(len(read_points(sweep)), 4, "<u4").tofile(extracted)
    sweep = open_sequences(tmp_path)[0].frames[0].lidar
    assert sweep is not None and sweep.labels == extracted
    data = json.loads((tmp_path / "v1.0-mini" / "sample_data.json").read_text())
    token = next(r["token"] for r in data if sweep.file.name in r["filename"])
    points = read_points(sweep)
    classes = np.where(points[:, 2] < -1.5, 24, 28).astype(np.uint8)
    file = tmp_path / "lidarseg" / "v1.0-mini" / f"{token}_lidarseg.bin"
    file.parent.mkdir(parents=True)
    classes.tofile(file)
    record = {"token": token, "sample_data_token": token}
    table = [{**record, "filename": file.relative_to(tmp_path).as_posix()}]
    (tmp_path / "v1.0-mini" / "lidarseg.json").write_text(json.dumps(table))
    categories = json.loads((tmp_path / "v1.0-mini" / "category.json").read_text())
    for index, category in enumerate(categories):
        category["index"] = index
    (tmp_path / "v1.0-mini" / "category.json").write_text(json.dumps(categories))
    sequence = open_sequences(tmp_path)[0]
    labeller = LidarLabels(occ3d, PointFileClasses(occ3d, load_numbers("nuscenes_lidarseg")))
    result = labeller.labelled_sweep(sequence, sequence.frames[0].lidar, 1.0)  # type: ignore[arg-type]
    names = {occ3d.names[c] for c in np.unique(result.class_id)}
    assert names == {"driveable_surface", "manmade"}
    with pytest.raises(ValueError, match="has no labels for its points"):
        labeller.labelled_sweep(sequence, sequence.frames[1].lidar, 1.0)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def karlsruhe(recording: Recording) -> RecordedSequence:
    return open_sequences(recording("data", "semantickitti"), "semantickitti")[0]


def test_a_semantickitti_sequence(karlsruhe: RecordedSequence) -> None:
    assert len(karlsruhe) == 10 and karlsruhe.camera_names == ("CAM_2", "CAM_3")
    left, right = karlsruhe.frames[3].cameras
    assert left is not None and right is not None
    baseline = left.world_from_sensor.inverse().apply(right.world_from_sensor.translation)
    assert np.allclose(baseline, [0.532, 0, 0], atol=0.01)
    places = np.array([frame.world_from_ego.translation for frame in karlsruhe.frames])
    assert 6.5 < places[-1, 0] < 7.0 and abs(places[-1, 1:]).max() < 0.5  # 6.7 m straight on


def test_ground_of_semantickitti_is_at_height_zero(karlsruhe: RecordedSequence) -> None:
    sweep = karlsruhe.frames[0].lidar
    assert sweep is not None and sweep.labels is not None
    points = sweep.ego_from_sensor.apply(read_points(sweep))
    road = read_point_labels(sweep.labels, len(points)) == 40
    near = road & (np.hypot(points[:, 0], points[:, 1]) < 12)
    assert abs(np.median(points[near, 2])) < 0.1


def test_static_points_of_semantickitti_meet_through_the_poses(karlsruhe: RecordedSequence) -> None:
    from scipy.spatial import cKDTree

    clouds = []
    for number in (0, 5):
        frame = karlsruhe.frames[number]
        assert frame.lidar is not None and frame.lidar.labels is not None
        points = read_points(frame.lidar)
        kind = read_point_labels(frame.lidar.labels, len(points))
        static = np.isin(kind, (40, 48, 50, 70, 71, 72, 80)) & (np.linalg.norm(points, axis=1) < 30)
        clouds.append((frame.world_from_ego @ frame.lidar.ego_from_sensor).apply(points[static]))
    distance, _ = cKDTree(clouds[0]).query(clouds[1][::10])
    assert np.median(distance) < 0.1


def test_a_ddad_scene(recording: Recording, occ3d: ClassSet) -> None:
    sequence = open_sequences(recording("data", "ddad"), "ddad")[0]
    assert len(sequence) == 3 and len(sequence.camera_names) == 6
    assert np.allclose(np.diff([frame.stamp_ns for frame in sequence.frames]), 1e8, rtol=0.02)
    moved = sequence.frames[0].world_from_ego.inverse() @ sequence.frames[2].world_from_ego
    assert 2.2 < moved.translation[0] < 2.9  # 12.7 m/s forward for 0.2 s
    assert len(sequence.tracks) >= 13
    front = sequence.frames[0].cameras[0]
    assert front is not None and front.model.intrinsics[0, 0] == pytest.approx(2182, abs=5)
    labels = LidarLabels(occ3d, NoClasses()).label(sequence, sequence.frames[0], front)
    assert len(labels.range_m) > 3000


def test_tracks_interpolate_and_end(boston: RecordedSequence) -> None:
    track = max(boston.tracks.values(), key=lambda t: t.travelled_m)
    first, second = track.stamps_ns[:2]
    middle = track.at((first + second) // 2)
    assert middle is not None
    mean = (track.world_from_box[0].translation + track.world_from_box[1].translation) / 2
    assert np.allclose(middle.translation, mean, atol=1e-3)
    assert track.at(first - 50_000_000) is track.world_from_box[0]
    assert track.at(first - 200_000_000) is None


def test_a_part_of_a_sequence_knows_no_others(boston: RecordedSequence) -> None:
    part = boston.part(30, 40)
    assert [frame.number for frame in part.frames] == list(range(10))
    assert part.frames[0].token == boston.frames[30].token
    assert len(part.near(0, 3)) == 4 and len(part.near(9, 3)) == 4
    with pytest.raises(ValueError, match="none in 40:50"):
        boston.part(40, 50)


def test_files_that_do_not_fit_are_named(karlsruhe: RecordedSequence, tmp_path: Path) -> None:
    sweep = karlsruhe.frames[0].lidar
    assert sweep is not None and sweep.labels is not None
    with pytest.raises(ValueError, match=r"labels \d+ points, but its sweep has 3"):
        read_point_labels(sweep.labels, 3)
    (tmp_path / "sequences" / "07" / "velodyne").mkdir(parents=True)
    with pytest.raises(ValueError, match="07 lacks calib.txt, poses.txt, times.txt"):
        open_sequences(tmp_path, "semantickitti")
    with pytest.raises(ValueError, match="no sequence 09"):
        open_sequences(tmp_path, "semantickitti", names=["09"])


def test_numbers_that_the_mapping_does_not_list_are_told_once(
    karlsruhe: RecordedSequence, occ3d: ClassSet, tmp_path: Path
) -> None:
    sweep = karlsruhe.frames[0].lidar
    assert sweep is not None and sweep.labels is not None
    raw = np.fromfile(sweep.labels, "<u4")
    raw[:500] = 77
    raw.tofile(tmp_path / "0.label")
    other = replace(sweep, labels=tmp_path / "0.label")
    source = PointFileClasses(occ3d, load_numbers("semantickitti"))
    nobody = np.full(len(raw), -1, np.int32)
    points = np.zeros((len(raw), 3))
    with pytest.warns(UserWarning, match=rf"does not list: 77 \(500\) of {len(raw)}"):
        classes, _ = source.classes(karlsruhe, other, points, nobody)
    assert (classes[:500] == IGNORE_ID).all()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        source.classes(karlsruhe, other, points, nobody)
        fresh = PointFileClasses(occ3d, load_numbers("semantickitti"))
        fresh.classes(karlsruhe, sweep, points, nobody)


def named_sequence(name: str, frames: int) -> RecordedSequence:
    frame = Frame("t", 0, 0, RigidTransform.identity(), ())
    numbered = (replace(frame, token=f"{name}-{i}", number=i) for i in range(frames))
    return RecordedSequence(name, Path(), (), tuple(numbered))


def tokens(sequences: list[RecordedSequence]) -> list[list[str]]:
    return [[frame.token for frame in sequence.frames] for sequence in sequences]


def test_whole_scenes_and_parts_are_held_out() -> None:
    sequences = [named_sequence("a", 2), named_sequence("b", 4)]
    assert hold_out(sequences, ()) == (sequences, [])
    assert hold_out(sequences, ("a",)) == ([sequences[1]], [sequences[0]])
    kept, held = hold_out(sequences, ("b[3:]",))
    assert tokens(kept) == [["a-0", "a-1"], ["b-0", "b-1", "b-2"]] and tokens(held) == [["b-3"]]
    kept, held = hold_out(sequences, ("b[1:2]", "a"))
    assert tokens(kept) == [["b-0"], ["b-2", "b-3"]] and tokens(held) == [["a-0", "a-1"], ["b-1"]]
    assert [frame.number for frame in kept[1].frames] == [0, 1]


@pytest.mark.parametrize(
    ("held_out", "message"),
    [
        (("c",), "no scene c to hold out; there are 1: a"),
        (("",), "no scene .* to hold out"),
        (("a[:1]", "a[1:]"), "held out twice"),
        (("a[5:]",), "has 2 frames, none in 5:2"),
        (("a[:]",), "nothing to train on"),
    ],
)
def test_what_cannot_be_held_out(held_out: tuple[str, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        hold_out([named_sequence("a", 2)], held_out)
