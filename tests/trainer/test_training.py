"""Training: it learns, resumes exactly, spreads over processes, and stops with a reason."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from toy_world import (
    CLASSES,
    NETWORK,
    ToyWorld,
    empty_rays,
    toy_network,
    toy_recipe,
    wall_distance,
)

from renderocc_ros.checkpoint import load_checkpoint
from renderocc_ros.config import validate
from renderocc_ros.network.occupancy_field import OccupancyField, decode_field
from renderocc_ros.network.renderocc import build_network
from renderocc_ros.network_config import NetworkConfig
from renderocc_ros.rendering import Rays
from renderocc_training.commands.train import _number
from renderocc_training.recipe import load_recipe
from renderocc_training.samples.augmentation import mirrored, recoloured
from renderocc_training.samples.training_sample import TrainingSample, collate
from renderocc_training.trainer import loop
from renderocc_training.trainer.loop import (
    StepReport,
    TrainingStopped,
    make_fabric,
    train,
    usable_precision,
)
from renderocc_training.trainer.objective import Objective, Opaque, render_field
from renderocc_training.trainer.pictures import sample_picture
from renderocc_training.trainer.progress import Progress
from renderocc_training.trainer.run_state import claim
from renderocc_training.trainer.schedule import StepSampler, learning_rate, parameter_groups


def fabric() -> Fabric:
    return make_fabric(toy_recipe(), devices=1)


def weights_of(path: Path) -> dict[str, torch.Tensor]:
    return load_checkpoint(path).network.state_dict()


def test_a_wall_and_the_ground_are_learned_from_rays_alone(tmp_path: Path) -> None:
    reports: list[StepReport] = []
    recipe = toy_recipe(steps=200, batch_size=4)
    path = train(
        toy_network(), CLASSES, ToyWorld(), recipe, tmp_path, fabric(), on_step=reports.append
    )
    first, last = (np.mean([r.total for r in part]) for part in (reports[:5], reports[-5:]))
    assert last < 0.4 * first
    model = load_checkpoint(path)
    assert model.class_set == CLASSES
    world, layers, ground = ToyWorld(), [], []
    with torch.inference_mode():
        for index in range(8):
            batch = collate([world.sample(index, np.random.default_rng(99))])
            labels = decode_field(model.network(batch.current), 1.0, 0.5).labels[0].numpy()
            ahead = labels[:, 6, 1]  # a row of cells at the camera's height, straight ahead
            layers.append(int(np.argmax(ahead == 1)) == int(wall_distance(index)))
            ground.extend(labels[3 : int(wall_distance(index)), 6, 0])  # nearer is below the image
    assert sum(layers) >= 6
    sample = world.sample(4, np.random.default_rng(99))
    picture = sample_picture(model.network, sample, CLASSES)
    assert picture.shape == (3 * 32, 64, 3)  # image, depth, classes
    wall, road = (tuple(entry.colour) for entry in reversed(CLASSES.classes))
    assert tuple(picture[64 + 12, 32]) == wall and tuple(picture[95, 32]) == road
    assert np.mean(np.array(ground) == 0) > 0.8


def test_pictures_on_the_way_change_nothing(tmp_path: Path) -> None:
    network, sample = toy_network(), ToyWorld().sample(0, np.random.default_rng(0))

    def draw(report: StepReport) -> None:
        progress(report)
        progress.picture(report.step, sample_picture(network, sample, CLASSES))

    recipe = toy_recipe(steps=3)
    without = train(toy_network(), CLASSES, ToyWorld(), recipe, tmp_path / "without", fabric())
    with Progress(tmp_path / "with", 3) as progress:
        drawn = train(
            network, CLASSES, ToyWorld(), recipe, tmp_path / "with", fabric(), on_step=draw
        )
    for name, value in weights_of(without).items():
        assert torch.equal(value, weights_of(drawn)[name]), name
    names = [file.name for file in sorted((tmp_path / "with" / "pictures").iterdir())]
    assert names == ["000001.png", "000002.png", "000003.png"]
    events = EventAccumulator(str(tmp_path / "with" / "tensorboard")).Reload()
    assert [event.step for event in events.Images("rendered")] == [1, 2, 3]


def test_steps_that_are_made_again_stand_once_in_the_log(tmp_path: Path) -> None:
    def log(steps: range, loss: float) -> None:
        with Progress(tmp_path, 5) as progress:
            for step in steps:
                progress(StepReport(step, loss, {"query": loss}, 1.0, 1e-3, 2.0))

    log(range(1, 5), 3.0)
    with (tmp_path / "steps.jsonl").open("a") as file:
        file.write('{"step": 5, "lo')  # killed while it wrote
    log(range(3, 6), 2.0)
    lines = [json.loads(line) for line in (tmp_path / "steps.jsonl").read_text().splitlines()]
    assert [(line["step"], line["loss"]) for line in lines] == [
        (1, 3.0), (2, 3.0), (3, 2.0), (4, 2.0), (5, 2.0)
    ]  # fmt: skip
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload().Scalars("loss/total")
    assert [(event.step, event.value) for event in events] == [
        (line["step"], line["loss"]) for line in lines
    ]


def test_the_paper_recipe_descends_its_own_losses(tmp_path: Path) -> None:
    reports: list[StepReport] = []
    losses = {"range_silog": 1.0, "semantics": 1.0, "opacity_entropy": 1.0, "distortion": 1.0}
    rays = {"budget": 512, "rendered": 128, "head": "paper", "class_weights": "paper"}
    recipe = toy_recipe(steps=60, losses=losses, rays=rays)
    train(toy_network(), CLASSES, ToyWorld(), recipe, tmp_path, fabric(), on_step=reports.append)
    for term in ("range_silog", "semantics"):
        first, last = (
            np.mean([r.terms[term] for r in part]) for part in (reports[:5], reports[-5:])
        )
        assert last < 0.7 * first, term


def test_a_run_killed_at_any_step_and_resumed_equals_the_whole_one(tmp_path: Path) -> None:
    recipe = toy_recipe(steps=9, accumulate=2, drop_camera=0.3)
    whole = train(
        toy_network(), CLASSES, ToyWorld(5), recipe, tmp_path / "whole", fabric(), save_every=1
    )

    class Killed(Exception):
        pass

    def kill_at(step: int) -> None:
        def on_step(report: StepReport) -> None:
            if report.step == step:
                raise Killed

        with pytest.raises(Killed):
            train(
                toy_network(), CLASSES, ToyWorld(5), recipe, tmp_path / "killed", fabric(),
                save_every=1, on_step=on_step,
            )  # fmt: skip

    kill_at(3)  # after the step, before it is written: it is done again
    kill_at(7)
    resumed = train(
        toy_network(7), CLASSES, ToyWorld(5), recipe, tmp_path / "killed", fabric(), save_every=4
    )
    for name, value in weights_of(whole).items():
        assert torch.equal(value, weights_of(resumed)[name]), name


def test_a_run_goes_on_only_with_its_own_recipe(tmp_path: Path) -> None:
    train(toy_network(), CLASSES, ToyWorld(), toy_recipe(steps=1), tmp_path, fabric())
    with pytest.raises(ValueError, match="another recipe: {'seed': \\(0, 5\\)}"):
        train(toy_network(), CLASSES, ToyWorld(), toy_recipe(steps=1, seed=5), tmp_path, fabric())


def test_a_run_may_be_made_longer_but_not_shorter_than_it_is(tmp_path: Path) -> None:
    train(toy_network(), CLASSES, ToyWorld(), toy_recipe(steps=2), tmp_path, fabric())
    reports: list[StepReport] = []
    longer = toy_recipe(steps=4)
    train(toy_network(), CLASSES, ToyWorld(), longer, tmp_path, fabric(), on_step=reports.append)
    assert [report.step for report in reports] == [3, 4]
    rates = [learning_rate(step, 4, longer.optimiser) for step in (2, 3)]
    assert [report.learning_rate for report in reports] == rates
    with pytest.raises(ValueError, match="4 steps already, which is more than steps = 3"):
        train(toy_network(), CLASSES, ToyWorld(), toy_recipe(steps=3), tmp_path, fabric())


def test_a_run_goes_on_only_with_its_own_network(tmp_path: Path) -> None:
    train(toy_network(), CLASSES, ToyWorld(), toy_recipe(steps=1), tmp_path, fabric())
    other = toy_network()
    other.occupancy_field.out = torch.nn.Conv3d(2, 2, 1)
    with pytest.raises(ValueError, match=r"another network than .*occupancy_field\.out"):
        train(other, CLASSES, ToyWorld(), toy_recipe(steps=1), tmp_path, fabric())


def test_two_trainings_do_not_share_a_folder(tmp_path: Path) -> None:
    claims = (
        "import sys; from pathlib import Path; from renderocc_training.trainer import run_state;"
        "held = run_state.claim(Path(sys.argv[1])); print('held', flush=True); input()"
    )
    command = [sys.executable, "-c", claims, str(tmp_path)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None and other.stdout.readline() == "held\n"
        with pytest.raises(ValueError, match="another training runs in"):
            claim(tmp_path)
        other.kill()
    claim(tmp_path).close()


def test_a_run_killed_while_it_writes_never_lacks_its_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    recipe = toy_recipe(steps=1)
    with monkeypatch.context() as patch:
        patch.setattr("renderocc_training.trainer.loop.save_checkpoint", killed)
        with pytest.raises(KeyboardInterrupt):
            train(toy_network(), CLASSES, ToyWorld(), recipe, tmp_path, fabric())
    assert train(toy_network(), CLASSES, ToyWorld(), recipe, tmp_path, fabric()).is_file()


def test_a_damaged_state_is_named(tmp_path: Path) -> None:
    (tmp_path / "last.pt").write_bytes(b"not a state")
    with pytest.raises(ValueError, match="last.pt is damaged"):
        train(toy_network(), CLASSES, ToyWorld(), toy_recipe(), tmp_path, fabric())


def test_a_loss_that_is_not_finite_names_its_term_and_samples(tmp_path: Path) -> None:
    network = toy_network()
    with torch.no_grad():
        network.occupancy_field.out.bias[0] = float("nan")
    with pytest.raises(TrainingStopped, match=r"not finite: \{'query'.*wall at"):
        train(network, CLASSES, ToyWorld(), toy_recipe(), tmp_path, fabric())


@pytest.mark.parametrize("accumulate", [1, 2])
def test_what_is_reported_is_the_loss(
    accumulate: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    parts: list[dict[str, float]] = []
    step_terms = loop._step_terms

    def recorded(*arguments: Any) -> dict[str, float]:
        parts.append(step_terms(*arguments))
        return dict(parts[-1])

    monkeypatch.setattr(loop, "_step_terms", recorded)
    reports: list[StepReport] = []
    recipe = toy_recipe(steps=1, accumulate=accumulate)
    train(toy_network(), CLASSES, ToyWorld(), recipe, tmp_path, fabric(), on_step=reports.append)
    assert len(parts) == accumulate and parts[0]["votes"] > 0
    expected = {name: sum(part[name] for part in parts) for name in parts[0]}
    assert reports[0].terms == pytest.approx(expected)
    assert reports[0].total == pytest.approx(sum(expected.values()))


def test_memory_that_runs_out_is_told_with_its_cure(tmp_path: Path) -> None:
    network = toy_network()
    network.voxel_encoder.register_forward_hook(lambda *_: torch.empty(2**50))
    with pytest.raises(TrainingStopped, match="this machine's memory ran out; halve batch_size"):
        train(network, CLASSES, ToyWorld(), toy_recipe(), tmp_path, fabric())


class BadWorld(ToyWorld):
    """Its loading process dies, or is held up for longer than the loader waits."""

    def __init__(self, dies: bool) -> None:
        super().__init__()
        self.dies = dies

    def sample(self, index: int, random: np.random.Generator) -> TrainingSample:
        if self.dies:
            os._exit(1)
        threading.Event().wait(1.5)
        return super().sample(index, random)


@pytest.mark.parametrize(
    ("dies", "message"), [(True, "died .*memory ran out"), (False, "no batch within 0.5 s")]
)
def test_a_loader_that_dies_or_stalls_is_reported(
    dies: bool, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "LOADER_TIMEOUT_S", 60 if dies else 0.5)
    with pytest.raises(TrainingStopped, match=message):
        train(toy_network(), CLASSES, BadWorld(dies), toy_recipe(), tmp_path, fabric(), workers=1)


class Unreadable(ToyWorld):
    """A sample of it cannot be read."""

    def sample(self, index: int, random: np.random.Generator) -> TrainingSample:
        raise ValueError(f"wall {index}: unreadable")


@pytest.mark.parametrize("workers", [0, 1])
def test_what_a_loader_cannot_read_is_told_in_its_own_words(workers: int, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^wall \d+: unreadable$"):
        train(
            toy_network(), CLASSES, Unreadable(), toy_recipe(), tmp_path, fabric(), workers=workers
        )


def test_a_sample_without_any_label_trains_on_the_others() -> None:
    world, random = ToyWorld(), np.random.default_rng(0)
    sample = world.sample(0, random)
    blank = replace(
        sample,
        rays=empty_rays(sample),
        depth_m=np.full_like(sample.depth_m, np.nan),
        votes=np.full_like(sample.votes, 255),
    )
    objective = Objective(toy_network(), CLASSES, toy_recipe()).eval()
    alone, beside = (
        objective(Opaque(collate(batch)), torch.Generator().manual_seed(0))
        for batch in ([sample, sample], [sample, blank])
    )
    for name, value in beside.items():
        assert value.isfinite()
        if name in ("votes", "query", "lifting_depth", "votes_semantics"):
            assert 0 < value < alone[name]


def test_a_surface_before_the_grid_says_nothing_of_it() -> None:
    sample = ToyWorld().sample(0, np.random.default_rng(0))
    away = sample.rays.origin - np.float32([10.0, 0.0, 0.0])  # the grid begins about 10 m ahead
    rendering = toy_recipe(losses={"range_l1": 1.0, "semantics": 1.0})
    for range_m, says in ((4.0, False), (14.0, True)):
        ranges = np.full_like(sample.rays.range_m, range_m)
        far = replace(sample, rays=replace(sample.rays, origin=away, range_m=ranges))
        terms = Objective(toy_network(), CLASSES, rendering).eval()(
            Opaque(collate([far])), torch.Generator().manual_seed(0)
        )
        assert all((value > 0) == says for value in terms.values()), (range_m, terms)


def test_class_weights_of_a_recipe_reach_the_semantic_losses_and_no_other() -> None:
    batch = Opaque(collate([ToyWorld().sample(i, np.random.default_rng(i)) for i in (0, 5)]))
    plain, weighted = (
        Objective(toy_network(), CLASSES, toy_recipe(class_weights=name)).eval()(
            batch, torch.Generator().manual_seed(0)
        )
        for name in ("none", "tempered")
    )
    changed = {name for name in plain if not torch.equal(plain[name], weighted[name])}
    assert changed == {"query_semantics", "votes_semantics", "semantics"}


def test_other_samplings_find_the_same_surface_with_fewer_steps() -> None:
    network = toy_network()
    density = torch.zeros((1, *network.grid.size))
    density[:, 7] = 40.0
    field = OccupancyField(density, torch.zeros((1, 2, *network.grid.size)))
    way = torch.nn.functional.normalize(torch.tensor([[1.0, 0.3, 0.1], [1.0, 0.0, 0.0]]), dim=1)
    rays = Rays(torch.tensor([[0.3, 0.0, 0.6]]).expand(2, 3), way, torch.zeros(2).long())
    exact = (7.0 - 0.3) / way[:, 0]
    counts = {}
    for sampling in ("uniform", "hierarchical", "occupied"):
        rays_of = {"step_cells": 0.5, "sampling": sampling, "fine_intervals": 16}
        seen, samples = render_field(field, network, rays, toy_recipe(rays=rays_of))
        error = (seen.range_m - exact).abs()
        assert (error < (0.2 if sampling == "hierarchical" else 0.5)).all(), (sampling, error)
        counts[sampling] = samples.lengths_m.shape[1]
    assert counts["hierarchical"] == 16 and counts["occupied"] <= 3 < counts["uniform"]


@pytest.mark.parametrize(("lookup", "height_m"), [("nearest", -0.5), ("trilinear", 0.38)])
def test_ranges_follow_what_the_lookup_says_of_surfaces(lookup: str, height_m: float) -> None:
    """A full layer from −1 to 0 m: by cell, ground is halfway through; between centres, on top."""
    network = toy_network()
    grid = network.grid
    (_, _, layer), _ = grid.index_of([0.5, 0.5, -0.5])
    density = torch.zeros((1, *grid.size))
    density[..., layer] = 30.0
    field = OccupancyField(density, torch.zeros((1, 2, *grid.size)))
    way = torch.nn.functional.normalize(torch.tensor([[1.0, 0.1, -0.3]]), dim=1)
    rays = Rays(torch.tensor([[0.3, 0.0, 1.2]]), way, torch.zeros(1).long())
    recipe = toy_recipe(rays={"step_cells": 0.1, "lookup": lookup})
    seen, _ = render_field(field, network, rays, recipe)
    assert 1.2 + (seen.range_m * way[:, 2]).item() == pytest.approx(height_m, abs=0.1)


def test_a_recipe_can_ask_for_free_space_where_no_vote_is() -> None:
    sample = ToyWorld().sample(0, np.random.default_rng(0))
    assert sample.votes is not None and (sample.votes == 255).any()
    asked = toy_recipe(losses={"votes": 1.0, "unlabelled": 0.5})
    batch, generator = Opaque(collate([sample])), torch.Generator().manual_seed(0)
    result = Objective(toy_network(), CLASSES, asked).eval()(batch, generator)
    field = toy_network().eval()(batch.batch.current, batch.batch.past)
    unknown = batch.batch.votes == 255
    expected = 0.5 * (field.density[unknown] * toy_network().grid.resolution_m).mean()
    assert result["unlabelled"].item() == pytest.approx(expected.item(), rel=1e-4)


def test_the_class_head_learns_what_feature_pixels_show(tmp_path: Path) -> None:
    content = NETWORK["architecture"] | {
        "depth": NETWORK["architecture"]["depth"] | {"class_head": True}
    }
    config = validate({**NETWORK, "architecture": content}, NetworkConfig, "toy")
    network = build_network(config, len(CLASSES), seed=0)
    recipe = toy_recipe(
        steps=40,
        soft_depth=True,
        class_weights="tempered",
        losses={"lifting_depth": 0.2, "image_semantics": 1.0},
    )
    train(network, CLASSES, ToyWorld(), recipe, tmp_path, fabric())
    batch = collate([ToyWorld().sample(1, np.random.default_rng(1))])
    with torch.no_grad():
        _, views = network.eval().field_and_views(batch.current)
        said = network.depth_head.classes(views.context[:, 0]).argmax(dim=1)
    assert (said == batch.image_class[:, 0]).float().mean() > 0.9
    assert len(batch.image_class.unique()) == 2


def test_image_classes_need_a_class_head() -> None:
    with pytest.raises(ValueError, match=r"network 'toy' has no class head: set depth\.class_head"):
        Objective(toy_network(), CLASSES, toy_recipe(losses={"image_semantics": 1.0}))


def test_mirrored_twice_is_the_sample_and_once_is_a_mirrored_world() -> None:
    grid = toy_network().grid
    sample = ToyWorld().sample(3, np.random.default_rng(0))
    once, twice = mirrored(sample, grid), mirrored(mirrored(sample, grid), grid)
    for name in ("images", "intrinsics", "ego_from_camera"):
        assert np.allclose(getattr(twice.views, name), getattr(sample.views, name), atol=1e-6)
    rotation = once.views.ego_from_camera[0, :3, :3]
    assert np.linalg.det(rotation) == pytest.approx(1)
    # A labelled pixel of the flipped image still lies on its mirrored ray.
    ray = once.rays
    end = ray.origin[0] + ray.range_m[0] * ray.direction[0]
    camera = np.linalg.inv(once.views.ego_from_camera[0]) @ np.append(end, 1)
    pixel = once.views.intrinsics[0] @ (camera[:3] / camera[2])
    original = sample.rays.origin[0] + sample.rays.range_m[0] * sample.rays.direction[0]
    seen = np.linalg.inv(sample.views.ego_from_camera[0]) @ np.append(original, 1)
    before = sample.views.intrinsics[0] @ (seen[:3] / seen[2])
    assert pixel[:2] == pytest.approx((63 - before[0], before[1]), abs=1e-3)


def test_recolouring_changes_light_and_nothing_else() -> None:
    sample = ToyWorld().sample(3, np.random.default_rng(0))
    dark = replace(sample.views, valid=np.zeros_like(sample.views.valid))
    sample = replace(sample, past=(dark,))
    same = recoloured(sample, 0.0, np.random.default_rng(0))
    assert np.allclose(same.views.images, sample.views.images, atol=1e-5)
    seen = recoloured(sample, 0.3, np.random.default_rng(0))
    again = recoloured(sample, 0.3, np.random.default_rng(0))
    assert np.array_equal(seen.views.images, again.views.images)
    assert not seen.past[0].images.any()  # a missing camera stays dark
    assert seen.rays is sample.rays and seen.votes is sample.votes
    # One gain and one black level for all pixels of a colour, and the colours mix alike.
    before, after = (v.images[0].reshape(3, -1) for v in (sample.views, seen.views))
    mixing = np.linalg.lstsq(np.vstack([before, np.ones_like(before[:1])]).T, after.T, rcond=None)[
        0
    ]
    assert np.allclose(mixing.T @ np.vstack([before, np.ones_like(before[:1])]), after, atol=1e-4)
    gains = mixing[:3].sum(axis=0)  # of grey
    assert (np.exp(-0.375) < gains).all() and (gains < np.exp(0.375)).all()
    assert np.ptp(mixing[3]) < 1e-4 and 0 < abs(mixing[3, 0]) < 0.3


def test_a_part_of_the_network_has_its_share_of_the_rate_or_none() -> None:
    network = toy_network()
    rates = {"image_backbone.backbone": 0.0, "image_backbone.backbone.encoder.stages.3": 0.1}
    config = toy_recipe(optimiser={"rates": rates}).optimiser
    groups = parameter_groups(network, config)
    names = {id(weight): name for name, weight in network.named_parameters()}
    shares = {names[id(w)]: group["share"] for group in groups for w in group["params"]}
    last = {name for name in names.values() if ".backbone.encoder.stages.3." in name}
    kept = {name for name in names.values() if ".backbone." in name} - last
    assert last and kept
    assert {name for name, share in shares.items() if share == 0.1} == last
    assert set(shares) == set(names.values()) - kept
    assert all(w.requires_grad == (n not in kept) for n, w in network.named_parameters())
    wrong = toy_recipe(optimiser={"rates": {"image_back": 0.1}}).optimiser
    with pytest.raises(ValueError, match="begins with 'image_back'; parts of this network: image_"):
        parameter_groups(network, wrong)


def test_what_has_no_rate_stays_as_it_was(tmp_path: Path) -> None:
    recipe = toy_recipe(optimiser={"rates": {"image_backbone": 0, "depth_head": 1e-2}}, steps=3)
    before = toy_network().state_dict()  # with the statistics of batch norms

    def show(report: StepReport) -> None:  # as `train` does after a picture
        network.eval().train()

    network = toy_network()
    train(network, CLASSES, ToyWorld(), recipe, tmp_path, fabric(), on_step=show)
    after = weights_of(tmp_path / "model.safetensors")
    moved = {n: (after[n] - value).abs().max().item() for n, value in before.items()}
    assert all((m == 0) == n.startswith("image_backbone.") for n, m in moved.items())
    learned = dict(network.named_parameters())
    depth, others = (
        max(moved[n] for n in learned if n.startswith(part)) for part in ("depth", "voxel")
    )
    assert depth < 0.1 * others


def test_every_sample_is_seen_once_an_epoch_by_one_of_the_processes() -> None:
    seen = [
        request.index
        for rank in range(2)
        for batch in StepSampler(12, 3, range(2), seed=5, rank=rank, processes=2)
        for request in batch
    ]
    assert sorted(seen) == list(range(12))
    tail = list(StepSampler(12, 3, range(4, 6), seed=5))
    assert tail == list(StepSampler(12, 3, range(6), seed=5))[4:]


def test_learning_rate_rises_then_falls() -> None:
    config = toy_recipe().optimiser
    rates = [learning_rate(step, 50, config) for step in range(51)]
    assert np.argmax(rates) in (2, 3) and rates[50] == pytest.approx(3e-3 * 0.02)
    assert (np.diff(rates[3:]) < 0).all()


@pytest.mark.parametrize("name", ["default", "nano", "drive", "paper", "debug"])
def test_shipped_recipes_are_valid(name: str) -> None:
    assert load_recipe(name).name == name


GRADIENTS = """
import sys, torch, numpy as np
sys.path.insert(0, sys.argv[1])
from toy_world import *
from renderocc_training.samples.training_sample import collate
from renderocc_training.trainer.objective import Objective, Opaque, render_field
from renderocc_training.trainer.loop import make_fabric
recipe = toy_recipe(losses={"votes": 1.0, "votes_semantics": 1.0, "lifting_depth": 1.0})
fabric = make_fabric(recipe, devices=int(sys.argv[2]))
fabric.launch()
world = ToyWorld()
mine = list(range(4))[fabric.global_rank :: fabric.world_size]
objective = fabric.setup(Objective(toy_network(), CLASSES, recipe).eval())
batch = collate([world.sample(i, np.random.default_rng(i)) for i in mine])
fabric.backward(sum(objective(Opaque(batch), torch.Generator()).values()))
if fabric.is_global_zero:
    parameters = objective.module.network.named_parameters()
    torch.save({n: p.grad for n, p in parameters if p.grad is not None}, sys.argv[3])
"""


def test_two_processes_give_the_gradients_of_one_with_the_double_batch(tmp_path: Path) -> None:
    """Norm statistics are frozen here: each process would see those of its own half."""
    script = tmp_path / "gradients.py"
    script.write_text(GRADIENTS)
    result = []
    for processes in (1, 2):
        out = tmp_path / f"{processes}.pt"
        arguments = [str(script), str(Path(__file__).parent), str(processes), str(out)]
        environment = {**os.environ, "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
        subprocess.run([sys.executable, *arguments], check=True, env=environment, timeout=120)
        result.append(torch.load(out, weights_only=True))
    assert result[0].keys() == result[1].keys() and len(result[0]) > 50
    for name, gradient in result[0].items():
        assert torch.allclose(gradient, result[1][name], atol=1e-6, rtol=1e-4), name


@pytest.mark.skipif(torch.cuda.is_available(), reason="about a CPU alone")
@pytest.mark.parametrize(("bf16", "used"), [(True, "bf16-mixed"), (False, "32-true")])
def test_a_cpu_without_bf16_arithmetic_is_not_made_to_emulate_it(
    monkeypatch: pytest.MonkeyPatch, bf16: bool, used: str
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: bf16)
    recipe = toy_recipe().model_copy(update={"precision": "bf16-mixed"})
    assert usable_precision(recipe) == used


@pytest.mark.parametrize("devices", ["0", "-1", "two", "1.5", ""])
def test_devices_that_are_no_number_are_refused(devices: str) -> None:
    with pytest.raises(ValueError, match=r"--devices '.*' must be a number from 1 on, or auto"):
        _number(devices)
