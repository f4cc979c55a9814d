"""Rays through the semantic density field: range, opacity and class of each.

Where a surface lies: a cell is occupied when it contains a surface, in training, in the read-out
and in the truth alike. So by default a sample takes the values of the cell that holds it
("nearest"). "trilinear" interpolates between cell centres, as the paper does; it puts a surface
between centres, which is half a cell off what the read-out says.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from renderocc_ros.geometry import VoxelGrid
from renderocc_ros.rendering.compositing import expected_range, weights_from_density
from renderocc_ros.rendering.ray_sampling import RaySamples

Lookup = Literal["nearest", "trilinear"]

# Opacity below which a ray says nothing about a class: keeps the division finite.
FAINT = 1e-6


@dataclass(frozen=True, eq=False)
class Rays:
    """R rays through one or several volumes.

    Attributes:
        origin: (R, 3) metres in the ego frame.
        direction: (R, 3) unit vectors.
        volume: (R,) int64, which of the B volumes each ray looks at.
    """

    origin: Tensor
    direction: Tensor
    volume: Tensor

    def at(self, distance_m: Tensor) -> Tensor:
        """Points (R, S, 3) at distances (R, S) along the rays."""
        return self.origin[:, None] + distance_m[..., None] * self.direction[:, None]


@dataclass(frozen=True, eq=False)
class RenderedRays:
    """What R rays see of a field with K classes.

    Attributes:
        range_m: (R,) expected distance along the ray, metres; the far bound for an empty ray.
        opacity: (R,) part of the light that ends in the field, 0 to 1.
        classes: (R, K) class probabilities of what the ray meets, normalised by its opacity; zero
            for an empty ray.
        weights: (R, S) compositing weights of the samples.
    """

    range_m: Tensor
    opacity: Tensor
    classes: Tensor
    weights: Tensor


def render_rays(
    grid: VoxelGrid,
    density: Tensor,
    class_probability: Tensor,
    rays: Rays,
    samples: RaySamples,
    lookup: Lookup = "nearest",
) -> RenderedRays:
    """Render rays without ever holding a class vector per sample.

    Each sample adds its weighted corner cells to the ray's sum straight from the volume
    (an embedding bag), so memory grows with R·S and not with R·S·K.

    Args:
        grid: where the cells lie.
        density: (B, X, Y, Z) opacity per metre.
        class_probability: (B, X, Y, Z, K), each summing to 1.
        rays: rays through these volumes, in any order.
        samples: intervals along these rays.
        lookup: value of a point: of its cell, or interpolated between cell centres.
    """
    cells, shares = _cells_and_shares(grid, rays.at(samples.middles_m), lookup)
    cells = cells + (rays.volume * grid.cell_count)[:, None, None]
    sigma = (density.reshape(-1)[cells] * shares).sum(dim=-1)
    weights = weights_from_density(sigma, samples.lengths_m)
    classes = functional.embedding_bag(
        cells.flatten(1),
        class_probability.flatten(0, 3),
        per_sample_weights=(weights[..., None] * shares).flatten(1),
        mode="sum",
    )
    return _rendered(weights, classes, samples)


def render_rays_plain(
    grid: VoxelGrid,
    density: Tensor,
    class_probability: Tensor,
    rays: Rays,
    samples: RaySamples,
    lookup: Lookup = "nearest",
) -> RenderedRays:
    """``render_rays`` written down directly; the reference that tests compare with."""
    points = rays.at(samples.middles_m)
    volumes = torch.cat([density[..., None], class_probability], dim=-1)
    lower, upper = (points.new_tensor(corner) for corner in (grid.origin_m, grid.upper_m))
    scaled = 2 * (points - lower) / (upper - lower) - 1  # cell faces at −1 and 1
    values = volumes.new_zeros(*points.shape[:2], volumes.shape[-1])
    for number, volume in enumerate(volumes):
        mine = rays.volume == number
        found = functional.grid_sample(
            volume.permute(3, 2, 1, 0)[None],
            scaled[None, None, mine],
            mode="bilinear" if lookup == "trilinear" else "nearest",
            padding_mode="border",
            align_corners=False,
        )
        values = values.index_put((mine.nonzero()[:, 0],), found[0, :, 0].permute(1, 2, 0))
    weights = weights_from_density(values[..., 0], samples.lengths_m)
    return _rendered(weights, (weights[..., None] * values[..., 1:]).sum(dim=1), samples)


def _rendered(weights: Tensor, classes: Tensor, samples: RaySamples) -> RenderedRays:
    opacity = weights.sum(dim=-1)
    return RenderedRays(
        range_m=expected_range(weights, samples.middles_m, samples.far_m),
        opacity=opacity,
        classes=classes / opacity.clamp(min=FAINT)[:, None],
        weights=weights,
    )


def _cells_and_shares(grid: VoxelGrid, points: Tensor, lookup: Lookup) -> tuple[Tensor, Tensor]:
    """Flat indices (R, S, C) of the cells that a point draws on, and their shares.

    C is 1 for nearest and 8 for trilinear. Points beyond the outermost centres take the outermost
    cells' values.
    """
    position = (points - points.new_tensor(grid.origin_m)) / grid.resolution_m
    if lookup == "nearest":
        return _flat(grid, torch.floor(position))[..., None], torch.ones_like(points[..., :1])
    position = position - 0.5
    base = torch.floor(position)
    upper_share = position - base
    cells, shares = [], []
    for corner in torch.cartesian_prod(*[torch.arange(2)] * 3).to(points):
        cells.append(_flat(grid, base + corner))
        shares.append(torch.where(corner > 0, upper_share, 1 - upper_share).prod(dim=-1))
    return torch.stack(cells, dim=-1), torch.stack(shares, dim=-1)


def _flat(grid: VoxelGrid, cells: Tensor) -> Tensor:
    size = cells.new_tensor(grid.size)
    x, y, z = torch.minimum(cells.clamp(min=0), size - 1).long().unbind(dim=-1)
    return (x * grid.size[1] + y) * grid.size[2] + z
