"""Grid and classes of a sequence's truth files: ``grid.json`` beside them, as they name neither."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from renderocc_ros.files import write_whole
from renderocc_ros.geometry import VoxelGrid
from renderocc_ros.outside_data import parsing, read_json

GRID_FILE = "grid.json"


def describe_grid(folder: Path, grid: VoxelGrid, class_table: str) -> None:
    """Write down what the files of a sequence will be about.

    Files that an earlier run left there on another grid or of other classes are removed.
    """
    earlier = described_grid(folder)
    if earlier is not None and not (earlier[0].is_close(grid) and earlier[1] == class_table):
        for file in folder.rglob("*.npz"):
            file.unlink()
    with write_whole(folder / GRID_FILE) as scratch:
        scratch.write(json.dumps(asdict(grid) | {"class_table": class_table}).encode())


def described_grid(folder: Path) -> tuple[VoxelGrid, str] | None:
    """Grid and class table of the files of a sequence; None where that is not written down.

    Raises:
        ValueError: the file is broken.
    """
    file = folder / GRID_FILE
    if not file.is_file():
        return None
    cure = "make the truth again"
    content = read_json(file, cure)
    with parsing(file, cure):
        grid = VoxelGrid(
            tuple(content["origin_m"]), content["resolution_m"], tuple(content["size"])
        )
        return grid, str(content["class_table"])


def grid_beside(file: Path) -> tuple[VoxelGrid, str] | None:
    """The same for ``SEQUENCE/TOKEN.npz`` or ``SEQUENCE/TOKEN/labels.npz``."""
    return described_grid(file.parent.parent if file.stem == "labels" else file.parent)
