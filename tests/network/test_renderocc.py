"""The composition: symmetries, masks, sizes and gradients."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from renderocc_ros.network.camera_tensors import CameraTensors, PastCameras
from renderocc_ros.network.initialise import calibrate_batch_norms
from renderocc_ros.network.occupancy_field import (
    OccupancyField,
    class_against_free,
    class_probabilities,
    decode_field,
    decode_probabilities,
    field_of,
    opacity,
)
from renderocc_ros.network.renderocc import RenderOcc, build_network
from renderocc_ros.network.view_lifting import pool_plain
from renderocc_ros.network_config import NetworkConfig

Configs = Callable[..., NetworkConfig]
Ring = Callable[..., CameraTensors]

KINDS = {
    "from_above": {},
    "3d": {"encoder": {"kind": "3d"}},
    "bev": {"lifting": "bev"},
    "one_past_frame": {"temporal": {"past_frames": 1}},
    "stereo": {"depth": {"stereo": {"feature": "stage1"}}, "temporal": {"past_frames": 1}},
    "fine": {"depth": {"fine": {"feature": "stage1", "hidden_channels": 6}}},
    "fine_stereo": {
        "depth": {"fine": {"feature": "stage2"}, "stereo": {"feature": "stage1"}},
        "temporal": {"past_frames": 1},
    },
    "bev_two_past_frames": {"lifting": "bev", "temporal": {"past_frames": 2}},
}


@pytest.fixture(params=KINDS)
def network(request: pytest.FixtureRequest, tiny: Configs) -> RenderOcc:
    return settled(tiny(architecture=KINDS[request.param]))


def settled(config: NetworkConfig, classes: int = 5) -> RenderOcc:
    network = build_network(config, classes, seed=1).eval()
    if network.depth_head.fine:  # it begins without a say
        torch.nn.init.normal_(network.depth_head.fine.out.weight, std=0.3)
    calibrate_batch_norms(network, seed=1)
    return network


def close(a: OccupancyField, b: OccupancyField) -> None:
    torch.testing.assert_close(a.density, b.density, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(a.semantics, b.semantics, atol=1e-4, rtol=1e-4)


def differ(a: OccupancyField, b: OccupancyField) -> bool:
    return (a.semantics - b.semantics).abs().max().item() > 0.01


def picked(cameras: CameraTensors, order: list[int]) -> CameraTensors:
    return CameraTensors(
        cameras.images[:, order],
        cameras.intrinsics[:, order],
        cameras.ego_from_camera[:, order],
        cameras.valid[:, order],
    )


@torch.no_grad()
def test_order_of_cameras_does_not_matter(network: RenderOcc, ring: Ring) -> None:
    cameras = ring(4)
    field = network(cameras)
    close(network(picked(cameras, [2, 0, 3, 1])), field)
    swapped = replace(cameras, images=cameras.images[:, [1, 0, 2, 3]])
    assert differ(network(swapped), field), "which camera saw what must matter"


@torch.no_grad()
def test_masked_camera_is_no_camera(network: RenderOcc, ring: Ring) -> None:
    cameras = ring(4)
    images, poses = cameras.images.clone(), cameras.ego_from_camera.clone()
    intrinsics, valid = cameras.intrinsics.clone(), cameras.valid.clone()
    images[:, 2], poses[:, 2], intrinsics[:, 2], valid[:, 2] = torch.nan, torch.nan, 0.0, False
    masked = CameraTensors(images, intrinsics, poses, valid)
    close(network(masked), network(picked(cameras, [0, 1, 3])))
    black = cameras.images.clone()
    black[:, 2] = 0.0
    assert differ(network(masked), network(replace(cameras, images=black)))


def test_masked_camera_is_no_camera_in_training_either(tiny: Configs, ring: Ring) -> None:
    """Batch norms take the statistics of the images that are there, and gradients agree."""
    cameras = ring(4)
    valid = cameras.valid.clone()
    valid[:, 2] = False
    results = []
    for given in (replace(cameras, valid=valid), picked(cameras, [0, 1, 3])):
        network = settled(tiny()).train()
        network(given).semantics.square().mean().backward()
        gradients = [weight.grad for weight in network.parameters()]
        results.append((gradients, list(network.buffers())))
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-3)


@torch.no_grad()
def test_no_camera_at_all_is_an_empty_volume(tiny: Configs, ring: Ring) -> None:
    cameras = ring(4)
    network = settled(tiny())
    nothing = replace(cameras, valid=torch.zeros_like(cameras.valid))
    volume = network.lift_views(network.view_features(nothing), network.lifting_table(nothing))
    assert volume.shape == (1, 6, 20, 20, 4)
    assert not volume.any()


@torch.no_grad()
def test_items_of_a_batch_do_not_touch(network: RenderOcc, ring: Ring) -> None:
    one, two = ring(4, seed=1), ring(4, seed=2)
    both = CameraTensors(
        *(
            torch.cat([getattr(one, name), getattr(two, name)])
            for name in ("images", "intrinsics", "ego_from_camera", "valid")
        )
    )
    field = network(both)
    for number, alone in enumerate((one, two)):
        part = OccupancyField(field.density[[number]], field.semantics[[number]])
        close(part, network(alone))


@torch.no_grad()
def test_fast_and_plain_pooling_give_the_same_field(network: RenderOcc, ring: Ring) -> None:
    cameras = ring(4)
    field = network(cameras)
    network.pool = pool_plain
    close(network(cameras), field)


@pytest.mark.parametrize("size", [(20, 20, 4), (15, 9, 3), (8, 24, 1)])
@pytest.mark.parametrize("kind", ["from_above", "3d", "bev"])
@torch.no_grad()
def test_any_grid_class_count_and_rig(
    size: tuple[int, int, int], kind: str, tiny: Configs, ring: Ring
) -> None:
    grid = {"origin_m": [-4.0, -6.0, -1.0], "resolution_m": 0.7, "size": size}
    config = tiny(grid=grid, image={"width": 96, "height": 48}, architecture=KINDS[kind])
    field = build_network(config, 3, seed=0).eval()(ring(3, batch=2, size=(48, 96)))
    assert field.density.shape == (2, *size)
    assert field.semantics.shape == (2, 3, *size)


def test_gradients_reach_every_weight(network: RenderOcc, ring: Ring) -> None:
    network.train()
    current, earlier = ring(4, batch=2), ring(4, batch=2, seed=9)
    motion = torch.eye(4).repeat(2, 1, 1)
    frames = network.temporal_fusion.past_frames
    field = network(current, [PastCameras(earlier, motion)] * frames)
    (field.density.mean() + field.semantics.square().mean()).backward()
    for name, weight in network.named_parameters():
        assert weight.grad is not None, name
        assert weight.grad.isfinite().all(), name
        assert weight.grad.abs().max() > 0, name


def test_a_training_step_in_bfloat16_follows_one_in_float32(network: RenderOcc, ring: Ring) -> None:
    cameras = ring(4, batch=2)
    fields = []
    for enabled in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            field = network(cameras)
        field.density.mean().backward()
        fields.append(field)
    exact, rounded = (f.density.detach() for f in fields)
    assert rounded.dtype == torch.float32
    # bfloat16 has 8 bits of mantissa: some 20 layers of it leave a few per cent.
    assert (rounded - exact).abs().mean() < 0.1 * exact.abs().mean()
    assert all(p.grad is None or p.grad.isfinite().all() for p in network.parameters())


def test_seed_fixes_the_weights_and_leaves_the_global_generator(tiny: Configs) -> None:
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    first, again = (build_network(tiny(), 5, seed=3).state_dict() for _ in range(2))
    other = build_network(tiny(), 5, seed=4).state_dict()
    assert torch.equal(torch.rand(3), wanted)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_opacity_by_hand() -> None:
    assert opacity(torch.tensor(2.0), 0.4).item() == pytest.approx(0.5506710)
    # Two cells of 0.4 m let through what one of 0.8 m does: the threshold means the same.
    half, whole = opacity(torch.tensor(1.3), 0.4), opacity(torch.tensor(1.3), 0.8)
    assert (1 - half).square().item() == pytest.approx(1 - whole.item())
    assert opacity(torch.tensor(1e-9), 0.4).item() == pytest.approx(4e-10)


def test_read_out_by_hand() -> None:
    density = torch.tensor([0.0, 1.0, 3.0, 50.0]).view(1, 4, 1, 1)
    semantics = torch.zeros(1, 3, 4, 1, 1)
    semantics[0, 1, 2], semantics[0, 2, 3] = 1.0, 5.0
    result = decode_field(OccupancyField(density, semantics), resolution_m=0.4, threshold=0.5)
    assert result.labels.flatten().tolist() == [3, 3, 1, 2]
    # 255 (1 - exp(-0.4)) = 84.07; 255 (1 - exp(-1.2)) = 178.2
    assert result.confidence.flatten().tolist() == [0, 84, 178, 255]


def test_a_voxel_that_classes_share_can_stay_free() -> None:
    """Opacity 0.6, all one class's, shared by two evenly, and by two at odds of three to one."""
    density = torch.full((1, 3, 1, 1), -math.log(0.4) / 0.5)
    semantics = torch.zeros(1, 2, 3, 1, 1)
    semantics[0, 1, 0], semantics[0, 1, 2] = 50.0, math.log(3)
    field = OccupancyField(density, semantics)
    probabilities = class_probabilities(field, 0.5)
    share = class_against_free(probabilities).flatten().tolist()
    assert share == pytest.approx([0.6, 0.3 / 0.7, 0.45 / 0.85])
    assert decode_field(field, 0.5, 0.5, "opacity").labels.flatten().tolist() == [1, 0, 1]
    assert decode_field(field, 0.5, 0.5, "class").labels.flatten().tolist() == [1, 2, 1]
    assert decode_field(field, 0.5, 0.55, "class").labels.flatten().tolist() == [1, 2, 2]
    assert probabilities.sum(dim=-1).flatten().tolist() == pytest.approx([1] * 3)
    again = field_of(probabilities, 0.5)
    torch.testing.assert_close(again.density, field.density)
    torch.testing.assert_close(class_probabilities(again, 0.5), probabilities)
    certain = field_of(torch.tensor([1.0, 0.0, 0.0]).view(1, 1, 1, 1, 3), 0.5)
    assert certain.density.isfinite().all() and certain.semantics.isfinite().all()
    for by in ("opacity", "class"):
        one, other = (
            decode_field(field, 0.5, 0.52, by),
            decode_probabilities(probabilities, 0.52, by),
        )
        assert torch.equal(one.labels, other.labels)
        assert torch.equal(one.confidence, other.confidence)


def test_initial_opacity_is_what_it_says(tiny: Configs, ring: Ring) -> None:
    for resolution_m in (0.5, 1.0):
        grid = {"origin_m": [-5.0, -5.0, -1.0], "resolution_m": resolution_m, "size": [10, 10, 4]}
        config = tiny(grid=grid, architecture={"field": {"initial_opacity": 0.2}})
        network = settled(config)
        with torch.no_grad():
            density = network(ring(4)).density
        assert opacity(density, resolution_m).mean().item() == pytest.approx(0.2, abs=0.08)


def test_untrained_network_sees_its_images(network: RenderOcc, ring: Ring) -> None:
    with torch.no_grad():
        assert differ(network(ring(4, seed=1)), network(ring(4, seed=2)))
