"""Sequences of DDAD in the DGP layout: a scene file that names every reading by key.

Poses of readings are ``world_from_sensor``; the LiDAR's own frame is that of the vehicle (x
forward, y left, z up, on the ground), so its pose is the ego pose. Stamps in file names count
units of 100 ns.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from renderocc_ros.geometry import CameraModel, RigidTransform
from renderocc_training.sequences.model import (
    BoxTrack,
    CameraImage,
    Frame,
    LidarSweep,
    RecordedSequence,
)

Record = dict[str, Any]
STAMP_NS = 100
BOXES = "1"  # key of 3D boxes among a reading's annotations


def ddad_sequences(root: Path, scenes: Sequence[str] = ()) -> list[RecordedSequence]:
    """The scenes of these names ("scene_02"), or all.

    Raises:
        ValueError: there is no scene, or one is not there.
    """
    files = {file.parent.name: file for file in sorted(root.glob("*/scene_*.json"))}
    unknown = [name for name in scenes if name not in files]
    if unknown or not files:
        raise ValueError(f"no scene {', '.join(unknown) or '*'} in {root}; there: {list(files)}")
    return [_sequence(root, name, files[name]) for name in scenes or files]


def _sequence(root: Path, name: str, file: Path) -> RecordedSequence:
    scene = json.loads(file.read_text(encoding="utf-8"))
    readings = {reading["key"]: reading for reading in scene["data"]}
    samples = [
        {readings[key]["id"]["name"]: readings[key] for key in sample["datum_keys"]}
        for sample in scene["samples"]
    ]
    names = tuple(sorted({n for s in samples for n, r in s.items() if "image" in r["datum"]}))
    frames = tuple(
        _frame(file.parent, name, number, sample, names, _calibration(file.parent, record))
        for number, (sample, record) in enumerate(zip(samples, scene["samples"], strict=True))
    )
    words = _ontology(file.parent, scene["ontologies"].get(BOXES))
    tracks = _tracks(file.parent, samples, frames, words)
    return RecordedSequence(name, root, names, frames, dict(enumerate(tracks)))


def _frame(
    folder: Path,
    scene: str,
    number: int,
    sample: dict[str, Record],
    names: tuple[str, ...],
    calibration: dict[str, Record],
) -> Frame:
    cloud = next((r for r in sample.values() if "point_cloud" in r["datum"]), None)
    if cloud is None:
        raise ValueError(f"{folder}: sample {number} has no LiDAR, whose pose is that of the car")
    datum = cloud["datum"]["point_cloud"]
    world_from_ego, file = _rigid(datum["pose"]), folder / datum["filename"]
    stamp_ns = int(file.stem) * STAMP_NS
    mount = _rigid(calibration[cloud["id"]["name"]])
    sweep = LidarSweep(stamp_ns, file, "dgp", mount, world_from_ego)
    cameras = tuple(
        _camera(folder, name, sample[name], calibration[name]) if name in sample else None
        for name in names
    )
    return Frame(f"{scene}_{file.stem}", number, stamp_ns, world_from_ego, cameras, sweep)


def _camera(folder: Path, name: str, reading: Record, calibration: Record) -> CameraImage:
    datum, lens = reading["datum"]["image"], calibration["intrinsics"]
    matrix = [[lens["fx"], lens["skew"], lens["cx"]], [0, lens["fy"], lens["cy"]], [0, 0, 1]]
    file = folder / datum["filename"]
    model = CameraModel(datum["width"], datum["height"], np.array(matrix))
    return CameraImage(name, int(file.stem) * STAMP_NS, file, model, _rigid(datum["pose"]))


def _tracks(
    folder: Path, samples: list[dict[str, Record]], frames: Sequence[Frame], words: dict[int, str]
) -> list[BoxTrack]:
    found: dict[int, list[tuple[Frame, Record]]] = {}
    for sample, frame in zip(samples, frames, strict=True):
        for reading in sample.values():
            file = reading["datum"].get("point_cloud", {}).get("annotations", {}).get(BOXES)
            content = json.loads((folder / file).read_text(encoding="utf-8")) if file else {}
            for box in content.get("annotations", []):
                found.setdefault(box["instance_id"], []).append((frame, box))
    return [_track(boxes, words) for boxes in found.values()]


def _track(boxes: list[tuple[Frame, Record]], words: dict[int, str]) -> BoxTrack:
    sizes = [[box["box"][edge] for edge in ("length", "width", "height")] for _, box in boxes]
    length, width, height = np.max(sizes, axis=0).tolist()
    return BoxTrack(
        words.get(boxes[0][1]["class_id"], "unknown"),
        (length, width, height),
        tuple(frame.stamp_ns for frame, _ in boxes),
        tuple(frame.world_from_ego @ _rigid(box["box"]["pose"]) for frame, box in boxes),
    )


def _ontology(folder: Path, key: str | None) -> dict[int, str]:
    file = folder / "ontology" / f"{key}.json"
    if not file.is_file():
        return {}
    items = json.loads(file.read_text(encoding="utf-8"))["items"]
    return {item["id"]: item["name"] for item in items}


def _calibration(folder: Path, sample: Record) -> dict[str, Record]:
    """Mount and ``intrinsics`` of every sensor."""
    file = folder / "calibration" / f"{sample['calibration_key']}.json"
    content = json.loads(file.read_text(encoding="utf-8"))
    columns = zip(content["names"], content["extrinsics"], content["intrinsics"], strict=True)
    return {name: {**mount, "intrinsics": lens} for name, mount, lens in columns}


def _rigid(pose: Record) -> RigidTransform:
    q, t = pose["rotation"], pose["translation"]
    quaternion = (q["qx"], q["qy"], q["qz"], q["qw"])
    return RigidTransform.from_quaternion(quaternion, (t["x"], t["y"], t["z"]))
