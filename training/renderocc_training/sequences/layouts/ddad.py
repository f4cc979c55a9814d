"""DDAD, and what else is in the scene format of TRI's Dataset Governance Policy (DGP).

Files are found by following keys. A datum's pose is ``world_from_sensor`` at its own time,
extrinsics are ``vehicle_from_sensor``; axes as everywhere here. Stamps come from the file names,
which count 100 ns since 1970 (the ISO times beside them are off by a factor of ten).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from renderocc_ros.geometry import CameraModel, RigidTransform
from renderocc_training.recording.boxes import Box
from renderocc_training.sequences.extraction.readings import Reading
from renderocc_training.sequences.layouts.drive import LayoutDrive, LayoutFrame

Record = dict[str, Any]

TICK_NS = 100
BOXES_3D = "1"
LIDAR = "LIDAR_TOP"


def ddad_drives(root: Path) -> list[LayoutDrive]:
    """The scenes that a folder's scene_dataset*.json lists, or the scene that the folder is.

    Raises:
        ValueError: no scene.
    """
    files: list[Path] = []
    for index in sorted(root.glob("*.json")):
        splits = _read(index).get("scene_splits", {})
        files += [root / name for split in splits.values() for name in split["filenames"]]
    files = sorted(set(files)) or sorted(root.glob("scene_*.json"))
    if not files:
        raise ValueError(f"{root} holds neither a scene data set (scene_splits) nor scene_*.json")
    missing = [str(file) for file in files if not file.is_file()]
    if missing:
        raise ValueError(f"scenes are missing: {', '.join(missing)}")
    return [_Scene(file).drive() for file in files]


class _Scene:
    def __init__(self, file: Path) -> None:
        self.folder = file.parent
        scene = _read(file)
        self.samples: list[Record] = scene["samples"]
        self.data: dict[str, Record] = {record["key"]: record for record in scene["data"]}
        self.description: str = scene.get("description", "")
        ontology = scene.get("ontologies", {}).get(BOXES_3D)
        self.classes: dict[int, str] = {}
        if ontology:
            items = _read(self.folder / "ontology" / f"{ontology}.json")["items"]
            self.classes = {item["id"]: item["name"] for item in items}
        self.stamps_ns = [self._sample_stamp(sample) for sample in self.samples]

    def drive(self) -> LayoutDrive:
        return LayoutDrive(
            name=f"ddad-{self.folder.name}",
            description=self.description,
            vehicle="ddad",
            date=np.datetime64(self.stamps_ns[0], "ns").astype("datetime64[D]").item().isoformat(),
            location="unknown",
            start_ns=self.stamps_ns[0],
            count=len(self.samples),
            frames=self.frames,
        )

    def frames(self) -> Iterator[LayoutFrame]:
        for sample, stamp_ns in zip(self.samples, self.stamps_ns, strict=True):
            calibration = _read(self.folder / "calibration" / f"{sample['calibration_key']}.json")
            mounts = {
                name: (_transform(extrinsic), intrinsic)
                for name, extrinsic, intrinsic in zip(
                    calibration["names"],
                    calibration["extrinsics"],
                    calibration["intrinsics"],
                    strict=True,
                )
            }
            data = [self.data[key] for key in sample["datum_keys"]]
            readings = [self._reading(datum, *mounts[datum["id"]["name"]]) for datum in data]
            clouds = [datum for datum in data if "point_cloud" in datum["datum"]]
            boxes = [box for datum in clouds for box in self._boxes(datum["datum"]["point_cloud"])]
            yield LayoutFrame(stamp_ns, readings, boxes)

    def _sample_stamp(self, sample: Record) -> int:
        """The LiDAR's stamp, or the last one."""
        data = [self.data[key]["datum"] for key in sample["datum_keys"]]
        clouds = [each["point_cloud"] for each in data if "point_cloud" in each]
        images = [each["image"] for each in data if "image" in each]
        return max(_stamp(each) for each in clouds or images)

    def _reading(self, datum: Record, ego_from_sensor: RigidTransform, k: Record) -> Reading:
        is_cloud = "point_cloud" in datum["datum"]
        content = datum["datum"]["point_cloud" if is_cloud else "image"]
        file = self.folder / content["filename"]
        world_from_ego = _transform(content["pose"]) @ ego_from_sensor.inverse()
        if is_cloud:
            with np.load(file, allow_pickle=False) as arrays:
                stored = arrays["data"]
            points = np.zeros((len(stored), 5), dtype="<f4")
            points[:, :4] = stored[:, :4]
            return Reading(
                LIDAR, _stamp(content), points.tobytes(), "pcd.bin", ego_from_sensor, world_from_ego
            )
        intrinsics = np.array([[k["fx"], k["skew"], k["cx"]], [0, k["fy"], k["cy"]], [0, 0, 1]])
        return Reading(
            datum["id"]["name"].replace("CAMERA", "CAM"),
            _stamp(content),
            file.read_bytes(),
            file.suffix.lstrip("."),
            ego_from_sensor,
            world_from_ego,
            CameraModel(content["width"], content["height"], intrinsics),
        )

    def _boxes(self, cloud: Record) -> Iterator[Box]:
        """Boxes of the LiDAR's annotation, which are in its frame."""
        annotation = cloud["annotations"].get(BOXES_3D)
        if annotation is None:
            return
        world_from_lidar = _transform(cloud["pose"])
        for entry in _read(self.folder / annotation)["annotations"]:
            box = entry["box"]
            yield Box(
                self.classes.get(entry["class_id"], f"class {entry['class_id']}"),
                str(entry["instance_id"]),
                (),
                "",
                world_from_lidar @ _transform(box["pose"]),
                (box["length"], box["width"], box["height"]),
                np.full(3, np.nan),
            )


def _stamp(content: Record) -> int:
    return int(Path(content["filename"]).stem) * TICK_NS


def _transform(record: Record) -> RigidTransform:
    turn, place = record["rotation"], record["translation"]
    return RigidTransform.from_quaternion(
        (turn["qx"], turn["qy"], turn["qz"], turn["qw"]), (place["x"], place["y"], place["z"])
    )


def _read(file: Path) -> Record:
    try:
        content: Record = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError) as error:
        raise ValueError(f"{file} cannot be read: {error}") from error
    return content
