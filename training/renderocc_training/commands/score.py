"""Score a folder of predictions against Occ3D truth: mIoU, IoU, per class, RayIoU."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console

from renderocc_ros.class_set import ClassSet
from renderocc_ros.config import load_class_set
from renderocc_ros.geometry import VoxelGrid
from renderocc_ros.occupancy.occ3d_files import FilePairs, find_pairs
from renderocc_ros.outside_data import parsing, read_arrays
from renderocc_ros.progress import tracked
from renderocc_training.commands._label_options import ClassSetName
from renderocc_training.commands._score_table import score_table
from renderocc_training.evaluation.label_files import (
    KITTI_GRID,
    Mask,
    Numbering,
    Order,
    require_order,
)
from renderocc_training.evaluation.ray_scores import ray_scores
from renderocc_training.evaluation.results import without_nan
from renderocc_training.evaluation.scoring import (
    SampleCounts,
    count_folder,
    grids_of,
    scores_as_json,
    total,
)

OCC3D_VOXEL_M = 0.4
OCC3D_BOX_M = ((-40.0, -40.0, -1.0), (40.0, 40.0, 5.4))
NAMED = 5  # unmatched tokens that are named before "and N more"


def score(
    predictions: Annotated[
        Path, typer.Argument(help="folder of TOKEN.npz, TOKEN/pred.npz or TOKEN.npy, searched")
    ],
    truth: Annotated[
        Path, typer.Argument(help="folder of TOKEN/labels.npz (Occ3D), or of TOKEN.npy")
    ],
    class_set: ClassSetName = "occ3d",
    voxel_m: Annotated[
        float | None,
        typer.Option(
            min=0.01,
            max=6.4,
            help="edge of a voxel in Occ3D's box, for files that do not say their grid; "
            f"{OCC3D_VOXEL_M} if not given",
        ),
    ] = None,
    mask: Annotated[Mask, typer.Option(help="count only voxels that this sensor sees")] = "camera",
    rays: Annotated[
        Path | None,
        typer.Option(help="ray origins for RayIoU: .npz with an (F, 3) array of metres per token"),
    ] = None,
    free_id: Annotated[
        int | None,
        typer.Option(
            min=0, max=255, help="label of free voxels in predictions; the class set's if not given"
        ),
    ] = None,
    first_id: Annotated[
        int, typer.Option(min=0, max=1, help="label of the first class in predictions")
    ] = 0,
    order: Annotated[
        Order | None, typer.Option(help="axes of the predictions; xyz if not given")
    ] = None,
    partial: Annotated[bool, typer.Option(help="score although predictions are missing")] = False,
    processes: Annotated[
        int, typer.Option(min=1, help="samples at a time; one for each CPU if not given")
    ] = os.cpu_count() or 1,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object instead")] = False,
) -> None:
    """Score a folder of predictions against Occ3D truth.

    renderocc score predictions gts

    renderocc score surroundocc gts --free-id 0 --mask none

    renderocc score predictions semantickitti/sequences/08

    One confusion matrix over all samples, as Occ3D-nuScenes does. Files are Occ3D's .npz, dense
    .npy, SurroundOcc's (N, 4) .npy, and SemanticKITTI's .label with .invalid. Never compare a
    method trained with the camera mask with one trained without.
    """
    console = Console(stderr=True)
    classes = load_class_set(class_set)
    files = find_pairs(predictions, truth)
    _report_unmatched(files, partial, console)
    origins = None
    if rays is not None:
        cure = "it must hold an (F, 3) array of metres per token"
        arrays = read_arrays(rays, cure)
        with parsing(rays, cure):
            origins = {token: array.reshape(-1, 3).astype(float) for token, array in arrays.items()}
        absent = [token for token, _, _ in files.pairs if token not in origins]
        if absent:
            raise ValueError(f"{rays} lacks ray origins of {len(absent)} samples: {absent[:NAMED]}")
    grid = _grid(files, voxel_m)
    numbering = Numbering(free_id, first_id, order or "xyz")
    if order is None:
        require_order(files.pairs[0], classes, grid, numbering)
    counting = count_folder(
        files.pairs,
        classes,
        grid,
        mask,
        origins.__getitem__ if origins else None,
        processes,
        numbering,
    )
    counts = total(tracked(counting, "scoring", console, len(files.pairs)))
    counted = "invalid" if files.pairs[0][2].suffix == ".label" else mask
    if as_json:
        typer.echo(json.dumps(without_nan(scores_as_json(counts, classes, counted))))
    else:
        _print(counts, classes, counted)


def _grid(files: FilePairs, voxel_m: float | None) -> VoxelGrid:
    """The grid that the first files say; else Occ3D's box in cells of ``voxel_m``."""
    token, prediction, truth = files.pairs[0]
    if truth.suffix == ".label":
        return KITTI_GRID
    for name, own in grids_of(prediction, truth):
        if voxel_m is not None and not np.isclose(voxel_m, own.resolution_m):
            raise ValueError(
                f"--voxel-m {voxel_m} contradicts the {name} of {token}, which says {own}: leave "
                "--voxel-m out"
            )
        return own
    return _occ3d_grid(voxel_m or OCC3D_VOXEL_M)


def _occ3d_grid(voxel_m: float) -> VoxelGrid:
    lower, upper = OCC3D_BOX_M
    counts = [(high - low) / voxel_m for low, high in zip(lower, upper, strict=True)]
    x, y, z = (round(count) for count in counts)
    if min(x, y, z) < 1 or not np.allclose(counts, (x, y, z)):
        raise ValueError(f"voxel_m = {voxel_m} does not divide Occ3D's box {OCC3D_BOX_M}")
    return VoxelGrid(lower, voxel_m, (x, y, z))


def _report_unmatched(files: FilePairs, partial: bool, console: Console) -> None:
    for what, tokens in (
        ("predictions without truth", files.without_truth),
        ("truths without prediction", files.without_prediction),
    ):
        if tokens:
            more = f" and {len(tokens) - NAMED} more" if len(tokens) > NAMED else ""
            console.print(f"{len(tokens)} {what}: {', '.join(tokens[:NAMED])}{more}", markup=False)
    if files.without_prediction and not partial:
        raise ValueError(
            f"{len(files.without_prediction)} of "
            f"{len(files.without_prediction) + len(files.pairs)} truths have no prediction; "
            "--partial scores the others, which is not a score on this data set"
        )


def _print(counts: SampleCounts, class_set: ClassSet, mask: str) -> None:
    rays = None
    if counts.rays is not None:
        cast = ray_scores(counts.rays)
        by_class = cast.class_iou.mean(axis=0).tolist()
        rays = {"miou": cast.ray_iou} | dict(zip(class_set.names, by_class, strict=True))
    scores = scores_as_json(counts, class_set, mask)
    title = f"{counts.samples} samples, {scores['voxels']:,} voxels, mask: {mask}"
    Console().print(score_table(title, scores, rays))
