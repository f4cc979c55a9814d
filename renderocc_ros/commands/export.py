"""Write a network as one ONNX file for onnxruntime."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, cast, get_args

import typer
from rich.console import Console

from renderocc_ros.checkpoint import file_sha256
from renderocc_ros.config import load_rig
from renderocc_ros.export import export_onnx
from renderocc_ros.prediction.int8 import Target, write_int8
from renderocc_ros.prediction.models import load_model
from renderocc_ros.progress import working


def export(
    model: Annotated[str, typer.Argument(help="checkpoint (.safetensors), or a preset's name")],
    onnx: Annotated[Path, typer.Option(help="file to write, ending in .onnx")],
    cameras: Annotated[
        int | None, typer.Option(help="number of cameras; those of --rig, or 6 if not given")
    ] = None,
    int8: Annotated[
        str | None,
        typer.Option(help="cpu or gpu (TensorRT): convolutions in eight bits; needs --calibrate"),
    ] = None,
    calibrate: Annotated[
        Path | None, typer.Option(help="bag of the robot, for --int8; half of it is held out")
    ] = None,
    sets: Annotated[int, typer.Option(min=4, help="how many sets of that bag are read")] = 200,
    rig: Annotated[str, typer.Option(help="rig of that bag: shipped name or .yaml")] = "nuscenes",
    equal: Annotated[
        float, typer.Option(min=0, max=1, help="share of labels that --int8 must leave equal")
    ] = 0.99,
) -> None:
    """Write a network as one ONNX file for onnxruntime.

    renderocc export model.safetensors --onnx model.onnx

    renderocc export model.safetensors --onnx small.onnx --int8 cpu --calibrate monday --rig
    robot.yaml

    Calibration of the cameras goes in as input, so a recalibrated rig needs no new file. Give the
    file to the node in place of the checkpoint. With --int8, layers go to eight bits as far as
    labels stay equal; how many do on held-out sets of the bag is printed, and `renderocc info`
    shows it.
    """
    if onnx.suffix != ".onnx":
        raise ValueError(f"--onnx {onnx}: the file to write must end in .onnx")
    if (int8 is None) != (calibrate is None):
        raise ValueError("--int8 and --calibrate go together: eight bits need a bag to be set by")
    if int8 not in (None, *get_args(Target)):
        raise ValueError(f"--int8 {int8}: give cpu or gpu")
    if cameras is None:
        cameras = 6 if calibrate is None else len(load_rig(rig).names)
    onnx.parent.mkdir(parents=True, exist_ok=True)
    console = Console(stderr=True)
    loaded = load_model(model)
    with TemporaryDirectory() as folder:
        plain = onnx if calibrate is None else Path(folder, onnx.name)
        with working(f"exporting {model}", console):
            export_onnx(loaded, plain, cameras=cameras)
        if calibrate is not None:
            from renderocc_training.evaluation.recorded_sets import RecordedSets

            recorded = RecordedSets(calibrate, load_rig(rig), loaded.network.config.image)
            report = write_int8(
                plain,
                onnx,
                islice(recorded, sets),
                target=cast(Target, int8),
                equal=equal,
                tell=lambda text: console.print(f"{text} …"),
            )
            typer.echo(report.text)
    size_mb = onnx.stat().st_size / 1e6
    typer.echo(f"{onnx}: {cameras} cameras, {size_mb:.1f} MB\nsha256 {file_sha256(onnx)}")
