"""The official network goes on learning: from its file, on another rig, to a file for the node."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from torch import nn
from toy_world import CLASSES, NETWORK, ToyWorld, toy_recipe
from typer.testing import CliRunner

from renderocc_ros.checkpoint import Model, load_checkpoint, save_checkpoint
from renderocc_ros.checkpoint_convert import convert
from renderocc_ros.cli import app
from renderocc_ros.config import load_class_set, validate
from renderocc_ros.geometry import CameraModel, RigidTransform
from renderocc_ros.network.camera_tensors import CameraTensors
from renderocc_ros.network.official import SwinBStereoConfig
from renderocc_ros.network.official import swin as swin_module
from renderocc_ros.network.official.preset import (
    OfficialRenderOcc,
    build_official,
    camera_frame,
    occupancy_field,
    official_density,
)
from renderocc_ros.network.official.swin import SwinConfig
from renderocc_ros.network.renderocc import build_network
from renderocc_ros.network_config import NetworkConfig, load_network_config
from renderocc_ros.prediction import Predictor
from renderocc_ros.rig.camera_set import CameraSet, PosedImage
from renderocc_ros.rig.image_preprocessing import ImagePreprocessor
from renderocc_training.commands.train import _first_weights
from renderocc_training.rendering import paper_head
from renderocc_training.samples.training_sample import CameraViews, TrainingSample, collate
from renderocc_training.trainer import objective as objective_module
from renderocc_training.trainer.loop import StepReport, make_fabric, train
from renderocc_training.trainer.objective import Objective, Opaque

CONFIG = {**NETWORK, "architecture": {"kind": "official"}, "threshold": 8.5, "cameras": 1}
STEP_M = 1.0  # that the camera drives between two frames
SMALL = partial(
    SwinBStereoConfig,
    swin=SwinConfig(channels=16, depths=(2, 1, 1, 1), heads=(1, 2, 2, 2), window=4, mlp_ratio=2),
    neck_channels=24,
    aspp_channels=8,
    context_channels=8,
    encoder_blocks=(1, 1, 1),
)


@pytest.fixture(autouse=True)
def small_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The official network, built, saved and loaded as ever, with fewer and narrower layers."""
    monkeypatch.setattr("renderocc_ros.network.official.preset.SwinBStereoConfig", SMALL)


def official(config: NetworkConfig | None = None, classes: int = len(CLASSES)) -> OfficialRenderOcc:
    """Seeded weights that let the images through to the field."""
    torch.manual_seed(0)
    network = build_official(config or validate(CONFIG, NetworkConfig, "toy"), classes)
    for value in network.parameters():
        if value.dim() > 1:
            nn.init.kaiming_normal_(value)
    for name, value in network.named_buffers():
        if name.endswith("running_mean"):
            nn.init.normal_(value, std=0.1)
    # camera parameters are pixels of a 1600 pixel wide image
    network.img_view_transformer.depth_net.bn.running_var.fill_(1e6)
    return network


class Drive(ToyWorld):
    """The camera drives up to the wall; the drive's first frame has no past."""

    def sample(self, index: int, random: np.random.Generator) -> TrainingSample:
        sample = super().sample(index, random)
        past = []
        for earlier in (1, 2):
            if index % 8 + earlier < 8:
                past.append(super().sample(index + earlier, random).views)
            else:
                views = sample.views
                past.append(
                    CameraViews(
                        np.zeros_like(views.images),
                        np.eye(3, dtype=np.float32)[None],
                        np.eye(4, dtype=np.float32)[None],
                        np.array([False]),
                    )
                )
        motion = np.tile(np.eye(4, dtype=np.float32), (2, 1, 1))
        motion[:, 0, 3] = [earlier * STEP_M * past[earlier - 1].valid[0] for earlier in (1, 2)]
        return replace(
            sample,
            past=tuple(past),
            past_from_current=motion,
            depth_m=np.ascontiguousarray(sample.depth_m[:, ::2, ::2]),
            image_class=np.ascontiguousarray(sample.image_class[:, ::2, ::2]),
        )


def fabric() -> object:
    return make_fabric(toy_recipe(), devices=1)


def batch_of(*indices: int):  # type: ignore[no-untyped-def]
    return collate([Drive().sample(i, np.random.default_rng(i)) for i in indices])


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "start.safetensors"
    save_checkpoint(Model(official(), CLASSES), path)
    return path


def test_the_loss_falls_and_norm_statistics_stay(file: Path, tmp_path: Path) -> None:
    model = load_checkpoint(file)
    start = {name: value.clone() for name, value in model.network.state_dict().items()}
    for name, value in official().state_dict().items():
        assert torch.equal(start[name], value), name
    reports: list[StepReport] = []
    recipe = toy_recipe(steps=60, batch_size=4, mirror=0.0)
    path = train(
        model.network, CLASSES, Drive(), recipe, tmp_path, fabric(), on_step=reports.append
    )  # fmt: skip
    first, last = (np.mean([r.total for r in part]) for part in (reports[:5], reports[-5:]))
    assert last < 0.6 * first
    trained = load_checkpoint(path).network
    parameters = {name for name, _ in trained.named_parameters()}
    changed = {
        name for name, value in trained.state_dict().items() if not torch.equal(value, start[name])
    }
    assert changed == parameters  # and none of the buffers


def test_what_is_trained_is_the_three_frame_call() -> None:
    """Each sample of a batch as alone, where the oldest frame stands in for what is missing."""
    network = official()
    batch = batch_of(3, 7, 6)  # with two past frames, none, and one
    with torch.inference_mode():
        field, depth = network.field_and_depth(batch.current, batch.past)
        for place, count in enumerate((3, 1, 2)):
            x_m = (0.0, STEP_M, 2 * STEP_M)
            frames = [
                camera_frame(one(cameras, place), pose(-x))
                for cameras, x in zip(
                    (batch.current, *(p.cameras for p in batch.past)), x_m, strict=True
                )
            ][:count]
            alone = network(frames)
            expected = occupancy_field(alone, network.grid.resolution_m)
            torch.testing.assert_close(field.density[place], expected.density[0])
            torch.testing.assert_close(field.semantics[place], expected.semantics[0])
            torch.testing.assert_close(depth[place], alone.depth[0])
    assert (field.density[0] - field.density[1]).abs().max() > 1e-4


def one(cameras: CameraTensors, place: int) -> CameraTensors:
    parts = (cameras.images, cameras.intrinsics, cameras.ego_from_camera, cameras.valid)
    return CameraTensors(*(part[place : place + 1] for part in parts))


def pose(x_m: float) -> torch.Tensor:
    moved = torch.eye(4, dtype=torch.float64)
    moved[0, 3] = x_m
    return moved[None]


def test_a_voxel_is_half_opaque_at_the_published_threshold() -> None:
    config = load_network_config("swinb-stereo")
    assert config.opacity_threshold == 0.5
    network = official()
    field = network([camera_frame(batch_of(7).current, pose(0.0))])
    ours = occupancy_field(field, 1.0)
    opaque = -torch.expm1(-ours.density)
    torch.testing.assert_close(opaque, field.density / (field.density + 8.5))
    torch.testing.assert_close(official_density(ours, 1.0), field.density)
    for opacity in (0.2, 0.5, 0.9):
        moved = config.with_opacity_threshold(opacity)
        assert moved.opacity_threshold == pytest.approx(opacity)
        density = torch.tensor([moved.threshold])
        assert density / (density + 8.5) == pytest.approx(opacity)
    assert config.with_opacity_threshold(1.0).opacity_threshold == pytest.approx(1.0)


def test_a_killed_run_goes_on_exactly_though_layers_are_dropped_at_random(tmp_path: Path) -> None:
    recipe = toy_recipe(steps=4, accumulate=2)

    class Killed(Exception):
        pass

    def kill(report: StepReport) -> None:
        if report.step == 3:
            raise Killed

    whole = train(official(), CLASSES, Drive(), recipe, tmp_path / "whole", fabric())
    with pytest.raises(Killed):
        train(
            official(), CLASSES, Drive(), recipe, tmp_path / "killed", fabric(),
            save_every=2, on_step=kill,
        )  # fmt: skip
    torch.manual_seed(99)
    resumed = train(official(), CLASSES, Drive(), recipe, tmp_path / "killed", fabric())
    again = load_checkpoint(resumed).network.state_dict()
    for name, value in load_checkpoint(whole).network.state_dict().items():
        assert torch.equal(value, again[name]), name


def test_computing_blocks_again_changes_no_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    batch = Opaque(batch_of(3, 4))
    result = []
    for kept in (False, True):
        if kept:
            monkeypatch.setattr(swin_module, "checkpoint", lambda block, x, **_: block(x))
        asked = Objective(official(), CLASSES, toy_recipe()).train()
        torch.manual_seed(5)
        torch.stack(list(asked(batch, torch.Generator().manual_seed(0)).values())).sum().backward()
        result.append({name: value.grad for name, value in asked.named_parameters()})
    for name, gradient in result[0].items():
        assert gradient is not None and torch.equal(gradient, result[1][name]), name
    assert result[0]["network.img_backbone.patch_embed.projection.weight"].abs().sum() > 0


def test_half_precision_finds_the_same_field_and_gradients() -> None:
    batch, result = batch_of(3, 4), []
    for enabled in (False, True):
        network = official()
        asked = Objective(network, CLASSES, toy_recipe()).eval()
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            field, _ = network.field_and_depth(batch.current, batch.past)
            torch.clear_autocast_cache()
            torch.manual_seed(3)
            terms = asked.train()(Opaque(batch), torch.Generator().manual_seed(0))
        torch.stack(list(terms.values())).sum().backward()
        assert field.density.dtype == torch.float32
        gradients = {name: value.grad for name, value in network.named_parameters()}
        result.append((-torch.expm1(-field.density), gradients))
    (exact, wanted), (rounded, ours) = result
    assert (exact - rounded).abs().max() < 0.02
    for name in ("img_backbone.patch_embed.projection.weight", "img_neck.conv.0.weight"):
        assert torch.cosine_similarity(wanted[name].flatten(), ours[name].flatten(), dim=0) > 0.9, (
            name
        )


def test_the_paper_recipe_renders_the_official_density_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[torch.Tensor] = []

    def record(density: torch.Tensor, *rest: object) -> dict[str, torch.Tensor]:
        seen.append(density)
        return paper_head.losses(density, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(objective_module, "paper_losses", record)
    losses = {"range_silog": 1.0, "semantics": 1.0}
    recipe = toy_recipe(losses=losses, rays={"budget": 512, "rendered": 128, "head": "paper"})
    network, batch = official(), batch_of(7)
    terms = Objective(network, CLASSES, recipe).eval()(Opaque(batch), torch.Generator())
    expected = network([camera_frame(batch.current, pose(0.0))]).density
    torch.testing.assert_close(seen[0], expected)
    assert all(value.isfinite() for value in terms.values())


def test_the_node_says_what_the_trainer_trained(file: Path, tmp_path: Path) -> None:
    network = load_checkpoint(file).network
    optimiser = {"learning_rate": 3e-3, "warmup_steps": 0, "ema_decay": 0.0}
    recipe = toy_recipe(steps=2, optimiser=optimiser)
    path = train(network, CLASSES, Drive(), recipe, tmp_path / "run", fabric())
    predictor = Predictor.from_checkpoint(path)
    assert isinstance(network, OfficialRenderOcc) and predictor.threshold == 0.5
    preprocess = ImagePreprocessor(network.config.image)
    sets = [camera_set(number) for number in range(3)]
    views = []
    for each in sets:
        occupancy = predictor.predict(each)
        ready = preprocess(each)
        parts = (ready.images, ready.intrinsics, ready.ego_from_camera)
        views.append(CameraViews(*(np.float32(part) for part in parts), ready.valid))
    sample = Drive().sample(0, np.random.default_rng(0))
    motion = np.tile(np.eye(4, dtype=np.float32), (2, 1, 1))
    motion[:, 0, 3] = STEP_M, 2 * STEP_M
    sample = replace(
        sample, views=views[2], past=(views[1], views[0]), past_from_current=motion
    )  # fmt: skip
    batch = collate([sample])
    with torch.inference_mode():
        field, _ = network.eval().field_and_depth(batch.current, batch.past)
    assert predictor.field is not None
    torch.testing.assert_close(predictor.field.density, field.density, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(predictor.field.semantics, field.semantics, rtol=1e-4, atol=1e-4)
    assert occupancy.labels.shape == network.grid.size


def camera_set(number: int) -> CameraSet:
    image = np.random.default_rng(number).integers(0, 256, (32, 64, 3), dtype=np.uint8)
    model = CameraModel(64, 32, [[40, 0, 31.5], [0, 40, 15.5], [0, 0, 1]])
    looks_ahead = RigidTransform(
        np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]]), np.array([0.3, 0.0, 0.6])
    )
    stamp_ns = number * 500_000_000
    posed = PosedImage("front", stamp_ns, image, model, looks_ahead)
    driven = RigidTransform(np.eye(3), np.array([STEP_M * number, 0.0, 0.0]))
    return CameraSet(stamp_ns, ("front",), (posed,), driven)


# ------------------------------------------------------------------------------------ the command


@pytest.fixture
def converted(tmp_path: Path) -> Path:
    """What ``renderocc convert`` makes of a published file."""
    config = load_network_config("swinb-stereo")
    classes = len(load_class_set(config.class_set))
    torch.save({"state_dict": official(config, classes).state_dict()}, tmp_path / "official.pth")
    convert(tmp_path / "official.pth", tmp_path / "out.safetensors")
    return tmp_path / "out.safetensors"


def refusal(*arguments: object) -> str:
    result = CliRunner().invoke(app, ["train", *map(str, arguments)])
    assert result.exit_code != 0
    return " ".join(result.output.split())


def test_weights_that_do_not_fit_are_refused_with_both_values(
    converted: Path, tmp_path: Path
) -> None:
    arguments = (tmp_path, "--out", tmp_path / "run")
    assert "give its published weights by --start-from" in refusal(
        *arguments, "--network", "swinb-stereo"
    )
    shipped = load_network_config("swinb-stereo").model_dump(mode="json")
    mine = write(tmp_path / "mine.yaml", {**shipped, "class_set": indoor(tmp_path)})
    result = refusal(*arguments, "--start-from", converted, "--network", mine)
    assert (
        "'indoor' (floor, person) was asked for, network 'swinb-stereo' predicts 'occ3d'" in result
    )
    result = refusal(*arguments, "--start-from", converted, "--network", "nano")
    assert "'swinb-stereo' do not fit network 'nano'" in result


def test_another_backbone_takes_what_fits_of_the_rest(tmp_path: Path) -> None:
    trained = build_network(load_network_config("nano"), 17, seed=1)
    save_checkpoint(Model(trained, load_class_set("occ3d")), tmp_path / "m.safetensors")
    shipped = load_network_config("nano").model_dump(mode="json")
    shipped["architecture"]["backbone"]["out_features"] = ["stage2", "stage5", "stage6"]
    mine = write(tmp_path / "mine.yaml", shipped)
    result = _first_weights(tmp_path / "m.safetensors", str(mine), {}, False, 0, what_fits=True)[0]
    before, after = trained.state_dict(), result.state_dict()
    same = {n for n, value in after.items() if n in before and torch.equal(value, before[n])}
    for part in ("voxel_encoder", "depth_head", "image_backbone.neck.lateral.1.0"):
        names = {name for name in after if name.startswith(part)}
        assert names and names <= same
    other = "image_backbone.neck.lateral.0.0.weight"  # of 24 channels instead of 40
    assert after[other].shape[1] == 24 and other not in same
    arguments = (tmp_path, "--out", tmp_path / "run", "--what-fits")
    assert "--what-fits needs --start-from and the --network" in refusal(*arguments)


def test_another_rig_takes_the_same_weights(converted: Path, tmp_path: Path) -> None:
    shipped = load_network_config("swinb-stereo").model_dump(mode="json")
    grid = {"origin_m": [-8.0, -8.0, -1.0], "resolution_m": 0.5, "size": [32, 32, 8]}
    own = {**shipped, "image": {"width": 96, "height": 64}, "grid": grid, "cameras": 2}
    mine = write(tmp_path / "mine.yaml", own)
    network, class_set = _first_weights(converted, mine, {}, False, 0)
    assert isinstance(network, OfficialRenderOcc) and class_set.name == "occ3d"
    assert network.sizes.image_size == (64, 96) and network.sizes.cameras == 2
    assert network.grid.size == (32, 32, 8)
    for name, value in load_checkpoint(converted).network.state_dict().items():
        assert torch.equal(value, network.state_dict()[name]), name


def indoor(folder: Path) -> str:
    content = {
        "name": "indoor",
        "classes": [
            {"name": "floor", "colour": [1, 2, 3], "ground": True},
            {"name": "person", "colour": [4, 5, 6]},
        ],
    }
    return write(folder / "indoor.yaml", content)


def write(path: Path, content: object) -> str:
    path.write_text(yaml.safe_dump(content))
    return str(path)
