"""Make occupancy truth from a data set's LiDAR, in Occ3D's file format."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from renderocc_ros.class_set import OCCUPIED_ID, ClassSet
from renderocc_ros.config import load_class_set
from renderocc_ros.geometry import VoxelGrid
from renderocc_ros.network_config import load_network_config
from renderocc_ros.occupancy.grid_file import MadeFrom, describe_grid
from renderocc_ros.occupancy.occ3d_files import write_truth
from renderocc_ros.processes import workers
from renderocc_ros.progress import tracked
from renderocc_training.commands._label_options import (
    ClassSetName,
    Format,
    LabelSourceName,
    Ray,
    Root,
    Scenes,
    Semantics,
    Set,
    Version,
    chosen_label_source,
    claimed,
    label_settings,
    opened,
)
from renderocc_training.sequences.model import RecordedSequence
from renderocc_training.supervision.labels.interface import PointClasses
from renderocc_training.supervision.labels.label_source import point_classes
from renderocc_training.supervision.occupancy_truth import TruthMaker, TruthOptions

DEFAULTS = TruthOptions()


def truth(
    root: Root,
    out: Annotated[Path, typer.Option(help="folder for SEQUENCE/TOKEN/labels.npz")],
    format: Format = "nuscenes",
    version: Version = None,
    scenes: Scenes = None,
    label_source: LabelSourceName = "lidar",
    semantics: Semantics = None,
    settings: Set = None,
    grid: Annotated[
        str, typer.Option(help="network whose grid to use: shipped name or .yaml")
    ] = "r50",
    class_set: ClassSetName = "occ3d",
    window: Annotated[
        int, typer.Option(min=0, help="key frames before and after that are accumulated")
    ] = DEFAULTS.window,
    unlabelled: Annotated[
        str | None,
        typer.Option(help="class of what has no label; if not given, only its geometry is scored"),
    ] = None,
    processes: Annotated[int, typer.Option(min=1, help="scenes at a time")] = 1,
    ray: Ray = None,
) -> None:
    """Make occupancy truth from a data set's LiDAR, in Occ3D's file format.

    renderocc truth data --out gts

    renderocc truth data --out gts --ray auto

    Points of tracked boxes are accumulated in the boxes' frames, all others in the world. Labels
    come from the nearest labelled points; what LiDAR and cameras see is told by ray casting. Truth
    of another grid or other classes that stands there is replaced; that of another data set with a
    scene of the same name is kept, and the command refused.
    """
    console = Console(stderr=True)
    classes, cells = load_class_set(class_set), load_network_config(grid).grid.build()
    source = chosen_label_source(
        label_source, None, semantics, label_settings(settings), format, root
    )
    if source.semantics not in ("boxes", "points", "none"):
        raise ValueError(
            f"truth takes the classes of LiDAR points, not semantics = '{source.semantics}': give "
            "--semantics boxes, points or none"
        )
    options = TruthOptions(
        window=window,
        unlabelled=None if unlabelled is None else classes.id_of(unlabelled),
        ego_radius_m=source.ego_radius_m,
    )
    given = None if source.semantics == "none" else point_classes(source, classes)
    sequences = opened(root, format, version, scenes or ())
    make = partial(_made, given=given, cells=cells, classes=classes, options=options, out=out)
    each: Iterable[NDArray[np.float64]]
    with ExitStack() as stack:
        stack.enter_context(claimed(out, sequences))
        for sequence in sequences:  # refused before anything is made
            source_of = MadeFrom(str(sequence.root.resolve()), sequence.fingerprint)
            describe_grid(out / sequence.name, cells, classes.name, source_of)
        if ray is None and processes == 1:
            each = (make(sequence, console=console) for sequence in sequences)
        else:
            pool = stack.enter_context(workers(processes, ray, len(sequences)))
            each = tracked(pool.map(make, sequences), "scenes", console, len(sequences))
        _show(list(zip(sequences, each, strict=True)))


def _made(
    sequence: RecordedSequence,
    given: PointClasses | None,
    cells: VoxelGrid,
    classes: ClassSet,
    options: TruthOptions,
    out: Path,
    console: Console | None = None,
) -> NDArray[np.float64]:
    """Write the truth of a sequence; gives the sums of what is shown: (4,) cells.

    Args:
        console: takes the progress; None for none.
    """
    maker = TruthMaker(sequence, given, cells, classes, options)
    sums = np.zeros(4)
    frames = sequence.frames
    for frame in tracked(frames, sequence.name, console) if console else frames:
        made = maker.truth(frame)
        write_truth(out / sequence.name / frame.token / "labels.npz", made)
        unknown = made.labels == OCCUPIED_ID
        occupied = made.labels != classes.free_id
        sums += (occupied.sum(), unknown.sum(), made.mask_camera.sum(), made.mask_lidar.sum())
    return sums


def _show(each: list[tuple[RecordedSequence, NDArray[np.float64]]]) -> None:
    table = Table("sequence", "frames", "occupied", "without class", "seen by cameras", "by LiDAR")
    for sequence, sums in each:
        means = [f"{value / max(len(sequence), 1):,.0f}" for value in sums]
        table.add_row(sequence.name, str(len(sequence)), *means)
    Console().print(table, "cells per frame", sep="\n")
