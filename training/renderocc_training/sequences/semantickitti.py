"""SemanticKITTI: images, Velodyne sweeps, point labels and poses below ``sequences/NN``.

Axes: camera x right, y down, z forward; Velodyne x forward, y left, z up. The ego frame here has
the Velodyne's axes and lies on the ground below it; the world is the ego frame of the first pose.
Poses are ``cam0_of_frame_0 from cam0``, and all sensors of a frame share its time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from renderocc_ros.geometry import CameraModel, RigidTransform
from renderocc_ros.outside_data import parsing
from renderocc_training.sequences.model import (
    CameraImage,
    Frame,
    LidarSweep,
    Origin,
    RecordedSequence,
)

Array = NDArray[np.float64]

LIDAR_HEIGHT_M = 1.73  # Geiger et al. 2013, figure 3
EGO_FROM_LIDAR = RigidTransform(np.eye(3), np.array([0.0, 0.0, LIDAR_HEIGHT_M]))
CAMERAS = {"CAM_2": ("image_2", "P2"), "CAM_3": ("image_3", "P3")}
LIDAR = "LIDAR_TOP"
FILES = ("calib.txt", "poses.txt", "times.txt")
OFF_CENTRE = 0.1  # of an image's size: more than any of KITTI's cameras is off its middle
MATRICES = {"P2": "camera 2", "P3": "camera 3", "Tr": "camera from Velodyne"}
DAY_FILES = ("calib_velo_to_cam.txt", "calib_cam_to_cam.txt")


def semantickitti_sequences(root: Path, names: Sequence[str] = ()) -> list[RecordedSequence]:
    """The sequences of these names ("00"), or all.

    Args:
        root: folder that holds ``sequences``, that folder, or one sequence's own.

    Raises:
        ValueError: a sequence, or a file that it needs, is not there. Of all sequences, those that
            lack poses (the test split of KITTI odometry) are left out, and the first one says so.
    """
    places = ("sequences/*/velodyne", "dataset/sequences/*/velodyne", "*/velodyne")
    paths_found = next((paths for place in places if (paths := sorted(root.glob(place)))), [])
    folders = {path.parent.name: path.parent for path in paths_found}
    if not folders and (root / "velodyne").is_dir():
        folders = {root.absolute().name: root}
    if not folders:
        raise ValueError(f"{root} holds no sequences/NN/velodyne: give SemanticKITTI's own folder")
    unknown = [name for name in names if name not in folders]
    if unknown:
        raise ValueError(f"no sequence {', '.join(unknown)} in {root}; there: {', '.join(folders)}")
    sequences, left_out = [], []
    for name in names or folders:
        try:
            sequences.append(_sequence(root, name, folders[name]))
        except ValueError as error:
            left_out.append(str(error))
    if left_out and (names or not sequences):
        raise ValueError("; ".join(left_out))
    problems = tuple(f"left out: {reason}" for reason in left_out)
    return [replace(sequences[0], problems=problems + sequences[0].problems), *sequences[1:]]


def _sequence(root: Path, name: str, folder: Path) -> RecordedSequence:
    missing = [file for file in FILES if not (folder / file).is_file()]
    if missing:
        raise ValueError(
            f"{folder} lacks {', '.join(missing)}: poses are in SemanticKITTI's labels, "
            "data_odometry_labels.zip, the others in KITTI's data_odometry_calib.zip"
        )
    calibration = _read_calibration(folder / "calib.txt")
    seconds = _read_numbers(folder / "times.txt").reshape(-1)
    poses = _read_numbers(folder / "poses.txt").reshape(-1, 3, 4)
    ego_from_cam0 = EGO_FROM_LIDAR @ rigid(calibration["Tr"]).inverse()
    clouds = sorted((folder / "velodyne").glob("*.bin"))
    known = min(len(seconds), len(poses))
    if clouds and int(clouds[-1].stem) >= known:
        raise ValueError(
            f"{folder}: scan {int(clouds[-1].stem)} has no pose or no time; there are {known}"
        )
    frames = []
    for number, cloud in enumerate(clouds):
        place = int(cloud.stem)
        stamp_ns = round(float(seconds[place]) * 1e9)
        world_from_ego = ego_from_cam0 @ rigid(poses[place]) @ ego_from_cam0.inverse()
        cameras = tuple(
            _camera(folder, name, cloud.stem, calibration, stamp_ns, ego_from_cam0, world_from_ego)
            for name in CAMERAS
        )
        labels = folder / "labels" / f"{cloud.stem}.label"
        sweep = LidarSweep(
            LIDAR, stamp_ns, cloud, EGO_FROM_LIDAR, world_from_ego, "kitti",
            labels if labels.is_file() else None,
        )  # fmt: skip
        token = f"{name}_{cloud.stem}"
        frames.append(Frame(token, number, stamp_ns, world_from_ego, cameras, (sweep,)))
    return RecordedSequence(
        name,
        root,
        tuple(CAMERAS),
        tuple(frames),
        origin=_origin(name),
        problems=_problems(folder, frames),
    )


def _problems(folder: Path, frames: Sequence[Frame]) -> tuple[str, ...]:
    lacking = [
        f"{CAMERAS[name][0]} has no image for {missing} of {len(frames)} frames"
        for place, name in enumerate(CAMERAS)
        if (missing := sum(frame.cameras[place] is None for frame in frames))
    ]
    unlabelled = sum(frame.lidars[0].labels is None for frame in frames)
    if unlabelled:
        lacking.append(f"no labels for the points of {unlabelled} of {len(frames)} frames")
    return tuple(f"{folder}: {each}" for each in lacking)


def _origin(name: str) -> Origin:
    date = "2011-09-26" if name == "03" else "2011-10-03"
    return Origin("SemanticKITTI", f"semantickitti-{name}", "kitti", date, "karlsruhe")


def _camera(
    folder: Path,
    name: str,
    stem: str,
    calibration: dict[str, Array],
    stamp_ns: int,
    ego_from_cam0: RigidTransform,
    world_from_ego: RigidTransform,
) -> CameraImage | None:
    """A rectified camera; P = K [I | t] with t the place of camera 0 in its frame."""
    images, key = CAMERAS[name]
    files = (folder / images / f"{stem}.{suffix}" for suffix in ("png", "jpg"))
    file = next((file for file in files if file.is_file()), None)
    if file is None:
        return None
    intrinsics, shift = calibration[key][:, :3], calibration[key][:, 3]
    camera_from_cam0 = RigidTransform(np.eye(3), np.linalg.solve(intrinsics, shift))
    with parsing(file, "unpack the data set again"), Image.open(file) as image:
        width, height = image.size
    # The size that they were calibrated at is written down nowhere.
    if np.abs(intrinsics[:2, 2] / (width, height) - 0.5).max() > OFF_CENTRE:
        raise ValueError(
            f"{file} has {width}x{height} pixels, but the centre of {key} is at "
            f"{intrinsics[:2, 2].round().tolist()}: unpack images of KITTI's own size, or scale "
            "the calibration as they were"
        )
    model = CameraModel(width, height, intrinsics)
    mount = ego_from_cam0 @ camera_from_cam0.inverse()
    return CameraImage(name, stamp_ns, file, mount, world_from_ego, model)


def _read_calibration(file: Path) -> dict[str, Array]:
    """P2, P3 and Tr, (3, 4) each, under their names in KITTI's odometry.

    KITTI calibrates once a day, cameras and LiDAR together. What a mirror lacks is taken from
    KITTI's own files for a day, or from another sequence, that has the same cameras.
    """
    own = _matrices(file)
    for other in _other_calibrations(file):
        if set(MATRICES) <= set(own):
            break
        if _same_cameras(own, other):
            own = other | own
    for key, meaning in MATRICES.items():
        if key not in own:
            raise ValueError(
                f"{file} has no line '{key}:' ({meaning}): take the calib.txt of the odometry "
                f"calibration, data_odometry_calib.zip, or put {' and '.join(DAY_FILES)} of that "
                "day of KITTI's raw data beside it"
            )
    return own


def _other_calibrations(file: Path) -> Iterator[dict[str, Array]]:
    """Those of days that lie beside a sequence, its folder or its data set, then of sequences."""
    for place in (file.parent, *file.parent.parents[:2]):
        for first in (place / DAY_FILES[0], *sorted(place.glob(f"*/{DAY_FILES[0]}"))):
            if first.is_file() and first.with_name(DAY_FILES[1]).is_file():
                yield _calibration_of(_lines(first) | _lines(first.with_name(DAY_FILES[1])))
    yield from map(_matrices, sorted(file.parent.parent.glob("*/calib.txt")))


def _same_cameras(own: dict[str, Array], other: dict[str, Array]) -> bool:
    """Whether all that both know of the cameras is the same, and that is something."""
    known = [key for key in ("P2", "P3") if key in own and key in other]
    return bool(known) and all(np.allclose(own[key], other[key], rtol=1e-5) for key in known)


def _matrices(file: Path) -> dict[str, Array]:
    return _calibration_of(_lines(file))


def _calibration_of(lines: dict[str, Array]) -> dict[str, Array]:
    """P2, P3 and Tr as far as they are there, by the names of all of KITTI's benchmarks.

    Tr leads to the rectified camera 0; in others than odometry the rotation that rectifies it
    stands by itself.
    """
    calibration: dict[str, Array] = {}
    for key, names, turns in (
        ("P2", ("P2", "P_rect_02"), ()),
        ("P3", ("P3", "P_rect_03"), ()),
        ("Tr", ("Tr",), ()),
        ("Tr", ("Tr_velo_to_cam", "Tr_velo_cam"), ("R0_rect", "R_rect", "R_rect_00")),
    ):
        matrix = next((lines[name] for name in names if name in lines), None)
        turn = next((lines[name] for name in turns if name in lines), None)
        if matrix is not None and matrix.size == 12 and (turn is not None or not turns):
            matrix = matrix.reshape(3, 4)
            calibration.setdefault(key, matrix if turn is None else turn.reshape(3, 3) @ matrix)
    return calibration


def _lines(file: Path) -> dict[str, Array]:
    """Lines ``name: numbers``; R and T of a day's LiDAR together as Tr_velo_to_cam."""
    lines = {}
    for line in file.read_text(encoding="utf-8").splitlines():
        name, _, numbers = line.partition(":")
        try:
            lines[name.strip()] = np.array(numbers.split(), dtype=np.float64)
        except ValueError:  # a date
            continue
    if {"R", "T"} <= set(lines) and (lines["R"].size, lines["T"].size) == (9, 3):
        rotation, shift = lines["R"].reshape(3, 3), lines["T"].reshape(3, 1)
        lines["Tr_velo_to_cam"] = np.hstack([rotation, shift])
    return lines


def _read_numbers(file: Path) -> Array:
    try:
        return np.loadtxt(file, ndmin=1)
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error


def rigid(matrix: Array) -> RigidTransform:
    """From (3, 4) numbers that were rounded for printing: the nearest rotation.

    The orthogonal Procrustes solution U·Vᵀ of the singular value decomposition.
    """
    left, _, right = np.linalg.svd(matrix[:, :3])
    return RigidTransform(left @ right, matrix[:, 3])
