"""Measure how fast a model runs, backend by backend."""

from __future__ import annotations

import json
from typing import Annotated

import torch
import typer

from renderocc_ros.prediction.benchmark import ON_CPU, ON_GPU, Plan, recommendation, run_benchmark


def benchmark(
    model: Annotated[str, typer.Argument(help="checkpoint, exported .onnx, or a preset's name")],
    backends: Annotated[
        str | None, typer.Option(help="with commas; those of this machine if not given")
    ] = None,
    cameras: Annotated[int, typer.Option(min=1, help="number of cameras")] = 6,
    image_size: Annotated[str, typer.Option(help="of the cameras, WIDTHxHEIGHT")] = "1600x900",
    sets: Annotated[int, typer.Option(min=1, help="sets to measure")] = 30,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 …")] = "auto",
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads")] = None,
) -> None:
    """Measure how fast a model runs, backend by backend.

    From images on the host to labels on the host, noise for images. Prints one JSON object per
    backend: sets/s, latency, time per stage, peak memory, and how near its output is to eager's.
    Each runs in a process of its own. At the end stderr says which to take.

    Example: renderocc benchmark nano --threads 2
    """
    width, cross, height = image_size.partition("x")
    if not (cross and width.isdecimal() and height.isdecimal()):
        raise ValueError(f"--image-size {image_size}: give WIDTHxHEIGHT, for example 1600x900")
    plan = Plan(cameras, (int(width), int(height)), sets, device=device, threads=threads)
    on_gpu = device.startswith("cuda") or (device == "auto" and torch.cuda.is_available())
    names = backends.split(",") if backends else ON_GPU if on_gpu else ON_CPU
    lines = []
    for line in run_benchmark(model, names, plan):
        typer.echo(json.dumps(line))
        lines.append(line)
    typer.echo(recommendation(lines), err=True)
