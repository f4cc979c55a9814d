"""nuScenes as a recording: the readings of a scene in the order of their stamps.

Reads through nuscenes-devkit. nuScenes counts time in microseconds and writes quaternions
(w, x, y, z); here all is nanoseconds and ``target_from_source``. ``map`` stands for its global
frame.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from nuscenes.nuscenes import NuScenes

from renderocc_ros.geometry import CameraModel, RigidTransform
from renderocc_training.recording.boxes import Box

Record = dict[str, Any]

TABLES = (
    "category",
    "attribute",
    "visibility",
    "instance",
    "sensor",
    "calibrated_sensor",
    "ego_pose",
    "log",
    "scene",
    "sample",
    "sample_data",
    "sample_annotation",
    "map",
)
MICROSECOND_NS = 1000


@dataclass(frozen=True, eq=False)
class Reading:
    """One measurement of one sensor.

    Attributes:
        channel: the sensor's name, CAM_FRONT or LIDAR_TOP for example.
        file: the JPEG, or the .pcd.bin.
        camera: its projection; None for a LiDAR.
        ego_from_sensor: where it is mounted.
        map_from_ego: the ego pose at this very stamp.
        sample_stamp_ns: of the sample that it belongs to; for a sweep, of the one that follows.
    """

    channel: str
    stamp_ns: int
    file: Path
    is_key_frame: bool
    camera: CameraModel | None
    ego_from_sensor: RigidTransform
    map_from_ego: RigidTransform
    sample_stamp_ns: int


class NuscenesScene:
    """One scene: its name, its readings and its boxes."""

    def __init__(self, database: NuScenes, record: Record) -> None:
        self._database = database
        self._record = record
        self.name: str = record["name"]
        self.description: str = record["description"]
        self.log: Record = database.get("log", record["log_token"])

    def readings(self, key_frames_only: bool) -> list[Reading]:
        """Camera and LiDAR readings in the order of their stamps."""
        found = [
            record
            for record in self._chains()
            if record["sensor_modality"] in ("camera", "lidar")
            and (record["is_key_frame"] or not key_frames_only)
        ]
        found.sort(key=lambda record: (record["timestamp"], record["channel"]))
        return [self._reading(record) for record in found]

    def skipped_channels(self) -> list[str]:
        """Sensors that are neither camera nor LiDAR (radar)."""
        first = self._database.get("sample", self._record["first_sample_token"])
        records = (self._database.get("sample_data", token) for token in first["data"].values())
        return sorted(
            record["channel"]
            for record in records
            if record["sensor_modality"] not in ("camera", "lidar")
        )

    def boxes(self) -> Iterator[tuple[int, list[Box]]]:
        """(stamp_ns, boxes) of every key frame."""
        for sample in self._samples():
            tokens = sample["anns"]
            yield sample["timestamp"] * MICROSECOND_NS, [self._box(token) for token in tokens]

    def _samples(self) -> Iterator[Record]:
        token = self._record["first_sample_token"]
        while token:
            sample = self._database.get("sample", token)
            yield sample
            token = sample["next"]

    def _chains(self) -> Iterator[Record]:
        """All sample_data of the scene, sweeps included.

        A channel's chain may begin with sweeps before the first key frame and end after the last.
        """
        first = self._database.get("sample", self._record["first_sample_token"])
        for token in first["data"].values():
            record = self._database.get("sample_data", token)
            while record["prev"]:
                record = self._database.get("sample_data", record["prev"])
            yield record
            while record["next"]:
                record = self._database.get("sample_data", record["next"])
                yield record

    def _reading(self, record: Record) -> Reading:
        mount = self._database.get("calibrated_sensor", record["calibrated_sensor_token"])
        pose = self._database.get("ego_pose", record["ego_pose_token"])
        camera = None
        if record["sensor_modality"] == "camera":
            camera = camera_of(record, mount)
        return Reading(
            record["channel"],
            record["timestamp"] * MICROSECOND_NS,
            Path(self._database.dataroot, record["filename"]),
            record["is_key_frame"],
            camera,
            transform(mount),
            transform(pose),
            self._database.get("sample", record["sample_token"])["timestamp"] * MICROSECOND_NS,
        )

    def _box(self, token: str) -> Box:
        record = self._database.get("sample_annotation", token)
        attributes = (self._database.get("attribute", each) for each in record["attribute_tokens"])
        width, length, height = record["size"]
        visibility = record["visibility_token"]
        return Box(
            record["category_name"],
            record["instance_token"],
            tuple(attribute["name"] for attribute in attributes),
            self._database.get("visibility", visibility)["level"] if visibility else "",
            transform(record),
            (length, width, height),
            self._database.box_velocity(token),
        )


class NuscenesSource:
    """A nuScenes data set on disk.

    Args:
        dataroot: folder that holds ``samples`` and the folder of tables.
        version: name of the folder of tables, such as v1.0-mini.

    Raises:
        ValueError: a table or the map is missing or not readable.
    """

    def __init__(self, dataroot: Path, version: str) -> None:
        check_tables(dataroot, version)
        try:
            self.database = NuScenes(version, str(dataroot), verbose=False, map_resolution=1.0)
        except (AssertionError, KeyError, ValueError) as error:
            raise ValueError(f"{dataroot / version} is not a whole nuScenes: {error}") from error

    def scenes(self, names: Sequence[str] = ()) -> list[NuscenesScene]:
        """The scenes of these names in this order, or all.

        Raises:
            ValueError: a name that the data set does not have.
        """
        records = {record["name"]: record for record in self.database.scene}
        unknown = [name for name in names if name not in records]
        if unknown:
            known = ", ".join(sorted(records)[:20])
            raise ValueError(f"no scene {', '.join(unknown)}; there are {len(records)}: {known}")
        return [NuscenesScene(self.database, records[name]) for name in names or records]


def check_tables(dataroot: Path, version: str) -> None:
    """Refuse a data set that lacks a table, naming it."""
    folder = dataroot / version
    if not folder.is_dir():
        found = sorted(path.parent.name for path in dataroot.glob("*/sample_data.json"))
        hint = f"choose --version {' or '.join(found)}" if found else "give nuScenes' own folder"
        raise ValueError(f"no tables in {folder}: {hint}")
    missing = [f"{table}.json" for table in TABLES if not (folder / f"{table}.json").is_file()]
    if missing:
        raise ValueError(f"{folder} lacks {', '.join(missing)}: unpack the metadata again")


def tables_of(folder: Path) -> tuple[Path, str]:
    """(data root, name of its folder of tables).

    Args:
        folder: the data root if it has one folder of tables, else that folder of tables.

    Raises:
        ValueError: no tables, or several.
    """
    if (folder / "sample_data.json").is_file():
        return folder.parent, folder.name
    versions = sorted(path.parent.name for path in folder.glob("*/sample_data.json"))
    if len(versions) != 1:
        found = ", ".join(str(folder / version) for version in versions)
        raise ValueError(
            f"{folder} holds {len(versions)} folders of tables: give "
            f"{'one of ' + found if found else 'the folder of nuScenes'}"
        )
    return folder, versions[0]


def check_files(readings: Iterable[Reading]) -> None:
    """Refuse readings whose files are not there, naming the first of them."""
    missing = [reading.file for reading in readings if not reading.file.is_file()]
    if missing:
        raise ValueError(
            f"{len(missing)} sensor files are missing, the first is {missing[0]}: unpack the "
            "blobs, or leave sweeps out with --key-frames-only"
        )


def transform(record: Record) -> RigidTransform:
    """The transform of a record with ``rotation`` (w, x, y, z) and ``translation``."""
    w, x, y, z = record["rotation"]
    return RigidTransform.from_quaternion((x, y, z, w), record["translation"])


def camera_of(record: Record, mount: Record) -> CameraModel:
    """The projection of an image.

    Args:
        record: its sample_data.
        mount: its calibrated_sensor; the lens is beyond the schema, ``extract`` writes it.
    """
    return CameraModel(
        record["width"],
        record["height"],
        np.array(mount["camera_intrinsic"]),
        mount.get("camera_distortion_model", "none"),
        tuple(mount.get("camera_distortion", ())),
    )


def read_lidar(file: Path) -> NDArray[np.void]:
    """Points of a .pcd.bin as a structured array: x, y, z (m), intensity (0..255), ring.

    Raises:
        ValueError: the size is not that of whole points, or a ring is no whole number.
    """
    numbers = np.fromfile(file, dtype="<f4")
    if numbers.size % 5:
        raise ValueError(f"{file} holds {numbers.size} numbers, not five for each point")
    columns = numbers.reshape(-1, 5).T
    if not np.array_equal(columns[4], columns[4].astype(np.uint16)):
        raise ValueError(f"{file}: the fifth number of a point must be its ring, a whole number")
    points = np.empty(columns.shape[1], dtype=LIDAR_POINT)
    for name, column in zip(LIDAR_POINT.names or (), columns, strict=True):
        points[name] = column
    return points


LIDAR_POINT = np.dtype(
    [("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("intensity", "<f4"), ("ring", "<u2")]
)


def yaw_only(pose: RigidTransform) -> RigidTransform:
    """The same place and heading, upright."""
    yaw = math.atan2(pose.rotation[1, 0], pose.rotation[0, 0])
    return RigidTransform.from_quaternion(
        (0.0, 0.0, math.sin(yaw / 2), math.cos(yaw / 2)), pose.translation
    )
