"""Show what a checkpoint holds: hash, network, grid, classes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
import yaml

from renderocc_ros.checkpoint import file_sha256, read_header


def info(
    model: Annotated[Path, typer.Argument(help="checkpoint, ending in .safetensors")],
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object")] = False,
) -> None:
    """Show what a checkpoint holds: hash, network, grid, classes.

    No weight is read.

    Example: renderocc info model.safetensors
    """
    header = read_header(model)
    content = {
        "file": str(model),
        "sha256": file_sha256(model),
        "class_set": header.class_set.name,
        "classes": list(header.class_set.names),
        "network": header.config.model_dump(mode="json", exclude_defaults=True),
    }
    if as_json:
        typer.echo(json.dumps(content))
    else:
        typer.echo(yaml.safe_dump(content, sort_keys=False, default_flow_style=None), nl=False)
