"""Show what a checkpoint holds: hash, network, grid, classes."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer
import yaml

from renderocc_ros.checkpoint import file_sha256
from renderocc_ros.network_config import load_network_config
from renderocc_ros.prediction.int8 import METADATA
from renderocc_ros.prediction.models import exported_metadata, model_file, model_header


def info(
    model: Annotated[
        str, typer.Argument(help="checkpoint or .onnx; or a network's name: its shipped weights")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object")] = False,
) -> None:
    """Show what a checkpoint holds: hash, network, grid, classes.

    Of a .safetensors no weight is read.

    Example: renderocc info model.safetensors
    """
    path = model_file(model)
    if path is None:
        name = load_network_config(model).name
        raise ValueError(f"network '{name}' comes without weights: give the file of a model")
    header = model_header(path)
    content: dict[str, Any] = {
        "file": str(path),
        "sha256": file_sha256(path),
        "class_set": header.class_set.name,
        "classes": list(header.class_set.names),
        "network": header.config.model_dump(mode="json", exclude_defaults=True),
    }
    int8 = exported_metadata(path).get(METADATA) if path.suffix == ".onnx" else None
    if int8:
        content["int8"] = json.loads(int8)
    if as_json:
        typer.echo(json.dumps(content))
    else:
        typer.echo(yaml.safe_dump(content, sort_keys=False, default_flow_style=None), nl=False)
