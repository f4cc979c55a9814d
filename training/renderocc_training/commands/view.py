"""Look at a recording, a result or the running node: in Rerun, or as a picture or film."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console

from renderocc_ros.config import load_rig
from renderocc_ros.occupancy.semantic_occupancy import SemanticOccupancy
from renderocc_ros.progress import tracked
from renderocc_ros.viewing.view_frame import ViewFrame
from renderocc_ros.viewing.viewer_process import LOOPBACK
from renderocc_ros.viewing.views import open_view, show, within
from renderocc_training.evaluation.bag_frames import BagFrames
from renderocc_training.evaluation.results import Results, read_results


def view(
    recording: Annotated[
        Path | None, typer.Argument(help="a bag, or a folder that evaluate wrote")
    ] = None,
    live: Annotated[bool, typer.Option("--live", help="the running node instead")] = False,
    save: Annotated[
        Path | None,
        typer.Option(help="write .png, .jpg, .mp4, .gif, .webp or .rrd (Rerun); needs no display"),
    ] = None,
    truth: Annotated[
        bool, typer.Option("--truth/--no-truth", help="show it where there is one")
    ] = True,
    start: Annotated[float, typer.Option(min=0, help="skip so many seconds")] = 0.0,
    seconds: Annotated[float | None, typer.Option(min=0, help="end after so many seconds")] = None,
    width: Annotated[
        int | None,
        typer.Option(min=320, help="pixels; pictures 1920, .mp4 1280, .gif and .webp 960"),
    ] = None,
    speed: Annotated[
        float, typer.Option(min=0.01, help="of films; 2 is twice as fast as the recording")
    ] = 1.0,
    beside: Annotated[
        bool, typer.Option("--beside", help="in pictures, cameras left of the voxels")
    ] = False,
    listen: Annotated[
        str, typer.Option(help="address of this machine that Rerun's viewer takes frames on")
    ] = LOOPBACK,
    rig: Annotated[str, typer.Option(help="rig of the robot: shipped name or .yaml")] = "nuscenes",
    model: Annotated[
        str | None, typer.Option(help="predict a bag's sets: checkpoint, .onnx or a network's name")
    ] = None,
    node: Annotated[str, typer.Option(help="name of the running node")] = "/renderocc",
    truth_topic: Annotated[
        str | None,
        typer.Option(help="SemanticOccupancy; /ground_truth/… if not given, '' for none"),
    ] = None,
    prediction_topic: Annotated[
        str | None, typer.Option(help="SemanticOccupancy; the only other one if not given")
    ] = None,
    lidar_topic: Annotated[
        str | None, typer.Option(help="PointCloud2; the only one if not given, '' for none")
    ] = None,
) -> None:
    """Look at a recording, a result or the running node: images, frusta, LiDAR, voxels, truth.

    renderocc view monday

    renderocc view results --save monday.mp4

    renderocc view --live --rig my_rig.yaml

    Without --save it opens Rerun. Ctrl-C ends --live; what was saved so far is complete.
    """
    if live == (recording is not None):
        raise ValueError("give either a recording (a bag, or what evaluate wrote) or --live")
    console = Console(stderr=True)
    skipped: Counter[tuple[str, str]] = Counter()
    frames: Iterable[ViewFrame]
    if recording is None:
        if model is not None:
            raise ValueError("--model predicts a bag; the running node has a model of its own")
        from renderocc_ros.tools.live_frames import live_frames  # needs ROS

        prediction_topic = prediction_topic or f"{node}/occupancy"
        frames = live_frames(load_rig(rig), prediction_topic, truth_topic, lidar_topic, console)
    elif (recording / "results.json").is_file():
        if model is not None:
            raise ValueError("--model predicts a bag; these results have their own predictions")
        frames = results_frames(read_results(recording))
    else:
        predictor = None
        if model is not None:
            from renderocc_training.commands.evaluate import load_predictor

            predictor, _ = load_predictor(model, console)
        frames = BagFrames(
            recording, load_rig(rig), predictor, truth_topic, prediction_topic, lidar_topic
        )
        skipped = frames.skipped
    shown = within(iter(frames), start, seconds)
    if not live:  # which says itself what it waits for
        shown = tracked(shown, "showing", console)
    count = show(shown, open_view(save, width, speed, listen, beside), truth)
    for (what, why), number in skipped.items():
        console.print(f"left out: {what}: {why} ({number})", style="yellow", markup=False)
    console.print(f"{count} frames{f': {save}' if save else ''}", soft_wrap=True, markup=False)


def results_frames(results: Results) -> Iterator[ViewFrame]:
    """The frames of an evaluation, with as much as it has kept of each."""
    for frame in results.frames:
        prediction, kept = results.prediction(frame.token), results.truth(frame.token)
        truth = None
        if kept is not None:
            sure = np.full(kept.labels.shape, 255, np.uint8)
            truth = SemanticOccupancy(
                frame.stamp_ns,
                results.grid,
                results.class_set,
                kept.labels,
                sure,
                kept.mask_camera,
            )
        yield ViewFrame(frame.stamp_ns, results.cameras(frame), prediction, truth)
