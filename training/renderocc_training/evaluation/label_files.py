"""Labels of other methods and benchmarks: how each numbers its classes, and where it has none.

| file | labels |
|---|---|
| Occ3D ``.npz``, dense ``.npy`` | (X, Y, Z) |
| SurroundOcc ``.npy`` | (N, 4): cell x, y, z and label of what is occupied; all else is free |
| SemanticKITTI ``.label`` | 256 x 256 x 32 raw labels; ``.invalid`` beside it: nothing is known |
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from renderocc_ros.class_set import IGNORE_ID, ClassSet
from renderocc_ros.geometry import VoxelGrid
from renderocc_ros.occupancy.occ3d_files import CURE, read_prediction, read_truth, volume
from renderocc_ros.outside_data import parsing, read_npy
from renderocc_training.supervision.labels.mapping import load_numbers

Mask = Literal["camera", "lidar", "none"]
Order = Literal["xyz", "yxz", "zyx"]
Labels = NDArray[np.uint8]
Flags = NDArray[np.bool_]
KITTI_GRID = VoxelGrid((0.0, -25.6, -2.0), 0.2, (256, 256, 32))


@dataclass(frozen=True)
class Numbering:
    """How predictions number what they say.

    Attributes:
        free_id: label of free voxels; that of the class set if None.
        first_id: label of the class set's first class.
        order: axes of dense arrays.
    """

    free_id: int | None = None
    first_id: int = 0
    order: Order = "xyz"

    def to_class_set(self, labels: Labels, class_set: ClassSet, path: Path) -> Labels:
        """Labels as the class set numbers them.

        Raises:
            ValueError: there are labels of no class, or nothing is free in a way that shows that
                free is another label.
        """
        if self.free_id is None and not self.first_id:
            highest, count = int(labels.max(initial=0)), class_set.free_id
            often = np.bincount(labels.ravel(), minlength=1).argmax() if labels.size else count
            if highest > count or (often == 0 and not (labels == count).any()):
                raise ValueError(
                    f"prediction holds label {highest} and most often {often}, but free is {count} "
                    f"in class set '{class_set.name}': score with the class set that made {path}, "
                    "or say which label is free by --free-id and the first class by --first-id"
                )
            return labels
        free = labels == (class_set.free_id if self.free_id is None else self.free_id)
        shifted = labels.astype(np.int16) - self.first_id
        wrong = ~free & ((shifted < 0) | (shifted >= class_set.free_id))
        if wrong.any():
            raise ValueError(
                f"{path}: label {labels[wrong][0]} is no class of '{class_set.name}' with "
                f"--free-id {self.free_id} and --first-id {self.first_id}"
            )
        return np.where(free, class_set.free_id, shifted).astype(np.uint8)


def predicted_labels(
    path: Path, class_set: ClassSet, grid: VoxelGrid, numbering: Numbering
) -> Labels:
    """(X, Y, Z) labels of a prediction, as the class set numbers them."""
    if path.suffix == ".label":
        return _kitti_labels(path, class_set)
    labels = _sparse_labels(path, class_set, grid)
    if labels is None:
        dense = read_prediction(path).transpose([numbering.order.index(axis) for axis in "xyz"])
        same = dense.shape == grid.size  # or the shape is what is wrong
        labels = numbering.to_class_set(dense, class_set, path) if same else dense
    return labels


def require_order(
    pair: tuple[str, Path, Path], class_set: ClassSet, grid: VoxelGrid, numbering: Numbering
) -> None:
    """Refuse predictions whose x and y are swapped, as far as a first sample shows it.

    Raises:
        ValueError: more of its voxels are right where x and y are swapped.
    """
    token, prediction, truth = pair
    predicted = predicted_labels(prediction, class_set, grid, numbering)
    true = true_labels(truth, class_set, grid, "none")[0]
    if predicted.shape != true.shape or true.shape[0] != true.shape[1]:
        return
    right, swapped = (
        ((each == true) & (true != class_set.free_id)).sum()
        for each in (predicted, predicted.swapaxes(0, 1))
    )
    if swapped > right:
        raise ValueError(
            f"sample {token}: {swapped} occupied voxels have the right class where x and y are "
            f"swapped, {right} where they are not: give --order yxz, or --order xyz if it is right"
        )


def true_labels(
    path: Path, class_set: ClassSet, grid: VoxelGrid, mask: Mask
) -> tuple[Labels, Flags | None]:
    """(X, Y, Z) labels of a truth, and which voxels count; None for all.

    Raises:
        ValueError: the file lacks the mask.
    """
    if path.suffix == ".label":
        invalid = path.with_suffix(".invalid")
        labels = _kitti_labels(path, class_set)
        if not invalid.is_file():
            return labels, None
        return labels, ~_bits(invalid, labels.shape)
    if path.suffix == ".npy":
        if mask != "none":
            raise ValueError(f"{path} has no mask_{mask}: score with --mask none")
        sparse = _sparse_labels(path, class_set, grid)
        return volume(read_npy(path, CURE), path) if sparse is None else sparse, None
    try:
        truth = read_truth(path, () if mask == "none" else (f"mask_{mask}",))
    except ValueError as error:
        cure = "" if mask == "none" else "; where there is no mask, score with --mask none"
        raise ValueError(f"{error}{cure}") from error
    counted = {"camera": truth.mask_camera, "lidar": truth.mask_lidar, "none": None}[mask]
    return truth.labels, counted


def _sparse_labels(path: Path, class_set: ClassSet, grid: VoxelGrid) -> Labels | None:
    """Those of an (N, 4) .npy on a grid; None for another file."""
    array = read_npy(path, CURE) if path.suffix == ".npy" else None
    if array is None or array.ndim != 2 or array.shape[1] != 4:
        return None
    with parsing(path, CURE):
        cells, classes = array[:, :3].astype(np.int64), array[:, 3].astype(np.int64)
    known = ((classes >= 0) & (classes <= class_set.free_id)) | (classes == IGNORE_ID)
    inside = ((cells >= 0) & (cells < grid.size)).all(axis=1)
    if not (inside & known).all():
        row = array[~(inside & known)][0].tolist()
        raise ValueError(f"{path}: (x, y, z, label) = {row} fits neither {grid} nor the class set")
    labels = np.full(grid.size, class_set.free_id, np.uint8)
    labels[tuple(cells.T)] = classes
    return labels


def _kitti_labels(path: Path, class_set: ClassSet) -> Labels:
    """Raw 16-bit labels of SemanticKITTI's voxels; 0 is empty."""
    raw = np.fromfile(path, "<u2", KITTI_GRID.cell_count + 1)
    if len(raw) != KITTI_GRID.cell_count:
        raise ValueError(
            f"{path} has {len(raw)} voxels, SemanticKITTI's have {KITTI_GRID.cell_count}"
        )
    labels = load_numbers("semantickitti").table(class_set)[raw]
    return np.where(raw == 0, class_set.free_id, labels).astype(np.uint8).reshape(KITTI_GRID.size)


def _bits(path: Path, shape: tuple[int, ...]) -> Flags:
    bits = np.unpackbits(np.fromfile(path, np.uint8))
    if len(bits) != np.prod(shape):
        raise ValueError(f"{path} has {len(bits)} flags for {shape} voxels")
    return bits.reshape(shape).astype(bool)
