"""Look at a recording or a result: what `renderocc view` runs where there is one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.progress import track

from renderocc_ros.config import load_rig
from renderocc_ros.occupancy.semantic_occupancy import SemanticOccupancy
from renderocc_ros.viewing import options
from renderocc_ros.viewing.view_frame import ViewFrame
from renderocc_ros.viewing.views import open_view, show, within
from renderocc_training.evaluation.bag_frames import BagFrames
from renderocc_training.evaluation.results import Results, read_results


def view(
    recording: Annotated[Path, typer.Argument(help="a bag, or a folder that evaluate wrote")],
    save: options.Save = None,
    truth: options.Truth = True,
    start: options.Start = 0.0,
    seconds: options.Seconds = None,
    width: options.Width = None,
    speed: options.Speed = 1.0,
    rig: options.Rig = "nuscenes",
    model: options.Model = None,
    truth_topic: options.TruthTopic = None,
    prediction_topic: options.PredictionTopic = None,
    lidar_topic: options.LidarTopic = None,
) -> None:
    """Look at a recording or a result: images, frusta, LiDAR, predicted and true voxels.

    renderocc-train view results --save drive.mp4

    Without --save it opens Rerun.
    """
    console = Console(stderr=True)
    skipped: Counter[tuple[str, str]] = Counter()
    if (recording / "results.json").is_file():
        if model is not None:
            raise ValueError("--model predicts a bag; these results have their own predictions")
        frames = results_frames(read_results(recording))
    else:
        predictor = None
        if model is not None:
            from renderocc_training.commands.evaluate import load_predictor

            predictor, _ = load_predictor(model, console)
        bag = BagFrames(
            recording, load_rig(rig), predictor, truth_topic, prediction_topic, lidar_topic
        )
        frames, skipped = iter(bag), bag.skipped
    shown = within(frames, start, seconds)
    count = show(
        track(shown, "showing", total=None, console=console, transient=True),
        open_view(save, width, speed),
        truth,
    )
    for (what, why), number in skipped.items():
        console.print(f"[yellow]left out: {what}: {why} ({number})")
    console.print(f"{count} frames{f': {save}' if save else ''}", soft_wrap=True)


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
