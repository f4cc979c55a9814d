"""The official rendering head against its definition, sample by sample."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from renderocc_ros.class_set import ClassSet
from renderocc_training.rendering.paper_head import (
    NEGLIGIBLE,
    OPAQUE,
    PaperScene,
    composite,
    distortion_loss,
    far_enough,
    losses,
    render,
    sample_rays,
)
from renderocc_training.supervision.class_weights import published_counts

SCENE = PaperScene()


def rays(count: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    origin = torch.rand(count, 3, generator=generator) + torch.tensor([0.0, 0.0, 1.0])
    return origin, torch.randn(count, 3, generator=generator) * torch.tensor([1.0, 1.0, 0.2])


def test_published_counts_are_those_of_the_published_classes_alone(occ3d: ClassSet) -> None:
    counts = published_counts(occ3d)
    assert counts is not None and counts[occ3d.id_of("driveable_surface")] == max(counts)
    assert published_counts(replace(occ3d, name="my_seventeen")) is None


def test_steps_are_summed_until_far_enough() -> None:
    steps = torch.rand(5, 40, generator=torch.Generator().manual_seed(1))
    over = far_enough(steps, 0.9)
    for ray in range(5):
        travelled = 0.0
        for i, step in enumerate(steps[ray].tolist()):
            travelled += step
            assert bool(over[ray, i]) == (travelled > 0.9)
            travelled = 0.0 if travelled > 0.9 else travelled


def test_compositing_follows_the_light_until_it_is_gone() -> None:
    alpha = torch.rand(6, 30, generator=torch.Generator().manual_seed(2)).square()
    alpha[0] = 0.0
    alpha[1] = 1e-4
    weights, rest = composite(alpha)
    for ray in range(6):
        light = 1.0
        for i, a in enumerate(alpha[ray].tolist()):
            expected = light * a if light >= OPAQUE else 0.0
            assert float(weights[ray, i]) == pytest.approx(expected, rel=1e-4, abs=1e-9)
            light = light * (1 - a) if light >= OPAQUE else light
        assert float(rest[ray]) == pytest.approx(light, rel=1e-4)


def test_a_wall_renders_at_the_contracted_depth() -> None:
    """Depth integrates s = 1 - 1/(1+t): a surface at 20 m comes out at 39·s, not at 20."""
    density = torch.full((200, 200, 16), -30.0)
    density[150:] = 40.0  # x from 20 m on
    origin, ahead = torch.tensor([[0.0, 0.0, 2.2]]), torch.tensor([[3.0, 0.0, 0.0]])
    semantics = torch.zeros(200, 200, 16, 3)
    semantics[150:, ..., 1] = 2.0
    view = render(origin, ahead, density, semantics, torch.eye(3), SCENE)
    t = 20.0 / 39.0
    assert float(view.depth_m[0]) == pytest.approx(39 * (1 - 1 / (1 + t)), abs=0.4)
    logits = view.semantics[0].tolist()  # the first samples in the wall are mixed with free space
    assert 1.6 < logits[1] < 2.0 and logits[0] == logits[2] == 0.0
    assert float(view.transmittance[0]) < OPAQUE


def test_flipping_the_volume_and_the_augmentation_changes_nothing() -> None:
    generator = torch.Generator().manual_seed(3)
    density = 20 * torch.rand(200, 200, 16, generator=generator)
    semantics = torch.randn(200, 200, 16, 2, generator=generator)
    origin, direction = rays(20)
    flip = torch.diag(torch.tensor([-1.0, 1.0, 1.0]))
    plain = render(origin, direction, density, semantics, torch.eye(3), SCENE)
    flipped = render(origin, direction, density.flip(0), semantics.flip(0), flip, SCENE)
    torch.testing.assert_close(flipped.depth_m, plain.depth_m, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(flipped.semantics, plain.semantics, rtol=1e-2, atol=1e-2)


def test_samples_lie_inside_the_box_and_in_order() -> None:
    origin, direction = rays(10)
    samples = sample_rays(origin, direction, torch.eye(3), SCENE)
    assert (samples.t.diff() > 0).all() and samples.points.norm(dim=-1).max() < 1 + SCENE.margin
    assert samples.kept[samples.inside].all() and 0.4 < samples.kept.float().mean() < 0.9


def test_distortion_is_the_sum_over_pairs() -> None:
    generator = torch.Generator().manual_seed(4)
    density = 25 * torch.rand(200, 200, 16, generator=generator) - 5
    origin, direction = rays(4)
    view = render(origin, direction, density, torch.zeros(200, 200, 16, 1), torch.eye(3), SCENE)
    s = (1 - 1 / (1 + view.samples.t)).double()
    w = view.weights.double()
    assert (view.used == (view.weights > NEGLIGIBLE)).all()
    pairs = (w[:, :, None] * w[:, None] * (s[:, None] - s[None]).abs()).sum()
    expected = (pairs + w.square().sum() / 3 / view.used.sum()) / 4
    assert float(distortion_loss(view)) == pytest.approx(float(expected), rel=1e-4)


def test_rays_without_a_near_label_do_not_count() -> None:
    generator = torch.Generator().manual_seed(5)
    density = 20 * torch.rand(1, 200, 200, 16, generator=generator)
    semantics = torch.randn(1, 200, 200, 16, 17, generator=generator)
    origin, direction = rays(30)
    batch = torch.cat(
        [torch.zeros(30, 2), torch.full((30, 2), 10.0), origin, direction, direction], 1
    )
    batch[20:25, 2], batch[25:, 2] = 0.0, 52.5
    all_of = losses(density, semantics, batch[None], torch.eye(3)[None])
    counting = losses(density, semantics, batch[None, :20], torch.eye(3)[None])
    assert all_of.keys() == counting.keys() and len(all_of) == 4
    for name, value in all_of.items():
        assert torch.equal(value, counting[name]) and value.isfinite()
