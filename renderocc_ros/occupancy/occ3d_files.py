"""Occ3D files: how they are written and read, and which prediction belongs to which truth.

A sample is known by its token: the name of a file ``<token>.npz`` or ``<token>.npy`` or, for files
that all have one name such as ``labels.npz``, that of the folder that holds it. SemanticKITTI's
``sequences/08/voxels/000010.label`` has the token ``08_000010``.
"""

from __future__ import annotations

import zipfile
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from renderocc_ros.class_set import ClassSet
from renderocc_ros.files import write_arrays
from renderocc_ros.geometry import VoxelGrid
from renderocc_ros.occupancy.semantic_occupancy import SemanticOccupancy
from renderocc_ros.outside_data import DamagedFile, parsing, read_arrays, read_npy

# Names that labels are saved under; the last is numpy's own for an unnamed array.
LABEL_KEYS = ("semantics", "labels", "pred", "occ_pred", "sem_pred", "occ", "arr_0")
SUFFIXES = (".npz", ".npy", ".label")
# Names of files of which each sample has one, in a folder of its own.
NAMES_OF_ALL = ("labels", "pred", "prediction", "occ", "occupancy", "semantics")
KITTI_FOLDERS = ("voxels", "predictions")
MASKS = ("mask_camera", "mask_lidar")
CURE = "make or copy it again"


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
        ValueError: a folder holds no such file, two files of one token, or no token is in both.
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
    """All files of labels in a folder, searched to any depth, by token.

    Raises:
        ValueError: no folder, no such file in it, or two files of one token.
    """
    if not folder.is_dir():
        raise ValueError(f"{folder} is no folder")
    files: dict[str, Path] = {}
    for path in sorted(path for path in folder.rglob("*") if path.suffix in SUFFIXES):
        token = path.parent.name if path.stem in NAMES_OF_ALL else path.stem
        if path.suffix == ".label" and path.parent.name in KITTI_FOLDERS:
            token = f"{path.resolve().parent.parent.name}_{path.stem}"
        if token in files:
            raise ValueError(f"token '{token}' stands twice: {files[token]} and {path}")
        files[token] = path
    if not files:
        raise ValueError(f"{folder} holds no file {' or '.join('*' + each for each in SUFFIXES)}")
    return files


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
    write_arrays(path, arrays)


def write_truth(path: Path, truth: Occ3dTruth) -> None:
    """Write a truth in Occ3D's layout.

    Raises:
        OSError: it cannot be written.
    """
    write_arrays(
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
    labels, confidence = (volume(arrays[key], path) for key in ("semantics", "confidence"))
    with parsing(path, CURE):
        return SemanticOccupancy(int(arrays["stamp_ns"]), grid, class_set, labels, confidence)


def read_truth(path: Path, masks: Collection[str] = MASKS) -> Occ3dTruth:
    """Read labels, ``mask_camera`` and ``mask_lidar``.

    Args:
        masks: those that must be there; where another is missing, all is taken as seen.

    Raises:
        DamagedFile: the file is broken, or no truth.
    """
    arrays = _read(path, ("semantics", *masks), MASKS)
    labels = volume(arrays["semantics"], path)
    camera, lidar = (
        volume(arrays[key], path).astype(bool) if key in arrays else np.ones(labels.shape, bool)
        for key in MASKS
    )
    if not labels.shape == camera.shape == lidar.shape:
        raise DamagedFile(f"{path}: labels {labels.shape}, masks {camera.shape} and {lidar.shape}")
    return Occ3dTruth(labels, camera, lidar)


def read_prediction(path: Path) -> NDArray[np.uint8]:
    """Read labels that an .npz holds under one of the usual keys, or an .npy."""
    if path.suffix == ".npy":
        return volume(read_npy(path, CURE), path)
    arrays = read_arrays(path, CURE, LABEL_KEYS)
    present = [arrays[key] for key in LABEL_KEYS if key in arrays]
    if not present:
        raise DamagedFile(f"{path} holds {_names(path)}, wanted {' or '.join(LABEL_KEYS)}")
    return volume(present[0], path)


def grid_of_prediction(path: Path) -> VoxelGrid | None:
    """The grid that ``origin_m`` and ``resolution_m`` in a prediction tell; None without them."""
    if path.suffix != ".npz":
        return None
    arrays = read_arrays(path, CURE, ("origin_m", "resolution_m"))
    if len(arrays) < 2:
        return None
    with parsing(path, CURE):
        x, y, z = arrays["origin_m"].tolist()
        nx, ny, nz = read_prediction(path).shape
        return VoxelGrid((x, y, z), float(arrays["resolution_m"]), (nx, ny, nz))


def _read(
    path: Path, needed: Collection[str], optional: Collection[str] = ()
) -> dict[str, NDArray[Any]]:
    arrays = read_arrays(path, CURE, (*needed, *optional))
    if not arrays.keys() >= set(needed):
        raise DamagedFile(f"{path} holds {_names(path)}, wanted {', '.join(needed)}")
    return arrays


def _names(path: Path) -> list[str]:
    with zipfile.ZipFile(path) as archive:
        return [name.removesuffix(".npy") for name in archive.namelist()]


def volume(array: NDArray[Any], path: Path) -> NDArray[np.uint8]:
    """(X, Y, Z) uint8 labels; leading axes of length 1 and whole numbers as floats are taken.

    Raises:
        DamagedFile: something else.
    """
    while array.ndim > 3 and len(array) == 1:
        array = array[0]
    whole = array.dtype.kind in "biu" or (
        np.issubdtype(array.dtype, np.floating) and bool((array == np.rint(array)).all())
    )
    if array.ndim != 3 or not whole:
        raise DamagedFile(
            f"{path}: labels are {array.dtype} {array.shape}, wanted integer (X, Y, Z)"
        )
    if array.dtype != np.uint8 and not ((array >= 0) & (array <= 255)).all():
        raise DamagedFile(f"{path}: labels from {array.min()} to {array.max()}, wanted 0 to 255")
    return array.astype(np.uint8, copy=False)
