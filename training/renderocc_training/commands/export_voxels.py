"""Write voxels of a recording or a result as PLY, PCD, npz or OctoMap."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated

import typer

from renderocc_ros.occupancy.semantic_occupancy import SemanticOccupancy
from renderocc_ros.viewing.voxel_files import SUFFIXES, write_voxels
from renderocc_training.evaluation.recorded_voxels import recorded_voxels


def export_voxels(
    recording: Annotated[
        Path, typer.Argument(help="a bag with SemanticOccupancy, or a folder that evaluate wrote")
    ],
    out: Annotated[
        Path, typer.Option(help=f"file to write ({', '.join(SUFFIXES)}), or with --format a folder")
    ],
    at: Annotated[
        float, typer.Option(min=0, help="the frame so many seconds after the first")
    ] = 0.0,
    every: Annotated[
        str | None,
        typer.Option("--format", help="write all frames into the folder --out: ply, pcd, npz, bt"),
    ] = None,
    topic: Annotated[
        str | None, typer.Option(help="SemanticOccupancy; the only prediction if not given")
    ] = None,
    classes: Annotated[
        list[str] | None, typer.Option("--class", help="only this class; may be given again")
    ] = None,
    unseen: Annotated[
        bool, typer.Option("--unseen", help="voxels that no camera looks into as well, in grey")
    ] = False,
    faces: Annotated[
        bool, typer.Option("--faces", help="a mesh of the voxels' outer faces; .ply only")
    ] = False,
) -> None:
    """Write voxels of a recording or a result as PLY, PCD, npz or OctoMap.

    renderocc export-voxels monday --at 12.5 --out monday.ply --faces

    renderocc export-voxels results --format pcd --out clouds

    OctoMap (.bt) holds the occupied cells alone.
    """
    frames = recorded_voxels(recording, topic)
    chosen: Iterable[tuple[Path, SemanticOccupancy]]
    if every is None:
        chosen = [(out, _frame_at(frames, at, recording))]
    elif at:
        raise ValueError("--format writes all frames: leave --at away, or give a file as --out")
    else:
        suffix = f".{every.removeprefix('.')}"
        chosen = ((out / f"{frame.stamp_ns}{suffix}", frame) for frame in frames)
    count = 0
    for path, frame in chosen:
        path.parent.mkdir(parents=True, exist_ok=True)
        shown = _only(frame, classes or [])
        write_voxels(path, shown, "grey" if unseen else "hide", faces)
        count += 1
        voxels = shown.occupied if unseen or path.suffix == ".npz" else shown.shown
        typer.echo(f"{path}: {voxels.sum()} voxels of {frame.grid.resolution_m:g} m")
    if not count:
        raise ValueError(f"{recording}: no voxels")


def _frame_at(
    frames: Iterator[SemanticOccupancy], at_s: float, recording: Path
) -> SemanticOccupancy:
    """The first frame that is so many seconds after the first one, or later."""
    first_ns = None
    for frame in frames:
        first_ns = frame.stamp_ns if first_ns is None else first_ns
        if frame.stamp_ns - first_ns >= at_s * 1e9:
            return frame
    if first_ns is None:
        raise ValueError(f"{recording}: no voxels")
    raise ValueError(f"--at {at_s}: the voxels of {recording} end before that")


def _only(frame: SemanticOccupancy, names: list[str]) -> SemanticOccupancy:
    class_set = frame.class_set
    for name in names:
        class_set.id_of(name)  # says which there are
    return frame.keeping(names)
