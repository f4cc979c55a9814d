"""Grid and classes of a sequence's truth files: ``grid.json`` beside them, as they name neither."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from renderocc_ros.files import write_bytes
from renderocc_ros.geometry import VoxelGrid
from renderocc_ros.outside_data import parsing, read_json

GRID_FILE = "grid.json"
CURE = "make the truth again"


@dataclass(frozen=True)
class MadeFrom:
    """What the files of a sequence are made from.

    Attributes:
        folder: of its data set.
        content: changes with what is in it, not with where it lies.
    """

    folder: str
    content: str


def describe_grid(
    folder: Path, grid: VoxelGrid, class_table: str, made_from: MadeFrom | None = None
) -> None:
    """Write down what the files of a sequence will be about.

    Files that an earlier run left there on another grid or of other classes are removed.

    Raises:
        ValueError: the files there are of another data set, with a sequence of the same name.
    """
    other = _made_from(folder)
    if (
        made_from is not None
        and other is not None
        and other.folder != made_from.folder
        and other.content != made_from.content
    ):
        raise ValueError(
            f"{folder} holds what was made from {other.folder}, and {made_from.folder} has a "
            f"sequence '{folder.name}', too: give another --out, or remove that folder"
        )
    earlier = described_grid(folder)
    if earlier is not None and not (earlier[0].is_close(grid) and earlier[1] == class_table):
        for file in folder.rglob("*.npz"):
            file.unlink()
    source = {"made_from": asdict(made_from)} if made_from else {}
    content = asdict(grid) | {"class_table": class_table} | source
    write_bytes(folder / GRID_FILE, json.dumps(content).encode())


def _made_from(folder: Path) -> MadeFrom | None:
    """None where it is not written down."""
    file = folder / GRID_FILE
    content = read_json(file, CURE).get("made_from") if file.is_file() else None
    if content is None:
        return None
    with parsing(file, CURE):
        return MadeFrom(str(content["folder"]), str(content["content"]))


def described_grid(folder: Path) -> tuple[VoxelGrid, str] | None:
    """Grid and class table of the files of a sequence; None where that is not written down.

    Raises:
        ValueError: the file is broken.
    """
    file = folder / GRID_FILE
    if not file.is_file():
        return None
    content = read_json(file, CURE)
    with parsing(file, CURE):
        grid = VoxelGrid(
            tuple(content["origin_m"]), content["resolution_m"], tuple(content["size"])
        )
        return grid, str(content["class_table"])


def grid_beside(file: Path) -> tuple[VoxelGrid, str] | None:
    """The same for ``SEQUENCE/TOKEN.npz`` or ``SEQUENCE/TOKEN/labels.npz``."""
    return described_grid(file.parent.parent if file.stem == "labels" else file.parent)
