"""Write a network as one ONNX file for onnxruntime."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from renderocc_ros.export import export_onnx
from renderocc_ros.prediction.models import load_model
from renderocc_ros.progress import working


def export(
    model: Annotated[str, typer.Argument(help="checkpoint (.safetensors), or a preset's name")],
    onnx: Annotated[Path, typer.Option(help="file to write, ending in .onnx")],
    cameras: Annotated[int, typer.Option(help="number of cameras of the rig")] = 6,
) -> None:
    """Write a network as one ONNX file for onnxruntime.

    Calibration goes in as input, so a recalibrated rig needs no new file. Give the file to the
    node in place of the checkpoint.

    Example: renderocc export model.safetensors --onnx model.onnx
    """
    if onnx.suffix != ".onnx":
        raise ValueError(f"--onnx {onnx}: the file to write must end in .onnx")
    onnx.parent.mkdir(parents=True, exist_ok=True)
    with working(f"exporting {model}", Console(stderr=True)):
        sha256 = export_onnx(load_model(model), onnx, cameras=cameras)
    size_mb = onnx.stat().st_size / 1e6
    typer.echo(f"{onnx}: {cameras} cameras, {size_mb:.1f} MB\nsha256 {sha256}")
