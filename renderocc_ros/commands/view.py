"""Look at a recording, a result or the running node: in Rerun, or as a picture or film."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from renderocc_ros.config import load_rig
from renderocc_ros.viewing import options
from renderocc_ros.viewing.views import open_view, show, within


def view(
    recording: Annotated[
        Path | None, typer.Argument(help="a bag, or a folder that evaluate wrote")
    ] = None,
    live: Annotated[bool, typer.Option("--live", help="the running node instead")] = False,
    save: options.Save = None,
    truth: options.Truth = True,
    start: options.Start = 0.0,
    seconds: options.Seconds = None,
    width: options.Width = None,
    speed: options.Speed = 1.0,
    rig: options.Rig = "nuscenes",
    model: options.Model = None,
    node: Annotated[str, typer.Option(help="name of the running node")] = "/renderocc",
    truth_topic: options.TruthTopic = None,
    prediction_topic: options.PredictionTopic = None,
    lidar_topic: options.LidarTopic = None,
) -> None:
    """Look at a recording, a result or the running node: images, frusta, LiDAR, voxels, truth.

    renderocc view drive

    renderocc view results --save drive.mp4

    renderocc view --live --rig my_rig.yaml

    Without --save it opens Rerun. Ctrl-C ends --live; what was saved so far is complete.
    """
    if live == (recording is not None):
        raise ValueError("give either a recording (a bag, or what evaluate wrote) or --live")
    if recording is not None:
        command = [sys.executable, "-m", "renderocc_training.cli", "view", str(recording)]
        command.append("--truth" if truth else "--no-truth")
        for name, value in {
            "save": save,
            "start": start,
            "seconds": seconds,
            "width": width,
            "speed": speed,
            "rig": rig,
            "model": model,
            "truth-topic": truth_topic,
            "prediction-topic": prediction_topic,
            "lidar-topic": lidar_topic,
        }.items():
            command += [] if value is None else [f"--{name}", str(value)]
        raise typer.Exit(subprocess.call(command))
    if model is not None:
        raise ValueError("--model predicts a bag; with --live the node does, with its own model")
    from renderocc_ros.tools.live_frames import live_frames

    console = Console(stderr=True)
    frames = live_frames(
        load_rig(rig), prediction_topic or f"{node}/occupancy", truth_topic, lidar_topic, console
    )
    count = show(within(frames, start, seconds), open_view(save, width, speed), truth)
    console.print(f"{count} frames{f': {save}' if save else ''}", soft_wrap=True)
