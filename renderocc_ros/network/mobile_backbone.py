"""EfficientNet-Lite0 as a backbone: convolutions and ReLU6, no attention (Tan and Le 2019).

arXiv 1905.11946, table 1, without squeeze and excitation, as published for small devices. The sizes
are those of the published weights, which were learned from photographs (ImageNet) of mean 127 and
deviation 128.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import pad
from transformers.modeling_outputs import BackboneOutput

MODEL_TYPE = "efficientnet_lite0"
STEM_CHANNELS = 32


@dataclass(frozen=True)
class StageSize:
    """One stage: so many blocks, the first of which strides.

    Attributes:
        expansion: channels inside a block, as a multiple of those that come in.
    """

    kernel: int
    stride: int
    expansion: int
    channels: int
    blocks: int


STAGES = {
    "stage1": StageSize(3, 1, 1, 16, 1),
    "stage2": StageSize(3, 2, 6, 24, 2),
    "stage3": StageSize(5, 2, 6, 40, 2),
    "stage4": StageSize(3, 2, 6, 80, 3),
    "stage5": StageSize(5, 1, 6, 112, 3),
    "stage6": StageSize(5, 2, 6, 192, 4),
    "stage7": StageSize(3, 1, 6, 320, 1),
}


class EfficientNetLite(nn.Module):
    """Images, whose sides are multiples of 32, to the feature maps of some stages.

    Batch norms keep the statistics that came with the weights: those of a few synthetic streets
    would take their place.
    """

    def __init__(self, out_features: Sequence[str]) -> None:
        """
        Args:
            out_features: names of ``STAGES``; their maps come finest first. Stages behind the last
                of them are not made.
        """
        super().__init__()
        names = list(STAGES)
        self.wanted = sorted(names.index(name) for name in out_features)
        sizes = list(STAGES.values())[: self.wanted[-1] + 1]
        self.channels = [sizes[place].channels for place in self.wanted]
        self.stem = _Convolution(3, STEM_CHANNELS, 3, stride=2)
        inputs = [STEM_CHANNELS, *(size.channels for size in sizes)]
        self.stages = nn.ModuleList(map(_stage, inputs, sizes))
        self.train(self.training)

    def train(self, mode: bool = True) -> EfficientNetLite:
        """As any module, but for the batch norms."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return self

    def forward(self, images: Tensor) -> BackboneOutput:
        """(M, 3, H, W) to maps (M, channels_i, H / stride_i, W / stride_i)."""
        features = self.stem(images)
        maps = []
        for stage in self.stages:
            features = stage(features)
            maps.append(features)
        return BackboneOutput(feature_maps=tuple(maps[place] for place in self.wanted))

    @torch.no_grad()
    def take_published(self, weights: Mapping[str, Tensor]) -> None:
        """Take weights under their published names: the same layers in the same order.

        Raises:
            ValueError: they are those of another network.
        """
        own = self.state_dict()
        if len(weights) < len(own):
            raise ValueError(f"{len(weights)} tensors are too few for EfficientNet-Lite0")
        for (name, value), (theirs, published) in zip(own.items(), weights.items(), strict=False):
            alike = name.rpartition(".")[2] == theirs.rpartition(".")[2]
            if not alike or value.shape != published.shape:
                raise ValueError(
                    f"'{theirs}' {tuple(published.shape)} does not fit EfficientNet-Lite0's "
                    f"'{name}' {tuple(value.shape)}"
                )
            value.copy_(published)


class _Convolution(nn.Sequential):
    """Convolution, batch norm and ReLU6. At stride 2 the larger margin lies right and below."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        *,
        stride: int = 1,
        groups: int = 1,
        relu: bool = True,
    ) -> None:
        margin = kernel // 2 if stride == 1 else 0
        super().__init__(
            nn.Conv2d(inputs, outputs, kernel, stride, margin, groups=groups, bias=False),
            nn.BatchNorm2d(outputs, eps=1e-3, momentum=0.01),
            *([nn.ReLU6(inplace=True)] if relu else []),
        )
        less, more = (kernel - 2) // 2, (kernel - 1) // 2
        self.margins = None if stride == 1 else (less, more, less, more)

    def forward(self, features: Tensor) -> Tensor:
        """(M, inputs, h, w) to (M, outputs, h / stride, w / stride)."""
        if self.margins is not None:
            features = pad(features, self.margins)
        for layer in self:
            features = layer(features)
        return features


class _InvertedBlock(nn.Module):
    """Wide by a 1x1 convolution, a depthwise one, narrow again (arXiv 1801.04381, sec. 3.3)."""

    def __init__(self, inputs: int, outputs: int, size: StageSize, stride: int) -> None:
        super().__init__()
        wide = inputs * size.expansion
        widen = [_Convolution(inputs, wide, 1)] if size.expansion > 1 else []
        self.body = nn.Sequential(
            *widen,
            _Convolution(wide, wide, size.kernel, stride=stride, groups=wide),
            _Convolution(wide, outputs, 1, relu=False),
        )
        self.has_shortcut = stride == 1 and inputs == outputs

    def forward(self, features: Tensor) -> Tensor:
        """(M, inputs, h, w) to (M, outputs, h / stride, w / stride)."""
        result: Tensor = self.body(features)
        return features + result if self.has_shortcut else result


def _stage(inputs: int, size: StageSize) -> nn.Sequential:
    first = _InvertedBlock(inputs, size.channels, size, size.stride)
    others = (_InvertedBlock(size.channels, size.channels, size, 1) for _ in range(size.blocks - 1))
    return nn.Sequential(first, *others)
