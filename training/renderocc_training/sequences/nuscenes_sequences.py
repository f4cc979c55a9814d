"""Sequences of a data set in the nuScenes schema: nuScenes itself, and what ``extract`` writes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from renderocc_ros.geometry import RigidTransform
from renderocc_ros.geometry.rigid_transform import interpolate
from renderocc_training.sequences.extraction.bag_extractor import LABEL_FOLDER
from renderocc_training.sequences.extraction.job import FRAGMENTS
from renderocc_training.sequences.model import (
    BoxTrack,
    CameraImage,
    Frame,
    LidarSweep,
    RecordedSequence,
)
from renderocc_training.sequences.nuscenes_source import (
    MICROSECOND_NS,
    NuscenesSource,
    camera_of,
    transform,
)

Record = dict[str, Any]


def nuscenes_sequences(
    root: Path, version: str, scenes: Sequence[str] = ()
) -> list[RecordedSequence]:
    """The sequences of these scenes, or of all.

    Args:
        root: folder that holds ``samples``.
        version: name of the folder of tables.

    Raises:
        ValueError: tables are missing, or a scene is not there.
    """
    database = NuscenesSource(root, version).database
    records = {record["name"]: record for record in database.scene}
    unknown = [name for name in scenes if name not in records]
    if unknown:
        known = ", ".join(sorted(records)[:20])
        raise ValueError(f"no scene {', '.join(unknown)}; there are {len(records)}: {known}")
    return [_SceneReader(database, records[name]).sequence() for name in scenes or records]


class _SceneReader:
    def __init__(self, database: Any, scene: Record) -> None:
        self.database = database
        self.scene = scene
        self.root = Path(database.dataroot)
        self.samples = self._samples()
        self.point_labels: dict[str, str] = {
            record["sample_data_token"]: record["filename"]
            for record in getattr(database, "lidarseg", [])
        }

    def sequence(self) -> RecordedSequence:
        channels = {
            channel: self.database.get("sample_data", token)["sensor_modality"]
            for sample in self.samples
            for channel, token in sample["data"].items()
        }
        cameras = tuple(sorted(c for c, modality in channels.items() if modality == "camera"))
        lidars = sorted(c for c, modality in channels.items() if modality == "lidar")
        frames = tuple(
            self._frame(number, sample, cameras, lidars[0] if lidars else None)
            for number, sample in enumerate(self.samples)
        )
        if not cameras:
            raise ValueError(f"scene {self.scene['name']} has no camera")
        tracks = dict(enumerate(self._tracks()))
        return RecordedSequence(
            self.scene["name"], self.root, cameras, frames, tracks, self._road_mask()
        )

    def _samples(self) -> list[Record]:
        found, token = [], self.scene["first_sample_token"]
        while token:
            found.append(self.database.get("sample", token))
            token = found[-1]["next"]
        return found

    def _frame(
        self, number: int, sample: Record, cameras: tuple[str, ...], lidar: str | None
    ) -> Frame:
        records = {
            channel: self.database.get("sample_data", token)
            for channel, token in sample["data"].items()
        }
        has_sweep = lidar is not None and lidar in records
        return Frame(
            sample["token"],
            number,
            sample["timestamp"] * MICROSECOND_NS,
            self._reference_pose(sample["timestamp"], records),
            tuple(self._camera(records[name]) if name in records else None for name in cameras),
            self._sweep(records[str(lidar)]) if has_sweep else None,
            tuple(self._sweeps(records[str(lidar)])) if has_sweep else (),
        )

    def _reference_pose(self, stamp_us: int, records: dict[str, Record]) -> RigidTransform:
        """The ego pose at the sample's stamp: a sensor's that fired then, or between two."""
        poses = sorted(
            (
                self.database.get("ego_pose", record["ego_pose_token"])
                for record in records.values()
            ),
            key=lambda pose: pose["timestamp"],
        )
        nearest: Record = min(poses, key=lambda pose: abs(pose["timestamp"] - stamp_us))
        before = [pose for pose in poses if pose["timestamp"] < stamp_us]
        after = [pose for pose in poses if pose["timestamp"] > stamp_us]
        if nearest["timestamp"] == stamp_us or not (before and after):
            return transform(nearest)
        start, end = before[-1], after[0]
        fraction = (stamp_us - start["timestamp"]) / (end["timestamp"] - start["timestamp"])
        return interpolate(transform(start), transform(end), fraction)

    def _camera(self, record: Record) -> CameraImage:
        mount = self.database.get("calibrated_sensor", record["calibrated_sensor_token"])
        pose = self.database.get("ego_pose", record["ego_pose_token"])
        return CameraImage(
            record["channel"],
            record["timestamp"] * MICROSECOND_NS,
            self.root / record["filename"],
            camera_of(record, mount),
            transform(pose) @ transform(mount),
        )

    def _sweep(self, record: Record) -> LidarSweep:
        mount = self.database.get("calibrated_sensor", record["calibrated_sensor_token"])
        pose = self.database.get("ego_pose", record["ego_pose_token"])
        return LidarSweep(
            record["timestamp"] * MICROSECOND_NS,
            self.root / record["filename"],
            "nuscenes",
            transform(mount),
            transform(pose),
            self._point_labels(record),
        )

    def _point_labels(self, record: Record) -> Path | None:
        """lidarseg's file of a sweep, or the one that ``extract`` wrote."""
        if record["token"] in self.point_labels:
            return self.root / self.point_labels[record["token"]]
        file = self.root / LABEL_FOLDER / "points" / record["channel"]
        file /= f"{record['timestamp']}.label"
        return file if file.is_file() else None

    def _sweeps(self, record: Record) -> list[LidarSweep]:
        """Turns between the last key frame and this one; the file of each must be there."""
        found: list[LidarSweep] = []
        while record["prev"]:
            record = self.database.get("sample_data", record["prev"])
            if record["is_key_frame"]:
                break
            sweep = self._sweep(record)
            if sweep.file.is_file():
                found.append(sweep)
        return found[::-1]

    def _tracks(self) -> list[BoxTrack]:
        annotations: dict[str, list[tuple[int, Record]]] = {}
        for sample in self.samples:
            for token in sample["anns"]:
                record = self.database.get("sample_annotation", token)
                stamp = sample["timestamp"] * MICROSECOND_NS
                annotations.setdefault(record["instance_token"], []).append((stamp, record))
        return [self._track(found) for found in annotations.values()]

    def _track(self, found: list[tuple[int, Record]]) -> BoxTrack:
        width, length, height = np.max([record["size"] for _, record in found], axis=0).tolist()
        return BoxTrack(
            found[0][1]["category_name"],
            (length, width, height),
            tuple(stamp for stamp, _ in found),
            tuple(transform(record) for _, record in found),
        )

    def _road_mask(self) -> Path | None:
        """The city's map; that of an extracted data set shows only where was driven."""
        if (self.root / FRAGMENTS).is_dir():
            return None
        log = self.database.get("log", self.scene["log_token"])
        maps = [
            self.root / record["filename"]
            for record in self.database.map
            if log["token"] in record["log_tokens"]
        ]
        return maps[0] if maps and maps[0].is_file() else None
