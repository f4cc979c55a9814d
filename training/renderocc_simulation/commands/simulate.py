"""Make a synthetic drive: a recording with exact 2D and 3D truth."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from renderocc_ros.progress import JobProgress
from renderocc_simulation.drive import write_drive
from renderocc_simulation.faults import FORM, KINDS, parse_fault
from renderocc_simulation.lighting import LIGHTS
from renderocc_simulation.spec import PRESETS, DriveSpec
from renderocc_simulation.world.town import SPLIT_NUMBER, TownSpec

DEFAULT_SECONDS = {"tiny": 10.0}
OTHER_SECONDS = 20.0


def simulate(
    out: Annotated[Path, typer.Argument(help="folder of the new bag; it must not exist")],
    seed: Annotated[
        int, typer.Option(help="town, traffic, weather and sensors follow from it")
    ] = 0,
    seconds: Annotated[
        float | None, typer.Option(help="length of the drive; 20, for tiny 10 if not given")
    ] = None,
    preset: Annotated[str, typer.Option(help=f"size of images and truth: {', '.join(PRESETS)}")] = (
        "standard"
    ),
    rig: Annotated[str, typer.Option(help="simulated rig: shipped name or .yaml")] = "nuscenes",
    vary_rig: Annotated[
        bool, typer.Option(help="move, tilt and zoom the rig's cameras, by the seed")
    ] = False,
    vary_looks: Annotated[
        bool, typer.Option(help="colours, proportions and loads from wide ranges, by the seed")
    ] = False,
    split: Annotated[str, typer.Option(help="train, or holdout: other assets and colours")] = (
        "train"
    ),
    light: Annotated[
        str | None, typer.Option(help=f"{', '.join(LIGHTS)}; from the seed if not given")
    ] = None,
    image_hz: Annotated[
        float, typer.Option(help="sets of images, and LiDAR turns, a second")
    ] = 2.0,
    key_hz: Annotated[float, typer.Option(help="sets with truth a second")] = 2.0,
    drift: Annotated[float, typer.Option(help="odometry error, share of the way")] = 0.0,
    planar_odometry: Annotated[
        bool,
        typer.Option("--planar-odometry", help="odometry without heights: z stays 0 on hills"),
    ] = False,
    lidar_labels: Annotated[bool, typer.Option(help="give each LiDAR point its class")] = True,
    traffic: Annotated[int, typer.Option(help="vehicles that drive")] = 22,
    walkers: Annotated[int, typer.Option(help="people that walk")] = 36,
    fault: Annotated[
        list[str] | None,
        typer.Option(help=f"{FORM}, may be repeated; kinds: {', '.join(KINDS)}"),
    ] = None,
    processes: Annotated[
        int | None, typer.Option(min=1, help="all cores if not given; the bag is always the same")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print the report as JSON")] = False,
) -> None:
    """Make a synthetic drive: a recording with exact 2D and 3D truth.

    renderocc simulate town --seed 7 --seconds 20

    renderocc simulate robot --rig two_cameras --fault dropped-camera@3+2:front
    """
    if split not in SPLIT_NUMBER:
        raise ValueError(f"split '{split}' is not one of: {', '.join(SPLIT_NUMBER)}")
    chosen = next((name for name in LIGHTS if name == light), None)
    if light is not None and chosen is None:
        raise ValueError(f"light '{light}' is not one of: {', '.join(LIGHTS)}")
    if traffic < 0 or walkers < 0:
        raise ValueError(f"traffic = {traffic} and walkers = {walkers} must be 0 or more")
    length = DEFAULT_SECONDS.get(preset, OTHER_SECONDS) if seconds is None else seconds
    town = TownSpec(
        seed,
        length,
        "holdout" if split == "holdout" else "train",
        chosen,
        traffic,
        walkers,
        vary_looks=vary_looks,
    )
    faults = tuple(parse_fault(text) for text in fault or [])
    spec = DriveSpec(
        town, rig, preset, image_hz, key_hz, drift, planar_odometry, lidar_labels, faults, vary_rig
    )
    console = Console(stderr=True)
    with JobProgress(console) as progress:
        task = progress.add_task(f"driving through town {seed}", total=spec.sets)
        report = write_drive(
            spec, out, processes or os.cpu_count() or 1, lambda: progress.advance(task)
        )
    megabytes = sum(file.stat().st_size for file in out.iterdir()) / 1e6
    summary = {
        "bag": str(out),
        "sets": report.sets,
        "seconds": round(report.seconds, 2),
        "processes": report.processes,
        "rays": report.rays,
        "rays_per_second": round(report.rays_per_second),
        "megabytes": round(megabytes, 1),
        "messages": sum(report.counts.values()),
    }
    if as_json:
        print(json.dumps(summary))
        return
    console.print(
        f"{out}: {report.sets} sets, {megabytes:.1f} MB, in {report.seconds:.1f} s; "
        f"{report.rays / 1e6:.1f} million rays, "
        f"{report.rays_per_second / 1e6:.2f} million a second",
        soft_wrap=True,
    )
