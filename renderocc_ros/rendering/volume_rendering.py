"""Rays through the semantic density field: range, opacity and class of each.

Where a surface lies: a cell is occupied when it contains a surface, in training, in the read-out
and in the truth alike. So by default a sample takes the values of the cell that holds it
("nearest"), and a ray that comes down on occupied cells ends halfway through their layer
(``surface_distances``). "trilinear" interpolates between cell centres, as the paper does; it puts a
surface between centres, which is half a cell off what the read-out says.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from renderocc_ros.geometry import VoxelGrid
from renderocc_ros.kernels import use_triton
from renderocc_ros.rendering.compositing import expected_range, weights_from_density
from renderocc_ros.rendering.ray_sampling import RaySamples, surface_distances

T = TypeVar("T")
Lookup = Literal["nearest", "trilinear"]

# Bounds the memory of one group of rays.
SAMPLES_AT_ONCE = 1 << 19
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
    threshold: float | None = None,
) -> RenderedRays:
    """Render rays a few at a time, without ever holding a class vector per sample.

    Each sample adds its weighted corner cells to the ray's sum straight from the volume (an
    embedding bag). Rays of like length are rendered together, so little is spent on padding; what a
    gradient needs is made again when it comes, so memory grows with the weights (R, S) alone.

    Args:
        grid: where the cells lie.
        density: (B, X, Y, Z) opacity per metre.
        class_probability: (B, X, Y, Z, K), each summing to 1.
        rays: rays through these volumes, in any order. No gradient flows to them.
        samples: intervals along these rays.
        lookup: value of a point: of its cell, or interpolated between cell centres.
        threshold: opacity above which a cell is occupied, so that ranges follow
            ``surface_distances``; if not given, light ends in the middles of the intervals.
    """
    surfaces = None if threshold is None else _surfaces(grid, density, threshold)
    if use_triton(density):
        fields = density, class_probability
        return _render_by_kernels(grid, *fields, rays, samples, lookup, surfaces)
    fields = density.reshape(-1), class_probability.flatten(0, 3)
    parts, count = _alike(samples), samples.starts_m.shape[1]
    rendered = [
        _forgetful(_render_some, grid, fields, rays, samples, part, length, lookup, surfaces)
        for part, length in parts
    ]
    back = torch.cat([part for part, _ in parts]).argsort()
    weights, classes, range_m = zip(*rendered, strict=True)
    padded = [functional.pad(each, (0, count - each.shape[1])) for each in weights]
    return _rendered(*(torch.cat(each)[back] for each in (padded, classes, range_m)))


def _render_by_kernels(
    grid: VoxelGrid,
    density: Tensor,
    class_probability: Tensor,
    rays: Rays,
    samples: RaySamples,
    lookup: Lookup,
    surfaces: Tensor | None,
) -> RenderedRays:
    from renderocc_ros.kernels.rendering import SampledRays, composite

    sampled = SampledRays(
        (rays.origin - rays.origin.new_tensor(grid.origin_m)) / grid.resolution_m,
        rays.direction / grid.resolution_m,
        rays.volume * grid.cell_count,
        samples.starts_m,
        samples.ends_m,
        samples.far_m,
        _lengths(samples),
    )
    weights, range_m, opacity, classes = composite(
        grid.size, density, class_probability, sampled, lookup == "trilinear"
    )
    if surfaces is not None:
        cells, _ = _cells_and_shares(grid, rays, samples.middles_m, "nearest")
        distances_m = _surface_distances(grid, rays, samples, surfaces[cells[..., 0]])
        range_m = expected_range(weights, distances_m, samples.far_m)
    return RenderedRays(range_m, opacity, classes / opacity.clamp(min=FAINT)[:, None], weights)


def _forgetful(function: Callable[..., T], *arguments: Any) -> T:
    """Calls it; what its gradient needs is not kept but made again."""
    if not torch.is_grad_enabled():
        return function(*arguments)
    result: T = checkpoint(function, *arguments, use_reentrant=False, preserve_rng_state=False)
    return result


def _alike(samples: RaySamples) -> list[tuple[Tensor, int]]:
    """Rays in groups of like length, each with the number of intervals before its padding."""
    intervals = samples.starts_m.shape[1]
    lengths = _lengths(samples).clamp(1, intervals)
    order = lengths.argsort(descending=True)
    ends = lengths[order].tolist() or [intervals]
    parts: list[tuple[Tensor, int]] = []
    start = 0
    while start < len(order) or not parts:
        stop = start + max(1, SAMPLES_AT_ONCE // ends[start])
        parts.append((order[start:stop], ends[start]))
        start = stop
    return parts


def _lengths(samples: RaySamples) -> Tensor:
    """(R,) int64, how many intervals come before the padding."""
    return (samples.starts_m < samples.far_m[:, None]).sum(dim=1)


def _render_some(
    grid: VoxelGrid,
    fields: tuple[Tensor, Tensor],
    rays: Rays,
    samples: RaySamples,
    part: Tensor,
    intervals: int,
    lookup: Lookup,
    surfaces: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Weights (P, intervals) of some rays, their sums of classes (P, K) and ranges (P,)."""
    density, classes = fields
    some = Rays(rays.origin[part], rays.direction[part], rays.volume[part])
    cut = samples.some(part, intervals)
    cells, shares = _cells_and_shares(grid, some, cut.middles_m, lookup)
    densities, distances_m = _look_up(density, cells, shares), cut.middles_m
    if surfaces is not None:
        nearest = cells
        if shares is not None:
            nearest, _ = _cells_and_shares(grid, some, cut.middles_m, "nearest")
        distances_m = _surface_distances(grid, some, cut, surfaces[nearest[..., 0]])
    weights = weights_from_density(densities, cut.lengths_m)
    of_each = weights if shares is None else (weights[..., None] * shares).flatten(1)
    summed = functional.embedding_bag(
        cells.flatten(1), classes, per_sample_weights=of_each, mode="sum"
    )
    return weights, summed, expected_range(weights, distances_m, cut.far_m)


def _surfaces(grid: VoxelGrid, density: Tensor, threshold: float) -> Tensor:
    """(B · X · Y · Z, 3) bool: is a cell occupied, and is the one above it free, and below it?"""
    least = -math.log1p(-threshold) if threshold < 1 else math.inf
    occupied = density.detach() * grid.resolution_m > least
    free = functional.pad(~occupied, (1, 1), value=True)
    return torch.stack([occupied, free[..., 2:], free[..., :-2]], dim=-1).flatten(0, 3)


def _surface_distances(
    grid: VoxelGrid, rays: Rays, samples: RaySamples, surfaces: Tensor
) -> Tensor:
    """(R, S) by the ``_surfaces`` (R, S, 3) of the cells that the intervals' middles lie in."""
    occupied, free_above, free_below = surfaces.unbind(dim=-1)
    level = torch.where(rays.direction[:, 2:] < 0, free_above, free_below)
    return surface_distances(grid, rays.origin, rays.direction, samples, occupied, level)


def _look_up(density: Tensor, cells: Tensor, shares: Tensor | None) -> Tensor:
    values = density.index_select(0, cells.flatten()).view(cells.shape)
    return values[..., 0] if shares is None else (values * shares).sum(dim=-1)


def ray_weights(
    grid: VoxelGrid, density: Tensor, rays: Rays, samples: RaySamples, lookup: Lookup = "nearest"
) -> Tensor:
    """(R, S) the compositing weights alone, as a coarse pass wants them; arguments as above."""
    densities = ray_densities(grid, density, rays, samples, lookup)
    return weights_from_density(densities, samples.lengths_m)


def ray_densities(
    grid: VoxelGrid, density: Tensor, rays: Rays, samples: RaySamples, lookup: Lookup = "nearest"
) -> Tensor:
    """(R, S) the density in each interval, per metre; arguments as above."""
    cells, shares = _cells_and_shares(grid, rays, samples.middles_m, lookup)
    return _look_up(density.reshape(-1), cells, shares)


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
        values_of_mine = functional.grid_sample(
            volume.permute(3, 2, 1, 0)[None],
            scaled[None, None, mine],
            mode="bilinear" if lookup == "trilinear" else "nearest",
            padding_mode="border",
            align_corners=False,
        )
        values = values.index_put((mine.nonzero()[:, 0],), values_of_mine[0, :, 0].permute(1, 2, 0))
    weights = weights_from_density(values[..., 0], samples.lengths_m)
    range_m = expected_range(weights, samples.middles_m, samples.far_m)
    return _rendered(weights, (weights[..., None] * values[..., 1:]).sum(dim=1), range_m)


def _rendered(weights: Tensor, classes: Tensor, range_m: Tensor) -> RenderedRays:
    opacity = weights.sum(dim=-1)
    return RenderedRays(
        range_m=range_m,
        opacity=opacity,
        classes=classes / opacity.clamp(min=FAINT)[:, None],
        weights=weights,
    )


def _cells_and_shares(
    grid: VoxelGrid, rays: Rays, distance_m: Tensor, lookup: Lookup
) -> tuple[Tensor, Tensor | None]:
    """Flat indices (R, S, C) of the cells that points of rays draw on, and their shares.

    C is 1 for nearest, whose shares are all 1 (None), and 8 for trilinear. Points beyond the
    outermost centres take the outermost cells' values.
    """
    along = [
        (rays.origin[:, axis] - grid.origin_m[axis])[:, None] / grid.resolution_m
        + distance_m * (rays.direction[:, axis] / grid.resolution_m)[:, None]
        for axis in range(3)
    ]
    first = (rays.volume * grid.cell_count)[:, None]
    if lookup == "nearest":
        return _flat(grid, first, along)[..., None], None
    lower = [torch.floor(position - 0.5) for position in along]
    upper_share = [position - 0.5 - low for position, low in zip(along, lower, strict=True)]
    cells, shares = [], []
    for corner in itertools.product((0, 1), repeat=3):
        cells.append(_flat(grid, first, [a + c for a, c in zip(lower, corner, strict=True)]))
        each = [s if c else 1 - s for s, c in zip(upper_share, corner, strict=True)]
        shares.append(each[0] * each[1] * each[2])
    return torch.stack(cells, dim=-1), torch.stack(shares, dim=-1)


def _flat(grid: VoxelGrid, first: Tensor, position: Sequence[Tensor]) -> Tensor:
    """(R, S) int64 place of the cells that hold positions (R, S), three of them, in cells."""
    x, y, z = (
        at.clamp(0, size - 1).to(torch.int64) for at, size in zip(position, grid.size, strict=True)
    )
    return x.mul_(grid.size[1]).add_(y).mul_(grid.size[2]).add_(z).add_(first)
