"""One file per model: weights, network, grid, class set, preprocessing and threshold.

The file is safetensors: a header of JSON, then raw numbers; loading it runs no code. The header's
metadata holds, beside each other, ``format`` ("renderocc_ros"), ``format_version`` and ``model``, a
JSON object with ``network`` (a ``NetworkConfig``) and ``class_set``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from renderocc_ros.class_set import ClassSet, SemanticClass
from renderocc_ros.config import validate
from renderocc_ros.network.renderocc import RenderOcc, build_network
from renderocc_ros.network_config import LiftedConfig, NetworkConfig

FORMAT = "renderocc_ros"
FORMAT_VERSION = 1

# From each older version's content to the next version's; a file climbs the ladder when it loads.
UPGRADES: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {}


@dataclass(frozen=True, eq=False)
class Model:
    """A network and what its output means."""

    network: RenderOcc
    class_set: ClassSet


def save_checkpoint(model: Model, path: str | Path) -> str:
    """Write a model to one file; returns the file's sha256 in hexadecimal."""
    config = _self_contained(model.network)
    content = {
        "network": config.model_dump(mode="json"),
        "class_set": asdict(model.class_set),
    }
    metadata = {
        "format": FORMAT,
        "format_version": str(FORMAT_VERSION),
        "model": json.dumps(content),
    }
    tensors = {
        name: value.detach().cpu().contiguous()
        for name, value in model.network.state_dict().items()
    }
    save_file(tensors, path, metadata=metadata)
    return checkpoint_hash(path)


def _self_contained(network: RenderOcc) -> NetworkConfig:
    """The configuration with the backbone's settings in full: loading needs no hub."""
    config = network.config
    parts = config.architecture
    if not isinstance(parts, LiftedConfig):
        return config
    settings = network.image_backbone.backbone.config.to_diff_dict()
    for key in ("model_type", "architectures", "transformers_version", "dtype", "_name_or_path"):
        settings.pop(key, None)
    for key in ("out_features", "out_indices", "stage_names"):
        settings.pop(key, None)
    backbone = parts.backbone.model_copy(update={"settings": settings, "pretrained": None})
    return config.model_copy(
        update={"architecture": parts.model_copy(update={"backbone": backbone})}
    )


def checkpoint_hash(path: str | Path) -> str:
    """The sha256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def load_checkpoint(path: str | Path) -> Model:
    """Read a model.

    Raises:
        ValueError: no such file, not a checkpoint, truncated, of a newer version, or its weights
            do not fit its network.
    """
    path = Path(path)
    content = read_header(path)
    config = validate(content["network"], NetworkConfig, str(path))
    class_set = _class_set(content["class_set"], path)
    network = build_network(config, len(class_set))
    with safe_open(path, framework="pt") as file:
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise ValueError(f"{path}: the weights do not fit the network: {error}") from error
    return Model(network.eval(), class_set)


def read_header(path: Path) -> dict[str, Any]:
    """The JSON content of a checkpoint, upgraded to this version; no tensor is read."""
    if not path.is_file():
        raise ValueError(f"no checkpoint at {path}; give the path of a .safetensors file")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
    except SafetensorError as error:
        raise ValueError(
            f"{path} is not a whole safetensors file ({error}); copy it again and compare its "
            "sha256, or convert an official .pth with `renderocc convert`"
        ) from error
    if metadata.get("format") != FORMAT:
        raise ValueError(
            f"{path} is a safetensors file, but not a renderocc_ros checkpoint: its metadata has "
            f"format = {metadata.get('format')!r}, not '{FORMAT}'"
        )
    content: dict[str, Any] = json.loads(metadata["model"])
    version = int(metadata["format_version"])
    if version > FORMAT_VERSION:
        raise ValueError(
            f"{path} has format version {version}, this program reads up to {FORMAT_VERSION}; "
            "update renderocc_ros"
        )
    while version < FORMAT_VERSION:
        content = UPGRADES[version](content)
        version += 1
    return content


def _class_set(content: dict[str, Any], path: Path) -> ClassSet:
    try:
        classes = tuple(
            SemanticClass(entry["id"], entry["name"], tuple(entry["colour"]), entry["moves"])
            for entry in content["classes"]
        )
        return ClassSet(content["name"], classes)
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path}: its class set is damaged ({error!r}); save it again") from error
