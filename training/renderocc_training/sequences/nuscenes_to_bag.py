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

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from pathlib import Path

from renderocc_ros.geometry import RigidTransform
from renderocc_training.recording import boxes, messages
from renderocc_training.recording.bag_writer import BagWriter
from renderocc_training.recording.messages import Message
from renderocc_training.recording.pose_track import PoseTrack
from renderocc_training.sequences.nuscenes_source import (
    NuscenesScene,
    Reading,
    check_files,
    read_lidar,
    yaw_only,
)

BOX_TOPIC = "/ground_truth/boxes"
BOX_MARKER_TOPIC = "/ground_truth/box_markers"
VELOCITY_WINDOW_NS = 200_000_000

Progress = Callable[[], None]


def frame_of(channel: str, is_camera: bool) -> str:
    """TF frame of a sensor."""
    return f"{channel.lower()}_optical" if is_camera else channel.lower()


def write_scene(
    scene: NuscenesScene,
    readings: Sequence[Reading],
    path: Path,
    advance: Progress = lambda: None,
) -> dict[str, int]:
    """Write one scene's bag.

    Args:
        readings: of this scene, in the order of their stamps.
        path: folder of the new bag.
        advance: told of every reading written.

    Returns:
        number of messages per topic.

    Raises:
        ValueError: the bag exists, a file is missing or broken, or a sensor's mount changes.
    """
    check_files(readings)
    mounts = _mounts(readings)
    track = _ego_track(readings)
    map_from_odom = yaw_only(track.poses[0])
    odom = PoseTrack(track.stamps_ns, [map_from_odom.inverse() @ pose for pose in track.poses])
    with BagWriter(path, custom_data=_about(scene)) as bag:
        start_ns = readings[0].stamp_ns
        bag.write("/tf_static", _static_transforms(start_ns, map_from_odom, mounts), start_ns)
        box_frames = _box_messages(scene)
        upcoming = next(box_frames, None)
        for stamp_ns, group in groupby(readings, key=lambda reading: reading.stamp_ns):
            while upcoming and upcoming[0] < stamp_ns:
                _write_boxes(bag, *upcoming)
                upcoming = next(box_frames, None)
            _write_pose(bag, stamp_ns, odom)
            for reading in group:
                _write_reading(bag, reading)
                advance()
        while upcoming:
            _write_boxes(bag, *upcoming)
            upcoming = next(box_frames, None)
    return bag.counts


def _about(scene: NuscenesScene) -> dict[str, str]:
    return {
        "source": "nuScenes",
        "scene": scene.name,
        "description": scene.description,
        "log": scene.log["logfile"],
        "vehicle": scene.log["vehicle"],
        "date": scene.log["date_captured"],
        "location": scene.log["location"],
    }


def _mounts(readings: Sequence[Reading]) -> dict[str, RigidTransform]:
    """base_link_from_sensor by TF frame."""
    mounts: dict[str, RigidTransform] = {}
    for reading in readings:
        frame = frame_of(reading.channel, reading.camera is not None)
        mount = mounts.setdefault(frame, reading.ego_from_sensor)
        if not mount.is_close(reading.ego_from_sensor, 1e-9, 1e-9):
            raise ValueError(
                f"{reading.channel} is mounted elsewhere from {reading.stamp_ns} ns on: "
                "a static transform cannot say that"
            )
    return mounts


def _ego_track(readings: Sequence[Reading]) -> PoseTrack:
    poses = {reading.stamp_ns: reading.map_from_ego for reading in readings}
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


def _write_reading(bag: BagWriter, reading: Reading) -> None:
    stamp_ns, name = reading.stamp_ns, reading.channel.lower()
    frame = frame_of(reading.channel, reading.camera is not None)
    if reading.camera is None:
        cloud = messages.point_cloud(stamp_ns, frame, read_lidar(reading.file))
        bag.write(f"/{name}/points", cloud, stamp_ns)
        return
    info = messages.camera_info(stamp_ns, frame, reading.camera)
    bag.write(f"/{name}/camera_info", info, stamp_ns)
    image = messages.compressed_image(stamp_ns, frame, reading.file.read_bytes())
    bag.write(f"/{name}/image_raw/compressed", image, stamp_ns)


def _box_messages(scene: NuscenesScene) -> Iterator[tuple[int, Message, Message]]:
    numbers: dict[str, int] = {}
    for stamp_ns, found in scene.boxes():
        for box in found:
            numbers.setdefault(box.instance, len(numbers))
        yield (
            stamp_ns,
            boxes.detections(stamp_ns, "map", found),
            boxes.markers(stamp_ns, "map", found, numbers),
        )


def _write_boxes(bag: BagWriter, stamp_ns: int, detections: Message, markers: Message) -> None:
    bag.write(BOX_TOPIC, detections, stamp_ns)
    bag.write(BOX_MARKER_TOPIC, markers, stamp_ns)
