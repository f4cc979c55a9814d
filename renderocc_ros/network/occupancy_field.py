"""The semantic density field, and how occupancy is read from it.

Where a surface lies: a cell is about what it *contains*. Cell (i, j, k) is occupied if any surface
or solid lies inside its cube, wherever in the cube; density and semantics are constant within a
cell, and nothing is interpolated between cell centres when occupancy is read. Training must follow
the same convention, or the ground comes out one layer too low.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from renderocc_ros.network_config import FieldConfig, ReadOut

MAX_OPACITY = 1 - 1e-6  # whose density is still finite


@dataclass(frozen=True, eq=False)
class OccupancyField:
    """What the network says about every cell.

    Attributes:
        density: (B, X, Y, Z) opacity per metre, at least 0.
        semantics: (B, K, X, Y, Z) class logits.
    """

    density: Tensor
    semantics: Tensor


def opacity(density: Tensor, length_m: float) -> Tensor:
    """Probability that a ray ends within ``length_m`` of constant density: 1 − exp(−σ·l).

    Max 1995, "Optical models for direct volume rendering", eq. 3. With density 2 /m, 0.4 m:
    1 − exp(−0.8) = 0.551.
    """
    return -torch.expm1(-density * length_m)


@dataclass(frozen=True, eq=False)
class DecodedField:
    """Occupancy as numbers that fit a message.

    Attributes:
        labels: (B, X, Y, Z) uint8: class, or K where free.
        confidence: (B, X, Y, Z) uint8: probability of occupancy, 0 to 255 for 0 to 1.
    """

    labels: Tensor
    confidence: Tensor


def class_probabilities(field: OccupancyField, resolution_m: float) -> Tensor:
    """(B, X, Y, Z, K + 1) float32: opacity times each class's share of it, free last; sums to 1."""
    occupied = opacity(field.density.float(), resolution_m)[..., None]
    shares = field.semantics.float().movedim(1, -1).softmax(dim=-1)
    return torch.cat([occupied * shares, 1 - occupied], dim=-1)


def field_of(probabilities: Tensor, resolution_m: float) -> OccupancyField:
    """The field with these ``class_probabilities``; what is certain stays finite."""
    occupied = (1 - probabilities[..., -1]).clamp(0, MAX_OPACITY)
    smallest = torch.finfo(torch.float32).tiny
    semantics = probabilities[..., :-1].clamp(min=smallest).log().movedim(-1, 1)
    return OccupancyField(-torch.log1p(-occupied) / resolution_m, semantics)


def class_against_free(probabilities: Tensor) -> Tensor:
    """(B, X, Y, Z) p / (p + free) of the likeliest class: its opacity where the class is sure.

    Args:
        probabilities: of ``class_probabilities``.

    Example:
        An opacity of 0.6 that is all one class's gives 0.6 / (0.6 + 0.4) = 0.6; shared evenly by
        three classes, 0.2 / (0.2 + 0.4) = 0.33.
    """
    return against_free(probabilities[..., :-1].amax(dim=-1), probabilities[..., -1])


def against_free(likeliest: Tensor, free: Tensor) -> Tensor:
    """``class_against_free`` of two probabilities that are there already."""
    return likeliest / (likeliest + free)


def decode_field(
    field: OccupancyField, resolution_m: float, threshold: float, by: ReadOut = "opacity"
) -> DecodedField:
    """A cell that is occupied has the likeliest class.

    Args:
        threshold: a cell is occupied above it.
        by: what is compared with it: "opacity", or "class" for ``class_against_free``.
    """
    if by == "class":
        return decode_probabilities(class_probabilities(field, resolution_m), threshold, by)
    probability = opacity(field.density.float(), resolution_m)
    best = field.semantics.argmax(dim=1)
    return _decoded(probability > threshold, best, probability, field.semantics.shape[1])


def decode_probabilities(probabilities: Tensor, threshold: float, by: ReadOut) -> DecodedField:
    """As ``decode_field``, of ``class_probabilities``."""
    occupied, free_id = 1 - probabilities[..., -1], probabilities.shape[-1] - 1
    likeliest, best = probabilities[..., :-1].max(dim=-1)
    sure = occupied if by == "opacity" else against_free(likeliest, probabilities[..., -1])
    return _decoded(sure > threshold, best, occupied, free_id)


def _decoded(occupied: Tensor, best: Tensor, probability: Tensor, free_id: int) -> DecodedField:
    labels = torch.where(occupied, best, free_id).to(torch.uint8)
    return DecodedField(labels, (probability * 255).round().to(torch.uint8))


class FieldHead(nn.Module):
    """Features of every cell to density and class logits."""

    def __init__(self, inputs: int, classes: int, resolution_m: float, config: FieldConfig) -> None:
        super().__init__()
        self.max_density_per_m = config.max_density_per_m
        self.hidden = nn.Linear(inputs, config.hidden_channels)
        self.out = nn.Linear(config.hidden_channels, 1 + classes)
        density = -math.log1p(-config.initial_opacity) / resolution_m
        if density >= config.max_density_per_m:
            raise ValueError(
                f"field.max_density_per_m = {config.max_density_per_m} cannot make a voxel of "
                f"{resolution_m} m {config.initial_opacity} opaque; raise it above {density:.3g}"
            )
        share = density / config.max_density_per_m
        with torch.no_grad():
            self.out.bias[0] = math.log(share / (1 - share))

    def forward(self, features: Tensor) -> OccupancyField:
        """Features (B, X, Y, Z, C) to the field; density is max·sigmoid, so it is bounded."""
        values = _in_float32(self.out, torch.relu(self.hidden(features)))
        density = self.max_density_per_m * torch.sigmoid(values[..., 0])
        return OccupancyField(density, values[..., 1:].movedim(-1, 1))


def _in_float32(layer: nn.Module, features: Tensor) -> Tensor:
    """A layer without autocast: eight bits would round the density's logit to whole per cents."""
    kind = features.device.type
    if torch.is_autocast_enabled(kind):
        with torch.autocast(kind, enabled=False):
            features = features.float()
            return cast(Tensor, layer(features))
    return cast(Tensor, layer(features))
