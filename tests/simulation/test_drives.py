"""Drives as recordings: the same from any number of processes, conforming, true to themselves."""

from __future__ import annotations

import json
import multiprocessing.spawn
import resource
import signal
import subprocess
import sys
from dataclasses import replace
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from rosbags.highlevel import AnyReader

from renderocc_ros.rig.cloud_reading import points_of
from renderocc_simulation.bag_truth import TruthFrame, truth_frames
from renderocc_simulation.check import check_truth
from renderocc_simulation.drive import worker_pool, write_drive
from renderocc_simulation.faults import parse_fault
from renderocc_simulation.spec import DriveSpec
from renderocc_simulation.world.town import TownSpec
from renderocc_training.recording.bag_reader import BagReader
from renderocc_training.recording.message_content import stamp_ns

SIMULATE = [sys.executable, "-m", "renderocc_ros.cli", "simulate"]


def everything(path: Path) -> list[tuple[str, int, bytes]]:
    with BagReader(path) as bag:
        return [(m.topic, m.log_time_ns, bytes(m.data)) for m in bag.messages()]


def decoded(path: Path, topic: str) -> list[Any]:
    with BagReader(path) as bag:
        return [bag.decode(message) for message in bag.messages([topic])]


def test_the_bag_is_the_same_from_two_processes(
    small_spec: DriveSpec, small_drive: Path, tmp_path: Path
) -> None:
    report = write_drive(small_spec, tmp_path / "again", processes=2)
    assert report.rays > 100_000
    assert everything(tmp_path / "again") == everything(small_drive)


def test_a_worker_that_dies_is_named_and_leaves_no_bag(
    small_spec: DriveSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resource_tracker.ensure_running()  # it, too, is a process, and is not to die
    monkeypatch.setattr(multiprocessing.spawn, "_python_exe", b"/bin/false")
    with pytest.raises(ChildProcessError, match="--processes 1"):
        write_drive(small_spec, tmp_path / "town", processes=2)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("seed", [0, 39_999, 40_000, 20_261_126])
def test_stamps_of_any_seed_fit_a_message(seed: int) -> None:
    spec = DriveSpec(TownSpec(seed=seed, seconds=600.0))
    assert 0 < spec.stamp_ns(600.0) < 2**31 * 10**9


def test_workers_leave_an_interrupt_to_the_first_process() -> None:
    with worker_pool(2) as pool:
        assert pool is not None
        assert pool.submit(signal.raise_signal, signal.SIGINT).result() is None
        assert pool.submit(abs, -1).result() == 1


def test_rosbags_reads_every_message(small_drive: Path) -> None:
    with AnyReader([small_drive]) as reader:
        kinds = {c.topic: c.msgtype for c in reader.connections}
        log_times = []
        for connection, log_time_ns, data in reader.messages():
            assert reader.deserialize(data, connection.msgtype).__msgtype__ == connection.msgtype
            log_times.append(log_time_ns)
    assert log_times == sorted(log_times)
    assert kinds == {
        "/ahead/image_raw/compressed": "sensor_msgs/msg/CompressedImage",
        "/ahead/camera_info": "sensor_msgs/msg/CameraInfo",
        "/behind/image_raw/compressed": "sensor_msgs/msg/CompressedImage",
        "/behind/camera_info": "sensor_msgs/msg/CameraInfo",
        "/lidar/points": "sensor_msgs/msg/PointCloud2",
        "/odom": "nav_msgs/msg/Odometry",
        "/tf": "tf2_msgs/msg/TFMessage",
        "/tf_static": "tf2_msgs/msg/TFMessage",
        "/ground_truth/ahead/depth": "sensor_msgs/msg/Image",
        "/ground_truth/ahead/classes": "sensor_msgs/msg/Image",
        "/ground_truth/behind/depth": "sensor_msgs/msg/Image",
        "/ground_truth/behind/classes": "sensor_msgs/msg/Image",
        "/ground_truth/occupancy": "renderocc_ros/msg/SemanticOccupancy",
        "/ground_truth/occupancy_lidar": "renderocc_ros/msg/SemanticOccupancy",
        "/ground_truth/classes": "renderocc_ros/msg/SemanticClasses",
        "/ground_truth/boxes": "vision_msgs/msg/Detection3DArray",
        "/ground_truth/box_markers": "visualization_msgs/msg/MarkerArray",
    }


def test_cameras_fire_at_their_offsets_and_images_are_images(small_drive: Path) -> None:
    ahead = decoded(small_drive, "/ahead/image_raw/compressed")
    behind = decoded(small_drive, "/behind/image_raw/compressed")
    gaps = [stamp_ns(b) - stamp_ns(a) for a, b in zip(ahead, behind, strict=True)]
    assert gaps == [20_000_000, 20_000_000]
    assert stamp_ns(ahead[1]) - stamp_ns(ahead[0]) == 500_000_000
    for message in (*ahead, *behind):
        image = cv2.imdecode(np.asarray(message.data), cv2.IMREAD_COLOR)
        assert image is not None
        assert image.shape == (128, 352, 3)
        assert 20 < image.mean() < 235  # neither black nor white
        assert image.std() > 15  # and not one colour


def test_truth_agrees_with_itself(small_drive: Path, fisheye_drive: Path) -> None:
    for path in (small_drive, fisheye_drive):
        scores = check_truth(truth_frames(path))
        assert scores.grid_meets_depth >= 0.99
        assert scores.depth_in_occupied >= 0.99
        assert scores.visible_agrees >= 0.99
        assert scores.lidar_meets_depth is not None
        assert scores.lidar_meets_depth >= 0.99
        assert scores.class_agrees >= 0.85  # cells of 0.8 m are often mixed
        assert scores.agrees


def shifted(frame: TruthFrame, cells: int, axis: int) -> TruthFrame:
    return replace(frame, labels=np.roll(frame.labels, cells, axis))


@pytest.mark.parametrize(("cells", "axis"), [(2, 2), (-2, 2), (3, 0), (3, 1)])
def test_wrong_truth_is_found_out(small_drive: Path, cells: int, axis: int) -> None:
    frames = (shifted(frame, cells, axis) for frame in truth_frames(small_drive))
    assert not check_truth(frames).agrees


def test_wrong_depth_is_found_out(small_drive: Path) -> None:
    def nearer(frame: TruthFrame) -> TruthFrame:
        images = [replace(image, depth_m=image.depth_m * 1.1) for image in frame.images]
        return replace(frame, images=tuple(images))

    scores = check_truth(nearer(frame) for frame in truth_frames(small_drive))
    assert not scores.agrees


def test_a_fisheye_sees_the_classes_that_the_lidar_meets(fisheye_drive: Path) -> None:
    """Labelled points, projected by CameraInfo's equidistant model, fall on their class."""
    agreed, total = 0, 0
    for frame in truth_frames(fisheye_drive):
        assert frame.lidar_points is not None
        assert frame.lidar_labels is not None
        for image in frame.images:
            assert image.model.distortion_model == "equidistant"
            assert image.class_id is not None
            local = image.ego_from_camera.inverse().apply(frame.lidar_points)
            pixels, inside = image.model.project(local)
            u, v = np.round(pixels[inside]).astype(int).T
            u, v = u.clip(0, image.model.width - 1), v.clip(0, image.model.height - 1)
            z, depth = local[inside][:, 2], image.depth_m[v, u]
            visible = (depth > 0) & (np.abs(z - depth) < 0.05 * depth + 0.1)
            same = image.class_id[v, u] == frame.lidar_labels[inside]
            agreed += int(same[visible].sum())
            total += int(visible.sum())
    assert total > 5000
    assert agreed / total > 0.97


def test_boxes_hold_the_points_of_their_class(small_drive: Path) -> None:
    cloud = decoded(small_drive, "/lidar/points")[0]
    points = points_of(cloud)
    boxes = decoded(small_drive, "/ground_truth/boxes")[0]
    cars = [d for d in boxes.detections if d.results[0].hypothesis.class_id == "vehicle.car"]
    assert cars
    assert all(len(detection.id) == 32 for detection in boxes.detections)
    assert (points["label"] < 17).all()
    assert np.abs(points["time"]).max() <= 0.05


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"preset": "huge"}, "preset"),
        ({"image_hz": 3.0}, "multiple"),
        ({"key_hz": 0.0}, "key_hz"),
        ({"drift": 0.9}, "drift"),
    ],
)
def test_drives_that_cannot_be(small_spec: DriveSpec, change: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(small_spec, **change)


def test_what_is_there_is_not_overwritten(small_spec: DriveSpec, small_drive: Path) -> None:
    with pytest.raises(ValueError, match="exists"):
        write_drive(small_spec, small_drive)


def test_faults_must_fit_the_drive(small_spec: DriveSpec, tmp_path: Path) -> None:
    late = replace(small_spec, faults=(parse_fault("late-tf@5"),))
    with pytest.raises(ValueError, match="after the drive's end"):
        write_drive(late, tmp_path / "late")
    other = replace(small_spec, faults=(parse_fault("dropped-camera@0:side"),))
    with pytest.raises(ValueError, match="no camera 'side'"):
        write_drive(other, tmp_path / "other")
    assert not list(tmp_path.iterdir())


def test_a_full_disk_leaves_no_half_bag(small_rig: Path, tmp_path: Path) -> None:
    """A limit on file size stands in for the disk: the write fails the same way."""
    command = [*SIMULATE, str(tmp_path / "town"), "--rig", str(small_rig)]
    command += ["--preset", "tiny", "--seconds", "1", "--processes", "1", "--traffic", "2"]

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    done = subprocess.run(command, preexec_fn=limit, capture_output=True, text=True)
    assert done.returncode == 1
    assert "town" in done.stderr
    assert "File too large" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


def test_check_truth_speaks_json(small_drive: Path) -> None:
    command = [sys.executable, "-m", "renderocc_ros.cli", "check-truth", str(small_drive)]
    done = subprocess.run([*command, "--json"], capture_output=True, text=True)
    assert done.returncode == 0
    scores = json.loads(done.stdout)
    assert scores["agrees"] is True
    assert scores["frames"] == 2
    assert 0 < scores["along_ray"] <= scores["grid_meets_depth"] <= 1


def test_check_truth_names_what_a_bag_lacks(tmp_path: Path) -> None:
    from renderocc_training.recording import messages
    from renderocc_training.recording.bag_writer import BagWriter

    with BagWriter(tmp_path / "plain") as bag:
        bag.write("/tf", messages.tf([]), 1)
    with pytest.raises(ValueError, match="/ground_truth/occupancy"):
        list(truth_frames(tmp_path / "plain"))
