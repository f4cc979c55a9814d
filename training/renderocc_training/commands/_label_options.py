"""Options that several commands share.

Those of ``labels make`` are for every command that makes labels where they are missing: labels made
with an option that another command lacks would be made again there, without a word.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from renderocc_ros.config import validate
from renderocc_training.sequences.data_sets import DataFormat
from renderocc_training.supervision.labels.config import LabelConfig, default_mapping

DEFAULTS = LabelConfig()

Root = Annotated[Path, typer.Argument(help="folder of the data set")]
Format = Annotated[
    DataFormat, typer.Option(help="layout of the data set; nuscenes is also what extract writes")
]
Version = Annotated[
    str | None, typer.Option(help="folder of nuScenes tables; the only one if not given")
]
Scenes = Annotated[
    list[str] | None, typer.Option("--scene", help="only this scene; may be repeated")
]
ClassSetName = Annotated[
    str, typer.Option("--class-set", help="class set: a shipped name, or a .yaml")
]
Depth = Annotated[str, typer.Option(help="lidar, images, mono or none")]
Semantics = Annotated[str, typer.Option(help="boxes, points, images, segmentation or none")]
Mapping = Annotated[
    str | None,
    typer.Option(help="mapping file: a shipped name, or a .yaml; that of the layout if not given"),
]
Sweeps = Annotated[int, typer.Option(help="further LiDAR sweeps to add")]
OwnCar = Annotated[
    float, typer.Option(help="LiDAR points nearer than this are returns off the robot itself")
]
RoadMask = Annotated[Path | None, typer.Option(help="road map instead of the data set's own")]
Stride = Annotated[int, typer.Option(help="distance in pixels of labels from images")]
SegmentationModel = Annotated[str | None, typer.Option(help="hub name or folder")]
MinProbability = Annotated[float, typer.Option(help="below it a segmentation model is unsure")]
DepthModel = Annotated[str | None, typer.Option(help="hub name or folder")]
MonoFarthest = Annotated[float, typer.Option(help="depths of the mono model beyond are not used")]


def label_config(options: dict[str, Any]) -> LabelConfig:
    """The configuration among a command's options, which have the names of its fields."""
    given = {key: options[key] for key in LabelConfig.model_fields}
    if given["mapping"] is None:
        given["mapping"] = default_mapping(given["semantics"], options["format"], options["root"])
    return validate(given, LabelConfig, "options")
