"""Make occupancy truth from a data set's LiDAR, in Occ3D's file format."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from renderocc_ros.class_set import OCCUPIED_ID
from renderocc_ros.config import load_class_set
from renderocc_ros.network_config import load_network_config
from renderocc_ros.occupancy.grid_file import MadeFrom, describe_grid
from renderocc_ros.occupancy.occ3d_files import write_truth
from renderocc_ros.progress import tracked
from renderocc_training.commands._label_options import (
    ClassSetName,
    Format,
    LabelSourceName,
    Root,
    Scenes,
    Semantics,
    Set,
    Version,
    chosen_label_source,
    label_settings,
    opened,
)
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
) -> None:
    """Make occupancy truth from a data set's LiDAR, in Occ3D's file format.

    renderocc truth data --out gts

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
    table = Table("sequence", "frames", "occupied", "without class", "seen by cameras", "by LiDAR")
    sequences = opened(root, format, version, scenes or ())
    for sequence in sequences:  # refused before anything is made
        source_of = MadeFrom(str(sequence.root.resolve()), sequence.fingerprint)
        describe_grid(out / sequence.name, cells, classes.name, source_of)
    for sequence in sequences:
        maker = TruthMaker(sequence, given, cells, classes, options)
        sums = np.zeros(4)
        for frame in tracked(sequence.frames, sequence.name, console):
            made = maker.truth(frame)
            write_truth(out / sequence.name / frame.token / "labels.npz", made)
            unknown = made.labels == OCCUPIED_ID
            occupied = made.labels != classes.free_id
            sums += (occupied.sum(), unknown.sum(), made.mask_camera.sum(), made.mask_lidar.sum())
        means = [f"{value / max(len(sequence), 1):,.0f}" for value in sums]
        table.add_row(sequence.name, str(len(sequence)), *means)
    Console().print(table, "cells per frame", sep="\n")
