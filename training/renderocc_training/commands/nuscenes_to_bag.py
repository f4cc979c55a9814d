"""Turn nuScenes scenes into ROS 2 recordings."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from renderocc_ros.progress import JobProgress
from renderocc_training.sequences.data_sets import open_sequences
from renderocc_training.sequences.nuscenes_to_bag import write_sequence
from renderocc_training.sequences.sensor_files import check_files


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
        sequences = open_sequences(dataroot, "nuscenes", version, scene or (), as_recorded=True)
        paths = [out] if len(sequences) == 1 else [out / each.name for each in sequences]
        existing = [str(path) for path in paths if path.exists()]
        if existing:
            raise ValueError(f"not overwritten: {', '.join(existing)}; remove or choose another")
        for each in sequences:
            check_files(each.measurements(key_frames_only=True), "unpack the blobs")
            if not key_frames_only:
                cure = "unpack the blobs, or leave sweeps out with --key-frames-only"
                check_files(each.measurements(), cure)
    with JobProgress(console) as progress:
        for each, path in zip(sequences, paths, strict=True):
            measured = each.measurements(key_frames_only)
            task = progress.add_task(each.name, total=len(measured))
            counts = write_sequence(each, measured, path, partial(progress.advance, task))
            seconds = (measured[-1].stamp_ns - measured[0].stamp_ns) * 1e-9
            progress.console.print(_summary(path, seconds, counts, each.problems))


def _summary(
    path: Path, seconds: float, counts: dict[str, int], problems: tuple[str, ...]
) -> Table:
    megabytes = sum(file.stat().st_size for file in path.iterdir()) / 1e6
    table = Table(title=f"{path}: {seconds:.1f} s, {megabytes:.1f} MB")
    table.add_column("topic")
    table.add_column("messages", justify="right")
    for topic in sorted(counts):
        table.add_row(topic, str(counts[topic]))
    if problems:
        table.caption = "; ".join(problems)
    return table
