"""Rendering: rooms with known walls, the fast version against the plain one, finite gradients."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from renderocc_ros.geometry import VoxelGrid
from renderocc_ros.rendering import (
    Rays,
    ray_densities,
    ray_weights,
    render_rays,
    render_rays_plain,
    volume_rendering,
)
from renderocc_ros.rendering.compositing import expected_range, weights_from_density
from renderocc_ros.rendering.ray_sampling import (
    RaySamples,
    clip_to_grid,
    keep_where,
    sample_by_weight,
    sample_uniform,
    surface_distances,
)

GRID = VoxelGrid((-4.0, -3.0, -1.0), 0.5, (16, 12, 8))
TOP = torch.tensor(GRID.upper_m, dtype=torch.float64) - 1e-9


def random_rays(count: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    origins = torch.rand((count, 3), generator=generator, dtype=torch.float64) * 6 - 3
    directions = torch.randn((count, 3), generator=generator, dtype=torch.float64)
    directions[0] = torch.tensor([1.0, 0, 0])
    return origins, directions / directions.norm(dim=1, keepdim=True)


def through(origins: Tensor, directions: Tensor, volumes: int = 1) -> Rays:
    return Rays(origins, directions, torch.arange(len(origins)) % volumes)


def random_field(classes: int = 3, volumes: int = 1) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    size = (volumes, *GRID.size)
    density = torch.rand(size, generator=generator, dtype=torch.float64) ** 4 * 3
    logits = torch.randn((*size, classes), generator=generator, dtype=torch.float64)
    return density.requires_grad_(), logits.softmax(dim=-1).detach().requires_grad_()


def test_weights_of_the_documented_example() -> None:
    weights = weights_from_density(torch.tensor([[math.log(2), 1e9]]), torch.ones(1, 2))
    assert torch.allclose(weights, torch.tensor([[0.5, 0.5]]))
    middles, far = torch.tensor([[0.5, 1.5]]), torch.tensor([2.0])
    assert expected_range(weights, middles, far).item() == pytest.approx(1.0)


def test_clipping_meets_the_faces_of_the_box() -> None:
    origins = torch.tensor([[0.0, 0, 0], [-9, 0, 0], [-9, 0, 0], [0, 0, 9], [0, 0, 0]])
    directions = torch.tensor([[1.0, 0, 0], [1, 0, 0], [-1, 0, 0], [1, 0, 0], [0, 0, -1]])
    near, far = clip_to_grid(GRID, origins, directions)
    assert near.tolist() == [0, 5, 0, 0, 0] and far.tolist() == [4, 13, 0, 0, 1]


def test_uniform_intervals_cover_the_ray_once() -> None:
    origins, directions = random_rays(50)
    for generator in (None, torch.Generator().manual_seed(0)):
        samples = sample_uniform(GRID, origins, directions, 0.2, generator)
        near, far = clip_to_grid(GRID, origins, directions)
        assert torch.allclose(samples.lengths_m.sum(dim=1), far - near)
        assert (samples.lengths_m >= 0).all() and samples.lengths_m.max() <= 0.2 + 1e-9


@pytest.mark.parametrize("lookup", ["nearest", "trilinear"])
def test_fast_equals_plain_in_values_and_gradients(
    lookup: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(volume_rendering, "SAMPLES_AT_ONCE", 200)  # many groups, of few rays each
    origins, directions = random_rays(64)
    samples = sample_uniform(GRID, origins, directions, 0.23)
    results = []
    for render in (render_rays, render_rays_plain):
        density, classes = random_field(volumes=2)
        rays = through(origins, directions, volumes=2)
        seen = render(GRID, density, classes, rays, samples, lookup)
        loss = seen.range_m.square().sum() + (seen.classes * seen.opacity[:, None]).square().sum()
        loss = loss + (seen.weights * samples.middles_m).square().sum()
        gradients = torch.autograd.grad(loss, (density, classes))
        results.append((seen.range_m, seen.opacity, seen.classes, *gradients))
        assert torch.allclose(ray_weights(GRID, density, rays, samples, lookup), seen.weights)
    for fast, plain in zip(*results, strict=True):
        assert torch.allclose(fast, plain, atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("height", [-0.45, -0.3, -0.15, -0.05, 0.1, 0.25, 0.4])
def test_the_ground_is_rendered_inside_the_layer_that_contains_it(height: float) -> None:
    """Wherever the ground lies inside its cell, rays end within that layer, not between layers."""
    (_, _, layer), _ = GRID.index_of([0.0, 0.0, height])
    density = torch.zeros(1, *GRID.size)
    density[..., layer] = 50.0
    origins = torch.tensor([[0.0, 0.0, 2.5]]).expand(40, 3)
    angles = torch.linspace(0, 2 * math.pi, 40)
    directions = torch.stack([angles.cos(), angles.sin(), torch.full_like(angles, -2.0)], dim=1)
    directions = directions / directions.norm(dim=1, keepdim=True)
    samples = sample_uniform(GRID, origins, directions, 0.02)
    seen = render_rays(
        GRID, density, torch.ones(1, *GRID.size, 1), through(origins, directions), samples
    )
    met = (origins + seen.range_m[:, None] * directions)[:, 2]
    assert (
        GRID.index_of(torch.stack([met * 0, met * 0, met], dim=1))[0][:, 2].tolist() == [layer] * 40
    )


@pytest.mark.parametrize(("camera_m", "ground_m"), [(1.5, 0.0), (1.5, -0.3), (2.6, 0.25)])
def test_ground_far_ahead_is_seen_where_it_is(camera_m: float, ground_m: float) -> None:
    """Grazing rays end halfway through the layer of the ground, not where they come into it."""
    grid = VoxelGrid((-40.0, -40.0, -1.0), 0.8, (100, 100, 8))
    (_, _, layer), _ = grid.index_of([0.0, 0.0, ground_m])
    middle_m = grid.origin_m[2] + (layer + 0.5) * grid.resolution_m
    density = torch.zeros(1, *grid.size)
    density[..., layer] = 10.0
    ahead_m = torch.tensor([3.0, 6.0, 12.0, 24.0])
    target = torch.stack([ahead_m, ahead_m / 3, torch.full((4,), ground_m)], dim=1)
    origins = torch.tensor([[0.0, 0.0, camera_m]]).expand(4, 3)
    truth_m = (target - origins).norm(dim=1)
    rays = through(origins, (target - origins) / truth_m[:, None])
    samples = sample_uniform(grid, origins, rays.direction, 0.4)
    ones = torch.ones(1, *grid.size, 1)
    seen = render_rays(grid, density, ones, rays, samples, threshold=0.5).range_m
    met = origins[:, 2] + seen * rays.direction[:, 2]
    steep = rays.direction[:, 2].abs()
    assert ((met - middle_m).abs() <= 0.4 * steep + 0.05).all(), "halfway through the layer"
    at_once = render_rays(grid, density, ones, rays, samples).range_m
    assert (at_once[-1] < 0.85 * seen[-1]).all(), "compositing alone ends where cells begin"


def test_where_light_ends_follows_its_definition() -> None:
    """Beside a walk along each ray, stretch by stretch."""
    origins, directions = random_rays(200)
    for generator in (None, torch.Generator().manual_seed(2)):
        samples = sample_uniform(GRID, origins, directions, 0.1, generator)
        drawn = torch.rand(GRID.size, generator=torch.Generator().manual_seed(4)) < 0.6
        points = origins[:, None] + samples.middles_m[..., None] * directions[:, None]
        cells, _ = GRID.index_of(points.clamp(torch.tensor(GRID.origin_m), TOP))
        occupied = drawn[tuple(torch.from_numpy(cells).movedim(-1, 0))]
        level = torch.rand(occupied.shape, generator=torch.Generator().manual_seed(5)) < 0.7
        result = surface_distances(GRID, origins, directions, samples, occupied, level)
        compared = 0
        for ray in range(len(origins)):
            end = int((samples.lengths_m[ray] > 0).sum())
            layers, solid = cells[ray, :, 2], occupied[ray]
            start = 0
            while start < end:
                stop = start + 1
                while stop < end and layers[stop] == layers[start] and solid[start] and solid[stop]:
                    stop += 1
                expected = samples.middles_m[ray, start:stop]
                through_face = start > 0 and layers[start - 1] != layers[start]
                if solid[start] and through_face:
                    if level[ray, start]:
                        both = samples.starts_m[ray, start] + samples.ends_m[ray, stop - 1]
                        expected = (both / 2).expand(stop - start)
                    compared += 1
                if start > 0:  # of the first, nobody knows where it came from
                    assert torch.allclose(result[ray, start:stop], expected, atol=1e-9)
                start = stop
        assert compared > 200


def test_a_thick_wall_is_seen_at_its_face() -> None:
    """A ray that comes in from the side has met an upright surface: no way through the wall."""
    density = torch.zeros(1, *GRID.size)
    density[0, 10:] = 20.0  # x from 1.0 on
    origins = torch.zeros(3, 3)
    directions = torch.tensor([[1.0, 0, 0], [1, 0.3, -0.05], [1, -0.2, 0.05]])
    directions = directions / directions.norm(dim=1, keepdim=True)
    samples = sample_uniform(GRID, origins, directions, 0.05)
    ones = torch.ones(1, *GRID.size, 1)
    seen = render_rays(GRID, density, ones, through(origins, directions), samples, threshold=0.5)
    assert torch.allclose(seen.range_m * directions[:, 0], torch.ones(3), atol=0.08)


def test_a_room_with_two_walls() -> None:
    density, classes = torch.zeros(1, *GRID.size), torch.zeros(1, *GRID.size, 2)
    density[0, 14], classes[0, 14, ..., 0] = 100.0, 1.0  # x from 3.0 to 3.5
    density[0, :, 1], classes[0, :, 1, :, 1] = 100.0, 1.0  # y from -2.5 to -2.0
    origins = torch.zeros(3, 3)
    directions = torch.tensor([[1.0, 0, 0], [0, -1, 0], [0, 1, 0]])
    samples = sample_uniform(GRID, origins, directions, 0.05)
    seen = render_rays(GRID, density, classes, through(origins, directions), samples)
    assert torch.allclose(seen.range_m, torch.tensor([3.0, 2.0, 3.0]), atol=0.06)
    assert torch.allclose(seen.opacity, torch.tensor([1.0, 1.0, 0.0]))
    assert torch.allclose(seen.classes, torch.tensor([[1.0, 0], [0, 1], [0, 0]]))


def test_gradients_are_finite_for_any_density() -> None:
    origins, directions = random_rays(20)
    samples = sample_uniform(GRID, origins, directions, 0.3)
    for magnitude in (0.0, 1e-30, 1.0, 1e5, 1e30):
        density = torch.full((1, *GRID.size), magnitude, dtype=torch.float64, requires_grad=True)
        classes = torch.full((1, *GRID.size, 2), 0.5, dtype=torch.float64, requires_grad=True)
        seen = render_rays(GRID, density, classes, through(origins, directions), samples)
        (seen.range_m.sum() + seen.classes.sum() + seen.opacity.sum()).backward()
        assert density.grad is not None and classes.grad is not None
        assert density.grad.isfinite().all() and classes.grad.isfinite().all()


def test_weighted_sampling_goes_where_the_weight_is() -> None:
    origins, directions = random_rays(30)
    coarse = sample_uniform(GRID, origins, directions, 0.25)
    weights = torch.zeros_like(coarse.lengths_m)
    weights[:, 3] = 1.0
    fine = sample_by_weight(coarse, weights, 64)
    assert (fine.lengths_m >= -1e-12).all()
    inside = (fine.middles_m > coarse.starts_m[:, 3:4]) & (fine.middles_m < coarse.ends_m[:, 3:4])
    long_enough = coarse.lengths_m[:, 3] > 0.2
    assert (inside.double().mean(dim=1)[long_enough] > 0.95).all()
    even = sample_by_weight(coarse, torch.zeros_like(weights), 10)
    lengths = even.lengths_m[coarse.far_m > 0]
    assert torch.allclose(lengths, lengths.mean(dim=1, keepdim=True).expand_as(lengths))


@pytest.mark.parametrize("lookup", ["nearest", "trilinear"])
def test_skipping_empty_cells_changes_nothing_but_the_work(lookup: str) -> None:
    origins, directions = random_rays(64)
    density, classes = random_field()
    draw = torch.rand(density.shape, generator=torch.Generator().manual_seed(3))
    density = torch.where(draw < 0.8, 0.0, density.detach() + 0.1)
    rays = through(origins, directions)
    everywhere = sample_uniform(GRID, origins, directions, 0.2)
    wanted = ray_densities(GRID, density, rays, everywhere, lookup) > 0
    samples = keep_where(everywhere, wanted)
    assert samples.lengths_m.shape[1] == (wanted & (everywhere.lengths_m > 0)).sum(dim=1).max()
    assert (samples.starts_m.diff(dim=1) >= 0).all()
    whole, skipping = (
        render_rays(GRID, density, classes, rays, each, lookup) for each in (everywhere, samples)
    )
    for name in ("range_m", "opacity", "classes"):
        assert torch.allclose(getattr(whole, name), getattr(skipping, name), atol=1e-10)
    nothing = keep_where(everywhere, torch.zeros_like(wanted))
    seen = render_rays(GRID, density, classes, rays, nothing, lookup)
    assert not seen.opacity.any() and torch.equal(seen.range_m, everywhere.far_m)


def test_the_integral_converges_to_the_exact_one() -> None:
    """One homogeneous medium: opacity 1 − exp(−σL), whatever the intervals."""
    grid = VoxelGrid((0, 0, 0), 1.0, (10, 1, 1))
    density, classes = torch.full((1, *grid.size), 0.3), torch.ones((1, *grid.size, 1))
    origins, directions = torch.tensor([[-1.0, 0.5, 0.5]]), torch.tensor([[1.0, 0, 0]])
    edges = torch.tensor([[1.0, 1.5, 4.0, 4.1, 9.0, 11.0]])
    seen = render_rays(
        grid,
        density,
        classes,
        through(origins, directions),
        RaySamples.between(edges, torch.tensor([1.0]), torch.tensor([11.0])),
    )
    assert seen.opacity.item() == pytest.approx(1 - math.exp(-3.0), rel=1e-6)


def test_no_rays_and_rays_that_miss() -> None:
    density, classes = random_field()
    empty = torch.zeros(0, 3, dtype=torch.float64)
    samples = sample_uniform(GRID, empty, empty, 0.5)
    assert render_rays(GRID, density, classes, through(empty, empty), samples).classes.shape == (
        0,
        3,
    )
    away = torch.tensor([[50.0, 0, 0]], dtype=torch.float64)
    samples = sample_uniform(GRID, away, torch.tensor([[1.0, 0, 0]], dtype=torch.float64), 0.5)
    seen = render_rays(GRID, density, classes, through(away, away / 50), samples)
    assert seen.opacity.item() == 0 and seen.range_m.item() == 0


def test_above_a_threshold_of_one_nothing_is_occupied() -> None:
    """The node's parameter may be 1: then ranges are those of compositing alone."""
    density, ones = torch.zeros(1, *GRID.size), torch.ones(1, *GRID.size, 1)
    density[0, 10:] = 1e6
    origins, directions = torch.zeros(1, 3), torch.tensor([[0.8, 0.6, 0.0]])
    samples, rays = sample_uniform(GRID, origins, directions, 0.05), through(origins, directions)
    at_one = render_rays(GRID, density, ones, rays, samples, threshold=1.0).range_m
    assert torch.equal(at_one, render_rays(GRID, density, ones, rays, samples).range_m)
