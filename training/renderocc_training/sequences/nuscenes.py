"""Sequences of a data set in the nuScenes schema: nuScenes itself, and what ``extract`` writes.

Schema: https://github.com/nutonomy/nuscenes-devkit/blob/master/docs/schema_nuscenes.md
nuScenes counts time in microseconds and writes quaternions (w, x, y, z) and box sizes (width,
length, height). The world is its global frame, which begins in the lower left corner of the map.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np

from renderocc_ros.geometry import CameraModel, RigidTransform
from renderocc_ros.geometry.rigid_transform import interpolate
from renderocc_training.recording.boxes import Box
from renderocc_training.sequences.model import (
    CameraImage,
    Frame,
    LidarSweep,
    Origin,
    RecordedSequence,
    SensorFile,
    label_file,
    tracks_of,
    unique_names,
)
from renderocc_training.sequences.nuscenes_splits import with_splits
from renderocc_training.sequences.nuscenes_tables import Record, Tables, find_tables

MICROSECOND_NS = 1000
FRAGMENTS = ".extraction"  # what ``extract`` leaves beside its tables


def nuscenes_sequences(
    root: Path, names: Sequence[str] = (), version: str | None = None, images_between: bool = False
) -> list[RecordedSequence]:
    """The scenes of these names or official splits ("val"), or all.

    Args:
        root: folder that holds ``samples``, or the folder of tables in it.
        version: name of the folder of tables; the only one if not given.
        images_between: also list the images between key frames; LiDAR sweeps always are.

    Raises:
        ValueError: tables are missing or damaged, or a scene is not there.
    """
    tables = Tables(*find_tables(root, version))
    records = tables.all("scene")
    unique = unique_names(scene.text("name") for scene in records)
    scenes = dict(zip(unique, records, strict=True))
    names = with_splits(names, unique)
    unknown = [name for name in names if name not in scenes]
    if unknown:
        known = ", ".join(sorted(scenes)[:20])
        raise ValueError(f"no scene {', '.join(unknown)}; there are {len(scenes)}: {known}")
    reader = _Reader(tables, images_between)
    empty = [name for name in scenes if not reader.has_samples(scenes[name])]
    if len(empty) == len(scenes) or set(empty) & set(names):
        raise ValueError(f"{scenes[empty[0]]}: no record of sample.json belongs to it")
    read = [reader.sequence(name, scenes[name]) for name in names or scenes if name not in empty]
    if empty and not names:
        problem = f"left out, no record of sample.json belongs to them: {', '.join(empty)}"
        read[0] = replace(read[0], problems=(problem, *read[0].problems))
    return read


class _Reader:
    def __init__(self, tables: Tables, images_between: bool) -> None:
        self._tables, self._images_between = tables, images_between
        self._samples = _grouped(tables.all("sample"), "scene_token")
        self._data = _grouped(tables.all("sample_data"), "sample_token")
        self._annotations = _grouped(tables.all("sample_annotation"), "sample_token")
        named = {
            record.text("sample_data_token"): tables.root / record.text("filename")
            for record in tables.all("lidarseg")
        }
        self._point_labels = {token: file for token, file in named.items() if file.is_file()}
        missing = len(named) - len(self._point_labels)
        self._problems = [*tables.problems]
        if missing:
            self._problems.append(
                f"{missing} of {len(named)} files of lidarseg.json are missing: unpack them again"
            )
        self._mounts: dict[str, tuple[Record, str, str, RigidTransform]] = {}
        self._model = cache(_camera_model)

    def has_samples(self, scene: Record) -> bool:
        """Whether any key frame belongs to a scene."""
        return scene.token in self._samples

    def sequence(self, name: str, scene: Record) -> RecordedSequence:
        samples = sorted(self._samples[scene.token], key=lambda each: each.integer("timestamp"))
        records = [record for sample in samples for record in self._data[sample.token]]
        kinds = {name: kind for _, name, kind, _ in map(self._mount, records)}
        cameras = tuple(sorted(name for name, kind in kinds.items() if kind == "camera"))
        others = sorted(name for name, kind in kinds.items() if kind not in ("camera", "lidar"))
        if not cameras:
            raise ValueError(f"{scene}: no camera")
        between = self._between(samples, records)
        frames = tuple(
            self._frame(number, sample, cameras, tuple(between[number]))
            for number, sample in enumerate(samples)
        )
        problems = [*self._problems]
        if others:
            problems.append(f"neither camera nor LiDAR: {', '.join(others)}")
        road_mask = self._road_mask(scene)
        if road_mask is not None and not road_mask.is_file():
            problems.append(f"no road map, {road_mask} is missing: no ground is known to be road")
            road_mask = None
        return RecordedSequence(
            name,
            self._tables.root,
            cameras,
            frames,
            tracks_of(frames),
            road_mask,
            has_key_frames=True,
            after=tuple(between[len(frames)]),
            origin=self._origin(scene),
            problems=tuple(problems),
        )

    def _frame(
        self, number: int, sample: Record, cameras: tuple[str, ...], between: tuple[SensorFile, ...]
    ) -> Frame:
        records = [each for each in self._data[sample.token] if each.flag("is_key_frame")]
        read = [self._measurement(each) for each in records]
        images = {each.name: each for each in read if isinstance(each, CameraImage)}
        sweeps = {each.name: each for each in read if isinstance(each, LidarSweep)}
        return Frame(
            sample.token,
            number,
            sample.integer("timestamp") * MICROSECOND_NS,
            self._reference_pose(sample, records),
            tuple(images.get(name) for name in cameras),
            tuple(sweeps[name] for name in sorted(sweeps)),
            between,
            tuple(self._box(each) for each in self._annotations[sample.token]),
        )

    def _between(
        self, samples: Sequence[Record], records: Sequence[Record]
    ) -> dict[int, list[SensorFile]]:
        """Measurements before each key frame, by its number; those after the last by theirs.

        A sweep lies before the first key frame whose own measurement of that sensor is later.
        """
        numbers = {sample.token: number for number, sample in enumerate(samples)}
        keys: dict[str, list[tuple[int, int]]] = defaultdict(list)  # stamp, number of key frame
        sweeps = []
        for record in records:
            _, name, kind, _ = self._mount(record)
            stamp_us = record.integer("timestamp")
            if record.flag("is_key_frame"):
                keys[name].append((stamp_us, numbers[record.text("sample_token")]))
            elif kind == "lidar" or (kind == "camera" and self._images_between):
                sweeps.append((stamp_us, name, record))
        between: dict[int, list[SensorFile]] = defaultdict(list)
        for stamp_us, name, record in sorted(sweeps, key=lambda each: each[:2]):
            later = sorted(keys[name])
            place = bisect_right(later, (stamp_us, len(samples)))
            number = later[place][1] if place < len(later) else len(samples)
            measured = self._measurement(record)
            assert measured is not None  # of a camera or a LiDAR
            between[number].append(measured)
        return between

    def _measurement(self, record: Record) -> SensorFile | None:
        mount, name, kind, ego_from_sensor = self._mount(record)
        if kind not in ("camera", "lidar"):
            return None
        stamp_ns = record.integer("timestamp") * MICROSECOND_NS
        file = self._tables.root / record.text("filename")
        world_from_ego = self._tables.follow(record, "ego_pose_token", "ego_pose").pose
        if kind == "camera":
            model = self._model(mount, record.integer("width"), record.integer("height"))
            return CameraImage(name, stamp_ns, file, ego_from_sensor, world_from_ego, model)
        sweep = LidarSweep(name, stamp_ns, file, ego_from_sensor, world_from_ego, "nuscenes")
        labels = self._point_labels.get(record.token)
        if labels is None:
            extracted = label_file(self._tables.root, "points", sweep, ".label")
            labels = extracted if extracted.is_file() else None
        return replace(sweep, labels=labels)

    def _mount(self, record: Record) -> tuple[Record, str, str, RigidTransform]:
        """calibrated_sensor of a measurement, channel, modality, ``ego_from_sensor``."""
        token = record.text("calibrated_sensor_token")
        if token not in self._mounts:
            mount = self._tables.follow(record, "calibrated_sensor_token", "calibrated_sensor")
            sensor = self._tables.follow(mount, "sensor_token", "sensor")
            known = (mount, sensor.text("channel"), sensor.text("modality"), mount.pose)
            self._mounts[token] = known
        return self._mounts[token]

    def _reference_pose(self, sample: Record, records: Sequence[Record]) -> RigidTransform:
        """The ego pose at the sample's stamp: a sensor's that fired then, or between two."""
        stamp_us = sample.integer("timestamp")
        followed = (self._tables.follow(each, "ego_pose_token", "ego_pose") for each in records)
        poses = sorted(
            ((pose.integer("timestamp"), pose) for pose in followed), key=lambda each: each[0]
        )
        if not poses:
            raise ValueError(f"{sample}: no key frame of a sensor in sample_data.json")
        before = [each for each in poses if each[0] < stamp_us]
        after = [each for each in poses if each[0] > stamp_us]
        nearest_us, nearest = min(poses, key=lambda each: abs(each[0] - stamp_us))
        if nearest_us == stamp_us or not (before and after):
            return nearest.pose
        (start_us, start), (end_us, end) = before[-1], after[0]
        return interpolate(start.pose, end.pose, (stamp_us - start_us) / (end_us - start_us))

    def _box(self, record: Record) -> Box:
        instance = self._tables.follow(record, "instance_token", "instance")
        category = self._tables.follow(instance, "category_token", "category")
        visibility = ""
        if record.has("visibility_token") and self._tables.has("visibility"):
            level = self._tables.follow(record, "visibility_token", "visibility")
            visibility = level.text("level")
        attributes = record.texts("attribute_tokens") if self._tables.has("attribute") else ()
        width, length, height = record.numbers("size", 3)
        return Box(
            category.text("name"),
            instance.token,
            tuple(
                self._tables.get(record, token, "attribute").text("name") for token in attributes
            ),
            visibility,
            record.pose,
            (length, width, height),
            np.full(3, np.nan),
        )

    def _road_mask(self, scene: Record) -> Path | None:
        """The city's map; that of an extracted data set shows only where was driven."""
        if (self._tables.root / FRAGMENTS).is_dir():
            return None
        log = scene.text("log_token")
        maps = [
            self._tables.root / record.text("filename")
            for record in self._tables.all("map")
            if log in record.texts("log_tokens")
        ]
        return maps[0] if maps else None

    def _origin(self, scene: Record) -> Origin:
        log = self._tables.follow(scene, "log_token", "log")
        return Origin(
            scene.text("description"),
            log.text("logfile"),
            log.text("vehicle"),
            log.text("date_captured"),
            log.text("location"),
            log.number("ego_radius_m") if log.has("ego_radius_m") else None,
        )


def _grouped(records: Sequence[Record], key: str) -> defaultdict[str, list[Record]]:
    groups: defaultdict[str, list[Record]] = defaultdict(list)
    for record in records:
        groups[record.text(key)].append(record)
    return groups


def _camera_model(mount: Record, width: int, height: int) -> CameraModel:
    """Projection of an image; the lens is beyond the schema, ``extract`` writes it."""
    lens = mount.has("camera_distortion_model")
    try:
        return CameraModel(
            width,
            height,
            np.array(mount.rows("camera_intrinsic")),
            mount.text("camera_distortion_model") if lens else "none",
            tuple(mount.numbers("camera_distortion")) if lens else (),
        )
    except ValueError as error:
        raise ValueError(f"{mount}: {error}") from error
