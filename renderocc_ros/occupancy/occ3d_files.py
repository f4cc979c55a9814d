"""Occ3D files: how they are written and read, and which prediction belongs to which truth.

A sample is known by its token: the name of a file ``<token>.npz`` or, for files that are all named
``labels.npz``, the name of the folder that holds it.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from renderocc_ros.class_set import ClassSet
from renderocc_ros.files import write_whole
from renderocc_ros.geometry import VoxelGrid
from renderocc_ros.occupancy.semantic_occupancy import SemanticOccupancy

# Names that predictions are saved under; the last two are numpy's own for an unnamed array.
PREDICTION_KEYS = ("semantics", "labels", "pred", "arr_0")


@dataclass(frozen=True)
class FilePairs:
    """Predictions beside their truths, and what has no partner.

    Attributes:
        pairs: token, prediction and truth, sorted by token.
        without_truth, without_prediction: tokens that only one folder has.
    """

    pairs: tuple[tuple[str, Path, Path], ...]
    without_truth: tuple[str, ...]
    without_prediction: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Occ3dTruth:
    """One truth file: labels (X, Y, Z) uint8, and where camera and LiDAR see, (X, Y, Z) bool."""

    labels: NDArray[np.uint8]
    mask_camera: NDArray[np.bool_]
    mask_lidar: NDArray[np.bool_]


def find_pairs(predictions: Path, truths: Path) -> FilePairs:
    """Match the files of two folders, searched to any depth.

    Raises:
        ValueError: a folder holds no .npz file, two files of one token, or no token is in both.
    """
    predicted, true = files_by_token(predictions), files_by_token(truths)
    both = sorted(predicted.keys() & true.keys())
    if not both:
        raise ValueError(
            f"no token is both in {predictions} (such as {min(predicted)}) and in {truths} (such "
            f"as {min(true)}); name files <token>.npz or <token>/labels.npz"
        )
    return FilePairs(
        tuple((token, predicted[token], true[token]) for token in both),
        tuple(sorted(predicted.keys() - true.keys())),
        tuple(sorted(true.keys() - predicted.keys())),
    )


def files_by_token(folder: Path) -> dict[str, Path]:
    """All .npz files of a folder, searched to any depth, by token.

    Raises:
        ValueError: no folder, no .npz file in it, or two files of one token.
    """
    if not folder.is_dir():
        raise ValueError(f"{folder} is no folder")
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*.npz")):
        token = path.parent.name if path.stem == "labels" else path.stem
        if token in found:
            raise ValueError(f"token '{token}' stands twice: {found[token]} and {path}")
        found[token] = path
    if not found:
        raise ValueError(f"{folder} holds no .npz file")
    return found


def write_prediction(path: Path, occupancy: SemanticOccupancy) -> None:
    """Write a result: semantics and confidence (X, Y, Z) uint8, mask_camera if known, stamp_ns,
    origin_m, resolution_m, and class_names in the order of their ids, free last.

    Raises:
        OSError: it cannot be written.
    """
    arrays = {
        "semantics": occupancy.labels,
        "confidence": occupancy.confidence,
        "stamp_ns": np.int64(occupancy.stamp_ns),
        "origin_m": np.array(occupancy.grid.origin_m),
        "resolution_m": np.array(occupancy.grid.resolution_m),
        "class_names": np.array([*occupancy.class_set.names, "free"]),
    }
    if occupancy.in_view is not None:
        arrays["mask_camera"] = occupancy.in_view.astype(np.uint8)
    _write(path, arrays)


def write_truth(path: Path, truth: Occ3dTruth) -> None:
    """Write a truth in Occ3D's layout.

    Raises:
        OSError: it cannot be written.
    """
    _write(
        path,
        {
            "semantics": truth.labels,
            "mask_camera": truth.mask_camera.astype(np.uint8),
            "mask_lidar": truth.mask_lidar.astype(np.uint8),
        },
    )


def read_occupancy(path: Path, grid: VoxelGrid, class_set: ClassSet) -> SemanticOccupancy:
    """Read what ``write_prediction`` wrote of a grid and classes that are known.

    Raises:
        ValueError: the file is broken, or another grid's.
    """
    arrays = _read(path, ("semantics", "confidence", "stamp_ns"))
    return SemanticOccupancy(
        int(arrays["stamp_ns"]), grid, class_set, arrays["semantics"], arrays["confidence"]
    )


def read_truth(path: Path) -> Occ3dTruth:
    """Read ``semantics``, ``mask_camera`` and ``mask_lidar``; a missing mask is an error."""
    arrays = _read(path, ("semantics", "mask_camera", "mask_lidar"))
    camera, lidar = (arrays[key].astype(bool) for key in ("mask_camera", "mask_lidar"))
    return Occ3dTruth(_labels(arrays["semantics"], path), camera, lidar)


def read_prediction(path: Path) -> NDArray[np.uint8]:
    """Read the labels of a prediction, saved under one of the usual keys."""
    return _labels(next(iter(_read(path, PREDICTION_KEYS, any_of=True).values())), path)


def grid_of_prediction(path: Path, size: tuple[int, ...]) -> VoxelGrid | None:
    """The grid that ``origin_m`` and ``resolution_m`` in a prediction tell; None without them."""
    with np.load(path, allow_pickle=False) as arrays:
        if "origin_m" not in arrays or "resolution_m" not in arrays:
            return None
        x, y, z = arrays["origin_m"].tolist()
        nx, ny, nz = size
        return VoxelGrid((x, y, z), float(arrays["resolution_m"]), (nx, ny, nz))


def _write(path: Path, arrays: dict[str, Any]) -> None:
    with write_whole(path) as file:
        np.savez_compressed(file, **arrays)


def _read(path: Path, keys: tuple[str, ...], any_of: bool = False) -> dict[str, NDArray[Any]]:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            there = [key for key in keys if key in arrays]
            if not there or (len(there) < len(keys) and not any_of):
                raise ValueError(f"{path} holds {sorted(arrays)}, wanted {', '.join(keys)}")
            return {key: arrays[key] for key in there[: 1 if any_of else None]}
    except (zipfile.BadZipFile, EOFError, OSError) as error:
        raise ValueError(f"{path} is no readable .npz file: {error}") from error


def _labels(array: NDArray[Any], path: Path) -> NDArray[np.uint8]:
    if array.ndim != 3 or not np.issubdtype(array.dtype, np.integer):
        raise ValueError(
            f"{path}: labels are {array.dtype} {array.shape}, wanted integer (X, Y, Z)"
        )
    if array.dtype != np.uint8 and not ((array >= 0) & (array <= 255)).all():
        raise ValueError(f"{path}: labels from {array.min()} to {array.max()}, wanted 0 to 255")
    return array.astype(np.uint8, copy=False)
