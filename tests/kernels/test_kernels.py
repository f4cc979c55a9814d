"""The Triton kernels against the plain PyTorch versions: values, gradients, and odd input.

On a GPU where there is one, else in Triton's interpreter. Tolerances: sums of some hundred terms in
another order, in float32, differ by about 1e-6 of the largest; in float64 the series of
``opacity_of`` is exact to 2e-11.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from renderocc_ros.geometry import VoxelGrid
from renderocc_ros.kernels import tile, use_triton
from renderocc_ros.network.official.stereo_cost import stereo_cost, stereo_cost_plain
from renderocc_ros.network.official.voxel_pooling import (
    plan_pooling,
    pool_voxels,
    pool_voxels_plain,
    voxel_of_points,
)
from renderocc_ros.network.view_lifting import build_table, pool_fast, pool_plain
from renderocc_ros.rendering import (
    Rays,
    RenderedRays,
    render_rays,
    render_rays_plain,
    volume_rendering,
)
from renderocc_ros.rendering.ray_sampling import RaySamples, keep_where, sample_uniform

pytestmark = pytest.mark.usefixtures("_kernels")

GRID = VoxelGrid((-2.0, -1.5, -1.0), 0.5, (8, 6, 4))
TOLERANCE = {torch.float32: 2e-5, torch.float64: 1e-9}


def assert_close(result: Tensor, wanted: Tensor, tolerance: float) -> None:
    """Equal to a part of the largest value."""
    scale = max(1.0, float(wanted.detach().abs().max())) if wanted.numel() else 1.0
    torch.testing.assert_close(result, wanted, rtol=tolerance, atol=tolerance * scale)


# Pooling


def lifted(
    device: torch.device, channels: int, reach_m: float = 2.0
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Points (B, N, D, h, w, 3), cameras, depth and context; one camera of the first is missing."""
    generator = torch.Generator().manual_seed(channels)
    points = reach_m * (2 * torch.rand(2, 2, 5, 3, 4, 3, generator=generator) - 1)
    valid = torch.tensor([[True, False], [True, True]])
    depth = torch.rand(2, 2, 5, 3, 4, generator=generator)
    context = torch.randn(2, 2, channels, 3, 4, generator=generator)
    return points.to(device), valid.to(device), depth.to(device), context.to(device)


def gradients_of(
    pool: Callable[[Tensor, Tensor], Tensor], depth: Tensor, context: Tensor
) -> tuple[Tensor, ...]:
    """The pooled volume and its gradients, for a loss that tells all of its values apart."""
    inputs = depth.detach().requires_grad_(), context.detach().requires_grad_()
    volume = pool(*inputs)
    slope = torch.linspace(-1, 1, volume.numel(), device=volume.device, dtype=torch.float64)
    (volume * slope.view(volume.shape)).sum().backward()
    return (volume, *(value.grad for value in inputs if value.grad is not None))


@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize("channels", [1, 7, 64])
def test_lifting_pools_as_the_plain_version(
    device: torch.device, channels: int, flat: bool
) -> None:
    points, valid, depth, context = lifted(device, channels)
    table = build_table(points, valid, GRID, flat=flat)
    assert 0 < table.inside < len(table.point) and table.start.diff().max() > 1
    result = gradients_of(lambda d, c: pool_fast(d, c, table), depth, context)
    wanted = gradients_of(lambda d, c: pool_plain(d, c, table), depth, context)
    assert not result[1][0, 1].any()  # nothing flows into the missing camera
    for mine, plain in zip(result, wanted, strict=True):
        assert plain.any()
        assert_close(mine, plain, 1e-5)


def test_half_precision_is_summed_in_float32(device: torch.device) -> None:
    points, valid, depth, context = lifted(device, 8)
    table = build_table(points / 20, valid, GRID, flat=True)
    half = context.to(torch.bfloat16)
    result = pool_fast(depth, half, table)
    wanted = pool_plain(depth, half.float(), table)
    assert result.dtype == torch.bfloat16
    assert_close(result.float(), wanted, 2**-8)  # one rounding, of the result


@pytest.mark.parametrize("truncate", [False, True])
def test_official_pooling_equals_the_plain_version(device: torch.device, truncate: bool) -> None:
    points, _, depth, context = lifted(device, 6)
    voxels = voxel_of_points(points, GRID, truncate)
    plan = plan_pooling(voxels, GRID)
    aside = depth.transpose(-1, -2).contiguous().transpose(-1, -2)  # not contiguous
    result = gradients_of(lambda d, c: pool_voxels(plan, d, c), aside, context)
    wanted = gradients_of(lambda d, c: pool_voxels_plain(voxels, d, c, GRID), depth, context)
    for mine, plain in zip(result, wanted, strict=True):
        assert plain.any()
        assert_close(mine, plain, 1e-5)


def test_no_point_in_the_grid_makes_an_empty_volume(device: torch.device) -> None:
    points, valid, depth, context = lifted(device, 3)
    table = build_table(points + 50, valid, GRID, flat=False)
    volume, of_depth, of_context = gradients_of(lambda d, c: pool_fast(d, c, table), depth, context)
    assert volume.shape == (2 * GRID.cell_count, 3)
    assert not volume.any() and not of_depth.any() and not of_context.any()
    plan = plan_pooling(voxel_of_points(points + 50, GRID), GRID)
    assert not pool_voxels(plan, depth, context).any()


# Stereo cost


@pytest.mark.parametrize("channels", [3, 8, 70])
def test_matching_costs_as_the_plain_version(device: torch.device, channels: int) -> None:
    generator = torch.Generator().manual_seed(channels)
    past, current = torch.randn(2, 2, channels, 6, 8, generator=generator)
    past[:, (channels - 1) // 4 * 4, 2:4, 3:5] = 0.0  # a zero inside counts as outside, too
    grid = 1.4 * (2 * torch.rand(2, 5, 6, 8, 2, generator=generator) - 1)
    edges = [[-1.0, -1.0], [1.0, 1.0], [-2.0, -2.0], [1e30, -1e30], [1.0 + 1 / 8, 0.0]]
    grid[:, 0, 0, :5] = torch.tensor(edges)
    grid[:, 2, 2, 2] = torch.tensor([2 * 3.5 / 7 - 1, 2 * 2.5 / 5 - 1])
    past, current, grid = past.to(device), current.to(device), grid.to(device)
    plain = stereo_cost_plain(past, current, grid, 5.0)
    for layout in (torch.contiguous_format, torch.channels_last):
        both = (part.contiguous(memory_format=layout) for part in (past, current))
        assert_close(stereo_cost(*both, grid, 5.0), plain, 1e-5)
    assert not torch.allclose(stereo_cost(past, current, grid, 0.0), plain, atol=1e-3)


def test_points_that_are_no_numbers_lie_outside(device: torch.device) -> None:
    past, current = torch.randn(2, 1, 4, 6, 8, generator=torch.Generator().manual_seed(0)).to(
        device
    )
    grid = torch.zeros(1, 2, 6, 8, 2, device=device)
    grid[:, 0], grid[:, 1] = float("nan"), -3.0
    cost = stereo_cost(past, current, grid, 5.0)
    assert torch.equal(cost, torch.full_like(cost, 0.5))


def test_matching_with_gradients_takes_pytorch(device: torch.device) -> None:
    past = torch.randn(1, 4, 6, 8, device=device, requires_grad=True)
    grid = torch.zeros(1, 2, 6, 8, 2, device=device)
    grid[:, 1] = 0.5
    stereo_cost(past, torch.ones_like(past), grid, 5.0).square().sum().backward()
    assert past.grad is not None and past.grad.any()


# Rendering


def random_rays(device: torch.device, count: int, dtype: torch.dtype) -> Rays:
    """From inside and outside the grid; the first goes along an axis."""
    generator = torch.Generator().manual_seed(count)
    origin = 4 * torch.rand((count, 3), generator=generator, dtype=dtype) - 2
    way = torch.randn((count, 3), generator=generator, dtype=dtype)
    way[0] = torch.tensor([1.0, 0, 0])
    way = way / way.norm(dim=1, keepdim=True)
    return Rays(origin.to(device), way.to(device), (torch.arange(count) % 2).to(device))


def random_field(device: torch.device, classes: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    size = (2, *GRID.size)
    density = torch.rand(size, generator=generator, dtype=dtype) ** 4 * 3
    logits = torch.randn((*size, classes), generator=generator, dtype=dtype)
    return density.to(device), logits.softmax(dim=-1).to(device)


def loss_of(seen: RenderedRays, samples: RaySamples) -> Tensor:
    """Every result takes part, each with a weight of its own."""
    classes = seen.classes * torch.arange(1, seen.classes.shape[1] + 1, device=samples.far_m.device)
    loss = seen.range_m.square().sum() + (classes * seen.opacity[:, None]).square().sum()
    return loss + (seen.weights * samples.middles_m.sin()).square().sum()


def results(
    render: Callable[..., RenderedRays],
    field: tuple[Tensor, Tensor],
    rays: Rays,
    samples: RaySamples,
    lookup: str,
) -> dict[str, Tensor]:
    density, classes = (value.detach().requires_grad_() for value in field)
    seen = render(GRID, density, classes, rays, samples, lookup)
    of_density, of_classes = torch.autograd.grad(loss_of(seen, samples), (density, classes))
    return vars(seen) | {"of_density": of_density, "of_classes": of_classes}


@pytest.mark.parametrize(("classes", "dtype"), [(1, torch.float64), (9, torch.float32)])
@pytest.mark.parametrize("lookup", ["nearest", "trilinear"])
def test_rays_render_as_in_the_plain_version(
    device: torch.device, lookup: str, classes: int, dtype: torch.dtype
) -> None:
    rays = random_rays(device, 40, dtype)  # more than a block
    jitter = torch.Generator().manual_seed(0)
    samples = sample_uniform(GRID, rays.origin, rays.direction, 0.4, jitter)
    missed = samples.far_m == 0
    assert 0 < missed.sum() < 35
    field = random_field(device, classes, dtype)
    pair = [results(r, field, rays, samples, lookup) for r in (render_rays, render_rays_plain)]
    for name, wanted in pair[1].items():
        assert wanted.any(), name
        assert_close(pair[0][name], wanted, TOLERANCE[dtype])


def test_layouts_and_skipped_samples_change_nothing(device: torch.device) -> None:
    rays = random_rays(device, 20, torch.float64)
    everywhere = sample_uniform(GRID, rays.origin, rays.direction, 0.4)
    draw = torch.rand(everywhere.starts_m.shape, generator=torch.Generator().manual_seed(2))
    samples = keep_where(everywhere, draw.to(device) < 0.5)
    density, classes = random_field(device, 3, torch.float64)
    wanted = results(render_rays_plain, (density, classes), rays, samples, "nearest")
    aside = replace(samples, starts_m=samples.starts_m.T.contiguous().T)
    classes = classes.movedim(-1, 1).contiguous().movedim(1, -1)
    turned = replace(rays, direction=rays.direction.T.contiguous().T)
    assert not (aside.starts_m.is_contiguous() or turned.direction.is_contiguous())
    result = results(render_rays, (density, classes), turned, aside, "nearest")
    for name, value in wanted.items():
        assert_close(result[name], value, 1e-9)


def test_ranges_by_layers_are_those_of_the_cpu(
    device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    rays = random_rays(device, 40, torch.float64)
    samples = sample_uniform(GRID, rays.origin, rays.direction, 0.1)
    field = random_field(device, 2, torch.float64)

    def by_layers(*arguments: Any) -> RenderedRays:
        return render_rays(*arguments, threshold=0.5)

    result = results(by_layers, field, rays, samples, "nearest")
    plain = results(render_rays, field, rays, samples, "nearest")
    monkeypatch.setattr(volume_rendering, "use_triton", lambda _: False)
    wanted = results(by_layers, field, rays, samples, "nearest")
    assert not torch.equal(plain["range_m"], wanted["range_m"])
    for name, value in wanted.items():
        assert_close(result[name], value, 1e-9)


def test_no_rays_and_no_samples(device: torch.device) -> None:
    density, classes = random_field(device, 3, torch.float32)
    nowhere = torch.zeros(0, 3, device=device)
    none = Rays(nowhere, nowhere, torch.zeros(0, dtype=torch.int64, device=device))
    samples = sample_uniform(GRID, none.origin, none.direction, 0.5)
    result = results(render_rays, (density, classes), none, samples, "nearest")
    assert result["classes"].shape == (0, 3) and not result["of_density"].any()
    rays = random_rays(device, 6, torch.float32)
    samples = sample_uniform(GRID, rays.origin, rays.direction, 0.5)
    nothing = keep_where(samples, torch.zeros_like(samples.starts_m, dtype=torch.bool))
    result = results(render_rays, (density, classes), rays, nothing, "trilinear")
    assert torch.equal(result["range_m"], samples.far_m) and not result["opacity"].any()
    assert not result["of_density"].any() and not result["of_classes"].any()


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_clear_and_opaque_fields_have_finite_gradients(
    device: torch.device, dtype: torch.dtype
) -> None:
    """From nothing to a wall in every cell; gradients that say where density belongs stay alive."""
    rays = random_rays(device, 10, dtype)
    samples = sample_uniform(GRID, rays.origin, rays.direction, 0.4)
    met = samples.far_m > 0
    _, classes = random_field(device, 2, dtype)
    for magnitude in (0.0, 1e-30, 1e-3, 1.0, 1e5, 1e30):
        field = torch.full((2, *GRID.size), magnitude, device=device, dtype=dtype), classes
        result = results(render_rays, field, rays, samples, "nearest")
        wanted = results(render_rays_plain, field, rays, samples, "nearest")
        for name, value in wanted.items():
            assert result[name].isfinite().all(), name
            assert_close(result[name], value, TOLERANCE[dtype])
        if magnitude <= 1e-30:
            assert result["of_density"].any() and result["opacity"].max() < 1e-28
        if magnitude >= 1e5:
            assert torch.equal(result["opacity"] == 1, met)


def test_faint_media_keep_their_digits(device: torch.device) -> None:
    """Opacity 1 − exp(−σL) for one homogeneous medium, also where 1 − exp has lost its digits."""
    grid = VoxelGrid((0, 0, 0), 1.0, (10, 1, 1))
    rays = Rays(
        torch.tensor([[-1.0, 0.5, 0.5]], device=device),
        torch.tensor([[1.0, 0, 0]], device=device),
        torch.zeros(1, dtype=torch.int64, device=device),
    )
    samples = sample_uniform(grid, rays.origin, rays.direction, 1.0)
    for sigma in (1e-9, 1e-5, 0.01, 0.12, 0.13, 2.0):
        density = torch.full((1, *grid.size), sigma, device=device)
        seen = render_rays(
            grid, density, torch.ones((*density.shape, 1), device=device), rays, samples
        )
        exact = -torch.expm1(torch.tensor(-10 * sigma, dtype=torch.float64)).item()
        assert seen.opacity.item() == pytest.approx(exact, rel=2e-6)


# The choice


def test_the_environment_chooses(device: torch.device, monkeypatch: pytest.MonkeyPatch) -> None:
    tensor = torch.zeros(1, device=device)
    assert use_triton(tensor)
    monkeypatch.setenv("RENDEROCC_KERNELS", "torch")
    assert not use_triton(tensor)
    monkeypatch.setenv("RENDEROCC_KERNELS", "auto")
    assert use_triton(tensor) == tensor.is_cuda and not use_triton(tensor.cpu())
    monkeypatch.setenv("RENDEROCC_KERNELS", "cuda")
    with pytest.raises(ValueError, match="'cuda' is not one of: auto, torch, triton"):
        use_triton(tensor)
    monkeypatch.setenv("RENDEROCC_KERNELS", "triton")
    monkeypatch.setenv("TRITON_INTERPRET", "0")
    with pytest.raises(ValueError, match="move them to CUDA"):
        use_triton(tensor.cpu())


@pytest.mark.parametrize(("columns", "wanted"), [(1, (64, 1)), (17, (16, 32)), (5000, (1, 8192))])
def test_tiles_are_powers_of_two(columns: int, wanted: tuple[int, int]) -> None:
    assert tile(columns) == wanted
