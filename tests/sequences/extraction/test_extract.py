"""Recordings into data sets: content, order and completeness."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from renderocc_ros.class_set import ClassSet
from renderocc_ros.config import RigConfig
from renderocc_ros.geometry import VoxelGrid
from renderocc_ros.occupancy.grid_file import described_grid
from renderocc_ros.occupancy.messages import to_message
from renderocc_ros.occupancy.semantic_occupancy import SemanticOccupancy
from renderocc_ros.rig.cloud_reading import points_of
from renderocc_training.recording import messages
from renderocc_training.recording.bag_reader import BagReader
from renderocc_training.sequences.extraction.job import Job, run_job
from renderocc_training.sequences.extraction.occupancy_truth import OccupancyTruth
from renderocc_training.sequences.extraction.options import ExtractOptions
from renderocc_training.sequences.extraction.scene_writer import points_inside
from tests.sequences.extraction.extracting import extract, tree

MS = 1_000_000


def test_every_reading_comes_out_once_where_it_was_and_as_it_was(
    drive: Any, tables: Any, rig: RigConfig, tmp_path: Path
) -> None:
    from tests.sequences.extraction.conftest import START_NS, cloud, jpeg, pose_at

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
    from tests.sequences.extraction.conftest import LIDAR, START_NS, cloud, pose_at

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


FULL_K = np.array([80.0, 0, 47.5, 0, 82, 31.5, 0, 0, 1])  # of 96x64 pixels; images have 48x32
RADIAL = [-0.1, 0.01, 0.001, -0.001, 0.0]


@pytest.mark.parametrize(
    ("content", "intrinsics", "lens"),
    [
        ({"roi": (0, 0, 48, 32)}, [[80, 0, 47.5], [0, 82, 31.5], [0, 0, 1]], None),
        ({"roi": (10, 6, 48, 32)}, [[80, 0, 37.5], [0, 82, 25.5], [0, 0, 1]], None),
        ({"binning_x": 2, "binning_y": 2}, [[40, 0, 23.5], [0, 41, 15.5], [0, 0, 1]], None),
        ({}, [[40, 0, 23.5], [0, 41, 15.5], [0, 0, 1]], None),  # scaled by the driver
        (
            {"distortion_model": "radtan", "d": RADIAL},
            [[40, 0, 23.5], [0, 41, 15.5], [0, 0, 1]],
            ("plumb_bob", RADIAL),
        ),
        (
            {"distortion_model": "", "d": RADIAL},
            [[40, 0, 23.5], [0, 41, 15.5], [0, 0, 1]],
            ("plumb_bob", RADIAL),
        ),
    ],
)
def test_calibration_is_read_as_the_node_reads_it(
    drive: Any,
    tables: Any,
    rig: RigConfig,
    tmp_path: Path,
    content: dict[str, Any],
    intrinsics: list[list[float]],
    lens: tuple[str, list[float]] | None,
) -> None:
    whole = drive(seconds=0.5, edit=info_edit({"width": 96, "height": 64, "k": FULL_K} | content))
    report = extract(whole.write(tmp_path / "bag"), tmp_path / "out", rig)
    assert report.key_frames == 1 and report.skipped == {}
    data = tables(tmp_path / "out")
    for record in data.channel("FRONT"):
        mount = data.get("calibrated_sensor", record["calibrated_sensor_token"])
        np.testing.assert_allclose(mount["camera_intrinsic"], intrinsics, atol=1e-12)
        known = (mount.get("camera_distortion_model"), mount.get("camera_distortion"))
        assert known == (lens or (None, None))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"distortion_model": "equidistant", "d": [0.1] * 5}, "'equidistant' takes 4 finite"),
        ({"height": 48}, "other proportions, so another view"),
    ],
)
def test_images_that_the_calibration_does_not_describe_are_left_out(
    drive: Any, rig: RigConfig, tmp_path: Path, content: dict[str, Any], reason: str
) -> None:
    bag = drive(seconds=0.5, edit=info_edit(content)).write(tmp_path / "bag")
    report = extract(bag, tmp_path / "out", rig)
    assert report.key_frames == 0
    (why,) = [why for what, why in report.skipped if what == "images of FRONT"]
    assert reason in why


def info_edit(content: dict[str, Any]) -> Any:
    """Changes every CameraInfo of a drive; ``roi`` as (left, top, width, height)."""

    def edit(topic: str, number: int, message: Any) -> Any:
        if not topic.endswith("/camera_info"):
            return message
        changes = dict(content)
        if "roi" in content:
            left, top, width, height = content["roi"]
            window = {"x_offset": left, "y_offset": top, "width": width, "height": height}
            changes["roi"] = replace(message.roi, **window)
        if "d" in content:
            changes["d"] = np.array(content["d"], np.float64)
        return replace(message, **changes)

    return edit


def test_raw_images_are_encoded_once_and_look_the_same(
    drive: Any, tables: Any, rig: RigConfig, tmp_path: Path
) -> None:
    import cv2

    from tests.sequences.extraction.conftest import jpeg

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
    one = extract(tmp_path / "bag", tmp_path / "one", rig, labels=("depth=/front/depth",))
    assert not one.scenes and "cannot be of both FRONT and REAR: write {camera}" in one.problems[0]
    assert any("REAR: no label images" in problem for problem in report.problems)
    stamp_us = (drive.start_ns + 7 * 100 * MS) // 1000
    labels = tmp_path / "out" / "labels"
    classes = cv2.imread(str(labels / "classes" / "FRONT" / f"bag__FRONT__{stamp_us}.png"), -1)
    depth = cv2.imread(str(labels / "depth" / "FRONT" / f"bag__FRONT__{stamp_us}.png"), -1)
    assert (classes.dtype, set(classes.ravel())) == (np.uint8, {7})
    assert (depth.dtype, set(depth.ravel())) == (np.uint16, {8500})


@pytest.mark.parametrize("off_ms", [0, 7])
def test_3d_truth_goes_where_occ3d_has_it_and_only_from_the_key_frame_s_own_time(
    drive: Any, tables: Any, rig: RigConfig, tmp_path: Path, off_ms: int
) -> None:
    from renderocc_ros.config import load_class_set
    from renderocc_ros.geometry import VoxelGrid
    from renderocc_ros.occupancy.semantic_occupancy import SemanticOccupancy
    from renderocc_training.recording import message_content, messages

    grid = VoxelGrid((-2.0, -1.0, -0.5), 0.5, (8, 4, 2))
    occ3d = load_class_set("occ3d")

    def truth(stamp_ns: int, seen: int) -> Any:
        labels = np.random.default_rng(stamp_ns // MS % 2**31).integers(0, 18, (8, 4, 2), np.uint8)
        observed = np.zeros((8, 4, 2), bool)
        observed[:seen] = True
        full = np.full_like(labels, 255)
        result = SemanticOccupancy(stamp_ns, grid, occ3d, labels, full, observed)
        return to_message(messages.make, result, "base_link", {})

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


def test_3d_truth_of_another_grid_does_not_survive_a_new_extraction(
    occ3d: ClassSet, tmp_path: Path
) -> None:
    old = VoxelGrid((-2.0, -1.0, -1.0), 0.5, (8, 4, 2))
    new = replace(old, origin_m=(-2.0, -1.0, -1.2))

    def write(grid: VoxelGrid, samples: Sequence[str]) -> OccupancyTruth:
        truth = OccupancyTruth(tmp_path, "/truth")
        for stamp_ns, sample in enumerate(samples):
            truth.take("/truth", occupancy(grid, stamp_ns))
            truth.write("town", sample, stamp_ns)
        return truth

    def occupancy(grid: VoxelGrid, stamp_ns: int) -> Any:
        labels = np.full(grid.size, 4, np.uint8)
        result = SemanticOccupancy(stamp_ns, grid, occ3d, labels, np.full_like(labels, 255))
        return to_message(messages.make, result, "base_link", {})

    def there() -> set[str]:
        return {file.parent.name for file in (tmp_path / "gts" / "town").rglob("*.npz")}

    write(old, ("a", "b"))
    write(old, ("b", "c"))
    assert there() == {"a", "b", "c"}
    truth = write(new, ("c", "d"))
    assert there() == {"c", "d"}
    assert described_grid(tmp_path / "gts" / "town") == (new, "occ3d")
    truth.take("/truth", occupancy(old, 9))
    with pytest.raises(ValueError, match="another grid or other classes"):
        truth.write("town", "e", 9)
    assert there() == {"c", "d"}


def test_point_classes_stay_with_their_points(drive: Any, rig: RigConfig, tmp_path: Path) -> None:
    from numpy.lib.recfunctions import append_fields

    from renderocc_training.recording import message_content, messages

    def label(topic: str, number: int, message: Any) -> Any:
        if topic != "/points":
            return message
        points = points_of(message)
        classes = np.arange(50, dtype=np.uint8)
        points = append_fields(points, "label", classes, usemask=False)
        points["y"][3] = np.nan
        return messages.point_cloud(message_content.stamp_ns(message), "lidar", points)

    out = tmp_path / "out"
    report = extract(drive(edit=label).write(tmp_path / "bag"), out, rig)
    assert report.skipped["LiDAR points", "not finite"] == 30
    assert report.labels == 30
    stamp_us = (drive.start_ns + 430 * MS) // 1000
    classes = np.fromfile(out / f"labels/points/LIDAR_TOP/bag__LIDAR_TOP__{stamp_us}.label", "<u4")
    assert classes.tolist() == [0, 1, 2, *range(4, 50)]
    (scan,) = out.glob(f"s*/LIDAR_TOP/*__{stamp_us}.pcd.bin")
    assert len(np.fromfile(scan, "<f4")) == 49 * 5


def numbered(files: dict[str, bytes]) -> dict[str, bytes]:
    """The tables with tokens, which are made from the bag's files, called by their order."""
    order: dict[bytes, bytes] = {}

    def number(token: re.Match[bytes]) -> bytes:
        return order.setdefault(token[0], b"%d" % len(order))

    return {
        name: re.sub(rb"(?<=\")[0-9a-f]{32}(?=\")", number, content)
        if name.endswith(".json")
        else content
        for name, content in files.items()
    }


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
        assert numbered(tree(out)) == numbered(tree(tmp_path / "plain"))


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


def test_points_on_the_faces_of_a_box_are_inside() -> None:
    from renderocc_ros.geometry import RigidTransform
    from renderocc_training.recording.boxes import Box
    from renderocc_training.sequences.extraction.readings import Reading

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
    run_job(Job(bags[0], tmp_path / "warm", rig, ExtractOptions()))  # imports

    def peak(bag: Path) -> int:
        tracemalloc.start()
        run_job(Job(bag, tmp_path / "out", rig, ExtractOptions()))
        result = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return result

    # Twice each: the interpreter's own table of names may grow, by megabytes, in one of the two.
    long, short = (min(peak(bag), peak(bag)) for bag in bags)
    assert long < 1.25 * short
