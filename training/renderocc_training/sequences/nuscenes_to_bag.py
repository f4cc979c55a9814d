"""A nuScenes scene as the recording that its robot would have made.

| topic | what |
|---|---|
| /<camera>/image_raw/compressed | the JPEG files, byte for byte |
| /<camera>/camera_info | pinhole, undistorted |
| /lidar_top/points | x, y, z, intensity, ring |
| /tf, /odom | odom → base_link at the stamp of every reading, exact |
| /tf_static | map → odom and base_link → sensors, latched |
| /ground_truth/boxes, /ground_truth/box_markers | key frames, in the map frame |

Names are in lower case, optical frames are ``<camera>_optical``, the LiDAR's frame is its channel
with nuScenes' axes (x right, y forward). ``map`` is nuScenes' global frame; ``odom`` is upright and
starts at the first ego pose, so its numbers are small.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from renderocc_ros.geometry import RigidTransform
from renderocc_training.recording import boxes, messages
from renderocc_training.recording.bag_writer import BagWriter
from renderocc_training.recording.messages import Message
from renderocc_training.recording.pose_track import PoseTrack
from renderocc_training.sequences.model import (
    CameraImage,
    LidarSweep,
    RecordedSequence,
    SensorFile,
)
from renderocc_training.sequences.sensor_files import pcd_bytes

BOX_TOPIC = "/ground_truth/boxes"
BOX_MARKER_TOPIC = "/ground_truth/box_markers"
VELOCITY_WINDOW_NS = 200_000_000
LIDAR_POINT = np.dtype(
    [("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("intensity", "<f4"), ("ring", "<u2")]
)

Progress = Callable[[], None]


def frame_of(sensor: SensorFile) -> str:
    """TF frame of a sensor."""
    name = sensor.name.lower()
    return f"{name}_optical" if isinstance(sensor, CameraImage) else name


def write_sequence(
    sequence: RecordedSequence,
    measured: Sequence[SensorFile],
    path: Path,
    advance: Progress = lambda: None,
) -> dict[str, int]:
    """Write one sequence's bag.

    Args:
        measured: images and sweeps of the sequence that go into it, in the order of their stamps.
        path: folder of the new bag.
        advance: told of every one of them written.

    Returns:
        number of messages per topic.

    Raises:
        ValueError: the bag exists, a file is missing or broken, or a sensor's mount changes.
    """
    mounts = _mounts(measured)
    track = _ego_track(measured)
    map_from_odom = _yaw_only(track.poses[0])
    odom = PoseTrack(track.stamps_ns, [map_from_odom.inverse() @ pose for pose in track.poses])
    with BagWriter(path, custom_data=_about(sequence)) as bag:
        start_ns = measured[0].stamp_ns
        bag.write("/tf_static", _static_transforms(start_ns, map_from_odom, mounts), start_ns)
        box_frames = _box_messages(sequence)
        upcoming = next(box_frames, None)
        for stamp_ns, group in groupby(measured, key=lambda each: each.stamp_ns):
            while upcoming and upcoming[0] < stamp_ns:
                _write_boxes(bag, *upcoming)
                upcoming = next(box_frames, None)
            _write_pose(bag, stamp_ns, odom)
            for each in group:
                _write_measurement(bag, each)
                advance()
        while upcoming:
            _write_boxes(bag, *upcoming)
            upcoming = next(box_frames, None)
    return bag.counts


def _about(sequence: RecordedSequence) -> dict[str, str]:
    origin = sequence.origin
    return {
        "source": "nuScenes",
        "scene": sequence.name,
        "description": origin.description,
        "log": origin.log,
        "vehicle": origin.vehicle,
        "date": origin.date,
        "location": origin.location,
    }


def _mounts(measured: Sequence[SensorFile]) -> dict[str, RigidTransform]:
    """base_link_from_sensor by TF frame."""
    mounts: dict[str, RigidTransform] = {}
    for each in measured:
        mount = mounts.setdefault(frame_of(each), each.ego_from_sensor)
        if not mount.is_close(each.ego_from_sensor, 1e-9, 1e-9):
            raise ValueError(
                f"{each.name} is mounted elsewhere from {each.stamp_ns} ns on: "
                "a static transform cannot say that"
            )
    return mounts


def _ego_track(measured: Sequence[SensorFile]) -> PoseTrack:
    poses = {each.stamp_ns: each.world_from_ego for each in measured}
    return PoseTrack(list(poses), list(poses.values()))


def _static_transforms(
    stamp_ns: int, map_from_odom: RigidTransform, mounts: dict[str, RigidTransform]
) -> Message:
    edges = [("map", "odom", map_from_odom)]
    edges += [("base_link", frame, mount) for frame, mount in mounts.items()]
    return messages.tf(messages.transform_stamped(stamp_ns, *edge) for edge in edges)


def _write_pose(bag: BagWriter, stamp_ns: int, odom: PoseTrack) -> None:
    pose = odom.at(stamp_ns)
    moved = messages.transform_stamped(stamp_ns, "odom", "base_link", pose)
    bag.write("/tf", messages.tf([moved]), stamp_ns)
    linear, angular = odom.velocity(stamp_ns, VELOCITY_WINDOW_NS)
    odometry = messages.odometry(stamp_ns, "odom", "base_link", pose, linear, angular)
    bag.write("/odom", odometry, stamp_ns)


def _write_measurement(bag: BagWriter, measured: SensorFile) -> None:
    stamp_ns, name, frame = measured.stamp_ns, measured.name.lower(), frame_of(measured)
    if isinstance(measured, LidarSweep):
        cloud = messages.point_cloud(stamp_ns, frame, _structured_points(measured))
        bag.write(f"/{name}/points", cloud, stamp_ns)
    if isinstance(measured, CameraImage):
        info = messages.camera_info(stamp_ns, frame, measured.model)
        bag.write(f"/{name}/camera_info", info, stamp_ns)
        image = messages.compressed_image(stamp_ns, frame, measured.file.read_bytes())
        bag.write(f"/{name}/image_raw/compressed", image, stamp_ns)


def _structured_points(sweep: LidarSweep) -> NDArray[np.void]:
    """x, y, z (m), intensity (0..255), ring of every point."""
    columns = np.frombuffer(pcd_bytes(sweep), dtype="<f4").reshape(-1, 5).T
    if not np.array_equal(columns[4], columns[4].astype(np.uint16)):
        raise ValueError(f"{sweep.file}: the fifth number of a point must be its ring, a whole one")
    points = np.empty(columns.shape[1], dtype=LIDAR_POINT)
    for name, column in zip(LIDAR_POINT.names or (), columns, strict=True):
        points[name] = column
    return points


def _yaw_only(pose: RigidTransform) -> RigidTransform:
    """The same place and heading, upright."""
    yaw = math.atan2(pose.rotation[1, 0], pose.rotation[0, 0])
    return RigidTransform.from_quaternion(
        (0.0, 0.0, math.sin(yaw / 2), math.cos(yaw / 2)), pose.translation
    )


def _box_messages(sequence: RecordedSequence) -> Iterator[tuple[int, Message, Message]]:
    tracks = {track.instance: track for track in sequence.tracks.values()}
    numbers = {instance: number for number, instance in enumerate(tracks)}
    for frame in sequence.frames:
        detections = [
            replace(box, velocity_m_s=tracks[box.instance].velocity_m_s(frame.stamp_ns))
            for box in frame.boxes
        ]
        yield (
            frame.stamp_ns,
            boxes.detections(frame.stamp_ns, "map", detections),
            boxes.markers(frame.stamp_ns, "map", detections, numbers),
        )


def _write_boxes(bag: BagWriter, stamp_ns: int, detections: Message, markers: Message) -> None:
    bag.write(BOX_TOPIC, detections, stamp_ns)
    bag.write(BOX_MARKER_TOPIC, markers, stamp_ns)
