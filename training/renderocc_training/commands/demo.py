"""Run the live node on a recorded drive and show what comes out."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from renderocc_ros import __version__
from renderocc_ros.config import load_class_set, load_rig
from renderocc_ros.files import write_bytes
from renderocc_ros.occupancy.messages import occupancy_of
from renderocc_ros.occupancy.occ3d_files import find_pairs
from renderocc_ros.tools.demo_truth import TRUTH_TOPIC, TruthWatch
from renderocc_ros.tools.demo_watch import DemoWatch
from renderocc_ros.tools.live_node import (
    NODE,
    NodeStatus,
    run_on_bag,
    spinning,
    stay_on_this_machine,
)
from renderocc_training.evaluation.results import without_nan
from renderocc_training.evaluation.scoring import count_folder, scores_as_json, total

KEY_FRAME_PERIOD_S = 0.5  # key frames come at 2 Hz, nuScenes' and synthetic ones
DRIVE_RIG = "nuscenes"
# A town of the kind that the shipped network never saw.
DRIVE: dict[str, Any] = {"preset": "tiny", "seed": 951, "split": "holdout", "seconds": 10.0}


def demo(
    nuscenes: Annotated[
        Path | None, typer.Option(help="nuScenes data root; its first scene is played")
    ] = None,
    bag: Annotated[Path | None, typer.Option(help="a recording: rosbag2 folder or .mcap")] = None,
    rig: Annotated[str, typer.Option(help="rig of the recording: shipped name or .yaml")] = (
        DRIVE_RIG
    ),
    checkpoint: Annotated[
        Path | None, typer.Option(help="model to run; the shipped nano if not given")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="folder for picture and report")] = None,
    seconds: Annotated[float | None, typer.Option(min=0, help="stop playing after so long")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="last line: all as JSON")] = False,
) -> None:
    """Run the live node on a recorded drive and show what comes out.

    renderocc demo

    renderocc demo --nuscenes DATAROOT

    Without a drive it makes a synthetic one (once), and scores what was published against its
    exact truth. Node and player are processes of their own and talk over DDS on this machine, as
    on a robot.
    """
    if nuscenes is not None and bag is not None:
        raise ValueError("--nuscenes and --bag are two drives; give one of them")
    if bag is None and rig != DRIVE_RIG:
        raise ValueError(f"without --bag the drive is one of rig '{DRIVE_RIG}', not of '{rig}'")
    console, cameras = Console(), load_rig(rig)
    cache = _cache_folder()
    parameters = {"rig": rig}
    if nuscenes is not None:
        bag = _converted(nuscenes.resolve(), cache, console)
        parameters["sync.period_s"] = str(KEY_FRAME_PERIOD_S)
    elif bag is None:
        bag = _simulated(cache, console)
        parameters["sync.period_s"] = str(KEY_FRAME_PERIOD_S)
    if checkpoint is not None:
        parameters["checkpoint"] = str(checkpoint.resolve())
    stay_on_this_machine()
    folder = out or cache / "latest"
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="renderocc-demo-") as scratch:

        def listen(node: Any) -> tuple[NodeStatus, DemoWatch, TruthWatch]:
            watch, truth = DemoWatch(node, cameras, NODE), TruthWatch(node, NODE, Path(scratch))
            return NodeStatus(node), watch, truth

        with spinning("renderocc_demo", listen) as (status, watch, truth):
            wait = ("--wait-for", TRUTH_TOPIC)
            run_on_bag(bag, parameters, status, console, play_options=wait, seconds=seconds)
            report = _report(watch, status) | {"truth": _truth_scores(truth)}
    write_bytes(folder / "report.json", f"{json.dumps(report, indent=2)}\n".encode())
    _show(report, console)
    model = checkpoint.name if checkpoint else "nano, trained on synthetic towns"
    picture = _picture(watch, folder, f"renderocc_ros: cameras in, voxels out ({model})")
    console.print(picture, soft_wrap=True, markup=False)
    if as_json:
        print(json.dumps(report))
    if not report["sets_published"]:
        raise ValueError(f"nothing was published: {status.description()}")


def _report(watch: DemoWatch, status: NodeStatus) -> dict[str, Any]:
    """All figures; counts and latencies are the node's own, from its /diagnostics."""
    counts = status.values("state")
    latency: dict[str, dict[str, float]] = {}
    for key, value in status.values("latency").items():
        stage, _, quantile = key.rpartition(".")
        latency.setdefault(stage, {})[quantile.removesuffix("_ms")] = float(value)
    return {
        "cycles_seen": watch.complete_cycles(),
        "sets_complete": int(counts.get("sets_complete", 0)),
        "sets_partial": int(counts.get("sets_partial", 0)),
        "sets_published": int(counts.get("sets_published", 0)),
        "mixed_sets": watch.mixed_sets(),
        "dropped": {
            key.removeprefix("dropped."): int(value)
            for key, value in counts.items()
            if key.startswith("dropped.")
        },
        "received": watch.received,
        "latency_ms": latency,
    }


def _truth_scores(watch: TruthWatch) -> dict[str, Any] | None:
    """The scores, or why there are none; None without truth."""
    if not watch.class_table:
        return None
    if len(set(watch.grids.values())) > 1:
        return {"not_scored": f"the grids differ: {watch.grids}"}
    classes = load_class_set(watch.class_table)
    try:
        pairs = find_pairs(watch.predictions, watch.truth).pairs
        counts = total(count_folder(pairs, classes, watch.grids["truth"], "camera"))
    except ValueError as error:
        return {"not_scored": str(error)}
    scores: dict[str, Any] = without_nan(scores_as_json(counts, classes, "camera"))
    return scores


def _show(report: dict[str, Any], console: Console) -> None:
    counts = Table(title="sets of images", show_header=False)
    rows = [
        ("complete cycles that the demo saw on the wire", report["cycles_seen"]),
        ("complete sets matched", report["sets_complete"]),
        ("sets with cameras missing", report["sets_partial"]),
        ("sets that mix two cycles", report["mixed_sets"]),
        ("results published", report["sets_published"]),
        *((f"dropped: {reason}", count) for reason, count in report["dropped"].items()),
        *((f"{name} messages received", n) for name, n in report["received"].items()),
    ]
    for label, number in rows:
        counts.add_row(label, str(number))
    console.print(counts)
    latency = Table("stage", "p50 ms", "p95 ms", title="latency")
    for stage, value in report["latency_ms"].items():
        latency.add_row(stage, f"{value['p50']:.1f}", f"{value['p95']:.1f}")
    console.print(latency)
    truth = report["truth"]
    if truth is not None and "not_scored" in truth:
        console.print(f"not scored against the truth: {truth['not_scored']}", markup=False)
    elif truth is not None:
        console.print(
            f"against the truth of {truth['samples']} frames, where the cameras see (best "
            f"constant in brackets): {', '.join(_beside_constant(truth))}"
        )


def _beside_constant(truth: dict[str, Any]) -> list[str]:
    """The headline scores, each with what labels by height alone can reach."""
    return [
        f"{label} {_percent(truth[key])} ({_percent(truth['best_constant'][key])})"
        for key, label in (
            ("miou", "mIoU"),
            ("iou_above_ground", "IoU above ground"),
            ("iou", "IoU with ground"),
        )
    ]


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f} %"


def _picture(watch: DemoWatch, folder: Path, title: str) -> str:
    """Draw a result; says where the picture is, or why there is none."""
    if watch.snapshot is None:
        return "no picture: nothing was published"
    try:
        from renderocc_ros.viewing.overview import overview, write_png
    except ModuleNotFoundError as error:
        return f"no picture: it needs {error.name}, which 'pip install renderocc-ros[view]' brings"

    message = watch.snapshot.message
    occupancy = occupancy_of(message, load_class_set(message.class_table))
    path = folder / "demo.png"
    write_png(path, overview(watch.snapshot.images, occupancy, title))
    return f"picture: {path}"


def _converted(dataroot: Path, cache: Path, console: Console) -> Path:
    """The first scene as a recording; made once, then taken from the cache."""
    tables = sorted(dataroot.glob("v1.0-*/*.json"))
    if not tables:
        raise ValueError(
            f"{dataroot} holds no nuScenes tables (v1.0-mini/*.json): give the data root"
        )
    version = tables[0].parent.name  # mini comes before test and trainval
    scene = _first_scene(dataroot / version / "scene.json")
    marks = [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in tables]
    bag = cache / f"{scene}-{hashlib.sha256(repr(marks).encode()).hexdigest()[:12]}"
    if (bag / "metadata.yaml").is_file():
        console.print(f"recording from the cache: {bag}", soft_wrap=True, markup=False)
        return bag
    console.print(f"converting {scene} of {version} to a recording …")
    bag.parent.mkdir(parents=True, exist_ok=True)
    from renderocc_training.commands.nuscenes_to_bag import nuscenes_to_bag  # reads slowly

    nuscenes_to_bag(dataroot, bag, version, [scene])
    return bag


def _first_scene(table: Path) -> str:
    try:
        return str(json.loads(table.read_text(encoding="utf-8"))[0]["name"])
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise ValueError(
            f"{table} names no scene ({error!r}): unpack the metadata again"
        ) from error


def _simulated(cache: Path, console: Console) -> Path:
    """A small synthetic drive; made once, then taken from the cache."""
    parts = [f"{part}" for option in DRIVE.items() for part in option]
    bag = cache / "-".join(["synthetic", __version__, *parts])
    if (bag / "metadata.yaml").is_file():
        console.print(f"drive from the cache: {bag}", soft_wrap=True, markup=False)
        return bag
    console.print("making a synthetic drive …")
    bag.parent.mkdir(parents=True, exist_ok=True)
    from renderocc_simulation.commands.simulate import simulate  # needs Embree

    simulate(bag, **DRIVE)
    return bag


def _cache_folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "renderocc_ros" / "demo"
