"""Where along a ray the field is looked up.

The alphabet: t is a distance along the ray in metres, R the number of rays, S of intervals.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from renderocc_ros.geometry import VoxelGrid

# A direction component below this runs along its slab: dividing by it would overflow.
MIN_SLOPE = 1e-9


@dataclass(frozen=True, eq=False)
class RaySamples:
    """Intervals along rays, ascending; padding ones come last and have length zero.

    Attributes:
        starts_m, ends_m: (R, S) distances.
        near_m, far_m: (R,) where the ray enters and leaves the grid; 0 for one that misses it.
    """

    starts_m: Tensor
    ends_m: Tensor
    near_m: Tensor
    far_m: Tensor

    @classmethod
    def between(cls, edges_m: Tensor, near_m: Tensor, far_m: Tensor) -> RaySamples:
        """Intervals without gaps, from their edges (R, S + 1)."""
        return cls(edges_m[:, :-1], edges_m[:, 1:], near_m, far_m)

    @property
    def middles_m(self) -> Tensor:
        """(R, S) distances of the intervals' middles."""
        return 0.5 * (self.starts_m + self.ends_m)

    @property
    def lengths_m(self) -> Tensor:
        """(R, S) lengths of the intervals."""
        return self.ends_m - self.starts_m

    def some(self, rays: Tensor, count: int) -> RaySamples:
        """The first ``count`` intervals of some rays."""
        return RaySamples(
            self.starts_m[rays, :count],
            self.ends_m[rays, :count],
            self.near_m[rays],
            self.far_m[rays],
        )

    def inside(self, range_m: Tensor) -> Tensor:
        """Whether so far along each ray, (R,) metres, is inside the grid; NaN is not."""
        return (range_m > self.near_m) & (range_m < self.far_m)


def clip_to_grid(grid: VoxelGrid, origins: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
    """Distances (R,) at which rays enter and leave the grid's box; (0, 0) for those that miss.

    Args:
        origins, directions: (R, 3) metres and unit vectors in the ego frame.
    """
    lower, upper = (origins.new_tensor(corner) for corner in (grid.origin_m, grid.upper_m))
    small = directions.abs() < MIN_SLOPE
    slope = torch.where(small, torch.full_like(directions, MIN_SLOPE), directions)
    first, second = (lower - origins) / slope, (upper - origins) / slope
    near = torch.minimum(first, second).amax(dim=1).clamp(min=0)
    far = torch.maximum(first, second).amin(dim=1)
    met = far > near
    return torch.where(met, near, 0.0), torch.where(met, far, 0.0)


def sample_uniform(
    grid: VoxelGrid,
    origins: Tensor,
    directions: Tensor,
    step_m: float,
    generator: torch.Generator | None = None,
) -> RaySamples:
    """Intervals of one length from where a ray enters the grid to where it leaves it.

    Args:
        origins, directions: (R, 3) metres and unit vectors in the ego frame.
        step_m: length of an interval; the last one of a ray is what remains.
        generator: shifts each ray's intervals by a random part of a step, as training wants; none
            for the same intervals every time.
    """
    near, far = clip_to_grid(grid, origins, directions)
    start = near
    if generator is not None:
        part = torch.rand(near.shape, generator=generator, device=generator.device)
        start = near + (part.to(near) - 1.0) * step_m
    longest = float((far - start).max()) if len(far) else 0.0
    count = max(int(-(-longest // step_m)), 1)
    steps = torch.arange(count + 1, device=near.device, dtype=near.dtype) * step_m
    edges = start[:, None] + steps
    edges = torch.minimum(torch.maximum(edges, near[:, None]), far[:, None])
    return RaySamples.between(edges, near, far)


def keep_where(samples: RaySamples, wanted: Tensor) -> RaySamples:
    """The wanted intervals alone: occupancy-grid skipping (Müller et al. 2022, Instant NGP, E.2).

    Args:
        samples: intervals.
        wanted: (R, S) bool; what an unwanted interval held counts as empty.
    """
    wanted = wanted & (samples.lengths_m > 0)
    count = max(int(wanted.sum(dim=1).max()), 1) if len(wanted) else 1
    order = wanted.to(torch.uint8).argsort(dim=1, descending=True, stable=True)[:, :count]
    kept, far = wanted.gather(1, order), samples.far_m[:, None]
    starts, ends = samples.starts_m.gather(1, order), samples.ends_m.gather(1, order)
    return replace(
        samples, starts_m=torch.where(kept, starts, far), ends_m=torch.where(kept, ends, far)
    )


def surface_distances(
    grid: VoxelGrid,
    origins: Tensor,
    directions: Tensor,
    samples: RaySamples,
    occupied: Tensor,
    level: Tensor,
) -> Tensor:
    """Where light that ends in each interval counts as ending, by what an occupied cell means.

    A cell is occupied when it contains a surface, wherever in the cell. A ray that comes into a
    layer of cells from above (or below) and finds it occupied, but not the cell it came from, has
    met a level surface, most often the ground, that lies anywhere between the layer's top and
    bottom: its light counts as ending in the middle of its way through the occupied cells of that
    layer. It would otherwise end where they begin, and far ahead that is much too near: rays from
    1.5 m to ground at 20 m come into the layer up to 0.6 m above it at 12 m. A surface that is met
    from the side cannot be so far off: there, and in free cells, light ends in the middle of its
    own interval.

    Args:
        origins, directions: (R, 3) metres and unit vectors in the ego frame.
        samples: intervals along these rays.
        occupied: (R, S) bool, whether the cell that holds an interval's middle is occupied.
        level: (R, S) bool, whether the cell above it (below it, for a ray that rises) is free.

    Returns:
        (R, S) distances in metres.
    """
    middles = samples.middles_m
    height, slope = origins[:, 2:] - grid.origin_m[2], directions[:, 2:]
    slope = torch.where(slope.abs() < MIN_SLOPE, MIN_SLOPE, slope)
    layer = torch.floor((height + middles * slope) / grid.resolution_m)
    joined = occupied[:, 1:] & occupied[:, :-1] & (layer[:, 1:] == layer[:, :-1])
    joined = joined & (samples.starts_m[:, 1:] <= samples.ends_m[:, :-1])
    first, last = functional.pad(~joined, (1, 0), value=1), functional.pad(~joined, (0, 1), value=1)
    place = torch.arange(first.shape[1], device=first.device).expand_as(first)
    first_one = place.where(first, 0).cummax(dim=1).values
    begin, first_end = samples.starts_m.gather(1, first_one), samples.ends_m.gather(1, first_one)
    # Distances ascend, so each interval finds the nearest last one after it.
    end = samples.ends_m.where(last, torch.inf).flip(1).cummin(dim=1).values.flip(1)
    face = layer + (slope < 0)  # the layer's top for a ray that falls
    through_face = (face * grid.resolution_m - height) / slope
    # The middle of an interval tells its layer, so the first one begins up to half of it after.
    from_face = (through_face > 0) & (begin - through_face <= 0.5 * (first_end - begin))
    from_face = from_face & level.gather(1, first_one)
    return torch.where(occupied & from_face, 0.5 * (begin + end), middles)


def sample_by_weight(
    coarse: RaySamples,
    weights: Tensor,
    count: int,
    generator: torch.Generator | None = None,
) -> RaySamples:
    """Place ``count`` intervals where a coarse pass found weight (NeRF, section 5.2).

    Args:
        coarse: the intervals of the coarse pass.
        weights: (R, S) its compositing weights; no gradient flows through them.
        generator: draws stratified positions; none for evenly spaced ones.
    """
    # A floor keeps every interval reachable, so that an empty ray is sampled evenly. It is spread
    # by length, not by interval: padding has none.
    floor = 1e-3 * coarse.lengths_m / coarse.lengths_m.sum(dim=1, keepdim=True).clamp(min=1e-9)
    density = weights.detach() + floor
    cumulative = torch.cumsum(density, dim=1)
    total = cumulative[:, -1:].clamp(min=1e-12)
    cumulative = torch.cat([torch.zeros_like(total), cumulative / total], dim=1)
    u = torch.arange(count + 1, device=weights.device, dtype=weights.dtype) / count
    u = u.expand(len(weights), -1).contiguous()
    if generator is not None:
        shift = torch.rand((len(u), count - 1), generator=generator, device=generator.device)
        u[:, 1:-1] += (shift.to(u) - 0.5) / count
    right = torch.searchsorted(cumulative, u, right=True).clamp(1, cumulative.shape[1] - 1)
    low, high = cumulative.gather(1, right - 1), cumulative.gather(1, right)
    start, end = coarse.starts_m.gather(1, right - 1), coarse.ends_m.gather(1, right - 1)
    part = ((u - low) / (high - low).clamp(min=1e-12)).clamp(0, 1)
    return RaySamples.between(start + part * (end - start), coarse.near_m, coarse.far_m)
