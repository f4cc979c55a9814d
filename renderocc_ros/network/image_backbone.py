"""Images to one feature map: a backbone of transformers, and a neck that joins its strides."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate
from transformers import AutoBackbone, AutoConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_BACKBONE_MAPPING_NAMES

from renderocc_ros.network.layers import ConvBlock
from renderocc_ros.network_config import BackboneConfig, NeckConfig


def build_backbone(config: BackboneConfig, *, pretrained: bool) -> nn.Module:
    """A ``transformers`` backbone.

    Args:
        config: which one.
        pretrained: start from the weights that ``config.pretrained`` names, if it names any;
            else random weights, and nothing is read from the network or the disk.

    Raises:
        ValueError: transformers knows no such backbone or feature map, or the pretrained weights
            cannot be reached.
    """
    known = sorted(MODEL_FOR_BACKBONE_MAPPING_NAMES)
    if config.model_type not in known:
        raise ValueError(
            f"backbone.model_type = '{config.model_type}' is no backbone of transformers; "
            f"known: {', '.join(known)}"
        )
    out_features = list(config.out_features)
    if pretrained and config.pretrained is not None:
        return _download(config.pretrained, out_features)
    try:
        settings = AutoConfig.for_model(
            config.model_type, **config.settings, out_features=out_features
        )
        backbone: nn.Module = AutoBackbone.from_config(settings)
    except (TypeError, ValueError) as error:
        raise ValueError(f"backbone '{config.model_type}': {error}") from error
    return backbone


def _download(name: str, out_features: list[str]) -> nn.Module:
    try:
        backbone: nn.Module = AutoBackbone.from_pretrained(
            name, out_features=out_features, use_safetensors=True
        )
    except OSError as error:
        raise ValueError(
            f"backbone.pretrained = '{name}' cannot be loaded: {str(error).splitlines()[0]} "
            f"On a machine with internet run `hf download {name} config.json model.safetensors "
            f"--local-dir FOLDER`, copy the folder here and set backbone.pretrained to its path; "
            "or set it to null to start from random weights."
        ) from error
    return backbone


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
            features = lateral(features)
            if features.shape[-2:] != self.size:
                features = interpolate(features, self.size, mode="bilinear", align_corners=False)
            total = total + features
        result: Tensor = self.smooth(total)
        return result


class ImageBackbone(nn.Module):
    """Images (B, 3, H, W) to features (B, channels, H / stride, W / stride)."""

    def __init__(
        self,
        config: BackboneConfig,
        neck: NeckConfig,
        image_size: tuple[int, int],
        *,
        pretrained: bool,
    ) -> None:
        """``image_size`` is (height, width); for ``pretrained`` see ``build_backbone``."""
        super().__init__()
        backbone: Any = build_backbone(config, pretrained=pretrained)
        self.backbone = backbone
        channels: list[int] = list(backbone.channels)
        self.neck = FeatureNeck(channels, neck, image_size)

    def forward(self, images: Tensor) -> Tensor:
        """See the class."""
        result: Tensor = self.neck(self.backbone(images).feature_maps)
        return result
