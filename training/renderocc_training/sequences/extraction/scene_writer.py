"""One scene of a data set: files under samples/ and sweeps/, and its records."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from renderocc_ros.files import write_bytes
from renderocc_ros.geometry import RigidTransform
from renderocc_training.recording.boxes import Box
from renderocc_training.sequences.extraction.readings import Reading
from renderocc_training.sequences.extraction.records import (
    VISIBILITY_TOKENS,
    Chain,
    Record,
    SceneTables,
    pose_fields,
    token,
)

MICROSECOND_NS = 1000
SAME_MOUNT_RAD, SAME_MOUNT_M = 1e-6, 1e-6


@dataclass(frozen=True)
class SceneIdentity:
    """What names a scene and its files.

    Attributes:
        key: unique among all scenes of a data set; seeds its tokens.
        name: for people.
        log: the recording's name; file names begin with it.
        vehicle, date, location, ego_radius_m: for the log table.
    """

    key: str
    name: str
    description: str
    log: str
    vehicle: str
    date: str
    location: str
    ego_radius_m: float | None = None


@dataclass
class _Track:
    """The annotations of one object so far."""

    first: str
    last: str
    count: int
    category: str


@dataclass
class SceneWriter:
    """Writes key frames and sweeps, in the order of time for each channel.

    Args:
        root: the data set's folder.
        tables: open tables of this scene.
        identity: names.
    """

    root: Path
    tables: SceneTables
    identity: SceneIdentity
    key_frames: int = 0
    sweeps: int = 0
    boxes: int = 0
    _mounts: dict[str, tuple[str, Reading]] = field(default_factory=dict)
    _tracks: dict[str, _Track] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._data = Chain(self.tables, "sample_data")
        self._samples = Chain(self.tables, "sample")
        self._annotations = Chain(self.tables, "sample_annotation")
        self._scene_token = token("scene", self.identity.key)

    def add_sweep(self, reading: Reading) -> None:
        """A reading after the first key frame; it belongs to the key frame that follows."""
        if not self.key_frames:
            raise ValueError("a scene begins with a key frame, not with a sweep")
        self._write(reading, is_key_frame=False)
        self.sweeps += 1

    @property
    def promised_sample(self) -> tuple[str, str]:
        """Token of the key frame that the last sweeps wait for in vain; that of the last one."""
        return self._sample_token(), self._sample_token(self.key_frames - 1)

    def add_key_frame(
        self, stamp_ns: int, readings: Sequence[Reading], boxes: Sequence[Box] = ()
    ) -> str:
        """A sample: one reading of each channel, and the boxes at this time (in the world).

        Returns:
            its token.
        """
        sample = self._sample_token()
        record = {
            "token": sample,
            "timestamp": stamp_ns // MICROSECOND_NS,
            "scene_token": self._scene_token,
        }
        self._samples.add("", record)
        for reading in readings:
            self._write(reading, is_key_frame=True)
        lidars = [reading for reading in readings if reading.camera is None]
        for box in boxes:
            self._annotate(sample, box, lidars)
        self.key_frames += 1
        return sample

    def close(self) -> None:
        """Write what was held back, and the scene's own record; without key frames, nothing."""
        if not self.key_frames:
            return
        self._data.close()
        self._samples.close()
        self._annotations.close()
        for name, track in sorted(self._tracks.items()):
            self.tables.add(
                "instance",
                {
                    "token": name,
                    "category_token": track.category,
                    "nbr_annotations": track.count,
                    "first_annotation_token": track.first,
                    "last_annotation_token": track.last,
                },
            )
        identity = self.identity
        log: dict[str, Any] = {
            "token": token("log", identity.log),
            "logfile": identity.log,
            "vehicle": identity.vehicle,
            "date_captured": identity.date,
            "location": identity.location,
        }
        if identity.ego_radius_m is not None:
            log["ego_radius_m"] = identity.ego_radius_m
        self.tables.add(
            "scene",
            {
                "token": self._scene_token,
                "log_token": self.tables.add_once("log", log),
                "nbr_samples": self.key_frames,
                "first_sample_token": self._sample_token(0),
                "last_sample_token": self._sample_token(self.key_frames - 1),
                "name": identity.name,
                "description": identity.description,
            },
        )

    def _sample_token(self, number: int | None = None) -> str:
        number = self.key_frames if number is None else number
        return token("sample", self.identity.key, number)

    def _write(self, reading: Reading, is_key_frame: bool) -> None:
        folder = "samples" if is_key_frame else "sweeps"
        stamp = reading.stamp_ns // MICROSECOND_NS
        name = measurement_name(self.identity.log, reading.channel, reading.stamp_ns)
        file = self.root / folder / reading.channel / f"{name}.{reading.suffix}"
        write_bytes(file, reading.content, durable=False)
        own = token("sample_data", self.identity.key, reading.channel, reading.stamp_ns)
        pose = {"token": own, "timestamp": stamp} | pose_fields(reading.world_from_ego)
        self.tables.add("ego_pose", pose)
        camera = reading.camera
        self._data.add(
            reading.channel,
            {
                "token": own,
                "sample_token": self._sample_token(),
                "ego_pose_token": own,
                "calibrated_sensor_token": self._mount_token(reading),
                "timestamp": stamp,
                "fileformat": reading.suffix.partition(".")[0],
                "is_key_frame": is_key_frame,
                "height": camera.height if camera else 0,
                "width": camera.width if camera else 0,
                "filename": file.relative_to(self.root).as_posix(),
            },
        )

    def _mount_token(self, reading: Reading) -> str:
        """The calibrated_sensor of a reading; a new one when mount or calibration changes."""
        known = self._mounts.get(reading.channel)
        if known is not None:
            before = known[1]
            same = before.ego_from_sensor.is_close(
                reading.ego_from_sensor, SAME_MOUNT_RAD, SAME_MOUNT_M
            )
            if same and before.camera == reading.camera:
                return known[0]
        camera = reading.camera
        record = {
            "token": token("mount", self.identity.key, reading.channel, reading.stamp_ns),
            "sensor_token": self.tables.add_once("sensor", _sensor(reading)),
            "camera_intrinsic": camera.intrinsics.tolist() if camera else [],
        }
        if camera is not None and camera.distortion_model != "none":
            # Beyond the schema; tools that do not know it take the camera for undistorted.
            record["camera_distortion_model"] = camera.distortion_model
            record["camera_distortion"] = list(camera.distortion)
        self.tables.add("calibrated_sensor", record | pose_fields(reading.ego_from_sensor))
        self._mounts[reading.channel] = (record["token"], reading)
        return str(record["token"])

    def _annotate(self, sample: str, box: Box, lidars: Sequence[Reading]) -> None:
        own = token("annotation", sample, box.instance)
        instance = token("instance", self.identity.key, box.instance)
        category = self.tables.add_once("category", _named("category", box.category))
        length, width, height = box.size_m
        record: Record = {
            "token": own,
            "sample_token": sample,
            "instance_token": instance,
            "visibility_token": self._visibility(box.visibility),
            "attribute_tokens": [
                self.tables.add_once("attribute", _named("attribute", name))
                for name in box.attributes
            ],
            "size": [width, length, height],
            "num_lidar_pts": sum(points_inside(box, reading) for reading in lidars),
            "num_radar_pts": 0,
        }
        self._annotations.add(instance, record | pose_fields(box.map_from_box))
        track = self._tracks.setdefault(instance, _Track(own, own, 0, category))
        track.last, track.count = own, track.count + 1
        self.boxes += 1

    def _visibility(self, level: str) -> str:
        if level not in VISIBILITY_TOKENS:
            return ""
        name = VISIBILITY_TOKENS[level]
        return self.tables.add_once(
            "visibility", {"token": name, "level": level, "description": f"{level[1:]} % visible"}
        )


def measurement_name(log: str, channel: str, stamp_ns: int) -> str:
    """What the file of a measurement, and those of its labels, are called without suffix."""
    return f"{log}__{channel}__{stamp_ns // MICROSECOND_NS}"


def points_inside(box: Box, reading: Reading) -> int:
    """Number of a LiDAR reading's points inside a box, its faces included."""
    points = np.frombuffer(reading.content, dtype="<f4").reshape(-1, 5)[:, :3]
    box_from_sensor: RigidTransform = box.map_from_box.inverse() @ reading.world_from_sensor
    half = np.array(box.size_m) / 2
    # The sphere around the box first: the exact test is dear for all points of all boxes.
    centre = box_from_sensor.inverse().translation
    near = ((points - centre.astype(np.float32)) ** 2).sum(axis=1) <= 1.01 * (half**2).sum() + 0.01
    inside = np.abs(box_from_sensor.apply(points[near])) <= half
    return int(inside.all(axis=1).sum())


def _sensor(reading: Reading) -> Record:
    modality = "lidar" if reading.camera is None else "camera"
    return {
        "token": token("sensor", reading.channel),
        "channel": reading.channel,
        "modality": modality,
    }


def _named(table: str, name: str) -> dict[str, Any]:
    return {"token": token(table, name), "name": name, "description": ""}
