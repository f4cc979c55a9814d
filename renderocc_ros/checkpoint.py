"""One file per model: weights, network, grid, class set, preprocessing and threshold.

The file is safetensors: a header of JSON, then raw numbers; loading it runs no code. The header's
metadata holds three strings: ``format`` ("renderocc_ros"), ``format_version``, and ``model``, a
JSON object with ``network`` (a ``NetworkConfig``: images and their normalisation, grid, threshold,
architecture) and ``class_set``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor
from torch.nn.modules.module import register_module_parameter_registration_hook

from renderocc_ros.class_set import ClassSet, SemanticClass
from renderocc_ros.config import validate
from renderocc_ros.files import write_bytes
from renderocc_ros.geometry import VoxelGrid
from renderocc_ros.network.image_backbone import self_contained
from renderocc_ros.network.renderocc import Network, RenderOcc, build_network
from renderocc_ros.network_config import LiftedConfig, NetworkConfig
from renderocc_ros.outside_data import parsing

FORMAT = "renderocc_ros"
FORMAT_VERSION = 1

# From a version's content to the next version's; an older file climbs the ladder when it is read.
UPGRADES: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {}


@dataclass(frozen=True)
class ModelHeader:
    """What a model is, without its weights."""

    config: NetworkConfig
    class_set: ClassSet


@dataclass(frozen=True, eq=False)
class Model:
    """A network and what its output means."""

    network: Network
    class_set: ClassSet

    @property
    def header(self) -> ModelHeader:
        """What the model is, without its weights."""
        return ModelHeader(self.network.config, self.class_set)


# ---------------------------------------------------------------------------------------- writing


def save_checkpoint(model: Model, path: str | Path) -> str:
    """Write a model to one file, whole or not at all.

    Returns:
        the file's sha256 in hexadecimal.
    """
    weights = {
        name: value.detach().cpu().contiguous()
        for name, value in model.network.state_dict().items()
    }
    return write_weights(weights, ModelHeader(_self_contained(model), model.class_set), Path(path))


def write_weights(weights: dict[str, Tensor], header: ModelHeader, path: Path) -> str:
    """Write tensors and what they are the weights of to one file, whole or not at all.

    Returns:
        the file's sha256 in hexadecimal.
    """
    write_bytes(path, save(weights, header_metadata(header)))
    return file_sha256(path)


def header_metadata(header: ModelHeader) -> dict[str, str]:
    """The header as the strings that a file's metadata holds."""
    content = {
        "network": header.config.model_dump(mode="json"),
        "class_set": asdict(header.class_set),
    }
    return {
        "format": FORMAT,
        "format_version": str(FORMAT_VERSION),
        "model": json.dumps(content),
    }


def file_sha256(path: str | Path) -> str:
    """The sha256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _self_contained(model: Model) -> NetworkConfig:
    """The configuration with the backbone's settings in full, so that loading needs no hub."""
    config, network = model.network.config, model.network
    parts = config.architecture
    if not (isinstance(parts, LiftedConfig) and isinstance(network, RenderOcc)):
        return config
    backbone = self_contained(parts.backbone, network.image_backbone.backbone)
    parts = parts.model_copy(update={"backbone": backbone})
    return config.model_copy(update={"architecture": parts})


# ---------------------------------------------------------------------------------------- reading


def load_checkpoint(path: str | Path) -> Model:
    """Read a model. Nothing of size is allocated before the file's shapes are known to fit.

    Raises:
        ValueError: no such file, not a checkpoint, truncated, of a newer version, or its weights
            do not fit its network or are not finite.
    """
    path = Path(path)
    header = read_header(path)
    _check_shapes(path, header)
    network = build_network(header.config, len(header.class_set))
    with safe_open(path, framework="pt") as file:
        weights: dict[str, Tensor] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    for name, value in weights.items():
        if not torch.isfinite(value).all():
            raise ValueError(
                f"{path}: weight '{name}' holds numbers that are not finite: its training "
                "diverged; take an earlier checkpoint"
            )
    network.load_state_dict(weights)
    return Model(network.eval(), header.class_set)


def read_header(path: str | Path) -> ModelHeader:
    """What a checkpoint holds; no tensor is read.

    Raises:
        ValueError: as ``load_checkpoint``, as far as the header tells.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"no checkpoint at {path}; give the path of a .safetensors file")
    try:
        with safe_open(path, framework="pt") as file:
            metadata: dict[str, str] = file.metadata() or {}
    except SafetensorError as error:
        raise ValueError(
            f"{path} is not a whole safetensors file ({error}); copy it again and compare its "
            "sha256, or convert a published .pth with `renderocc convert`"
        ) from error
    return parse_metadata(metadata, str(path))


def parse_metadata(metadata: dict[str, str], where: str) -> ModelHeader:
    """The header from a file's metadata; ``where`` opens the error messages."""
    if metadata.get("format") != FORMAT:
        raise ValueError(
            f"{where} is no renderocc_ros checkpoint: its metadata has "
            f"format = {metadata.get('format')!r}, not '{FORMAT}'"
        )
    try:
        version = int(metadata["format_version"])
        content: dict[str, Any] = dict(json.loads(metadata["model"]))
    except (KeyError, ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"{where}: its header is damaged ({error!r}); copy it again") from error
    if version > FORMAT_VERSION:
        raise ValueError(
            f"{where} has format version {version}, this program reads up to {FORMAT_VERSION}; "
            "update renderocc_ros"
        )
    while version < FORMAT_VERSION:
        if version not in UPGRADES:
            raise ValueError(f"{where} has format version {version}, which no program wrote")
        content = UPGRADES[version](content)
        version += 1
    for key in ("network", "class_set"):
        if not isinstance(content.get(key), dict):
            raise ValueError(f"{where}: its header lacks '{key}'; save the checkpoint again")
    config = validate(content["network"], NetworkConfig, where)
    return ModelHeader(config, _class_set(content["class_set"], where))


def _class_set(content: dict[str, Any], where: str) -> ClassSet:
    try:
        classes = tuple(
            SemanticClass(**{**entry, "colour": tuple(entry["colour"])})
            for entry in content["classes"]
        )
        return ClassSet(content["name"], classes)
    except (KeyError, TypeError) as error:
        raise ValueError(f"{where}: its class set is damaged ({error!r})") from error


def _check_shapes(path: Path, header: ModelHeader) -> None:
    """Compare the file's table of contents with the network, which takes no memory to describe."""
    with safe_open(path, framework="pt") as file:
        shapes_in_file = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    with _fewer_parameters(2 * len(shapes_in_file) + 100, path), torch.device("meta"):
        network = build_network(header.config, len(header.class_set))
    wanted = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    missing, unknown = (
        sorted(wanted.keys() - shapes_in_file),
        sorted(shapes_in_file.keys() - wanted),
    )
    differing = [
        f"'{name}' is {shapes_in_file[name]}, the network needs {wanted[name]}"
        for name in sorted(wanted.keys() & shapes_in_file)
        if wanted[name] != shapes_in_file[name]
    ]
    problems = [f"lacks {_some(missing)}"] if missing else []
    problems += [f"holds unknown {_some(unknown)}"] if unknown else []
    problems += [_some(differing)] if differing else []
    if problems:
        raise ValueError(
            f"{path}: the weights do not fit network '{header.config.name}': "
            f"{'; '.join(problems)}; save the checkpoint again from the network it belongs to"
        )


@contextmanager
def _fewer_parameters(most: int, path: Path) -> Iterator[None]:
    """Stop the building of a network that has far more parameters than its file."""
    left = iter(range(most))

    def count(*_: object) -> None:
        if next(left, None) is None:
            raise ValueError("its network has far more weights than the file")

    hook = register_module_parameter_registration_hook(count)
    try:
        with parsing(path, "copy it again, or save it from the network it belongs to"):
            yield
    finally:
        hook.remove()


def _some(items: list[str], count: int = 3) -> str:
    more = f" and {len(items) - count} more" if len(items) > count else ""
    return ", ".join(items[:count]) + more


# --------------------------------------------------------------------------------------- matching


def require_match(
    header: ModelHeader, *, grid: VoxelGrid | None = None, class_set: ClassSet | None = None
) -> None:
    """Refuse a model that was made for another grid or other classes than asked for.

    Args:
        header: what the model is.
        grid: the wanted grid; any if not given.
        class_set: the wanted classes; any if not given. Names and order count, colours do not.

    Raises:
        ValueError: naming both values.
    """
    own_grid = header.config.grid.build()
    if grid is not None and grid != own_grid:
        raise ValueError(
            f"grid: {grid} was asked for, network '{header.config.name}' predicts {own_grid}; "
            "drop the parameter to take the network's, or train a network for this grid"
        )
    own = header.class_set
    if class_set is not None and class_set.names != own.names:
        raise ValueError(
            f"classes: '{class_set.name}' ({', '.join(class_set.names)}) was asked for, network "
            f"'{header.config.name}' predicts '{own.name}' ({', '.join(own.names)}); drop the "
            "parameter to take the network's, or train a network for these classes"
        )
