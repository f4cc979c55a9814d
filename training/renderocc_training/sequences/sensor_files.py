"""Content of the files that a sequence names, whatever their layout."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from renderocc_ros.geometry import CameraModel, RigidTransform
from renderocc_ros.outside_data import parsing, read_arrays
from renderocc_ros.rig.camera_set import PosedImage
from renderocc_ros.rig.image_decoding import decode_file
from renderocc_ros.rig.image_preprocessing import ImagePreprocessor
from renderocc_training.sequences.model import CameraImage, LidarSweep, SensorFile

CURE = "unpack the data set again"
COLUMNS = {"nuscenes": 5, "kitti": 4}  # float32 numbers per point; the first three are x, y, z


def check_files(files: Iterable[SensorFile], cure: str) -> None:
    """Refuse measurements whose files are not there, naming the first of them and the cure."""
    missing = [each.file for each in files if not each.file.is_file()]
    if missing:
        raise ValueError(
            f"{len(missing)} sensor files are missing, the first is {missing[0]}: {cure}"
        )


def read_image(
    camera: CameraImage, ego_from_world: RigidTransform, preprocessor: ImagePreprocessor
) -> PosedImage:
    """An image as the network's preprocessing takes it, decoded no larger than it needs.

    Raises:
        ValueError: the file is missing or no image, or shows another view than its calibration.
    """
    image, model = _decoded(camera, preprocessor.reduction)
    pose = ego_from_world @ camera.world_from_sensor
    return PosedImage(camera.name, camera.stamp_ns, image, model, pose)


def read_pixels(camera: CameraImage) -> NDArray[np.uint8]:
    """(H, W, 3) RGB of the size of the camera's model, to which it is scaled if it has another.

    Raises:
        ValueError: the file is missing or no image, or shows another view than its calibration.
    """
    image, _ = _decoded(camera, lambda model: 1)
    size = (camera.model.width, camera.model.height)
    if image.shape[1::-1] != size:
        method = cv2.INTER_AREA if image.shape[1] > size[0] else cv2.INTER_LINEAR
        image = np.asarray(cv2.resize(image, size, interpolation=method), np.uint8)
    return image


def _decoded(
    camera: CameraImage, reduction_of: Callable[[CameraModel], int]
) -> tuple[NDArray[np.uint8], CameraModel]:
    try:
        return decode_file(camera.file.read_bytes(), camera.model, reduction_of)
    except (OSError, ValueError) as error:
        raise ValueError(f"{camera.file}: {error}") from error


def read_points(sweep: LidarSweep) -> NDArray[np.float64]:
    """(P, 3) metres in the LiDAR frame, in the file's order, so that labels fit.

    Raises:
        ValueError: the file is missing, or does not hold whole points.
    """
    return _columns(sweep)[:, :3].astype(np.float64)


def pcd_bytes(sweep: LidarSweep) -> bytes:
    """The sweep as nuScenes' .pcd.bin: x, y, z, intensity, ring in float32; ring 0 if unknown.

    Raises:
        ValueError: the file is missing, or does not hold whole points.
    """
    columns = _columns(sweep)
    points = np.zeros((len(columns), 5), dtype="<f4")
    points[:, : columns.shape[1]] = columns[:, :5]
    return points.tobytes()


def read_point_labels(file: Path, points: int) -> NDArray[np.int64]:
    """(P,) raw class of every point: lidarseg (one byte) or SemanticKITTI (lower 16 of 32 bits).

    Raises:
        ValueError: missing, or for another number of points.
    """
    if not file.is_file():
        raise ValueError(f"point labels {file} are missing: unpack the data set's labels")
    kind = np.dtype("<u4") if file.suffix == ".label" else np.dtype(np.uint8)
    labels = np.fromfile(file, dtype=kind)
    if len(labels) != points:
        raise ValueError(f"{file} labels {len(labels)} points, but its sweep has {points}")
    return labels.astype(np.int64) & 0xFFFF


def _columns(sweep: LidarSweep) -> NDArray[Any]:
    """(P, C) numbers of a sweep's file, x, y, z first."""
    if not sweep.file.is_file():
        raise ValueError(f"LiDAR file {sweep.file} is missing: unpack the data set again")
    if sweep.format == "dgp":
        arrays = read_arrays(sweep.file, CURE, ("data",))
        with parsing(sweep.file, CURE):
            return arrays["data"][:, :4].astype(np.float64)
    numbers, columns = np.fromfile(sweep.file, dtype="<f4"), COLUMNS[sweep.format]
    if numbers.size % columns:
        raise ValueError(f"{sweep.file} holds {numbers.size} numbers, not {columns} for each point")
    return numbers.reshape(-1, columns)
