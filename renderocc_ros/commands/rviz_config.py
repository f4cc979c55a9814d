"""Write rviz2's configuration, and Foxglove's layout, for a node."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from renderocc_ros.config import load_rig
from renderocc_ros.files import write_bytes
from renderocc_ros.prediction.models import model_config
from renderocc_ros.viewing.foxglove_layout import foxglove_layout
from renderocc_ros.viewing.rviz_config import rviz_config as rviz_text
from renderocc_ros.viewing.viewed_node import ViewedNode


def rviz_config(
    rig: Annotated[str, typer.Option(help="rig: name or path of a .yaml")],
    out: Annotated[Path | None, typer.Option(help=".rviz file to write")] = None,
    foxglove: Annotated[Path | None, typer.Option(help="Foxglove layout to write, .json")] = None,
    network: Annotated[str, typer.Option(help="network's name, or the file of a model")] = "nano",
    node: Annotated[str, typer.Option(help="the node's whole name")] = "/renderocc",
) -> None:
    """Write rviz2's configuration, and Foxglove's layout, for a node.

    Boxes have the size of the network's voxels; topics are those of the node, and images those of
    the rig's cameras. `live.launch.py rviz:=true` makes one by itself.

    Example: renderocc rviz-config --rig my_rig.yaml --network nano --out my.rviz
    """
    if out is None and foxglove is None:
        raise ValueError("nothing to write: give --out my.rviz, --foxglove my.json, or both")
    viewed = ViewedNode(node, load_rig(rig), model_config(network).grid.build())
    for path, text in ((out, rviz_text), (foxglove, foxglove_layout)):
        if path is not None:
            write_bytes(path, text(viewed).encode())
            typer.echo(f"{path}: {viewed.name}, {len(viewed.rig.cameras)} cameras")
