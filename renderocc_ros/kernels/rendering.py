"""Volume rendering by the kernels of ``ray_compositing``, with their gradient."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from renderocc_ros.kernels import tile
from renderocc_ros.kernels.ray_compositing import render_gradient_kernel, render_kernel


class SampledRays(NamedTuple):
    """R rays with S intervals each. No gradient flows to them.

    Attributes:
        origin, direction: (R, 3) in cells: where a ray starts from the grid's lower corner, and how
            far it gets in a metre.
        first_cell: (R,) int64, where the ray's volume begins in the flattened volumes.
        starts_m, ends_m: (R, S) distances, ascending.
        far_m: (R,) where the ray leaves the grid.
        steps: (R,) number of intervals before the padding.
    """

    origin: Tensor
    direction: Tensor
    first_cell: Tensor
    starts_m: Tensor
    ends_m: Tensor
    far_m: Tensor
    steps: Tensor


def composite(
    size: tuple[int, int, int], density: Tensor, classes: Tensor, rays: SampledRays, eight: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Weights (R, S), ranges (R,), opacities (R,) and sums of classes (R, K) of rays.

    Args:
        size: (X, Y, Z) cells of a volume.
        density: (B, X, Y, Z) opacity per metre.
        classes: (B, X, Y, Z, K).
        rays: through these volumes.
        eight: draw on the eight cells around a point, not on its own alone.
    """
    wide = torch.promote_types(density.dtype, torch.float32)
    rays = SampledRays(*(p.to(wide) if p.is_floating_point() else p.contiguous() for p in rays))
    rays = rays._replace(
        origin=rays.origin.contiguous(), direction=rays.direction.contiguous(),
        far_m=rays.far_m.contiguous(),
    )  # fmt: skip
    composited: tuple[Tensor, Tensor, Tensor, Tensor] = _Composite.apply(
        density.contiguous(), classes.contiguous(), (*size, eight), *rays
    )
    return composited


class _Composite(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        density: Tensor,
        classes: Tensor,
        shape: tuple[int, int, int, bool],
        *parts: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        rays = SampledRays(*parts)
        count, intervals = rays.starts_m.shape
        weights = torch.zeros_like(rays.starts_m, memory_format=torch.contiguous_format)
        range_m, opacity, light = (torch.empty_like(rays.far_m) for _ in range(3))
        sums = rays.far_m.new_empty(count, classes.shape[-1])
        grid, layout, settings = _launch(rays, classes.shape[-1], shape)
        with torch.cuda.device_of(density):
            render_kernel[grid](
                density, classes, *rays, weights, range_m, opacity, light, sums,
                count, intervals, *layout, *settings,
            )  # fmt: skip
        ctx.save_for_backward(density, classes, weights, light, *parts)
        ctx.shape = shape
        return weights, range_m, opacity, sums

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, *of_results: Tensor) -> tuple[Tensor | None, ...]:
        density, classes, weights, light, *parts = ctx.saved_tensors
        rays = SampledRays(*parts)
        count, intervals = weights.shape
        of_weights, of_range, of_opacity, of_sums = (part.contiguous() for part in of_results)
        of_density = torch.zeros_like(density, dtype=weights.dtype)
        of_classes = torch.zeros_like(classes, dtype=weights.dtype)
        grid, layout, settings = _launch(rays, classes.shape[-1], ctx.shape)
        with torch.cuda.device_of(density):
            render_gradient_kernel[grid](
                classes, *rays, weights, light, of_weights, of_range, of_opacity, of_sums,
                of_density, of_classes, count, intervals, *layout, *settings,
            )  # fmt: skip
        fields = of_density.to(density.dtype), of_classes.to(classes.dtype)
        return (*fields, None, *(None for _ in parts))


def _launch(
    rays: SampledRays, classes: int, shape: tuple[int, int, int, bool]
) -> tuple[tuple[int], tuple[int, ...], tuple[Any, ...]]:
    """Number of programs, strides of the intervals, and the constants of the kernels."""
    block = tile(classes)
    programs = (-(-len(rays.far_m) // block[0]),)
    return programs, (*rays.starts_m.stride(), *rays.ends_m.stride()), (classes, *shape, *block)
