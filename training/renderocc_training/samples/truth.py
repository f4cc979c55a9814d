"""3D labels of samples, where a data set has them, on the network's grid."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from renderocc_ros.class_set import IGNORE_ID, OCCUPIED_ID, ClassSet
from renderocc_ros.geometry import VoxelGrid
from renderocc_ros.occupancy.grid_file import described_grid
from renderocc_ros.occupancy.occ3d_files import read_truth
from renderocc_training.samples.training_sample import ignore_unseen
from renderocc_training.sequences.model import Frame, RecordedSequence

OCC3D_GRID = VoxelGrid((-40.0, -40.0, -1.0), 0.4, (200, 200, 16))
Labels = NDArray[np.uint8]
Flags = NDArray[np.bool_]


class TruthFolder:
    """Files in Occ3D's form: ``<token>.npz``, ``<token>/labels.npz`` or ``<sequence>/<token>/…``.

    Args:
        folder: holds the files.
        grid: of the files.
        class_set: of the files.

    Attributes:
        grid: of the files.
    """

    def __init__(self, folder: Path, grid: VoxelGrid, class_set: ClassSet) -> None:
        if not folder.is_dir():
            raise ValueError(f"truth folder {folder} is not there")
        self._folder, self.grid, self._class_set = folder, grid, class_set

    @staticmethod
    def open(folder: Path, class_set: ClassSet) -> TruthFolder:
        """A folder that says its own grid (``extract``, ``truth``), or else has Occ3D's.

        Raises:
            ValueError: no such folder, sequences on different grids, or another class set.
        """
        described = list(filter(None, map(described_grid, folder.glob("*"))))
        tables = {table for _, table in described} - {class_set.name}
        if tables:
            raise ValueError(f"{folder} has classes of {tables}, wanted '{class_set.name}'")
        grids = {grid for grid, _ in described}
        if len(grids) > 1:
            raise ValueError(f"{folder} has sequences on different grids: {grids}")
        return TruthFolder(folder, grids.pop() if grids else OCC3D_GRID, class_set)

    def file(self, sequence: RecordedSequence, frame: Frame) -> Path:
        """The file of a frame.

        Raises:
            ValueError: there is none.
        """
        base = sequence.name.partition("[")[0]
        places = (
            self._folder / f"{frame.token}.npz",
            self._folder / frame.token / "labels.npz",
            self._folder / base / frame.token / "labels.npz",
            self._folder / base / f"{frame.token}.npz",
        )
        for place in places:
            if place.is_file():
                return place
        raise ValueError(f"no 3D labels of {frame.token}: looked for {', '.join(map(str, places))}")

    def require(self, sequences: Iterable[RecordedSequence]) -> None:
        """Refuse truth that lacks a frame now, not when hours of work are done.

        Raises:
            ValueError: there is no file of a frame.
        """
        for sequence in sequences:
            for frame in sequence.frames:
                self.file(sequence, frame)

    def labels(self, sequence: RecordedSequence, frame: Frame, grid: VoxelGrid) -> Labels:
        """(X, Y, Z) labels on ``grid``, ``IGNORE_ID`` where no camera sees."""
        return ignore_unseen(*self.volume(sequence, frame, grid))

    def volume(
        self, sequence: RecordedSequence, frame: Frame, grid: VoxelGrid
    ) -> tuple[Labels, Flags]:
        """(X, Y, Z) labels on ``grid``, and where cameras see."""
        file = self.file(sequence, frame)
        truth = read_truth(file)
        if truth.labels.shape != self.grid.size:
            raise ValueError(f"{file} has {truth.labels.shape} cells, its grid {self.grid.size}")
        return coarser(truth.labels, truth.mask_camera, self._factor(grid), self._class_set)

    def _factor(self, grid: VoxelGrid) -> int:
        factor = round(grid.resolution_m / self.grid.resolution_m)
        same_box = np.allclose(grid.origin_m, self.grid.origin_m) and np.allclose(
            grid.upper_m, self.grid.upper_m
        )
        if factor < 1 or not same_box or grid.size != tuple(n // factor for n in self.grid.size):
            raise ValueError(
                f"3D labels on {self.grid} cannot be brought to {grid}: the same box and a whole "
                "multiple of the cell are needed"
            )
        return factor


def coarser(labels: Labels, seen: Flags, factor: int, class_set: ClassSet) -> tuple[Labels, Flags]:
    """Labels and visibility on cells ``factor`` times as long.

    A cell is occupied if any of its parts is, by the class that most of them have, and seen if any
    of those is; a free one is seen if all of its parts are. If what is in it has no class, it is
    ``OCCUPIED_ID``; if nothing is known of a part and no other is occupied, ``IGNORE_ID``.
    """
    if factor == 1:
        return labels, seen
    x, y, z = (n // factor for n in labels.shape)

    def parts(volume: NDArray[np.uint8] | Flags) -> NDArray[np.uint8]:
        split = volume.reshape(x, factor, y, factor, z, factor).transpose(0, 2, 4, 1, 3, 5)
        return split.reshape(x, y, z, factor**3).astype(np.uint8)

    small, small_seen = parts(labels), parts(seen).astype(bool)
    counts = np.stack([(small == c).sum(axis=-1) for c in range(len(class_set))], axis=-1)
    occupied = counts.any(axis=-1)
    result = np.where(occupied, counts.argmax(axis=-1), class_set.free_id).astype(np.uint8)
    unknown = (small == OCCUPIED_ID).any(axis=-1)
    result[~occupied & (small == IGNORE_ID).any(axis=-1)] = IGNORE_ID
    result[~occupied & unknown] = OCCUPIED_ID
    solid = (small < class_set.free_id) | (small == OCCUPIED_ID)
    solid_seen = (small_seen & solid).any(axis=-1)
    return result, np.where(occupied | unknown, solid_seen, small_seen.all(axis=-1))
