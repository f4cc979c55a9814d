"""Turn recorded bags into a nuScenes-format data set."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from renderocc_ros.config import load_rig, validate
from renderocc_ros.files import file_name
from renderocc_ros.progress import JobProgress
from renderocc_training.commands._label_options import Ray
from renderocc_training.sequences.extraction.job import Job, Layout
from renderocc_training.sequences.extraction.options import ExtractOptions
from renderocc_training.sequences.extraction.pool import extract as extract_all
from renderocc_training.sequences.extraction.report import ExtractionReport

DEFAULTS = ExtractOptions()


def extract(
    bags: Annotated[
        list[Path],
        typer.Argument(help="rosbag2 folders, .mcap, .db3 or ROS 1 .bag files; or see --format"),
    ],
    out: Annotated[Path, typer.Option(help="folder of the data set; bags are added to it")],
    rig: Annotated[
        str | None, typer.Option(help="rig file (.yaml), or the name of a shipped one")
    ] = None,
    layout: Annotated[
        Layout, typer.Option("--format", help="of what is given: bags, or folders of a data set")
    ] = "bag",
    version: Annotated[
        str, typer.Option(help="folder of the tables; many tools know nuScenes' own names only")
    ] = "v1.0-trainval",
    key_frame_s: Annotated[
        float, typer.Option(help="seconds between key frames; 0: every set")
    ] = DEFAULTS.key_frame_s,
    key_frame_m: Annotated[
        float | None, typer.Option(help="metres between key frames, instead of seconds")
    ] = None,
    sweeps: Annotated[bool, typer.Option(help="keep what lies between key frames")] = True,
    lidar: Annotated[
        str | None, typer.Option(help="PointCloud2 topic; the only one if not given; '': none")
    ] = None,
    odometry: Annotated[
        str | None,
        typer.Option(help="topic of the ego pose (Odometry, PoseStamped …); tf if not given"),
    ] = None,
    boxes: Annotated[
        str | None, typer.Option(help="Detection3DArray topic; the only one if not given; '': none")
    ] = None,
    occupancy: Annotated[
        str | None,
        typer.Option(help="3D truth; /ground_truth/occupancy if not given; '': none"),
    ] = None,
    labels: Annotated[
        list[str] | None,
        typer.Option(help="label images, KIND=TOPIC; {camera}: its name in lower case"),
    ] = None,
    namespace: Annotated[
        str, typer.Option(help="namespace of the rig's relative topics")
    ] = DEFAULTS.namespace,
    location: Annotated[str, typer.Option(help="place, for the log table")] = "",
    processes: Annotated[int, typer.Option(min=1, help="bags at a time")] = os.cpu_count() or 1,
    ray: Ray = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="the reports as one JSON object on the last line")
    ] = False,
) -> None:
    """Turn recorded bags into a data set that everything made for nuScenes reads.

    renderocc extract monday tuesday --rig robot.yaml --out data

    renderocc extract semantic-kitti --format semantickitti --key-frame-s 0 --out data

    Images are matched into sets as by the live node; JPEGs are copied, never encoded again. A run
    that was interrupted goes on where it stopped; bags that are done are not done again.
    """
    given = {
        "key_frame_s": key_frame_s,
        "key_frame_m": key_frame_m,
        "sweeps": sweeps,
        "lidar": lidar,
        "odometry": odometry,
        "boxes": boxes,
        "occupancy": occupancy,
        "labels": tuple(labels or ()),
        "namespace": namespace,
        "location": location,
    }
    options = validate(given, ExtractOptions, "options")
    file_name(version, "--version, the name of a folder in --out,")
    twice = [str(bag) for bag, count in Counter(bags).items() if count > 1]
    if twice:
        raise ValueError(f"given more than once: {', '.join(twice)}")
    if layout == "bag" and rig is None:
        raise ValueError("bags need --rig: the topics and frames of their cameras")
    cameras = load_rig(rig) if rig is not None and layout == "bag" else None
    jobs = [Job(bag, out, cameras, options, layout) for bag in bags]
    console = Console(stderr=True)
    with JobProgress(console, "{task.percentage:.0f} %") as progress:
        tasks = [progress.add_task(bag.name, total=1.0) for bag in bags]
        reports = extract_all(
            jobs,
            version,
            processes,
            ray,
            lambda number, share: progress.update(tasks[number], completed=share),
        )
    for report in reports:
        _print(report, console)
    if as_json:
        print(json.dumps({"recordings": [report.as_json() for report in reports]}))
    if not any(report.scenes for report in reports):
        raise ValueError("no recording gave a key frame; see above for the reasons")


def _print(report: ExtractionReport, console: Console) -> None:
    scenes = ", ".join(report.scenes) or "no scene"
    console.print(
        f"[bold]{escape(str(report.source))}[/bold]: {scenes}; {report.key_frames} key frames, "
        f"{report.sweeps} sweeps, {report.boxes} boxes, {report.labels} label files, "
        f"{report.occupancies} with 3D truth"
    )
    for problem in report.problems:
        console.print(f"  {problem}", style="yellow", markup=False)
    if report.skipped:
        table = Table("left out", "why", "count")
        for (what, why), count in sorted(report.skipped.items()):
            table.add_row(what, why, str(count))
        console.print(table)
