"""Parts of a network in 16 or 32 bits, chosen by a measurement, and what is left untrained."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from test_fine_tuning import Drive, official, small_sizes  # noqa: F401  (of official networks)
from torch import nn
from toy_world import CLASSES, NETWORK, ToyWorld, toy_network, toy_recipe

from renderocc_ros.checkpoint import load_checkpoint
from renderocc_ros.config import validate
from renderocc_ros.network.renderocc import Network, build_network
from renderocc_ros.network_config import NetworkConfig, load_network_config
from renderocc_training.samples.training_sample import collate
from renderocc_training.trainer import arithmetic
from renderocc_training.trainer.arithmetic import DEPTHWISE, PartTimes, folded, in_32_bits
from renderocc_training.trainer.loop import StepReport, make_fabric, train
from renderocc_training.trainer.objective import Objective, Opaque

CPU = torch.device("cpu")
PARTS = [
    "image_backbone.backbone",
    "image_backbone.neck",
    "depth_head",
    "temporal_fusion",
    "voxel_encoder",
    "occupancy_field",
]


@pytest.fixture(autouse=True)
def bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    """A CPU that computes bf16 itself, or at least says so."""
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)


def nano() -> Network:
    return build_network(load_network_config("nano"), len(CLASSES), seed=0)


def fabric() -> Fabric:
    return make_fabric(toy_recipe(precision="auto"), devices=1)


def batch_of(world: ToyWorld) -> Opaque:
    return Opaque(collate([world.sample(i, np.random.default_rng(i)) for i in (3, 4)]))


def test_parts_are_named_as_the_modules_are_and_depthwise_convolutions_come_first() -> None:
    parts = arithmetic.parts_of(nano())
    assert list(parts) == [DEPTHWISE, *PARTS]
    assert len(parts[DEPTHWISE]) == 16  # one a block of EfficientNet-Lite0
    assert list(arithmetic.parts_of(toy_network())) == PARTS


@pytest.mark.parametrize(("fp32_ms", "single"), [(8.9, True), (9.1, False), (20.0, False)])
def test_only_what_is_clearly_faster_is_computed_in_32_bits(fp32_ms: float, single: bool) -> None:
    assert PartTimes(10.0, fp32_ms).single == single


def test_a_chosen_part_computes_in_32_bits_between_others_that_do_not() -> None:
    network = nano()
    layer = arithmetic.parts_of(network)[DEPTHWISE][3]
    assert isinstance(layer, nn.Conv2d)
    torch.manual_seed(0)
    features = torch.randn(2, layer.in_channels, 20, 24).bfloat16()
    exact = layer(features.float())
    with torch.autocast("cpu", torch.bfloat16):
        rounded = layer(features)
        with in_32_bits(network, [DEPTHWISE], "cpu"):
            assert torch.equal(layer(features), exact.bfloat16())
            assert network.depth_head.reduce(torch.randn(1, 96, 4, 4)).dtype == torch.bfloat16
        assert torch.equal(layer(features), rounded)
    assert not torch.equal(rounded, exact.bfloat16())  # it rounds the weights as well


@pytest.mark.parametrize("mobile", [False, True])
def test_gradients_are_those_of_32_bits_but_for_rounding(mobile: bool) -> None:
    network = toy_network()
    if mobile:
        backbone = {"model_type": "efficientnet_lite0", "out_features": ["stage3", "stage5"]}
        changed = {**NETWORK["architecture"], "backbone": backbone}  # type: ignore[dict-item]
        config = validate({**NETWORK, "architecture": changed}, NetworkConfig, "mobile")
        network = build_network(config, len(CLASSES), seed=0)
    batch, asked = batch_of(ToyWorld()), Objective(network, CLASSES, toy_recipe()).train()
    parts = list(arithmetic.parts_of(network))

    def gradients(names: list[str], *, enabled: bool) -> torch.Tensor:
        torch.manual_seed(3)
        generator = torch.Generator().manual_seed(0)
        autocast = torch.autocast("cpu", torch.bfloat16, enabled=enabled)
        with autocast, in_32_bits(network, names, "cpu"):
            terms = asked(batch, generator)
        asked.zero_grad()
        torch.stack(list(terms.values())).sum().backward()
        found = [p.grad.flatten() for p in asked.parameters() if p.grad is not None]
        return torch.cat(found)

    exact = gradients([], enabled=False)
    for names, near in (([], 0.9), (parts[:2], 0.9), (parts, 0.999)):
        ours = gradients(names, enabled=True)
        assert torch.cosine_similarity(exact, ours, dim=0) > near, names


@pytest.mark.parametrize("kind", ["lifted", "official"])
def test_measuring_leaves_network_and_random_numbers_as_they_were(kind: str) -> None:
    network, world = (toy_network(), ToyWorld()) if kind == "lifted" else (official(), Drive())
    batch, asked = batch_of(world), Objective(network, CLASSES, toy_recipe()).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    torch.manual_seed(7)
    random = torch.get_rng_state()

    def run() -> None:
        with torch.autocast("cpu", torch.bfloat16):
            asked(batch, torch.Generator().manual_seed(0))

    times = arithmetic.measure(network, run, CPU)
    assert set(times) <= set(arithmetic.parts_of(network)) and len(times) > 3
    assert all(each.bf16_ms > 0 and each.fp32_ms > 0 for each in times.values())
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert torch.equal(torch.get_rng_state(), random)
    assert all(weight.grad is None for weight in network.parameters())
    assert not any("forward" in module.__dict__ for module in network.modules())


def test_a_run_keeps_its_choice_and_says_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What is measured when it goes on would be another choice, and other weights."""
    chosen, faster = [], PartTimes(10.0, 5.0)

    def choose(name: str) -> None:
        def measure(*_: object) -> arithmetic.Times:
            chosen.append(name)
            return {name: faster, "depth_head": PartTimes(5.0, 10.0)}

        monkeypatch.setattr(arithmetic, "measure", measure)

    class Killed(Exception):
        pass

    def kill(report: StepReport) -> None:
        if report.step == 3:
            raise Killed

    recipe, lines = toy_recipe(steps=4, precision="auto"), list[str]()
    whole, part = tmp_path / "whole", tmp_path / "part"
    choose("voxel_encoder")
    path = train(toy_network(), CLASSES, ToyWorld(), recipe, whole, fabric(), say=lines.append)
    with pytest.raises(Killed):
        train(
            toy_network(), CLASSES, ToyWorld(), recipe, part, fabric(), save_every=2, on_step=kill
        )
    choose("image_backbone.backbone")
    resumed = train(toy_network(), CLASSES, ToyWorld(), recipe, part, fabric())
    other = train(toy_network(), CLASSES, ToyWorld(), recipe, tmp_path / "other", fabric())
    assert chosen == ["voxel_encoder", "voxel_encoder", "image_backbone.backbone"]
    assert lines == [
        "precision as measured: voxel_encoder fp32 (10 ms in bf16, 5 in fp32), "
        "depth_head bf16 (5 ms in bf16, 10 in fp32)"
    ]
    content = json.loads((whole / arithmetic.FILE).read_text())
    assert content["voxel_encoder"] == {"precision": "fp32", "bf16_ms": 10.0, "fp32_ms": 5.0}
    assert content["depth_head"]["precision"] == "bf16"
    states = [load_checkpoint(file).network.state_dict() for file in (path, resumed, other)]
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
    assert not all(torch.equal(value, states[2][name]) for name, value in states[0].items())


def test_nothing_is_measured_where_the_recipe_or_the_machine_decides(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(arithmetic, "measure", lambda *_: pytest.fail("measured"))
    for name, precision in (("wide", "32-true"), ("narrow", "bf16-mixed")):
        recipe = toy_recipe(steps=1, precision=precision)
        train(toy_network(), CLASSES, ToyWorld(), recipe, tmp_path / name, make_fabric(recipe, 1))
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    if not torch.cuda.is_available():
        recipe = toy_recipe(steps=1, precision="auto")
        train(toy_network(), CLASSES, ToyWorld(), recipe, tmp_path / "old", make_fabric(recipe, 1))


def test_a_backbone_that_stays_runs_without_a_graph_and_without_norms() -> None:
    network = nano().train()
    backbone = network.image_backbone.backbone
    for norm in (each for each in backbone.modules() if isinstance(each, nn.BatchNorm2d)):
        nn.init.uniform_(norm.running_mean, -0.2, 0.2)
        nn.init.uniform_(norm.running_var, 0.5, 2.0)
    images = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    with folded(network):  # which still learns
        assert not any("forward" in module.__dict__ for module in network.modules())
    backbone.requires_grad_(False)
    expected = backbone(images).feature_maps
    state = {name: value.clone() for name, value in network.state_dict().items()}
    with folded(network):
        result = backbone(images).feature_maps
        left_out = [
            name
            for name, module in network.named_modules()
            if isinstance(module, nn.BatchNorm2d) and "forward" in module.__dict__
        ]
        assert network.state_dict().keys() == state.keys()
    norms = [each for each in backbone.modules() if isinstance(each, nn.BatchNorm2d)]
    assert len(left_out) == len(norms) and all(n.startswith("image_backbone.b") for n in left_out)
    for ours, theirs in zip(result, expected, strict=True):
        assert not ours.requires_grad
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())
    assert not any("forward" in module.__dict__ for module in network.modules())
