"""An evaluation on disk: written frame by frame, read by ``report`` and ``compare``.

| file | what |
|---|---|
| results.json | what was evaluated, all scores, one entry per frame |
| classes.csv, frames.csv | the same as tables |
| counts.npz | tokens of the scored frames, and their ``VoxelCounts``: confusion, layers, above |
| predictions/TOKEN.npz | semantics, confidence (X, Y, Z) uint8; stamp_ns, origin_m, resolution_m |
| truth/TOKEN/labels.npz | semantics, mask_camera, mask_lidar, as Occ3D has them |
| images/TOKEN/CAMERA.jpg | what the camera saw, small |
| images/TOKEN/cameras.json | where the cameras were and how they project |

``renderocc score OUT/predictions OUT/truth`` reads the same files.
"""

from __future__ import annotations

import csv
import io
import json
import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter
from typing_extensions import NotRequired, TypedDict

from renderocc_ros.class_set import ClassSet, SemanticClass
from renderocc_ros.files import claim, file_name, write_arrays, write_bytes, write_image
from renderocc_ros.geometry import VoxelGrid
from renderocc_ros.occupancy.occ3d_files import (
    Occ3dTruth,
    read_occupancy,
    read_truth,
    write_prediction,
    write_truth,
)
from renderocc_ros.occupancy.semantic_occupancy import SemanticOccupancy
from renderocc_ros.outside_data import parsing, read_arrays, read_json
from renderocc_ros.rig.camera_set import CameraSet
from renderocc_training.evaluation.camera_files import read_cameras, write_cameras
from renderocc_training.evaluation.voxel_counts import VoxelCounts

FORMAT = "renderocc-evaluation"
VERSION = 1
UNFINISHED = ".unfinished"  # lies in the folder while it is written
WRITTEN = ("predictions", "truth", "images", "live")  # folders; files are written over
THUMBNAIL_WIDTH, JPEG_QUALITY = 480, 80


@dataclass(frozen=True)
class FrameResult:
    """One frame of an evaluation.

    Attributes:
        token: names its files.
        source: the bag or scene that it comes from.
        missing: cameras without a usable image.
        latency_ms: by stage, "total" among them.
        unscored: why it has no scores; empty if it has.
        scores: miou, iou_above_ground, iou, voxels, flicker …; None where undefined.
    """

    token: str
    source: str
    stamp_ns: int
    missing: tuple[str, ...] = ()
    latency_ms: Mapping[str, float] = field(default_factory=dict)
    unscored: str = ""
    scores: Mapping[str, float | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        file_name(self.token, "token")


@dataclass(frozen=True, eq=False)
class Results:
    """An evaluation that was read from disk.

    Attributes:
        folder: where it lies.
        content: ``results.json`` as it is.
        class_set, grid: of the predictions.
        frames: in order of time.
        counts: by token, scored frames only.
    """

    folder: Path
    content: Mapping[str, Any]
    class_set: ClassSet
    grid: VoxelGrid
    frames: tuple[FrameResult, ...]
    counts: Mapping[str, VoxelCounts]

    @property
    def name(self) -> str:
        """For people."""
        return str(self.content["name"])

    def prediction(self, token: str) -> SemanticOccupancy | None:
        """What the model said of a frame; None if it was not kept."""
        path = self.folder / "predictions" / f"{token}.npz"
        if not path.is_file():
            return None
        return read_occupancy(path, self.grid, self.class_set)

    def truth(self, token: str) -> Occ3dTruth | None:
        """The truth that a frame was scored with; None if it was not kept."""
        path = self.folder / "truth" / token / "labels.npz"
        return read_truth(path) if path.is_file() else None

    def images(self, token: str) -> dict[str, Path]:
        """Small pictures of a frame by camera name, in the rig's order."""
        folder = self.folder / "images" / token
        files = {path.stem: path for path in folder.glob("*.jpg")}
        names = [name for name in self.content["cameras"] if name in files]
        return {name: files[name] for name in [*names, *sorted(files.keys() - set(names))]}

    def cameras(self, frame: FrameResult) -> CameraSet | None:
        """The small pictures of a frame with their poses and models; None if not kept."""
        folder = self.folder / "images" / frame.token
        return read_cameras(folder, frame.stamp_ns, self.images(frame.token))


class _Stored(TypedDict):
    """What is read of ``results.json``; the rest is for people, and passed on as it is."""

    name: str
    mask: str
    cameras: NotRequired[list[str]]
    class_set: str
    classes: tuple[SemanticClass, ...]
    grid: VoxelGrid
    frames: tuple[FrameResult, ...]


_STORED = TypeAdapter(_Stored)


def read_results(folder: Path) -> Results:
    """Read what ``renderocc evaluate`` wrote.

    Raises:
        ValueError: not such a folder, unfinished, broken, or of a newer version.
    """
    path = folder / "results.json"
    if not path.is_file():
        raise ValueError(f"{folder} has no results.json: give a folder that evaluate wrote")
    cure = "evaluate again"
    content = read_json(path, cure)
    with parsing(path, cure):
        if content.get("format") != FORMAT or content.get("version", 0) > VERSION:
            raise ValueError(
                f"it is '{content.get('format')}' version {content.get('version')}, wanted "
                f"'{FORMAT}' up to version {VERSION}"
            )
        stored = _STORED.validate_python(content)
        class_set = ClassSet(stored["class_set"], stored["classes"])
    counts = _read_counts(folder / "counts.npz", len(class_set), stored["grid"], cure)
    return Results(folder, content, class_set, stored["grid"], stored["frames"], counts)


def _read_counts(path: Path, classes: int, grid: VoxelGrid, cure: str) -> dict[str, VoxelCounts]:
    arrays = read_arrays(path, cure)
    with parsing(path, cure):
        tokens, frame = arrays["tokens"].tolist(), VoxelCounts.none(classes, grid.size[2])
        parts = []
        for name, zeros in vars(frame).items():
            shape = (len(tokens), *zeros.shape)
            lacking = np.zeros(shape, np.int64) if name != "confusion" else None
            array = arrays[name] if lacking is None else arrays.get(name, lacking)
            # Earlier evaluations had no row for what is occupied and of unknown class.
            shapes = (shape, (len(tokens), *zeros[:-1].shape)) if lacking is None else (shape,)
            if array.shape not in shapes or array.dtype != np.int64:
                raise ValueError(
                    f"{name} counts are {array.dtype} {array.shape}, not of {classes} classes on "
                    f"the grid {grid}"
                )
            parts.append(array)
        return dict(zip(tokens, map(VoxelCounts, *parts), strict=True))


class ResultsWriter:
    """Writes an evaluation; ``results.json`` comes last, so a folder without it is unfinished.

    Args:
        folder: a new or empty folder, or one that a killed process left unfinished; what that one
            wrote is removed.
        keep_predictions: write what the model said, and the truth beside it.
        keep_images: write small pictures of what the cameras saw.

    Raises:
        ValueError: the folder holds something else, or another process writes it.
    """

    def __init__(self, folder: Path, keep_predictions: bool, keep_images: bool) -> None:
        mark = folder / UNFINISHED
        is_unfinished = mark.exists() and not (folder / "results.json").exists()
        if not is_unfinished and folder.exists() and (folder.is_file() or any(folder.iterdir())):
            raise ValueError(f"{folder} is not empty: remove it or choose another --out")
        self._claim = claim(mark, f"another process writes {folder}: choose another --out")
        for name in WRITTEN if is_unfinished else ():
            shutil.rmtree(folder / name, ignore_errors=True)
        self.folder = folder
        self._keep_predictions, self._keep_images = keep_predictions, keep_images

    def __getstate__(self) -> dict[str, Any]:
        """For a process that writes frames for this one, which keeps the claim."""
        return {**vars(self), "_claim": None}

    def add(
        self,
        token: str,
        occupancy: SemanticOccupancy,
        truth: Occ3dTruth | None,
        images: Mapping[str, NDArray[np.uint8]],
        cameras: CameraSet | None = None,
    ) -> None:
        """Write the files of one frame.

        Args:
            images: to keep a small picture of, by name: what cameras saw, and rendered views.
            cameras: the set that they belong to.
        """
        if self._keep_predictions:
            write_prediction(self.folder / "predictions" / f"{token}.npz", occupancy)
            if truth is not None:
                write_truth(self.folder / "truth" / token / "labels.npz", truth)
        if self._keep_images:
            for name, image in images.items():
                _write_thumbnail(self.folder / "images" / token / f"{name}.jpg", image)
            if cameras is not None:
                write_cameras(self.folder / "images" / token, cameras)

    def finish(
        self,
        content: Mapping[str, Any],
        class_set: ClassSet,
        grid: VoxelGrid,
        frames: Sequence[FrameResult],
        counts: Mapping[str, VoxelCounts],
    ) -> None:
        """Write tables and figures of the whole."""
        empty = VoxelCounts.none(len(class_set), grid.size[2])
        stack = VoxelCounts.stacked(list(counts.values()) or [empty])
        arrays = {name: array[: len(counts)] for name, array in vars(stack).items()}
        arrays["tokens"] = np.array(list(counts), str)
        write_arrays(self.folder / "counts.npz", arrays)
        whole = {
            "format": FORMAT,
            "version": VERSION,
            **content,
            "class_set": class_set.name,
            "classes": [asdict(entry) for entry in class_set.classes],
            "grid": asdict(grid),
            "frames": [asdict(frame) for frame in frames],
        }
        _write_tables(self.folder, content, class_set, frames)
        text = json.dumps(without_nan(whole), indent=1, allow_nan=False)
        write_bytes(self.folder / "results.json", f"{text}\n".encode())
        (self.folder / UNFINISHED).unlink()
        self._claim.close()


def without_nan(value: Any) -> Any:
    """NaN is not JSON: a score that does not exist becomes null."""
    if isinstance(value, Mapping):
        return {key: without_nan(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(entry) for entry in value]
    if isinstance(value, np.generic | np.ndarray):
        return without_nan(value.tolist())
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _write_thumbnail(path: Path, image: NDArray[np.uint8]) -> None:
    height = round(image.shape[0] * THUMBNAIL_WIDTH / image.shape[1])
    if image.shape[1] > THUMBNAIL_WIDTH:
        size = (THUMBNAIL_WIDTH, height)
        image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    write_image(path, bgr, (cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY))


def _write_tables(
    folder: Path, content: Mapping[str, Any], class_set: ClassSet, frames: Sequence[FrameResult]
) -> None:
    scores = content["scores"]
    columns = scores["class_iou"], scores["best_constant"]["class_iou"]
    classes = [(name, *(_cell(iou[name]) for iou in columns)) for name in class_set.names]
    _write_table(folder / "classes.csv", [("class", "iou", "best_constant_iou"), *classes])
    keys = list(dict.fromkeys(key for frame in frames for key in frame.scores))
    rows: list[Sequence[Any]] = [
        ("token", "source", "stamp_ns", *keys, "latency_ms", "missing", "unscored")
    ]
    for frame in frames:
        scores = [_cell(frame.scores.get(key)) for key in keys]
        total = _cell(frame.latency_ms.get("total"))
        row = (frame.token, frame.source, frame.stamp_ns, *scores, total)
        rows.append((*row, " ".join(frame.missing), frame.unscored))
    _write_table(folder / "frames.csv", rows)


def _write_table(path: Path, rows: Sequence[Sequence[Any]]) -> None:
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    write_bytes(path, text.getvalue().encode())


def _cell(value: float | None) -> float | str:
    """An empty cell where there is no score."""
    return "" if value is None or not math.isfinite(value) else value
