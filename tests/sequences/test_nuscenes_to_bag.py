"""nuScenes as a bag: the same bytes, the same times, and the same geometry as the devkit's."""

from __future__ import annotations

import importlib
import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mcap.reader import make_reader
from typer.testing import CliRunner

pytest.importorskip("nuscenes", reason="nuscenes-devkit needs Python below 3.13")

from nuscenes.nuscenes import NuScenes
from nuscenes.utils.data_classes import LidarPointCloud

from renderocc_ros.cli import app
from renderocc_ros.config import load_rig
from renderocc_ros.network_config import load_network_config
from renderocc_ros.rig.cloud_reading import points_of
from renderocc_training.evaluation.sequence_sets import SequenceSets
from renderocc_training.recording import message_content as content
from renderocc_training.recording.bag_reader import BagReader
from renderocc_training.recording.transform_tree import TransformTree
from renderocc_training.sequences.data_sets import open_sequences
from renderocc_training.sequences.nuscenes_to_bag import write_sequence

VERSION = "v1.0-mini"
CHANNELS = ("FRONT", "FRONT_RIGHT", "BACK_RIGHT", "BACK", "BACK_LEFT", "FRONT_LEFT")


@pytest.fixture(scope="module")
def devkit(nuscenes_root: Path) -> NuScenes:
    return NuScenes(VERSION, str(nuscenes_root), verbose=False, map_resolution=1.0)


@pytest.fixture(scope="module")
def bag(nuscenes_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bags") / "drive"
    (sequence,) = open_sequences(nuscenes_root, as_recorded=True)
    write_sequence(sequence, sequence.measurements(), path)
    return path


@pytest.fixture(scope="module")
def tree(bag: Path) -> TransformTree:
    tree = TransformTree()
    with BagReader(bag) as reader:
        for message in reader.messages(["/tf", "/tf_static"]):
            for entry in reader.decode(message).transforms:
                tree.add(
                    entry.header.frame_id,
                    entry.child_frame_id,
                    content.stamp_ns(entry),
                    content.transform_of(entry),
                    static=message.topic == "/tf_static",
                )
    return tree


def decoded(bag: Path, topic: str) -> list[Any]:
    with BagReader(bag) as reader:
        return [reader.decode(message) for message in reader.messages([topic])]


def double_precision_points(cls: type[LidarPointCloud], file: str) -> LidarPointCloud:
    return cls(np.fromfile(file, dtype=np.float32).reshape(-1, 5)[:, :4].T.astype(np.float64))


def records(devkit: NuScenes, channel: str) -> list[dict[str, Any]]:
    result = [record for record in devkit.sample_data if record["channel"] == channel]
    return sorted(result, key=lambda record: record["timestamp"])


def test_images_are_the_files_byte_for_byte_at_their_stamps(bag: Path, devkit: NuScenes) -> None:
    for name in CHANNELS:
        images = decoded(bag, f"/cam_{name.lower()}/image_raw/compressed")
        wanted = records(devkit, f"CAM_{name}")
        assert len(images) == len(wanted) > 3
        for image, record in zip(images, wanted, strict=True):
            assert content.stamp_ns(image) == record["timestamp"] * 1000
            file = Path(devkit.dataroot, record["filename"])
            assert image.data.tobytes() == file.read_bytes()
            assert image.format == "jpeg"


def test_mcap_finds_the_same_images(bag: Path, devkit: NuScenes) -> None:
    topic = "/cam_back/image_raw/compressed"
    with (bag / f"{bag.name}.mcap").open("rb") as file:
        result = [
            (message.log_time, message.data)
            for _, _, message in make_reader(file).iter_messages(topics=[topic])
        ]
    for (log_time, data), record in zip(result, records(devkit, "CAM_BACK"), strict=True):
        assert log_time == record["timestamp"] * 1000
        assert Path(devkit.dataroot, record["filename"]).read_bytes() in data


def test_points_are_the_lidar_s(bag: Path, devkit: NuScenes) -> None:
    clouds = decoded(bag, "/lidar_top/points")
    for cloud, record in zip(clouds, records(devkit, "LIDAR_TOP"), strict=True):
        assert content.stamp_ns(cloud) == record["timestamp"] * 1000
        points = points_of(cloud)
        wanted = np.fromfile(Path(devkit.dataroot, record["filename"]), "<f4").reshape(-1, 5)
        for column, name in enumerate(("x", "y", "z", "intensity", "ring")):
            np.testing.assert_array_equal(points[name], wanted[:, column])


def test_lidar_points_meet_the_pixels_that_the_devkit_computes(
    bag: Path, devkit: NuScenes, tree: TransformTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through tf and CameraInfo alone, each sensor at its own stamp.

    The devkit's points are made double: in single precision, global coordinates of a kilometre cost
    it a tenth of a millimetre and a twentieth of a pixel.
    """
    monkeypatch.setattr(LidarPointCloud, "from_file", classmethod(double_precision_points))
    infos = {name: decoded(bag, f"/cam_{name.lower()}/camera_info")[0] for name in CHANNELS}
    clouds = {content.stamp_ns(cloud): cloud for cloud in decoded(bag, "/lidar_top/points")}
    checked = 0
    for sample in (devkit.sample[0], devkit.sample[len(devkit.sample) // 2], devkit.sample[-1]):
        lidar = devkit.get("sample_data", sample["data"]["LIDAR_TOP"])
        lidar_ns = lidar["timestamp"] * 1000
        points = points_of(clouds[lidar_ns])
        xyz = np.stack([points["x"], points["y"], points["z"]], axis=-1).astype(np.float64)
        odom_from_lidar = tree.lookup("odom", "lidar_top", lidar_ns)
        for name in CHANNELS:
            camera = devkit.get("sample_data", sample["data"][f"CAM_{name}"])
            optical = f"cam_{name.lower()}_optical"
            odom_from_camera = tree.lookup("odom", optical, camera["timestamp"] * 1000)
            in_camera = (odom_from_camera.inverse() @ odom_from_lidar).apply(xyz)
            model = content.model_of_info(infos[name])
            pixels, _ = model.project(in_camera)
            wanted, depth, _ = devkit.explorer.map_pointcloud_to_image(
                lidar["token"], camera["token"]
            )
            with np.errstate(invalid="ignore"):
                seen = (in_camera[:, 2] > 1.0) & (pixels > 1.0).all(axis=-1)
                seen &= (pixels < (model.width - 1, model.height - 1)).all(axis=-1)
            assert seen.sum() == wanted.shape[1]
            error = np.abs(pixels[seen] - wanted[:2].T).max()
            assert error < 1e-3
            np.testing.assert_allclose(in_camera[seen, 2], depth, atol=1e-6)
            checked += int(seen.sum())
    assert checked > 100


def test_poses_are_the_ego_poses_in_nuscenes_own_global_frame(
    tree: TransformTree, devkit: NuScenes
) -> None:
    for record in devkit.sample_data:
        if "RADAR" in record["channel"]:
            continue
        pose = devkit.get("ego_pose", record["ego_pose_token"])
        got = tree.lookup("map", "base_link", record["timestamp"] * 1000)
        np.testing.assert_allclose(got.translation, pose["translation"], atol=1e-9)
        w, x, y, z = pose["rotation"]
        sign = np.sign(w) or 1.0
        np.testing.assert_allclose(got.quaternion_xyzw, sign * np.array([x, y, z, w]), atol=1e-9)


def test_odom_starts_at_the_first_pose_and_stands_upright(bag: Path, tree: TransformTree) -> None:
    odometry = decoded(bag, "/odom")
    first = content.pose_of(odometry[0].pose.pose)
    np.testing.assert_allclose(first.translation, 0.0, atol=1e-9)
    assert abs(np.arctan2(first.rotation[1, 0], first.rotation[0, 0])) < 1e-12
    map_from_odom = tree.lookup("map", "odom", 0)
    np.testing.assert_allclose(map_from_odom.rotation[2], (0, 0, 1), atol=1e-12)


def test_odometry_says_how_fast(bag: Path) -> None:
    """Its velocity, integrated, goes where its poses go."""
    odometry = decoded(bag, "/odom")
    stamps = np.array([content.stamp_ns(message) for message in odometry]) * 1e-9
    poses = [content.pose_of(message.pose.pose) for message in odometry]
    linear = [message.twist.twist.linear for message in odometry]
    velocity = np.array([[v.x, v.y, v.z] for v in linear])
    assert (velocity[:, 0] > 2).all()
    assert np.abs(velocity[:, 1]).max() < 0.2 * velocity[:, 0].max()
    in_odom = np.stack([p.rotation @ v for p, v in zip(poses, velocity, strict=True)])
    steps = np.diff(stamps)[:, None] * (in_odom[1:] + in_odom[:-1]) / 2
    way = poses[-1].translation - poses[0].translation
    np.testing.assert_allclose(steps.sum(axis=0)[:2], way[:2], rtol=0.05, atol=0.1)


def test_messages_come_in_the_order_of_their_stamps_each_pose_before_its_image(bag: Path) -> None:
    posed: set[int] = set()
    last = 0
    with BagReader(bag) as reader:
        for message in reader.messages():
            assert message.log_time_ns >= last
            last = message.log_time_ns
            if message.topic == "/tf":
                posed.add(message.log_time_ns)
            elif message.topic.endswith(("/compressed", "/points")):
                assert content.stamp_ns(reader.decode(message)) == message.log_time_ns
                assert message.log_time_ns in posed
        assert reader.topics["/tf_static"].latched


def test_boxes_keep_all_that_the_annotations_say(bag: Path, devkit: NuScenes) -> None:
    arrays = decoded(bag, "/ground_truth/boxes")
    samples = sorted(devkit.sample, key=lambda sample: sample["timestamp"])
    assert len(arrays) == len(samples)
    total = 0
    for array, sample in zip(arrays, samples, strict=True):
        assert content.stamp_ns(array) == sample["timestamp"] * 1000
        assert array.header.frame_id == "map"
        for detection, name in zip(array.detections, sample["anns"], strict=True):
            wanted = devkit.get("sample_annotation", name)
            names = [result.hypothesis.class_id for result in detection.results]
            attributes = [
                "attribute:" + devkit.get("attribute", each)["name"]
                for each in wanted["attribute_tokens"]
            ]
            level = devkit.get("visibility", wanted["visibility_token"])["level"]
            assert names == [wanted["category_name"], *attributes, f"visibility:{level}"]
            assert detection.id == wanted["instance_token"]
            size, centre = detection.bbox.size, detection.bbox.center.position
            assert [size.y, size.x, size.z] == wanted["size"]
            assert [centre.x, centre.y, centre.z] == wanted["translation"]
            total += 1
    assert total == len(devkit.sample_annotation) > 0


def test_markers_show_every_box_under_an_id_that_stays(bag: Path) -> None:
    serialization = pytest.importorskip("rclpy.serialization", reason="ROS 2 is not installed")
    kind = importlib.import_module("visualization_msgs.msg").MarkerArray
    ids: dict[int, str] = {}
    boxes = decoded(bag, "/ground_truth/boxes")
    with BagReader(bag) as reader:
        arrays = list(reader.messages(["/ground_truth/box_markers"]))
    for message, array in zip(arrays, boxes, strict=True):
        markers = serialization.deserialize_message(message.data, kind).markers
        cubes = [marker for marker in markers if marker.type == marker.CUBE]
        assert len(cubes) == len(array.detections) == len(markers) // 2
        assert len({(marker.ns, marker.id) for marker in markers}) == len(markers)
        for cube, detection in zip(cubes, array.detections, strict=True):
            assert ids.setdefault(cube.id, detection.id) == detection.id
            assert cube.scale.x == detection.bbox.size.x
            assert cube.pose.position.y == detection.bbox.center.position.y


def test_key_frames_alone_and_radar_is_named(tiny_nuscenes: Path, tmp_path: Path) -> None:
    (sequence,) = open_sequences(tiny_nuscenes, names=["scene-9001"], as_recorded=True)
    everything, key_frames = sequence.measurements(), sequence.measurements(key_frames_only=True)
    assert len(everything) == 2 * len(key_frames) == 2 * 7 * 4
    assert sequence.problems == ("neither camera nor LiDAR: RADAR_FRONT",)
    counts = write_sequence(sequence, key_frames, tmp_path / "drive")
    assert counts["/cam_front/image_raw/compressed"] == 4
    assert not [topic for topic in counts if "radar" in topic]


def test_the_lens_that_extract_writes_is_read_wherever_the_tables_are(
    tiny_nuscenes: Path, tmp_path: Path
) -> None:
    """By nuscenes-to-bag (in CameraInfo), by evaluate, and by training."""
    root, lens = tmp_path / "data", [-0.2, 0.03, 0.001, -0.001, 0.0]
    shutil.copytree(tiny_nuscenes, root)
    table = root / VERSION / "calibrated_sensor.json"
    mounts = json.loads(table.read_text())
    (mount,) = (each for each in mounts if each["sensor_token"] == "CAM_BACK")
    mount |= {"camera_distortion_model": "plumb_bob", "camera_distortion": lens}
    table.write_text(json.dumps(mounts))
    (sequence,) = open_sequences(root, as_recorded=True)
    write_sequence(sequence, sequence.measurements(key_frames_only=True), tmp_path / "bag")
    infos = {
        name: decoded(tmp_path / "bag", f"/cam_{name.lower()}/camera_info") for name in CHANNELS
    }
    sets = SequenceSets(sequence, load_rig("nuscenes"), load_network_config("nano").image)
    _, first = next(iter(sets))
    for name in CHANNELS:
        expected = ("plumb_bob", tuple(lens)) if name == "BACK" else ("none", ())
        models = [content.model_of_info(infos[name][0])]
        for each in (*first.images, *sequence.frames[0].cameras):
            if each is not None and each.name == f"CAM_{name}":
                models.append(each.model)
        assert len(models) == 3
        for model in models:
            assert (model.distortion_model, model.distortion) == expected


def run(*arguments: object) -> Any:
    return CliRunner().invoke(app, ["nuscenes-to-bag", *map(str, arguments)])


def test_the_command_writes_a_bag_and_never_over_another(
    tiny_nuscenes: Path, tmp_path: Path
) -> None:
    result = run(tiny_nuscenes, tmp_path / "drive", "--key-frames-only")
    assert result.exit_code == 0, result.output
    assert "/cam_front_left/image_raw/compressed" in result.output
    assert "RADAR_FRONT" in result.output
    with BagReader(tmp_path / "drive") as reader:
        counts = Counter(message.topic for message in reader.messages())
    assert counts["/lidar_top/points"] == 4
    again = run(tiny_nuscenes, tmp_path / "drive")
    assert again.exit_code == 1
    assert "not overwritten" in again.output


def test_a_broken_source_is_named_before_anything_is_written(
    tiny_nuscenes: Path, tmp_path: Path
) -> None:
    root = tmp_path / "broken"
    shutil.copytree(tiny_nuscenes, root)
    out = tmp_path / "drive"
    image = next((root / "sweeps" / "CAM_BACK").iterdir())
    image.unlink()
    result = run(root, out)
    assert result.exit_code == 1
    assert image.name in result.output.replace("\n", "")
    assert run(root, out, "--key-frames-only").exit_code == 0
    shutil.rmtree(out)
    (root / VERSION / "ego_pose.json").unlink()
    assert "lacks ego_pose.json" in run(root, out).output
    assert "choose --version v1.0-mini" in run(root, out, "--version", "v2").output
    assert "no scene scene-7; there are 1" in run(tiny_nuscenes, out, "--scene", "scene-7").output
    assert not out.exists()


def test_a_file_that_breaks_half_way_leaves_no_bag(tiny_nuscenes: Path, tmp_path: Path) -> None:
    root = tmp_path / "broken"
    shutil.copytree(tiny_nuscenes, root)
    cloud = sorted((root / "samples" / "LIDAR_TOP").iterdir())[-1]
    cloud.write_bytes(cloud.read_bytes()[:-3])
    result = run(root, tmp_path / "drive")
    assert result.exit_code == 1
    assert cloud.name in result.output.replace("\n", "")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["broken"]
