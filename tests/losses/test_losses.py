"""Losses: minimal at the truth, brute force, finite on empty and extreme input."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from renderocc_ros.class_set import IGNORE_ID, OCCUPIED_ID
from renderocc_ros.geometry import VoxelGrid
from renderocc_ros.network.occupancy_field import OccupancyField, opacity
from renderocc_ros.rendering import Rays
from renderocc_ros.rendering.ray_sampling import RaySamples, keep_where
from renderocc_training import losses

GRID = VoxelGrid((0.0, -2.0, -1.0), 0.5, (20, 8, 6))
ALL = torch.ones(1, 5, dtype=torch.bool)
RANGE = torch.tensor([[1.0, 4.0, 9.0, 20.0, 45.0]])


def test_range_losses_are_zero_at_the_truth_and_grow_away_from_it() -> None:
    for loss in (losses.scale_invariant_log_loss, losses.range_l1_loss):
        assert loss(RANGE, RANGE, ALL).item() == pytest.approx(0, abs=1e-6)
        values = [loss(RANGE * factor, RANGE, ALL).item() for factor in (1.0, 1.1, 1.5, 3.0)]
        assert values == sorted(values) and values[1] > 0.01


def test_scale_invariant_log_loss_by_hand() -> None:
    d = torch.tensor([0.1, -0.2, 0.3, 0.0, 0.05])
    expected = (d.square().mean() - 0.85 * d.mean().square()).sqrt()
    result = losses.scale_invariant_log_loss(RANGE * d.exp(), RANGE, ALL)
    assert result.item() == pytest.approx(expected.item(), abs=2e-4)


def test_what_the_mask_excludes_changes_nothing() -> None:
    mask = torch.tensor([[True, True, True, False, False]])
    label = torch.where(mask, RANGE, torch.tensor(float("nan")))
    rendered = (RANGE * 1.2).requires_grad_()
    for loss in (losses.scale_invariant_log_loss, losses.range_l1_loss):
        value = loss(rendered, label, mask)
        (gradient,) = torch.autograd.grad(value, rendered)
        assert value.item() == pytest.approx(
            loss(RANGE[:, :3] * 1.2, RANGE[:, :3], ALL[:, :3]).item(), rel=1e-5
        )
        assert gradient.isfinite().all() and (gradient[:, 3:] == 0).all()


def test_a_batch_is_the_mean_of_its_samples_however_labels_are_spread() -> None:
    generator = torch.Generator().manual_seed(0)
    rendered, label = (1 + torch.rand((2, 2, 30), generator=generator)).unbind()
    mask = torch.rand((2, 30), generator=generator) < torch.tensor([[0.9], [0.2]])
    for loss in (losses.scale_invariant_log_loss, losses.range_l1_loss):
        one, two = (loss(rendered[i, None], label[i, None], mask[i, None]) for i in range(2))
        assert loss(rendered, label, mask).item() == pytest.approx((one + two).item() / 2)


def test_semantic_loss_is_weighted_cross_entropy() -> None:
    probability = torch.tensor([[0.7, 0.3], [0.2, 0.8], [0.5, 0.5]])
    target = torch.tensor([0, 1, IGNORE_ID])
    weights = torch.tensor([1.0, 3.0])
    mask = torch.ones(3, dtype=torch.bool)
    expected = torch.nn.functional.nll_loss(probability[:2].log(), target[:2], weights)
    result = losses.semantic_loss(probability[None], target[None], mask[None], weights)
    assert result.item() == pytest.approx(expected.item())


def test_rare_classes_weigh_more_in_each_sample_by_itself() -> None:
    labels = torch.full((2, 200), IGNORE_ID)
    for class_id, count in enumerate((100, 25, 4)):
        start = 100 * (class_id == 1) + 125 * (class_id == 2)
        labels[0, start : start + count] = class_id
    labels[0, 129:139] = OCCUPIED_ID
    labels[1, :5] = 3
    weights = losses.tempered_class_weights(labels, 4)
    assert weights.tolist() == [[0.5, 1.0, 2.5, 1.0], [1.0, 1.0, 1.0, 1.0]]
    assert torch.equal(losses.tempered_class_weights(labels[1:], 4), weights[1:])
    assert losses.tempered_class_weights(labels * 0 + 9, 4).tolist() == [[1.0] * 4] * 2


def test_every_semantic_loss_takes_weights_by_sample() -> None:
    """Each equals the mean over samples of the loss with that sample's own table."""
    generator = torch.Generator().manual_seed(1)
    shape = (2, *GRID.size)
    field = OccupancyField(
        torch.rand(shape, generator=generator),
        torch.rand((2, 3, *GRID.size), generator=generator),
    )
    labels = torch.randint(0, 4, shape, generator=generator)
    labels[0, :4] = IGNORE_ID
    table = torch.tensor([[1.0, 4.0, 0.2], [3.0, 0.5, 1.0]])
    queries = losses.RayQueries(
        torch.randint(0, GRID.cell_count, (2, 50), generator=generator),
        torch.ones(2, 50, dtype=torch.bool),
        torch.zeros(2, 50, dtype=torch.bool),
        torch.randint(0, 3, (2, 50), generator=generator),
    )
    probability = torch.rand((2, 50, 3), generator=generator)

    def each(rows: slice, weights: Tensor) -> list[Tensor]:
        part = OccupancyField(field.density[rows], field.semantics[rows])
        asked = losses.RayQueries(
            queries.cell[rows], queries.occupied[rows], queries.free[rows], queries.class_id[rows]
        )
        return [
            losses.voxel_label_loss(part, GRID, labels[rows], weights)[1],
            losses.query_loss(part, GRID, asked, weights)[1],
            losses.semantic_loss(probability[rows], asked.class_id, asked.occupied, weights),
        ]

    both, first, second = (
        each(slice(0, 2), table),
        each(slice(0, 1), table[0]),
        each(slice(1, 2), table[1]),
    )
    unweighted = each(slice(0, 2), torch.ones(3))
    for together, one, two, plain in zip(both, first, second, unweighted, strict=True):
        assert together.item() == pytest.approx((one + two).item() / 2)
        assert together.item() != pytest.approx(plain.item(), rel=1e-4)


def test_sky_and_entropy() -> None:
    opacity_ = torch.tensor([[0.0, 0.5, 1.0]])
    sky = torch.tensor([[True, False, False]])
    assert losses.sky_loss(opacity_, sky).item() == pytest.approx(0, abs=1e-6)
    assert losses.sky_loss(opacity_, ~sky).item() > 1
    each = [
        losses.opacity_entropy_loss(opacity_[:, i : i + 1], ALL[:, :1]).item() for i in range(3)
    ]
    assert each[1] == max(each) and each[0] == pytest.approx(each[2], abs=1e-3)


def test_distortion_is_the_double_sum() -> None:
    generator = torch.Generator().manual_seed(0)
    edges = torch.rand((7, 12), generator=generator).cumsum(dim=1)
    weights = torch.rand((7, 11), generator=generator)
    samples = RaySamples.between(edges, edges[:, 0], edges[:, -1])
    t = (samples.middles_m - edges[:, :1]) / (edges[:, -1:] - edges[:, :1])
    delta = samples.lengths_m / (edges[:, -1:] - edges[:, :1])
    pairs = weights[:, :, None] * weights[:, None] * (t[:, :, None] - t[:, None]).abs()
    expected = (pairs.sum(dim=(1, 2)) + (weights.square() * delta).sum(dim=1) / 3).mean()
    result = losses.distortion_loss(weights, samples, torch.ones(1, 7, dtype=torch.bool))
    assert result.item() == pytest.approx(expected.item(), rel=1e-5)
    weights[:, [0, 1, 5, 10]] = 0  # to leave out what is empty changes nothing
    every = torch.ones(1, 7, dtype=torch.bool)
    kept = keep_where(samples, weights > 0)
    torch.testing.assert_close(
        losses.distortion_loss(weights[weights > 0].view(7, -1), kept, every),
        losses.distortion_loss(weights, samples, every),
    )


def test_what_is_most_wrong_is_pulled_the_most() -> None:
    logit = torch.tensor([-14.0, -9.0, -2.0], requires_grad=True)
    losses.occupancy_loss(torch.sigmoid(logit), torch.ones(3) > 0, 0.8).sum().backward()
    assert logit.grad is not None
    torch.testing.assert_close(logit.grad[:2], torch.tensor([-1.0, -1.0]), atol=1e-3, rtol=0)
    depth = torch.tensor([12.0], requires_grad=True)  # optical, of what stands in the sky's way
    losses.sky_loss(-torch.expm1(-depth)[None], torch.ones(1, 1, dtype=torch.bool)).backward()
    assert depth.grad is not None
    assert depth.grad.item() == pytest.approx(1.0, abs=0.02)


def test_total_variation_counts_the_faces_of_a_block() -> None:
    volume = torch.zeros(1, 6, 6, 6)
    volume[0, 2:4, 2:4, 2:4] = 1
    faces = 6 * 4
    assert losses.total_variation_loss(volume).item() == pytest.approx(faces / (3 * 5 * 36))
    assert losses.total_variation_loss(torch.ones(1, 1, 1, 1)).item() == 0


def test_occupancy_loss_is_binary_cross_entropy_of_the_opacity() -> None:
    density = torch.tensor([0.01, 0.5, 3.0, 20.0])
    occupied = torch.tensor([True, False, True, False])
    expected = torch.nn.functional.binary_cross_entropy(
        opacity(density.double(), 0.5), occupied.double(), reduction="none"
    )
    result = losses.occupancy_loss(density, occupied, 0.5)
    assert torch.allclose(result.double(), expected, rtol=1e-4)


def single_ray(direction: tuple[float, float, float], height: float = 0.1) -> Rays:
    along = torch.tensor([direction], dtype=torch.float32)
    return Rays(torch.tensor([[0.1, 0.1, height]]), along / along.norm(), torch.zeros(1).long())


def ask(rays: Rays, range_m: float, class_id: int = 1, start_m: float = 0.0) -> losses.RayQueries:
    return losses.ray_queries(
        GRID, rays, torch.tensor([[range_m]]), torch.tensor([[start_m]]),
        torch.tensor([[class_id]]), {0}, free_per_ray=40,
    )  # fmt: skip


def x_cells(queries: losses.RayQueries, occupied: bool) -> set[int]:
    cells = queries.cell[queries.occupied if occupied else queries.free]
    return set((cells // (GRID.size[1] * GRID.size[2])).tolist())


def test_queries_say_free_before_the_end_and_occupied_at_it() -> None:
    queries = ask(single_ray((1, 0, 0)), 5.0)
    assert x_cells(queries, occupied=True) == {10}
    assert x_cells(queries, occupied=False) == set(range(10))
    assert queries.class_id[queries.occupied].tolist() == [1]
    assert (queries.class_id[queries.free] == IGNORE_ID).all()


def test_queries_of_sky_unknown_and_moved_rays() -> None:
    sky = ask(single_ray((1, 0, 0)), float("inf"))
    assert not sky.occupied.any() and x_cells(sky, occupied=False) == set(range(20))
    unknown = ask(single_ray((1, 0, 0)), float("nan"))
    assert not (unknown.occupied | unknown.free).any()
    moved = ask(single_ray((1, 0, 0)), 5.0, start_m=3.0)
    assert x_cells(moved, occupied=False) == {6, 7, 8, 9}


def test_a_ray_that_grazes_the_ground_frees_only_what_is_a_cell_above_it() -> None:
    rays = single_ray((1.0, 0, -0.15), height=0.9)
    range_m = 8.0
    end_height = 0.9 + range_m * float(rays.direction[0, 2])
    on_ground, on_wall = ask(rays, range_m, class_id=0), ask(rays, range_m, class_id=1)
    lowest = (on_ground.cell[on_ground.free] % GRID.size[2]).min() * 0.5 - 1.0
    assert lowest + 0.5 >= end_height + GRID.resolution_m
    assert len(x_cells(on_ground, occupied=False)) < len(x_cells(on_wall, occupied=False))


def field_of(density: Tensor, logits: Tensor) -> OccupancyField:
    return OccupancyField(density, logits)


def test_descent_on_queries_makes_the_wall_and_the_free_space() -> None:
    density = torch.full((1, *GRID.size), 0.2, requires_grad=True)
    logits = torch.zeros((1, 2, *GRID.size), requires_grad=True)
    queries = ask(single_ray((1, 0, 0)), 5.0)
    optimiser = torch.optim.SGD([density, logits], lr=2.0)
    for _ in range(50):
        occupancy, semantics = losses.query_loss(field_of(density, logits), GRID, queries)
        optimiser.zero_grad()
        (occupancy + semantics).backward()
        optimiser.step()
        density.data.clamp_(0, 20)
    row = density[0, :, 4, 2]
    assert row[10] > 1 and (row[:10] < 0.05).all() and torch.allclose(row[11:], torch.tensor(0.2))
    assert logits[0, :, 10, 4, 2].argmax() == 1


def test_voxel_labels_ignore_what_is_not_known() -> None:
    density = torch.full((1, *GRID.size), 1.0, requires_grad=True)
    logits = torch.zeros((1, 2, *GRID.size), requires_grad=True)
    labels = torch.full((1, *GRID.size), IGNORE_ID)
    labels[0, 0, 0, 0], labels[0, 1, 0, 0] = 1, 2
    occupancy, semantics = losses.voxel_label_loss(field_of(density, logits), GRID, labels)
    (occupancy + semantics).backward()
    assert density.grad is not None and logits.grad is not None
    assert density.grad[0, 0, 0, 0] < 0 < density.grad[0, 1, 0, 0]
    assert density.grad.count_nonzero() == 2 and logits.grad.count_nonzero() == 2


def test_rare_labels_weigh_more_in_the_occupancy_of_voxels_free_among_them() -> None:
    labels = torch.full((1, *GRID.size), IGNORE_ID)
    for label, place, count in ((2, 0, 100), (1, 1, 25), (0, 2, 4), (OCCUPIED_ID, 3, 3)):
        labels[0, place].view(-1)[: min(count, 48)] = label
        labels[0, place + 10].view(-1)[: max(count - 48, 0)] = label
        labels[0, place + 15].view(-1)[: max(count - 96, 0)] = label
    assert [(labels == label).sum() for label in (2, 1, 0)] == [100, 25, 4]
    field = field_of(torch.full((1, *GRID.size), 1.0), torch.zeros(1, 2, *GRID.size))
    free, occupied = 0.5, -math.log(1 - math.exp(-0.5))  # of half a metre
    result = losses.voxel_label_loss(field, GRID, labels, by_rarity=True)[0].item()
    weighted = 100 * 0.5 * free + (25 * 1.0 + 4 * 2.5 + 3 * 1.0) * occupied
    assert result == pytest.approx(weighted / (50 + 25 + 10 + 3), rel=1e-5)
    plain = losses.voxel_label_loss(field, GRID, labels)[0].item()
    assert plain == pytest.approx((100 * free + 32 * occupied) / 132, rel=1e-5)


def test_cells_without_label_are_drawn_to_free_and_no_others() -> None:
    density = torch.full((1, *GRID.size), 2.0, requires_grad=True)
    labels = torch.zeros((1, *GRID.size), dtype=torch.int64)
    labels[0, 3, 2, 1], labels[0, 4, 2, 1], labels[0, 5, 2, 1] = IGNORE_ID, OCCUPIED_ID, IGNORE_ID
    field = field_of(density, torch.zeros(1, 2, *GRID.size))
    loss = losses.unlabelled_loss(field, GRID, labels)
    assert loss.item() == pytest.approx(2.0 * 0.5)  # the optical depth of half a metre
    (gradient,) = torch.autograd.grad(loss, density)
    assert gradient.count_nonzero() == 2 and (gradient[0, [3, 5], 2, 1] > 0).all()
    assert losses.unlabelled_loss(field, GRID, labels * 0).item() == 0


def test_what_is_occupied_by_who_knows_what_trains_density_alone() -> None:
    density = torch.full((1, *GRID.size), 1.0, requires_grad=True)
    logits = torch.zeros((1, 2, *GRID.size), requires_grad=True)
    labels = torch.full((1, *GRID.size), IGNORE_ID)
    labels[0, 3, 2, 1] = OCCUPIED_ID
    occupancy, semantics = losses.voxel_label_loss(field_of(density, logits), GRID, labels)
    (occupancy + semantics).backward()
    assert density.grad is not None and density.grad[0, 3, 2, 1] < 0
    assert logits.grad is None or logits.grad.count_nonzero() == 0


EMPTY: dict[str, Callable[[], Tensor]] = {
    "silog": lambda: losses.scale_invariant_log_loss(RANGE, RANGE, ~ALL),
    "l1": lambda: losses.range_l1_loss(RANGE, RANGE, ~ALL),
    "semantic": lambda: losses.semantic_loss(torch.ones(1, 5, 2), torch.zeros(1, 5).long(), ~ALL),
    "sky": lambda: losses.sky_loss(torch.ones(1, 5), ~ALL),
    "entropy": lambda: losses.opacity_entropy_loss(torch.ones(1, 5), ~ALL),
    "distortion": lambda: losses.distortion_loss(
        torch.ones(5, 3),
        RaySamples.between(torch.zeros(5, 4), torch.zeros(5), torch.zeros(5)),
        ~ALL,
    ),
    "depth": lambda: losses.depth_distribution_loss(
        torch.ones(1, 5, 4) / 4, torch.full((1, 5), torch.nan)
    ),
    "image classes": lambda: losses.image_class_loss(
        torch.zeros(1, 2, 3, 2, 2), torch.full((1, 2, 2, 2), IGNORE_ID), None
    ),
    "query": lambda: sum(
        losses.query_loss(
            field_of(torch.ones(1, *GRID.size), torch.zeros(1, 2, *GRID.size)),
            GRID,
            ask(single_ray((1, 0, 0)), float("nan")),
        ),
        torch.zeros(()),
    ),
    "voxels": lambda: sum(
        losses.voxel_label_loss(
            field_of(torch.ones(1, *GRID.size), torch.zeros(1, 2, *GRID.size)),
            GRID,
            torch.full((1, *GRID.size), IGNORE_ID),
        ),
        torch.zeros(()),
    ),
}


def test_depth_is_asked_of_its_bin_or_of_the_two_around_it() -> None:
    probability = torch.tensor([0.1, 0.2, 0.3, 0.4])
    surprise = -probability.log()

    def loss(place: float, soft: bool) -> torch.Tensor:
        places = torch.tensor([[place, torch.nan, -0.1, 4.0]])  # nothing is asked of the others
        return losses.depth_distribution_loss(probability.expand(1, 4, 4), places, soft=soft)

    for place in (2.0, 2.5, 2.99):
        torch.testing.assert_close(loss(place, False), surprise[2])
    torch.testing.assert_close(loss(2.5, True), surprise[2])
    torch.testing.assert_close(loss(2.75, True), 0.75 * surprise[2] + 0.25 * surprise[3])
    torch.testing.assert_close(loss(2.0, True), 0.5 * surprise[1] + 0.5 * surprise[2])
    torch.testing.assert_close(loss(0.2, True), surprise[0])  # no bin lies beyond the ends
    torch.testing.assert_close(loss(3.9, True), surprise[3])


def test_image_classes_count_where_they_are_known_and_by_their_weight() -> None:
    logits = torch.tensor([[1.0, 0.0, 0.0], [0.0, 2.0, 0.0]]).T.reshape(1, 1, 3, 1, 2)
    first, second = -logits.log_softmax(dim=2)[0, 0, :, 0].T  # of two pixels

    def loss(*labels: int, weights: torch.Tensor | None = None) -> torch.Tensor:
        return losses.image_class_loss(logits, torch.tensor([[[labels]]]), weights)

    torch.testing.assert_close(loss(0, 1), (first[0] + second[1]) / 2)
    torch.testing.assert_close(loss(IGNORE_ID, 2), second[2])
    weights = torch.tensor([[3.0, 1.0, 1.0]])
    torch.testing.assert_close(loss(0, 1, weights=weights), (3 * first[0] + second[1]) / 4)


@pytest.mark.parametrize("name", EMPTY)
def test_of_nothing_every_loss_is_zero(name: str) -> None:
    assert EMPTY[name]().item() == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("magnitude", [0.0, 1e-30, 1e-6, 1.0, 1e6, 1e30])
def test_gradients_are_finite_for_any_magnitude(magnitude: float) -> None:
    rendered = torch.full((1, 5), magnitude, requires_grad=True)
    density = torch.full((1, *GRID.size), magnitude, requires_grad=True)
    share = torch.full((5, 3), min(magnitude, 1.0), requires_grad=True)
    samples = RaySamples.between(
        torch.arange(4.0).expand(5, 4) * min(magnitude, 1e6), torch.zeros(5), torch.ones(5)
    )
    field = field_of(density, torch.zeros(1, 2, *GRID.size))
    total = (
        losses.scale_invariant_log_loss(rendered, RANGE, ALL)
        + losses.range_l1_loss(rendered, RANGE, ALL)
        + losses.sky_loss(share[None, :, 0], ALL)
        + losses.opacity_entropy_loss(share[None, :, 1], ALL)
        + losses.semantic_loss(share[None], torch.tensor([[0, 1, 2, 0, 1]]), ALL)
        + losses.distortion_loss(share, samples, ALL)
        + losses.query_loss(field, GRID, ask(single_ray((1, 0, 0)), 5.0))[0]
    )
    total.backward()
    for tensor in (rendered, density, share):
        assert tensor.grad is not None and tensor.grad.isfinite().all()
