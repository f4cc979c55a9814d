"""From voxel features to the semantic density field and to labels."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class SemanticDensityField:
    """What the network says of every voxel; index order (x, y, z).

    Attributes:
        density: (B, X, Y, Z), at least 0; without unit, see ``density_threshold``.
        semantics: (B, X, Y, Z, K) class logits.
        depth: (B, N, D, H, W) depth distribution of the key frame's image features.
        density_threshold: a voxel is occupied where its density is above.
    """

    density: Tensor
    semantics: Tensor
    depth: Tensor
    density_threshold: float

    @property
    def free_id(self) -> int:
        """The label of a free voxel: the number behind the last class."""
        return self.semantics.shape[-1]

    def labels(self) -> Tensor:
        """(B, X, Y, Z) uint8: the likeliest class where occupied, else ``free_id``."""
        likeliest = self.semantics.argmax(dim=-1).to(torch.uint8)
        free = torch.full_like(likeliest, self.free_id)
        return torch.where(self.density > self.density_threshold, likeliest, free)


def density_mlp(channels: int) -> nn.Sequential:
    """(…, C) -> (…, 2), of which the official network uses the first; softplus inside and after."""
    return nn.Sequential(
        nn.Linear(channels, 2 * channels), nn.Softplus(), nn.Linear(2 * channels, 2), nn.Softplus()
    )


def semantic_mlp(channels: int, classes: int) -> nn.Sequential:
    """(…, C) -> (…, K) logits."""
    return nn.Sequential(
        nn.Linear(channels, 2 * channels), nn.Softplus(), nn.Linear(2 * channels, classes)
    )
