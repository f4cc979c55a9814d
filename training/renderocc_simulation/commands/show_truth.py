"""Draw a key frame of a recording with truth: cameras, depth, classes, LiDAR, voxels."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from renderocc_simulation.pictures import read_key_frame, write_pictures


def show_truth(
    bag: Annotated[Path, typer.Argument(help="a recording with truth, as 'simulate' makes it")],
    out: Annotated[Path, typer.Argument(help="folder for the pictures")],
    frame: Annotated[int, typer.Option(help="number of the key frame, from 0")] = 0,
    columns: Annotated[int, typer.Option(min=1, help="cameras side by side")] = 3,
) -> None:
    """Draw a key frame of a recording with truth: cameras, depth, classes, LiDAR, voxels.

    renderocc show-truth town pictures --frame 4
    """
    for path in write_pictures(read_key_frame(bag, frame), out, columns):
        Console().print(str(path), soft_wrap=True)
