"""Losses on cells and on points of rays: is it free, is it occupied, by what?"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from renderocc_ros.class_set import IGNORE_ID, OCCUPIED_ID
from renderocc_ros.geometry import VoxelGrid
from renderocc_ros.network.occupancy_field import OccupancyField
from renderocc_ros.rendering import Rays
from renderocc_training.losses.masked import masked_mean
from renderocc_training.supervision.class_weights import tempered_class_weights, weight_of_each

MIN_PROBABILITY = 1e-4
MIN_OPTICAL_DEPTH = 1e-20  # optical depth of a cell whose logarithm is still finite


@dataclass(frozen=True, eq=False)
class RayQueries:
    """Cells of which the rays of B samples say that they are free or occupied.

    Attributes:
        cell: (B, Q) int64, position in the sample's flattened (X, Y, Z).
        occupied, free: (B, Q) bool; a query that is neither says nothing.
        class_id: (B, Q) int64, the class in an occupied cell, ``IGNORE_ID`` where not known.
    """

    cell: Tensor
    occupied: Tensor
    free: Tensor
    class_id: Tensor


def ray_queries(
    grid: VoxelGrid,
    rays: Rays,
    range_m: Tensor,
    start_m: Tensor,
    class_id: Tensor,
    ground_ids: Collection[int],
    free_per_ray: int,
    generator: torch.Generator | None = None,
) -> RayQueries:
    """Snap the end of each ray, and points drawn evenly before it, to cells.

    A free point does not count in the cell that the ray ends in, nor, for a ray that ends on a
    ground class, less than a cell above its end: far ahead such a ray skims over cells that hold
    ground themselves.

    Args:
        rays: B·R rays, sample by sample.
        range_m: (B, R) where they end; inf for the sky (free all the way), NaN for unknown.
        start_m: (B, R) nothing is claimed before this distance.
        class_id: (B, R) int64.
        ground_ids: classes that are ground.
        free_per_ray: number of points drawn before each end.
        generator: draws the points; evenly spaced ones if not given.
    """
    batch = range_m.shape[0]
    range_m, start_m, class_id = range_m.flatten(), start_m.flatten(), class_id.flatten()
    known = ~range_m.isnan() & (range_m > start_m)
    finite = known & range_m.isfinite()
    end_m = torch.where(finite, range_m, torch.zeros_like(range_m))[:, None]
    end = rays.at(end_m)
    end_cell, end_inside = _cells(grid, end)
    occupied = end_inside & finite[:, None]

    far_m = float(torch.tensor(grid.size).double().norm()) * grid.resolution_m
    reach = torch.where(finite, range_m, torch.full_like(range_m, far_m)).clamp(max=far_m)
    part = (torch.arange(free_per_ray, device=reach.device) + 0.5) / free_per_ray
    part = part.to(reach).expand(len(reach), -1)
    if generator is not None:
        shift = torch.rand(part.shape, generator=generator, device=generator.device).to(part)
        part = part + (shift - 0.5) / free_per_ray
    points = rays.at(start_m[:, None] + part * (reach - start_m).clamp(min=0)[:, None])
    cell, free = _cells(grid, points)
    free = free & known[:, None] & ~(occupied & (cell == end_cell))
    ground = torch.tensor(sorted(ground_ids), device=class_id.device, dtype=class_id.dtype)
    on_ground = torch.isin(class_id, ground) & finite
    free = free & ~(on_ground[:, None] & (points[..., 2] < end[..., 2] + grid.resolution_m))

    unknown = torch.full_like(cell, IGNORE_ID)
    return RayQueries(
        cell=torch.cat([end_cell, cell], dim=1).view(batch, -1),
        occupied=torch.cat([occupied, torch.zeros_like(free)], dim=1).view(batch, -1),
        free=torch.cat([torch.zeros_like(occupied), free], dim=1).view(batch, -1),
        class_id=torch.cat([class_id[:, None], unknown], dim=1).view(batch, -1),
    )


def query_loss(
    field: OccupancyField,
    grid: VoxelGrid,
    queries: RayQueries,
    class_weights: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Occupancy loss and semantic loss of queried cells.

    Free and occupied points weigh the same in sum, since there are many more of the former.

    Args:
        class_weights: (K,) or (B, K) weight of each class, 1 if not given.
    """
    density = field.density.flatten(1).gather(1, queries.cell)
    loss = occupancy_loss(density, queries.occupied, grid.resolution_m)
    occupied, free = masked_mean(loss, queries.occupied), masked_mean(loss, queries.free)
    known = queries.occupied & (queries.class_id != IGNORE_ID)
    sample = known.nonzero()[:, 0]
    logits = field.semantics.flatten(2).movedim(1, -1)[sample, queries.cell[known]]
    semantics = _cross_entropy(logits, queries.class_id, known, class_weights)
    return 0.5 * (occupied + free), semantics


def voxel_label_loss(
    field: OccupancyField,
    grid: VoxelGrid,
    labels: Tensor,
    class_weights: Tensor | None = None,
    *,
    by_rarity: bool = False,
) -> tuple[Tensor, Tensor]:
    """Occupancy loss and semantic loss of labelled voxels: votes of rays, or 3D truth.

    Args:
        labels: (B, X, Y, Z) int64: class, K for free, ``OCCUPIED_ID`` for occupied by what is not
            known, ``IGNORE_ID`` where nothing is known or visible.
        class_weights: (K,) or (B, K) weight of each class, 1 if not given.
        by_rarity: whether the occupancy loss weighs each voxel by the rarity of its label in the
            sample, free among them: most voxels are free, and most others the ground. What is
            occupied by what is not known weighs 1.
    """
    with_class = labels < field.semantics.shape[1]
    known, occupied = labels != IGNORE_ID, with_class | (labels == OCCUPIED_ID)
    loss = occupancy_loss(field.density, occupied, grid.resolution_m)
    logits = field.semantics.movedim(1, -1)[with_class]
    rarity = _rarity(labels, field.semantics.shape[1] + 1) if by_rarity else None
    return (
        masked_mean(loss, known, rarity),
        _cross_entropy(logits, labels, with_class, class_weights),
    )


def unlabelled_loss(field: OccupancyField, grid: VoxelGrid, labels: Tensor) -> Tensor:
    """Mean optical depth of the cells that no label speaks of, as if all of them were free.

    Args:
        labels: (B, X, Y, Z) int64; ``IGNORE_ID`` where nothing is known.
    """
    unknown = labels == IGNORE_ID
    free = torch.zeros_like(unknown)
    return masked_mean(occupancy_loss(field.density, free, grid.resolution_m), unknown)


def occupancy_loss(density: Tensor, occupied: Tensor, resolution_m: float) -> Tensor:
    """Binary cross entropy of a cell's opacity o = 1 − exp(−σ·r), cell by cell.

    −ln(1 − o) is σ·r itself, and −ln o is taken as −ln(−expm1(−σ·r)), so neither rounds to
    infinity. The slope of the latter is 1/(σ·r) in a faint cell, and that of a density that is a
    sigmoid or softplus of a number is as small as the density: one makes up for the other.
    """
    optical_depth = density.float() * resolution_m
    when_occupied = -torch.log(-torch.expm1(-optical_depth.clamp(min=MIN_OPTICAL_DEPTH)))
    return torch.where(occupied, when_occupied, optical_depth)


def depth_distribution_loss(distribution: Tensor, place: Tensor, *, soft: bool = False) -> Tensor:
    """Mean −ln of the probability that the lifting gives to the labelled depth.

    Args:
        distribution: (B, P, D) probabilities of P feature pixels.
        place: (B, P) the nearest label in the pixel, in bins from the first one's near edge; NaN
            where there is none. Outside 0 to D nothing is asked.
        soft: ask for the two bins whose middles it lies between, linearly by how near each is.
    """
    bins = distribution.shape[-1]
    mask = (place >= 0) & (place < bins)  # NaN is neither
    place = torch.where(mask, place, torch.zeros_like(place))
    below = (place - 0.5).floor() if soft else place.floor()
    share = (place - 0.5 - below) if soft else torch.zeros_like(place)
    surprise = -distribution.clamp(min=MIN_PROBABILITY).log()
    low, high = (
        surprise.gather(-1, index.long().clamp(0, bins - 1)[..., None])[..., 0]
        for index in (below, below + 1)
    )
    return masked_mean(torch.lerp(low, high, share), mask)


def image_class_loss(logits: Tensor, class_id: Tensor, class_weights: Tensor | None) -> Tensor:
    """Mean −ln of the probability of the labelled class of feature pixels.

    Args:
        logits: (B, N, K, h, w).
        class_id: (B, N, h, w) int64; ``IGNORE_ID`` where none is known.
        class_weights: (B, K) of each sample, or None.
    """
    known = class_id != IGNORE_ID
    return _cross_entropy(logits.movedim(2, -1)[known], class_id, known, class_weights)


def _rarity(labels: Tensor, kinds: int) -> Tensor:
    """The tempered weight of every voxel's label below ``kinds``, 1 for others."""
    weights = weight_of_each(tempered_class_weights(labels, kinds), labels)
    return torch.where(labels < kinds, weights, torch.ones_like(weights))


def _cells(grid: VoxelGrid, points: Tensor) -> tuple[Tensor, Tensor]:
    """Flat cells (R, S) of points (R, S, 3) and whether they lie inside the grid."""
    index = torch.floor((points - points.new_tensor(grid.origin_m)) / grid.resolution_m)
    size = index.new_tensor(grid.size)
    inside = ((index >= 0) & (index < size)).all(dim=-1)
    x, y, z = torch.minimum(index.clamp(min=0), size - 1).long().unbind(dim=-1)
    return (x * grid.size[1] + y) * grid.size[2] + z, inside


def _cross_entropy(
    logits: Tensor, target: Tensor, chosen: Tensor, class_weights: Tensor | None
) -> Tensor:
    """Masked mean of −ln softmax(logits)[target]; logits (M, K) are those of the chosen alone."""
    labels = target[chosen]
    each = functional.cross_entropy(logits.float(), labels, reduction="none")
    values = torch.zeros(target.shape, dtype=each.dtype, device=each.device)
    values = values.masked_scatter(chosen, each)
    weight = None if class_weights is None else weight_of_each(class_weights, target)
    return masked_mean(values, chosen, weight)
