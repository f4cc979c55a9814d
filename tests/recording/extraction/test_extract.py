"""Recordings into data sets: content, order, completeness, and what is wrong with a bag."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from renderocc_ros.config import RigConfig
from renderocc_training.cli import app
from renderocc_training.recording.bag_reader import BagReader
from renderocc_training.recording.extraction.job import Job, run_job
from renderocc_training.recording.extraction.merge import merge_tables
from renderocc_training.recording.extraction.options import ExtractOptions
from renderocc_training.recording.extraction.report import ExtractionReport
from renderocc_training.recording.extraction.scene_writer import points_inside

MS = 1_000_000
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
VERSION = "v1.0-trainval"


def extract(bag: Path, out: Path, rig: RigConfig, **options: Any) -> ExtractionReport:
    out.mkdir(exist_ok=True)
    (out / ".extraction").mkdir(exist_ok=True)
    report = run_job(Job(bag, out, rig, ExtractOptions(**options)))
    if report.scenes:
        merge_tables(out, VERSION)
    return report


def test_every_reading_comes_out_once_where_it_was_and_as_it_was(
    drive: Any, tables: Any, rig: RigConfig, tmp_path: Path
) -> None:
    from tests.recording.extraction.conftest import START_NS, cloud, jpeg, pose_at

    report = extract(drive().write(tmp_path / "bag"), tmp_path / "out", rig)
    data = tables(tmp_path / "out")
    assert report.key_frames == 6
    assert report.problems == []
    assert report.skipped == {}
    assert len(data["sample"]) == 6
    shift = np.array(data["ego_pose"][0]["translation"])
    offset = {"FRONT": 0, "REAR": 20, "LIDAR_TOP": 30}
    for place, name in enumerate(("FRONT", "REAR")):
        records = data.channel(name)
        assert len(records) == 30
        for number, record in enumerate(records):
            content = (tmp_path / "out" / record["filename"]).read_bytes()
            assert content == jpeg(2 * number + place)
            assert record["is_key_frame"] == (number % 5 == 0)
            assert record["filename"].startswith(("sweeps/", "samples/")[record["is_key_frame"]])
    shift = np.array([100.0, 100.0, 0.0])  # a drive from (0, 0) is moved off nuScenes' map edge
    for name, offset_ms in offset.items():
        for number, record in enumerate(data.channel(name)):
            stamp_ns = START_NS + (number * 100 + offset_ms) * MS
            assert record["timestamp"] == stamp_ns // 1000
            pose = data.get("ego_pose", record["ego_pose_token"])
            wanted = pose_at(stamp_ns)
            np.testing.assert_allclose(pose["translation"], wanted.translation + shift, atol=2e-4)
            w, x, y, z = pose["rotation"]
            np.testing.assert_allclose([x, y, z, w], wanted.quaternion_xyzw, atol=1e-7)
    for number, record in enumerate(data.channel("LIDAR_TOP")):
        numbers = np.fromfile(tmp_path / "out" / record["filename"], "<f4").reshape(-1, 5)
        points = cloud(number)
        for column, name in enumerate(points.dtype.names or ()):
            np.testing.assert_array_equal(numbers[:, column], points[name])


def test_sweeps_belong_to_the_key_frame_that_follows(
    drive: Any, tables: Any, rig: RigConfig, tmp_path: Path
) -> None:
    extract(drive().write(tmp_path / "bag"), tmp_path / "out", rig)
    data = tables(tmp_path / "out")
    samples = sorted(data["sample"], key=lambda sample: sample["timestamp"])
    stamps = {sample["token"]: sample["timestamp"] for sample in samples}
    for record in data["sample_data"]:
        stamp = stamps[record["sample_token"]]
        if record["is_key_frame"]:
            assert abs(record["timestamp"] - stamp) <= 30_000
        elif record["timestamp"] < samples[-1]["timestamp"] - 30_000:
            assert 0 < stamp - record["timestamp"] < 500_000
        else:  # after the last key frame there is only that one
            assert stamp == samples[-1]["timestamp"]
    assert [sample["next"] for sample in samples] == [s["token"] for s in samples[1:]] + [""]
    (scene,) = data["scene"]
    assert scene["nbr_samples"] == 6
    assert scene["first_sample_token"] == samples[0]["token"]
    assert scene["last_sample_token"] == samples[-1]["token"]


def test_boxes_are_tracks_in_the_world_with_their_points_counted(
    drive: Any, tables: Any, rig: RigConfig, tmp_path: Path
) -> None:
    from tests.recording.extraction.conftest import LIDAR, START_NS, cloud, pose_at

    extract(drive().write(tmp_path / "bag"), tmp_path / "out", rig)
    data = tables(tmp_path / "out")
    (instance,) = data["instance"]
    boxes = [data.get("sample_annotation", instance["first_annotation_token"])]
    while boxes[-1]["next"]:
        boxes.append(data.get("sample_annotation", boxes[-1]["next"]))
    assert len(boxes) == instance["nbr_annotations"] == 6
    assert data.get("category", instance["category_token"])["name"] == "vehicle.car"
    counts = []
    for number, box in enumerate(boxes):
        np.testing.assert_allclose(box["translation"], [112.0, 104.0, 0.8], atol=1e-9)
        assert box["size"] == [8.0, 12.0, 4.0]
        stamp_ns = START_NS + (number * 500 + 30) * MS
        points = cloud(number * 5)
        xyz = np.stack([points[name] for name in "xyz"], axis=1)
        inside = np.abs((pose_at(stamp_ns) @ LIDAR).apply(xyz) - [12.0, 4.0, 0.8]) < [6, 4, 2]
        counts.append(int(inside.all(axis=1).sum()))
    assert [box["num_lidar_pts"] for box in boxes] == counts
    assert sum(counts) > 0


@pytest.mark.parametrize(
    ("options", "key_frames", "sweeps"),
    [
        ({"key_frame_s": 0}, 30, 0),
        ({"key_frame_s": 1.0}, 3, 27 * 3),
        ({"key_frame_m": 3.0}, 5, 25 * 3),  # 5 m/s at 10 Hz: every sixth set
        ({"sweeps": False}, 6, 0),
        ({"sweeps": False, "lidar": ""}, 6, 0),
    ],
)
def test_key_frames_by_time_and_distance(
    drive: Any,
    rig: RigConfig,
    tmp_path: Path,
    options: dict[str, Any],
    key_frames: int,
    sweeps: int,
) -> None:
    report = extract(drive().write(tmp_path / "bag"), tmp_path / "out", rig, **options)
    assert (report.key_frames, report.sweeps) == (key_frames, sweeps)


def test_raw_images_are_encoded_once_and_look_the_same(
    drive: Any, tables: Any, rig: RigConfig, tmp_path: Path
) -> None:
    import cv2

    from tests.recording.extraction.conftest import jpeg

    extract(drive(raw=True).write(tmp_path / "bag"), tmp_path / "out", rig, key_frame_s=0)
    for number, record in enumerate(tables(tmp_path / "out").channel("REAR")):
        got = cv2.imread(str(tmp_path / "out" / record["filename"])).astype(int)
        wanted = cv2.imdecode(np.frombuffer(jpeg(2 * number + 1), np.uint8), 1)
        assert np.abs(got - wanted).mean() < 12  # JPEG of noise at quality 95
    assert number == 29


def test_poses_may_come_from_odometry(
    drive: Any, tables: Any, rig: RigConfig, tmp_path: Path
) -> None:
    from renderocc_training.recording import message_content, messages

    def as_odometry(topic: str, number: int, message: Any) -> Any:
        if topic != "/tf":
            return message
        (entry,) = message.transforms
        pose = message_content.transform_of(entry)
        stamp_ns = message_content.stamp_ns(entry)
        return messages.odometry(stamp_ns, "odom", "base_link", pose, (5, 0, 0), (0, 0, 0.1))

    class OnOtherTopic(drive):  # type: ignore[misc,valid-type]
        def events(self) -> Any:
            for log_ns, topic, message in super().events():
                if topic == "/tf":
                    yield log_ns, "/odom", as_odometry(topic, 0, message)
                else:
                    yield log_ns, topic, message

    tf = extract(drive().write(tmp_path / "tf"), tmp_path / "a", rig)
    odometry = extract(OnOtherTopic().write(tmp_path / "odometry"), tmp_path / "b", rig)
    assert odometry.key_frames == tf.key_frames == 6
    poses = [
        sorted((pose["timestamp"], pose["translation"]) for pose in tables(out)["ego_pose"])
        for out in (tmp_path / "a", tmp_path / "b")
    ]
    assert poses[0] == poses[1]


def test_label_images_are_kept_losslessly(drive: Any, rig: RigConfig, tmp_path: Path) -> None:
    import cv2

    from renderocc_training.recording import message_content, messages

    class WithLabels(drive):  # type: ignore[misc,valid-type]
        def events(self) -> Any:
            for log_ns, topic, message in super().events():
                yield log_ns, topic, message
                if topic == "/front/image_raw/compressed":
                    stamp_ns = message_content.stamp_ns(message)
                    number = (stamp_ns - self.start_ns) // (100 * MS)
                    classes = np.full((32, 48), number, np.uint8)
                    depth = np.full((32, 48), 1.5 + number, np.float32)
                    yield (
                        log_ns,
                        "/front/classes",
                        messages.image(stamp_ns, "front", classes, "mono8"),
                    )
                    yield log_ns, "/front/depth", messages.image(stamp_ns, "front", depth, "32FC1")

    report = extract(
        WithLabels().write(tmp_path / "bag"),
        tmp_path / "out",
        rig,
        labels=("classes=/{camera}/classes", "depth=/{camera}/depth"),
    )
    assert report.labels == 60
    assert any("REAR: no label images" in problem for problem in report.problems)
    stamp_us = (drive.start_ns + 7 * 100 * MS) // 1000
    labels = tmp_path / "out" / "labels"
    classes = cv2.imread(str(labels / "classes" / "FRONT" / f"{stamp_us}.png"), -1)
    depth = cv2.imread(str(labels / "depth" / "FRONT" / f"{stamp_us}.png"), -1)
    assert (classes.dtype, set(classes.ravel())) == (np.uint8, {7})
    assert (depth.dtype, set(depth.ravel())) == (np.uint16, {8500})


@pytest.mark.parametrize("off_ms", [0, 7])
def test_3d_truth_goes_where_occ3d_has_it_and_only_from_the_key_frame_s_own_time(
    drive: Any, tables: Any, rig: RigConfig, tmp_path: Path, off_ms: int
) -> None:
    from renderocc_ros.config import load_class_set
    from renderocc_ros.geometry import VoxelGrid
    from renderocc_ros.semantic_occupancy import SemanticOccupancy
    from renderocc_training.recording import message_content, messages

    grid = VoxelGrid((-2.0, -1.0, -0.5), 0.5, (8, 4, 2))
    occ3d = load_class_set("occ3d")

    def truth(stamp_ns: int, seen: int) -> Any:
        labels = np.random.default_rng(stamp_ns // MS % 2**31).integers(0, 18, (8, 4, 2), np.uint8)
        observed = np.zeros((8, 4, 2), bool)
        observed[:seen] = True
        full = np.full_like(labels, 255)
        found = SemanticOccupancy(stamp_ns, grid, occ3d, labels, full, observed)
        return messages.semantic_occupancy(found, "base_link", {})

    class WithTruth(drive):  # type: ignore[misc,valid-type]
        def events(self) -> Any:
            for log_ns, topic, message in super().events():
                yield log_ns, topic, message
                if topic == "/points":
                    at = message_content.stamp_ns(message) + off_ms * MS
                    yield log_ns, "/ground_truth/occupancy", truth(at, 3)
                    yield log_ns, "/ground_truth/occupancy_lidar", truth(at, 5)

    out = tmp_path / "out"
    report = extract(WithTruth().write(tmp_path / "bag"), out, rig)
    assert report.key_frames == 6
    if off_ms:
        assert report.occupancies == 0
        assert report.skipped["3D truth", "no occupancy at the stamp of a key frame"] == 6
        return
    assert report.occupancies == 6
    grid_file = json.loads((out / "gts" / "bag" / "grid.json").read_text())
    assert grid_file == {
        "origin_m": [-2.0, -1.0, -0.5],
        "resolution_m": 0.5,
        "size": [8, 4, 2],
        "class_table": "occ3d",
    }
    for sample in tables(out)["sample"]:
        wanted = truth(sample["timestamp"] * 1000, 3).labels.reshape(8, 4, 2)
        with np.load(out / "gts" / "bag" / sample["token"] / "labels.npz") as arrays:
            np.testing.assert_array_equal(arrays["semantics"], wanted)
            assert arrays["mask_camera"].sum() == 3 * 8
            assert arrays["mask_lidar"].sum() == 5 * 8
            assert {arrays[name].dtype for name in arrays} == {np.dtype(np.uint8)}


def test_point_classes_stay_with_their_points(drive: Any, rig: RigConfig, tmp_path: Path) -> None:
    from numpy.lib.recfunctions import append_fields

    from renderocc_training.recording import message_content, messages

    def label(topic: str, number: int, message: Any) -> Any:
        if topic != "/points":
            return message
        points = message_content.points_of(message)
        classes = np.arange(50, dtype=np.uint8)
        points = append_fields(points, "label", classes, usemask=False)
        points["y"][3] = np.nan
        return messages.point_cloud(message_content.stamp_ns(message), "lidar", points)

    out = tmp_path / "out"
    report = extract(drive(edit=label).write(tmp_path / "bag"), out, rig)
    assert report.skipped["LiDAR points", "not finite"] == 30
    assert report.labels == 30
    stamp_us = (drive.start_ns + 430 * MS) // 1000
    classes = np.fromfile(out / f"labels/points/LIDAR_TOP/{stamp_us}.label", "<u4")
    assert classes.tolist() == [0, 1, 2, *range(4, 50)]
    (scan,) = out.glob(f"s*/LIDAR_TOP/*__{stamp_us}.pcd.bin")
    assert len(np.fromfile(scan, "<f4")) == 49 * 5


# ------------------------------------------------------------------------------ what is wrong


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
        "FRONT: no CameraInfo on /front/camera_info; its images are left out"
    ]
    assert report.key_frames == 6


def test_without_static_transforms_nothing_is_made_up(
    drive: Any, rig: RigConfig, tmp_path: Path
) -> None:
    bag = drive(without=("/tf_static",)).write(tmp_path / "bag")
    report = extract(bag, tmp_path / "out", rig)
    assert report.scenes == []
    assert "no /tf_static" in report.problems[0]
    reasons = dict(report.skipped.keys())
    assert "no transform names the frame 'front'" in reasons["FRONT"]
    assert report.skipped["FRONT", reasons["FRONT"]] == 30
    assert not list((tmp_path / "out").rglob("*.jpg"))


def test_images_in_a_hole_of_the_poses_are_left_out_not_guessed(
    drive: Any, tables: Any, rig: RigConfig, tmp_path: Path
) -> None:
    def hole(topic: str, number: int, message: Any) -> Any:
        return None if topic == "/tf" and 40 <= number < 105 else message

    report = extract(drive(edit=hole).write(tmp_path / "bag"), tmp_path / "out", rig)
    left_out = sum(n for (what, why), n in report.skipped.items() if what == "FRONT")
    assert left_out == 13  # poses end at 780 ms and begin again at 2100 ms
    assert "in a gap" in next(why for what, why in report.skipped if what == "FRONT")
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
    lost = sum(count for (what, _), count in report.skipped.items() if what == "FRONT")
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
    topic = "/rear/image_raw/compressed"
    assert report.skipped[topic, "the JPEG is cut off: its end is missing"] == 1
    assert report.skipped[topic, "'jpeg' holds no readable image"] == 1
    assert report.skipped["sets", "without REAR"] == 2
    assert report.key_frames == 6


def test_a_truncated_file_gives_what_comes_before_its_end(
    drive: Any, tables: Any, rig: RigConfig, tmp_path: Path
) -> None:
    bag = drive(seconds=60.0).write(tmp_path / "bag")
    file = bag / "bag.mcap"
    content = file.read_bytes()
    file.write_bytes(content[: len(content) * 2 // 3])
    with pytest.raises(ValueError, match="cannot be read"), BagReader(bag):
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


def test_other_storages_and_compressions_give_the_same(
    drive: Any, rig: RigConfig, tmp_path: Path
) -> None:
    from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer

    from renderocc_training.recording.typestore import typestore

    bag = drive().write(tmp_path / "a" / "bag")
    reference = extract(bag, tmp_path / "plain", rig)
    for name, mode in (("file", CompressionMode.FILE), ("message", CompressionMode.MESSAGE)):
        path = tmp_path / name / "bag"
        path.parent.mkdir()
        writer = Writer(path, version=9, storage_plugin=StoragePlugin.SQLITE3)
        writer.set_compression(mode, CompressionFormat.ZSTD)
        with BagReader(bag) as reader, writer:
            connections = {
                topic.name: writer.add_connection(
                    topic.name, topic.message_type, typestore=typestore()
                )
                for topic in reader.topics.values()
            }
            for message in reader.messages():
                writer.write(connections[message.topic], message.log_time_ns, message.data)
        out = tmp_path / f"{name} out"
        report = extract(path, out, rig)
        assert (report.key_frames, report.sweeps) == (reference.key_frames, reference.sweeps)
        assert tree(out) == tree(tmp_path / "plain")


def test_ros_1_bags_are_read(drive: Any, rig: RigConfig, tmp_path: Path) -> None:
    from rosbags.rosbag1 import Writer
    from rosbags.typesys import Stores, get_types_from_msg, get_typestore

    store = get_typestore(Stores.ROS1_NOETIC)
    definition = "geometry_msgs/TransformStamped[] transforms"
    store.register(get_types_from_msg(definition, "tf2_msgs/msg/TFMessage"))
    bag = drive(without=("/boxes",)).write(tmp_path / "bag")
    path = tmp_path / "bag.bag"
    with BagReader(bag) as reader, Writer(path) as writer:
        connections = {
            topic.name: writer.add_connection(topic.name, topic.message_type, typestore=store)
            for topic in reader.topics.values()
        }
        for message in reader.messages():
            as_ros1 = ros1_message(store, reader.decode(message))
            data = store.serialize_ros1(as_ros1, message.message_type)
            writer.write(connections[message.topic], message.log_time_ns, data)
    two = extract(bag, tmp_path / "two", rig)
    one = extract(path, tmp_path / "one", rig)
    assert (one.key_frames, one.sweeps) == (two.key_frames, two.sweeps) == (6, 72)
    images = {
        out: sorted(file.read_bytes() for file in (tmp_path / out).rglob("*.jpg"))
        for out in ("one", "two")
    }
    assert images["one"] == images["two"]


def ros1_message(store: Any, message: Any) -> Any:
    """The same content by ROS 1's definitions: sequence numbers, and K instead of k."""
    if isinstance(message, list):
        return [ros1_message(store, each) for each in message]
    if not hasattr(message, "__msgtype__"):
        return message
    kind = message.__msgtype__
    if kind == "builtin_interfaces/msg/Time":
        return message
    fields = {
        name: ros1_message(store, value)
        for name, value in vars(message).items()
        if name != "__msgtype__"
    }
    if kind == "std_msgs/msg/Header":
        fields["seq"] = 0
    if kind == "sensor_msgs/msg/CameraInfo":
        fields = {name.upper() if name in "dkrp" else name: v for name, v in fields.items()}
    return store.types[kind](**fields)


def tree(out: Path) -> dict[str, bytes]:
    """All files of a data set but the bookkeeping."""
    return {
        file.relative_to(out).as_posix(): file.read_bytes()
        for file in sorted(out.rglob("*"))
        if file.is_file() and ".extraction" not in file.parts
    }


# ---------------------------------------------------------------- many bags, twice, interrupted


def run(*arguments: object) -> Any:
    return CliRunner().invoke(app, ["extract", *map(str, arguments)])


def test_the_command_extracts_many_bags_and_adds_more(
    drive: Any, tables: Any, rig_file: Path, tmp_path: Path
) -> None:
    bags = [
        drive(start_ns=drive.start_ns + i * 10**12).write(tmp_path / f"bag{i}") for i in range(3)
    ]
    parallel, serial = tmp_path / "parallel", tmp_path / "serial"
    common = ("--rig", rig_file, "--json")
    result = run(*bags[:2], *common, "--out", parallel, "--processes", 2)
    assert result.exit_code == 0, result.output
    reports = json.loads(result.stdout.strip().splitlines()[-1])["recordings"]
    assert [report["key_frames"] for report in reports] == [6, 6]
    assert run(bags[2], *common, "--out", parallel, "--processes", 2).exit_code == 0
    assert [scene["name"] for scene in tables(parallel)["scene"]] == ["bag0", "bag1", "bag2"]
    for bag in reversed(bags):
        assert run(bag, *common, "--out", serial, "--processes", 1).exit_code == 0
    assert tree(parallel) == tree(serial)


@pytest.mark.slow
def test_a_ray_cluster_extracts_the_same(drive: Any, rig_file: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="extra 'ray' is not installed")
    bags = [
        drive(start_ns=drive.start_ns + i * 10**12).write(tmp_path / f"bag{i}") for i in range(2)
    ]
    common = (*bags, "--rig", rig_file, "--json", "--out")
    result = run(*common, tmp_path / "cluster", "--ray", "local")
    assert result.exit_code == 0, result.output
    reports = json.loads(result.stdout.strip().splitlines()[-1])["recordings"]
    assert [report["key_frames"] for report in reports] == [6, 6]
    assert run(*common, tmp_path / "alone", "--processes", 1).exit_code == 0
    assert tree(tmp_path / "cluster") == tree(tmp_path / "alone")


def test_a_ray_cluster_that_is_not_there_is_named(
    drive: Any, rig_file: Path, tmp_path: Path
) -> None:
    pytest.importorskip("ray", reason="extra 'ray' is not installed")
    bag = drive().write(tmp_path / "bag")
    result = run(bag, "--rig", rig_file, "--out", tmp_path / "out", "--ray", "auto")
    assert result.exit_code != 0
    assert "--ray auto: " in " ".join(result.output.split()), result.output


def test_what_is_done_is_not_done_again_and_what_was_interrupted_is(
    drive: Any, rig: RigConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from renderocc_training.recording.extraction import scene_writer

    bag, out = drive().write(tmp_path / "bag"), tmp_path / "out"
    extract(bag, tmp_path / "whole", rig)
    written = 0
    write = scene_writer.SceneWriter.add_key_frame

    def stop_in_the_middle(self: Any, *arguments: Any) -> None:
        nonlocal written
        written += 1
        if written == 4:
            raise KeyboardInterrupt
        write(self, *arguments)

    monkeypatch.setattr(scene_writer.SceneWriter, "add_key_frame", stop_in_the_middle)
    with pytest.raises(KeyboardInterrupt):
        extract(bag, out, rig)
    assert not (out / VERSION).exists()
    monkeypatch.setattr(scene_writer.SceneWriter, "add_key_frame", write)
    extract(bag, out, rig)
    assert tree(out) == tree(tmp_path / "whole")
    stamps = {file: file.stat().st_mtime_ns for file in (out / "samples").rglob("*.jpg")}
    again = extract(bag, out, rig)
    assert again.key_frames == 6
    assert {file: file.stat().st_mtime_ns for file in stamps} == stamps
    assert extract(bag, out, rig, key_frame_s=1.0).key_frames == 3  # other options: anew


def test_mistakes_are_named(drive: Any, rig_file: Path, tmp_path: Path) -> None:
    bag = drive(without=("/front/camera_info", "/rear/camera_info")).write(tmp_path / "bag")
    out = ("--out", tmp_path / "out")
    assert "no rigs file 'rabbit'" in run(bag, "--rig", "rabbit", *out).output
    assert "given more than once" in run(bag, bag, "--rig", rig_file, *out).output
    result = run(bag, tmp_path / "absent", "--rig", rig_file, *out, "--processes", 1)
    said = " ".join(result.output.split())
    assert result.exit_code == 1
    assert "0 of 2 cameras, 1 needed" in said
    assert "there is no bag at" in said
    assert "no recording gave a key frame" in said
    labels = run(bag, "--rig", rig_file, *out, "--labels", "classes")
    assert "'classes' is not KIND=/topic" in labels.output
    assert points_inside  # what the count of points stands on has its own test below


def test_points_on_the_faces_of_a_box_are_inside() -> None:
    from renderocc_ros.geometry import RigidTransform
    from renderocc_training.recording.boxes import Box
    from renderocc_training.recording.extraction.readings import Reading

    points = np.zeros((4, 5), "<f4")
    points[:, :3] = [[2, 0, 0], [2.001, 0, 0], [-2, 1, -0.5], [0, 0, 0.501]]
    still = RigidTransform.identity()
    reading = Reading("LIDAR_TOP", 0, points.tobytes(), "pcd.bin", still, still)
    box = Box("car", "1", (), "", still, (4.0, 2.0, 1.0), np.zeros(3))
    assert points_inside(box, reading) == 2


@pytest.mark.slow
def test_memory_does_not_grow_with_the_recording(
    drive: Any, rig: RigConfig, tmp_path: Path
) -> None:
    import tracemalloc

    bags = [drive(seconds=seconds).write(tmp_path / f"bag{seconds}") for seconds in (80, 25)]
    run_job(Job(bags[0], tmp_path / "warm", rig, ExtractOptions()))  # imports, interned names
    peaks = []
    for bag in bags:
        tracemalloc.start()
        run_job(Job(bag, tmp_path / "out", rig, ExtractOptions()))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[0] < 1.25 * peaks[1]
