"""2D labels on disk: made once, and again when what they depend on changes.

That is their settings, poses, calibration, boxes, the robot's size, and the road map and label
files beside the images and sweeps. Images and sweeps themselves count by their names.
"""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from renderocc_ros import outside_data
from renderocc_ros.files import write_arrays as write_npz
from renderocc_ros.files import write_bytes
from renderocc_training.sequences.model import Frame, RecordedSequence
from renderocc_training.supervision.labels.interface import PixelLabeller, no_labels
from renderocc_training.supervision.rays.ray_batch import PixelLabels

FORMAT = 3  # raise when labels of the same configuration come out differently
KEPT_IN_MEMORY = 64


@dataclass(frozen=True, eq=False)
class FrameLabels:
    """Labels of all cameras of a frame.

    Attributes:
        labels: of P pixels, camera by camera.
        camera: (P,) uint8 place of each pixel's camera in the rig's order.
    """

    labels: PixelLabels
    camera: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.camera)

    def of(self, chosen: NDArray[Any]) -> FrameLabels:
        """Those that an index or mask chooses."""
        return FrameLabels(self.labels[chosen], self.camera[chosen])


class LabelStore:
    """Labels of frames, from a folder or else made now and written there.

    Args:
        labeller: makes what is missing.
        folder: takes the files; None keeps them in memory alone.
        settings: everything that the labeller was made from; labels of other settings lie in
            other folders.
        files: names the files that a frame's labels change with.
    """

    def __init__(
        self,
        labeller: PixelLabeller,
        folder: Path | None,
        settings: dict[str, Any],
        files: Callable[[RecordedSequence, Frame], Iterable[Path]] | None = None,
    ) -> None:
        self.labeller, self._files = labeller, files
        text = json.dumps({"format": FORMAT, **settings}, sort_keys=True)
        self.settings_hash = hashlib.sha256(text.encode()).hexdigest()[:12]
        self.folder = folder / f"{labeller.name}-{self.settings_hash}" if folder else None
        if self.folder is not None:
            write_bytes(self.folder / "settings.json", text.encode())
        self._recent: OrderedDict[str, FrameLabels] = OrderedDict()

    def key(self, sequence: RecordedSequence, frame: Frame) -> str:
        """Changes when the labels of the frame may."""
        near = sequence.near(frame.number, self.labeller.reach)
        parts = [self.settings_hash, frame.token, *(each.fingerprint for each in near)]
        parts += [sequence.tracks_fingerprint, f"{sequence.origin.ego_radius_m}"]
        if self._files is not None:
            files = dict.fromkeys(file for each in near for file in self._files(sequence, each))
            parts += map(file_state, files)
        return hashlib.sha256(" ".join(parts).encode()).hexdigest()

    def file(self, frame: Frame) -> Path | None:
        """Where the labels of a frame lie."""
        return self.folder / f"{frame.token}.npz" if self.folder else None

    def has(self, sequence: RecordedSequence, frame: Frame) -> bool:
        """Whether the labels are on disk and up to date."""
        file = self.file(frame)
        return file is not None and read_arrays(file, self.key(sequence, frame)) is not None

    def labels(self, sequence: RecordedSequence, frame: Frame) -> FrameLabels:
        """Labels of all cameras of a frame."""
        key = self.key(sequence, frame)
        frame_labels = self._recent.get(key)
        if frame_labels is None:
            frame_labels = self._read(sequence, frame, key)
            self._recent[key] = frame_labels
            if len(self._recent) > KEPT_IN_MEMORY:
                self._recent.popitem(last=False)
        self._recent.move_to_end(key)
        return frame_labels

    def _read(self, sequence: RecordedSequence, frame: Frame, key: str) -> FrameLabels:
        file = self.file(frame)
        arrays = read_arrays(file, key) if file else None
        if arrays is not None:
            names = ("pixels", "range_m", "class_id", "instance")
            return FrameLabels(PixelLabels(*(arrays[name] for name in names)), arrays["camera"])
        made = self._make(sequence, frame)
        if file is not None:
            write_arrays(file, key, {**vars(made.labels), "camera": made.camera})
        return made

    def _make(self, sequence: RecordedSequence, frame: Frame) -> FrameLabels:
        each = [
            no_labels()
            if camera is None
            else self.labeller.label(sequence, frame, camera).with_rays(camera.model)
            for camera in frame.cameras
        ]
        counts = [len(labels.range_m) for labels in each]
        columns = zip(*((e.pixels, e.range_m, e.class_id, e.instance) for e in each), strict=True)
        return FrameLabels(
            PixelLabels(*(np.concatenate(column) for column in columns)),
            np.repeat(np.arange(len(each), dtype=np.uint8), counts),
        )


def file_state(file: Path) -> str:
    """Changes with a file's name, size and time, as `make` would have it; not with its folder.

    The time is in whole seconds: archives and some file systems keep no more.
    """
    try:
        state = file.stat()
    except FileNotFoundError:
        return f"{file.name} missing"
    return f"{file.name} {state.st_size} {int(state.st_mtime)}"


def read_arrays(file: Path, key: str) -> dict[str, NDArray[Any]] | None:
    """Arrays that were written with this key; None if there are none, or the file is damaged."""
    try:
        if str(outside_data.read_arrays(file, "", ("key",)).get("key")) != key:
            return None
        arrays = outside_data.read_arrays(file, "")
        return {name: array for name, array in arrays.items() if name != "key"}
    except outside_data.DamagedFile:
        return None


def write_arrays(
    file: Path, key: str, arrays: dict[str, NDArray[Any]], compress: bool = False
) -> None:
    """Write arrays with their key; the file is there whole or not at all."""
    write_npz(file, {"key": np.array(key), **arrays}, compress)
