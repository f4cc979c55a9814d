"""The node that a launch is about to start, as viewers are set up for it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from renderocc_ros.config import load_rig
from renderocc_ros.node.parameters import DEFAULTS
from renderocc_ros.prediction.models import model_config
from renderocc_ros.viewing.viewed_node import ViewedNode


def launched_node(name: str, params_file: Path, given: Mapping[str, Any]) -> ViewedNode:
    """The node with the rig and the network that its parameters choose.

    Args:
        name: with its namespace.
        params_file: the node's; what it does not say is as the node's defaults are.
        given: parameters that overrule the file.

    Raises:
        ValueError: the file, the rig or the model is broken or not there.
    """
    values = {**DEFAULTS, **parameters_of(params_file, name), **given}
    model = values["checkpoint"] or values["network"]
    return ViewedNode(name, load_rig(values["rig"]), model_config(model).grid.build())


def parameters_of(params_file: Path, node: str) -> dict[str, Any]:
    """What a ROS 2 parameter file sets of a node, by ``/**``, by its name or by a pattern of it.

    Raises:
        ValueError: it is not readable, or no parameter file.
    """
    try:
        content = yaml.safe_load(params_file.read_bytes())
        sections = list(_sections("", content))
    except (OSError, yaml.YAMLError, AttributeError) as error:
        raise ValueError(f"{params_file} is no readable parameter file: {error}") from error
    merged: dict[str, Any] = {}
    for pattern, parameters in sections:
        if re.fullmatch(pattern, node):
            merged |= parameters
    return merged


def _sections(above: str, content: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Regular expressions of node names, and the parameters of those nodes."""
    for key, inner in content.items():
        if key == "ros__parameters":
            yield above, dict(inner)
        else:
            part = re.escape(f"/{key.strip('/')}")
            part = part.replace(r"/\*\*", "(/.*)?").replace(r"\*", "[^/]+")
            yield from _sections(above + part, inner)
