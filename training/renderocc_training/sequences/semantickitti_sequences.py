"""Sequences of SemanticKITTI in its own layout: ``sequences/<nn>/{image_2,velodyne,labels,…}``.

The ego frame is that of the other data sets: x forward, y left, z up, on the ground; the LiDAR
stands 1.73 m above it. The world is the ego frame of the first image.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from renderocc_ros.geometry import CameraModel, RigidTransform
from renderocc_training.sequences.model import CameraImage, Frame, LidarSweep, RecordedSequence

LIDAR_HEIGHT_M = 1.73  # Geiger et al. 2013, figure 3
EGO_FROM_LIDAR = RigidTransform(np.eye(3), np.array([0.0, 0.0, LIDAR_HEIGHT_M]))
CAMERAS = {"image_2": "P2", "image_3": "P3"}

Array = NDArray[np.float64]


def semantickitti_sequences(root: Path, sequences: Sequence[str] = ()) -> list[RecordedSequence]:
    """The sequences of these names ("00"), or all.

    Raises:
        ValueError: a sequence or one of its files is not there.
    """
    there = sorted(path.name for path in (root / "sequences").glob("*") if path.is_dir())
    unknown = [name for name in sequences if name not in there]
    if unknown or not there:
        raise ValueError(
            f"no sequence {', '.join(unknown) or '*'} in {root / 'sequences'}; there: {there}"
        )
    return [_sequence(root, name) for name in sequences or there]


def _sequence(root: Path, name: str) -> RecordedSequence:
    folder = root / "sequences" / name
    calibration = _calibration(folder / "calib.txt")
    lacking = {"Tr", *CAMERAS.values()} - set(calibration)
    if lacking:
        raise ValueError(
            f"{folder / 'calib.txt'} lacks {sorted(lacking)}: use that of KITTI odometry"
        )
    first_from_cam0 = _numbers(folder / "poses.txt").reshape(-1, 3, 4)
    seconds = _numbers(folder / "times.txt").reshape(-1)
    cam0_from_ego = _rigid(calibration["Tr"]) @ EGO_FROM_LIDAR.inverse()
    sweeps = sorted((folder / "velodyne").glob("*.bin"))
    if not sweeps or len(sweeps) > min(len(first_from_cam0), len(seconds)):
        raise ValueError(
            f"{folder}: {len(sweeps)} sweeps, {len(first_from_cam0)} poses, {len(seconds)} times; "
            "every sweep needs both"
        )
    frames = []
    for number, sweep in enumerate(sweeps):
        place = int(sweep.stem)
        world_from_cam0 = cam0_from_ego.inverse() @ _rigid(first_from_cam0[place])
        stamp_ns = round(float(seconds[place]) * 1e9)
        world_from_ego = world_from_cam0 @ cam0_from_ego
        cameras = tuple(
            _camera(folder, channel, calibration[key], sweep.stem, stamp_ns, world_from_cam0)
            for channel, key in CAMERAS.items()
        )
        labels = folder / "labels" / f"{sweep.stem}.label"
        own = LidarSweep(
            stamp_ns, sweep, "kitti", EGO_FROM_LIDAR, world_from_ego,
            labels if labels.is_file() else None,
        )  # fmt: skip
        token = f"{name}_{sweep.stem}"
        frames.append(Frame(token, number, stamp_ns, world_from_ego, cameras, own))
    return RecordedSequence(name, root, tuple(CAMERAS), tuple(frames))


def _camera(
    folder: Path,
    channel: str,
    projection: Array,
    stem: str,
    stamp_ns: int,
    world_from_cam0: RigidTransform,
) -> CameraImage | None:
    """A rectified camera; P = K [I | t] with t the place of camera 0 in its frame."""
    file = next(
        (f for s in ("png", "jpg") if (f := folder / channel / f"{stem}.{s}").is_file()), None
    )
    if file is None:
        return None
    intrinsics = projection[:, :3]
    camera_from_cam0 = RigidTransform(np.eye(3), np.linalg.solve(intrinsics, projection[:, 3]))
    with Image.open(file) as image:
        model = CameraModel(image.width, image.height, intrinsics)
    return CameraImage(channel, stamp_ns, file, model, world_from_cam0 @ camera_from_cam0.inverse())


def _calibration(file: Path) -> dict[str, Array]:
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    pairs = (line.partition(":") for line in lines if ":" in line)
    return {key.strip(): np.array(rest.split(), float).reshape(3, 4) for key, _, rest in pairs}


def _numbers(file: Path) -> Array:
    if not file.is_file():
        raise ValueError(f"{file} is missing: SemanticKITTI brings poses.txt, KITTI the rest")
    return np.atleast_1d(np.loadtxt(file))


def _rigid(matrix: Array) -> RigidTransform:
    """From (3, 4), whose rotation has few digits: the nearest rotation is taken."""
    left, _, right = np.linalg.svd(matrix[:, :3])
    return RigidTransform(left @ right, matrix[:, 3])
