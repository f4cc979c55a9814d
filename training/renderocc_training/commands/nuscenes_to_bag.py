"""Turn nuScenes scenes into ROS 2 recordings."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from renderocc_training.sequences.nuscenes_source import NuscenesSource, check_files
from renderocc_training.sequences.nuscenes_to_bag import write_scene


def nuscenes_to_bag(
    dataroot: Annotated[Path, typer.Argument(help="nuScenes' folder, which holds samples/")],
    out: Annotated[
        Path,
        typer.Argument(help="the new bag; a folder of bags, one a scene, if several are converted"),
    ],
    version: Annotated[str, typer.Option(help="folder of the tables")] = "v1.0-mini",
    scene: Annotated[
        list[str] | None, typer.Option(help="name of a scene; may be repeated; all if not given")
    ] = None,
    key_frames_only: Annotated[
        bool, typer.Option("--key-frames-only", help="leave out the sweeps between key frames")
    ] = False,
) -> None:
    """Turn nuScenes scenes into ROS 2 recordings (rosbag2, MCAP).

    A bag holds six JPEG streams with CameraInfo, LiDAR, odometry, tf, tf_static and boxes:

    renderocc nuscenes-to-bag /data/nuscenes drive --scene scene-0103

    renderocc play drive
    """
    console = Console(stderr=True)
    with console.status("reading the tables"):
        scenes = NuscenesSource(dataroot, version).scenes(scene or [])
        paths = [out] if len(scenes) == 1 else [out / each.name for each in scenes]
        existing = [str(path) for path in paths if path.exists()]
        if existing:
            raise ValueError(f"not overwritten: {', '.join(existing)}; remove or choose another")
        for each in scenes:
            check_files(each.readings(key_frames_only))
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console) as progress:
        for each, path in zip(scenes, paths, strict=True):
            readings = each.readings(key_frames_only)
            task = progress.add_task(each.name, total=len(readings))
            counts = write_scene(each, readings, path, partial(progress.advance, task))
            seconds = (readings[-1].stamp_ns - readings[0].stamp_ns) * 1e-9
            progress.console.print(_summary(path, seconds, counts, each.skipped_channels()))


def _summary(path: Path, seconds: float, counts: dict[str, int], skipped: list[str]) -> Table:
    megabytes = sum(file.stat().st_size for file in path.iterdir()) / 1e6
    table = Table(title=f"{path}: {seconds:.1f} s, {megabytes:.1f} MB")
    table.add_column("topic")
    table.add_column("messages", justify="right")
    for topic in sorted(counts):
        table.add_row(topic, str(counts[topic]))
    if skipped:
        table.caption = f"not converted: {', '.join(skipped)}"
    return table
