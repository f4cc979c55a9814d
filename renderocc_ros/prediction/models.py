"""A model by what a user calls it: the file of a checkpoint, or the name of a network."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from renderocc_ros.checkpoint import (
    Model,
    ModelHeader,
    load_checkpoint,
    parse_metadata,
    read_header,
)
from renderocc_ros.config import load_class_set
from renderocc_ros.hub import hub_file, is_on_hub
from renderocc_ros.network.initialise import calibrate_batch_norms, ring_of_noise
from renderocc_ros.network.occupancy_field import opacity
from renderocc_ros.network.renderocc import RenderOcc, build_network
from renderocc_ros.network_config import NetworkConfig, load_network_config
from renderocc_ros.paths import shipped_weights
from renderocc_ros.prediction.options import Options


def is_file_name(name: str | Path) -> bool:
    """Whether a model is named by its file, here or on the hub, and not by its network."""
    return is_on_hub(name) or Path(name).suffix in (".safetensors", ".onnx", ".pth")


def model_file(name: str | Path) -> Path | None:
    """The file of a model: the one named, here or as hf://organisation/name on the hub, or the
    weights that come with a network; None where there are none. A leading ~ is the home folder."""
    if is_on_hub(name):
        return hub_file(str(name))
    if is_file_name(name):
        return Path(os.path.expanduser(name))
    return shipped_weights(str(name))


def model_header(path: Path) -> ModelHeader:
    """What a model's file holds; of a .safetensors no weight is read."""
    if path.suffix != ".onnx":
        return read_header(path)
    return parse_metadata(exported_metadata(path), str(path))


def exported_metadata(path: Path) -> dict[str, str]:
    """What an exported file says of itself."""
    from renderocc_ros.prediction.onnx_engine import open_session

    return dict(open_session(path, Options(device="cpu")).metadata)


def model_config(name: str) -> NetworkConfig:
    """The network's configuration, by the file of a model or the name of a network."""
    path = model_file(name)
    return load_network_config(name) if path is None else model_header(path).config


def load_model(name: str | Path, seed: int = 0) -> Model:
    """From a checkpoint's path, or by the name of a network: with its shipped weights, or seeded
    random ones where there are none."""
    path = model_file(name)
    return load_checkpoint(path) if path else untrained_model(str(name), seed)


def untrained_model(name: str, seed: int) -> Model:
    """A shipped network with seeded random weights: for trials of everything around it.

    An untrained field hovers near its initial opacity: the threshold is what half of the voxels
    exceed when the images are noise. It is of no mind about classes, so they are not asked whether
    a voxel is occupied.

    Args:
        name: of a shipped network, or the path of a YAML file.
        seed: the same seed gives the same weights.
    """
    config = load_network_config(name)
    class_set = load_class_set(config.class_set)
    network = build_network(config, len(class_set), seed=seed)
    if isinstance(network, RenderOcc):
        calibrate_batch_norms(network, seed)
        with torch.no_grad():
            field = network(ring_of_noise(network, seed + 1))
        threshold = float(opacity(field.density, network.grid.resolution_m).median())
        read = {"threshold": threshold, "read_out": "opacity"}
        network.config = config.model_copy(update=read)
    return Model(network, class_set)
