"""Options of the two commands ``view``: that of the robot, and the one that reads recordings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Save = Annotated[
    Path | None,
    typer.Option(help="write .png, .jpg, .mp4, .gif or .rrd (Rerun); needs no display"),
]
Truth = Annotated[bool, typer.Option("--truth/--no-truth", help="show it where there is one")]
Start = Annotated[float, typer.Option(min=0, help="skip so many seconds")]
Seconds = Annotated[float | None, typer.Option(min=0, help="end after so many seconds")]
Width = Annotated[
    int | None, typer.Option(min=320, help="of pictures, pixels; 1920, films 1280, .gif 960")
]
Speed = Annotated[float, typer.Option(min=0.01, help="of films; 2 is twice as fast as the drive")]
Rig = Annotated[str, typer.Option(help="rig of the robot: shipped name or .yaml")]
Model = Annotated[
    str | None,
    typer.Option(help="predict a bag's sets: checkpoint, .onnx or a network's name"),
]
TruthTopic = Annotated[
    str | None,
    typer.Option(help="SemanticOccupancy; /ground_truth/… if not given, '' for none"),
]
PredictionTopic = Annotated[
    str | None, typer.Option(help="SemanticOccupancy; the only other one if not given")
]
LidarTopic = Annotated[
    str | None, typer.Option(help="PointCloud2; the only one if not given, '' for none")
]
