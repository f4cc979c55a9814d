"""Points of LiDAR files, whatever their layout, in the LiDAR's own frame."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from renderocc_training.sequences.model import LidarSweep

Points = NDArray[np.float64]
COLUMNS = {"nuscenes": 5, "kitti": 4}  # float32 numbers per point; the first three are x, y, z


def read_points(sweep: LidarSweep) -> Points:
    """(P, 3) metres in the LiDAR frame, in the file's order, so that labels fit.

    Raises:
        ValueError: the file is missing, or does not hold whole points.
    """
    if not sweep.file.is_file():
        raise ValueError(f"LiDAR file {sweep.file} is missing: unpack the data set again")
    if sweep.format == "dgp":
        with np.load(sweep.file, allow_pickle=False) as arrays:
            return np.asarray(arrays["data"][:, :3], dtype=np.float64)
    numbers, columns = np.fromfile(sweep.file, dtype="<f4"), COLUMNS[sweep.format]
    if numbers.size % columns:
        raise ValueError(f"{sweep.file} holds {numbers.size} numbers, not {columns} for each point")
    return numbers.reshape(-1, columns)[:, :3].astype(np.float64)


def read_point_labels(file: Path, points: int) -> NDArray[np.int64]:
    """(P,) raw class of every point: lidarseg (one byte) or SemanticKITTI (lower 16 of 32 bits).

    Raises:
        ValueError: missing, or for another number of points.
    """
    if not file.is_file():
        raise ValueError(f"point labels {file} are missing: unpack the data set's labels")
    kind = np.dtype("<u4") if file.suffix == ".label" else np.dtype(np.uint8)
    labels = np.fromfile(file, dtype=kind).astype(np.int64) & 0xFFFF
    if len(labels) != points:
        raise ValueError(f"{file} labels {len(labels)} points, but its sweep has {points}")
    return labels
