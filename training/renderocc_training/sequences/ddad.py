"""DDAD, and what else is in the scene format of TRI's Dataset Governance Policy (DGP).

Files are found by following keys. A datum's pose is ``world_from_sensor`` at its own time,
extrinsics are ``vehicle_from_sensor``; axes as everywhere here. Stamps come from the file names,
which count 100 ns since 1970 (the ISO times beside them are off by a factor of ten).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from renderocc_ros.geometry import CameraModel, RigidTransform
from renderocc_ros.outside_data import parsing, read_json
from renderocc_training.recording.boxes import Box
from renderocc_training.sequences.model import (
    CameraImage,
    Frame,
    LidarSweep,
    Origin,
    RecordedSequence,
    SensorFile,
    tracks_of,
)

Json = dict[str, Any]

TICK_NS = 100
CURE = "unpack the data set again"
BOXES_3D = "1"  # key of 3D boxes among ontologies and among a datum's annotations
LIDAR = "LIDAR_TOP"


def ddad_sequences(root: Path, names: Sequence[str] = ()) -> list[RecordedSequence]:
    """The scenes of these names ("scene_02"), or all.

    Args:
        root: folder whose scene_dataset*.json lists scenes, or whose folders are scenes, or one
            scene's own folder.

    Raises:
        ValueError: there is no scene, or one or a part of it is not there.
    """
    listed: set[Path] = set()
    for index in root.glob("*.json"):
        splits = read_json(index, CURE).get("scene_splits", {})
        with parsing(index, CURE):
            listed |= {root / name for split in splits.values() for name in split["filenames"]}
    files = listed or {*root.glob("*/scene_*.json")} or {*root.glob("scene_*.json")}
    if not files:
        raise ValueError(f"{root} holds neither a scene data set (scene_splits) nor scene_*.json")
    missing = [str(file) for file in sorted(files) if not file.is_file()]
    if missing:
        raise ValueError(f"scenes are missing: {', '.join(missing)}")
    scenes = {file.absolute().parent.name: file for file in sorted(files)}
    unknown = [name for name in names if name not in scenes]
    if unknown:
        raise ValueError(f"no scene {', '.join(unknown)} in {root}; there: {', '.join(scenes)}")
    return [_sequence(root, name, scenes[name]) for name in names or scenes]


def _sequence(root: Path, name: str, file: Path) -> RecordedSequence:
    with parsing(file, CURE):
        return _Scene(file).sequence(root, name)


class _Scene:
    def __init__(self, file: Path) -> None:
        self._folder = file.parent
        self._scene = read_json(file, CURE)
        self._data: dict[str, Json] = {datum["key"]: datum for datum in self._scene["data"]}
        self._classes: dict[int, str] = {}
        ontology = self._scene.get("ontologies", {}).get(BOXES_3D)
        if ontology:
            items = read_json(self._folder / "ontology" / f"{ontology}.json", CURE)["items"]
            self._classes = {item["id"]: item["name"] for item in items}

    def sequence(self, root: Path, name: str) -> RecordedSequence:
        datums = [[self._data[key] for key in s["datum_keys"]] for s in self._scene["samples"]]
        cameras = tuple(
            sorted({_name(each) for some in datums for each in some if "image" in each["datum"]})
        )
        frames = tuple(
            self._frame(name, number, cameras, some, self._mounts(sample["calibration_key"]))
            for number, (some, sample) in enumerate(
                zip(datums, self._scene["samples"], strict=True)
            )
        )
        date = np.datetime64(frames[0].stamp_ns, "ns").astype("datetime64[D]").item().isoformat()
        origin = Origin(self._scene.get("description", ""), f"ddad-{name}", "ddad", date)
        return RecordedSequence(name, root, cameras, frames, tracks_of(frames), origin=origin)

    def _frame(
        self,
        scene: str,
        number: int,
        cameras: tuple[str, ...],
        datums: Sequence[Json],
        mounts: Mapping[str, tuple[RigidTransform, Json]],
    ) -> Frame:
        """Time and place are those of the LiDAR, or of the last image."""
        read = [self._measurement(each, *mounts[each["id"]["name"]]) for each in datums]
        images = {each.name: each for each in read if isinstance(each, CameraImage)}
        sweeps = tuple(each for each in read if isinstance(each, LidarSweep))
        last = max(sweeps or images.values(), key=lambda each: each.stamp_ns)
        clouds = [datum["datum"] for datum in datums if "point_cloud" in datum["datum"]]
        return Frame(
            f"{scene}_{last.file.stem}",
            number,
            last.stamp_ns,
            last.world_from_ego,
            tuple(images.get(name) for name in cameras),
            sweeps,
            boxes=tuple(box for cloud in clouds for box in self._boxes(cloud["point_cloud"])),
        )

    def _measurement(self, datum: Json, ego_from_sensor: RigidTransform, lens: Json) -> SensorFile:
        is_cloud = "point_cloud" in datum["datum"]
        content = datum["datum"]["point_cloud" if is_cloud else "image"]
        file = self._folder / content["filename"]
        stamp_ns = int(file.stem) * TICK_NS
        world_from_ego = _transform(content["pose"]) @ ego_from_sensor.inverse()
        if is_cloud:
            return LidarSweep(LIDAR, stamp_ns, file, ego_from_sensor, world_from_ego, "dgp")
        rows = [[lens["fx"], lens["skew"], lens["cx"]], [0, lens["fy"], lens["cy"]], [0, 0, 1]]
        model = CameraModel(content["width"], content["height"], np.array(rows))
        return CameraImage(_name(datum), stamp_ns, file, ego_from_sensor, world_from_ego, model)

    def _boxes(self, cloud: Json) -> Iterator[Box]:
        """Boxes of the LiDAR's annotation, which are in its frame."""
        annotation = cloud.get("annotations", {}).get(BOXES_3D)
        world_from_lidar = _transform(cloud["pose"])
        content = read_json(self._folder / annotation, CURE) if annotation else {}
        for entry in content.get("annotations", ()):
            box = entry["box"]
            yield Box(
                self._classes.get(entry["class_id"], f"class {entry['class_id']}"),
                str(entry["instance_id"]),
                (),
                "",
                world_from_lidar @ _transform(box["pose"]),
                (box["length"], box["width"], box["height"]),
                np.full(3, np.nan),
            )

    def _mounts(self, key: str) -> dict[str, tuple[RigidTransform, Json]]:
        """``vehicle_from_sensor`` and intrinsics of every sensor."""
        content = read_json(self._folder / "calibration" / f"{key}.json", CURE)
        columns = zip(content["names"], content["extrinsics"], content["intrinsics"], strict=True)
        return {name: (_transform(mount), lens) for name, mount, lens in columns}


def _name(datum: Json) -> str:
    name: str = datum["id"]["name"]
    return name.replace("CAMERA", "CAM")


def _transform(record: Json) -> RigidTransform:
    turn, place = record["rotation"], record["translation"]
    return RigidTransform.from_quaternion(
        (turn["qx"], turn["qy"], turn["qz"], turn["qw"]), (place["x"], place["y"], place["z"])
    )
