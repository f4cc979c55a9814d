"""Where along a ray the field is looked up.

The alphabet: t is a distance along the ray in metres, R the number of rays, S of intervals.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from renderocc_ros.geometry import VoxelGrid

# A direction component below this runs along its slab: dividing by it would overflow.
SMALLEST_SLOPE = 1e-9


@dataclass(frozen=True, eq=False)
class RaySamples:
    """Intervals along rays; padding intervals have length zero.

    Attributes:
        edges_m: (R, S + 1) ascending distances; interval s lies between edges s and s + 1.
        far_m: (R,) where the ray leaves the grid; 0 for a ray that misses it.
    """

    edges_m: Tensor
    far_m: Tensor

    @property
    def middles_m(self) -> Tensor:
        """(R, S) distances of the intervals' middles."""
        return 0.5 * (self.edges_m[:, :-1] + self.edges_m[:, 1:])

    @property
    def lengths_m(self) -> Tensor:
        """(R, S) lengths of the intervals."""
        return self.edges_m[:, 1:] - self.edges_m[:, :-1]


def clip_to_grid(grid: VoxelGrid, origins: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
    """Distances (R,) at which rays enter and leave the grid's box; (0, 0) for those that miss.

    Args:
        origins, directions: (R, 3) metres and unit vectors in the ego frame.
    """
    lower, upper = (origins.new_tensor(corner) for corner in (grid.origin_m, grid.upper_m))
    small = directions.abs() < SMALLEST_SLOPE
    slope = torch.where(small, torch.full_like(directions, SMALLEST_SLOPE), directions)
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
    return RaySamples(torch.minimum(torch.maximum(edges, near[:, None]), far[:, None]), far)


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
    start, end = coarse.edges_m.gather(1, right - 1), coarse.edges_m.gather(1, right)
    part = ((u - low) / (high - low).clamp(min=1e-12)).clamp(0, 1)
    return RaySamples(start + part * (end - start), coarse.far_m)
