"""Matching with the past frame: where a pixel is looked up, and what a good match says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from renderocc_ros.network.camera_tensors import CameraTensors, PastCameras
from renderocc_ros.network.initialise import calibrate_batch_norms
from renderocc_ros.network.official.geometry import BEHIND
from renderocc_ros.network.renderocc import RenderOcc, build_network
from renderocc_ros.network.stereo_matching import (
    as_past,
    lookups,
    matchable,
    matching_distribution,
)
from renderocc_ros.network_config import NetworkConfig

Configs = Callable[..., NetworkConfig]
Ring = Callable[..., CameraTensors]
STEREO = {"depth": {"stereo": {"feature": "stage1"}}, "temporal": {"past_frames": 1}}
SIZE, STRIDE = (64, 96), 4
DEPTHS_M = tuple(1.25 + 0.5 * i for i in range(16))
FOCAL_PX = 60.0
GENERATOR = torch.Generator().manual_seed(7)
WAVES = 6.0 * torch.randn(6, 2, generator=GENERATOR)
PHASES = 6.0 * torch.rand(6, generator=GENERATOR)


def camera(x_m: float, yaw: float) -> CameraTensors:
    """One camera that looks along the ego's x axis, turned left by ``yaw``, ``x_m`` to the left."""
    c, s = torch.cos(torch.tensor(yaw)), torch.sin(torch.tensor(yaw))
    pose = torch.eye(4)
    pose[:3, 0], pose[:3, 2] = torch.tensor([s, -c, 0.0]), torch.tensor([c, s, 0.0])
    pose[:3, 1] = torch.tensor([0.0, 0.0, -1.0])
    pose[1, 3] = x_m
    k = torch.tensor([[FOCAL_PX, 0.0, 47.5], [0.0, FOCAL_PX, 31.5], [0.0, 0.0, 1.0]])
    images = torch.zeros(1, 1, 3, *SIZE)
    return CameraTensors(images, k[None, None], pose[None, None], torch.ones(1, 1).bool())


def seen_of_wall(cameras: CameraTensors, wall_m: float) -> tuple[Tensor, Tensor]:
    """(1, 6, h, w) texture of the wall x = wall_m at each feature pixel, and its depth (h, w)."""
    v, u = torch.meshgrid(
        (torch.arange(SIZE[0] // STRIDE) + 0.5) * STRIDE - 0.5,
        (torch.arange(SIZE[1] // STRIDE) + 0.5) * STRIDE - 0.5,
        indexing="ij",
    )
    rays = torch.stack([(u - 47.5) / FOCAL_PX, (v - 31.5) / FOCAL_PX, torch.ones_like(u)], dim=-1)
    pose = cameras.ego_from_camera[0, 0]
    rays = rays @ pose[:3, :3].T
    depth_m = (wall_m - pose[0, 3]) / rays[..., 0]
    points = pose[:3, 3] + rays * depth_m[..., None]
    return torch.sin(points[..., 1:] / wall_m @ WAVES.T + PHASES).movedim(-1, 0)[None], depth_m


@pytest.mark.parametrize("wall_m", [2.25, 4.75, 7.25])
def test_a_textured_wall_matches_at_its_depth(wall_m: float) -> None:
    now, then = camera(0.0, 0.0), camera(0.2 * wall_m, -0.04)
    (texture_now, depth_m), (texture_then, _) = (seen_of_wall(c, wall_m) for c in (now, then))
    past = as_past(then, matchable(texture_then)[None])
    where = lookups(now, (past, torch.eye(4)[None]), DEPTHS_M, SIZE)
    assert where.shape == (1, 1, 16, 16, 24, 2)
    result = matching_distribution(past.features[0], matchable(texture_now), where[0])
    torch.testing.assert_close(result.sum(dim=1), torch.ones(1, 16, 24))
    best = torch.tensor(DEPTHS_M)[result[0].argmax(dim=0)]
    bin_of_wall = DEPTHS_M.index(wall_m)
    inside = (where[0, 0, bin_of_wall].abs() <= 1).all(dim=-1)
    assert (depth_m == wall_m).all() and inside.float().mean() > 0.5
    off_m = (best[inside] - wall_m).abs()  # far away, bins are a fifth of a feature pixel apart
    assert (off_m == 0).float().mean() > 0.75 and (off_m <= 0.5).float().mean() > 0.95


def test_the_ego_motion_is_part_of_the_way() -> None:
    """A camera that moved with its robot is where one is that moved on it."""
    now, then, past_from_current = camera(0.0, 0.0), camera(0.5, 0.0), torch.eye(4)[None]
    on_robot = lookups(now, (as_past(then, torch.zeros(1, 1, 8, 16, 24)), past_from_current),
                       DEPTHS_M, SIZE)  # fmt: skip
    past_from_current = past_from_current.clone()
    past_from_current[0, 1, 3] = -0.5
    with_robot = lookups(now, (as_past(now, torch.zeros(1, 1, 8, 16, 24)), past_from_current),
                         DEPTHS_M, SIZE)  # fmt: skip
    torch.testing.assert_close(on_robot, with_robot, atol=1e-5, rtol=1e-5)
    shift = on_robot[0, 0, 2, 8, 12] - lookups(
        now, (as_past(now, torch.zeros(1, 1, 8, 16, 24)), torch.eye(4)[None]), DEPTHS_M, SIZE
    )[0, 0, 2, 8, 12]  # fmt: skip
    # 60 px · 0.5 m / 2.25 m = 13.33 px = 3.33 feature pixels of 23 that span 2
    torch.testing.assert_close(shift, torch.tensor([60 * 0.5 / 2.25 / 4 * 2 / 23, 0.0]))


def test_points_behind_the_past_camera_are_marked() -> None:
    motion = torch.eye(4)[None].clone()
    motion[0, 0, 3] = -5.0  # the past frame stood 5 m ahead
    past = as_past(camera(0.0, 0.0), torch.zeros(1, 1, 8, 16, 24))
    where = lookups(camera(0.0, 0.0), (past, motion), DEPTHS_M, SIZE)
    behind = (where == BEHIND).all(dim=-1)[0, 0, :, 8, 12]
    assert behind.tolist() == [depth < 5.0 for depth in DEPTHS_M]


def test_rectified_features_are_not_taken_for_the_outside() -> None:
    """Inside, a zero is a value like any other; outside the image a hypothesis costs more."""
    features = torch.relu(torch.randn(1, 8, 6, 8, generator=torch.Generator().manual_seed(1)))
    features[:, 4] = 0.0
    same = matchable(features)
    here = torch.stack(torch.meshgrid(torch.linspace(-1, 1, 6), torch.linspace(-1, 1, 8),
                                      indexing="ij")[::-1], dim=-1)  # fmt: skip
    where = torch.stack([here, here, torch.full_like(here, BEHIND)])[None]
    result = matching_distribution(same, same, where)
    torch.testing.assert_close(result[:, :2], torch.full((1, 2, 6, 8), 0.5), atol=1e-3, rtol=0)


def stereo_network(tiny: Configs) -> RenderOcc:
    network = build_network(tiny(architecture=STEREO), 5, seed=1).eval()
    calibrate_batch_norms(network, 1)
    return network


def shifted(x_m: float) -> Tensor:
    motion = torch.eye(4)
    motion[0, 3] = x_m
    return motion[None]


@torch.no_grad()
def test_the_past_frame_tells_depth(tiny: Configs, ring: Ring) -> None:
    network, now = stereo_network(tiny), ring(4)
    earlier = [PastCameras(ring(4, seed=n), shifted(0.5 * n)) for n in (1, 2)]
    alone, matched, twice = (network.field_and_depth(now, earlier[:n]) for n in range(3))
    assert (alone[1] - matched[1]).abs().max() > 1e-4
    # the frame before the fused one is what that is matched with, and fused itself it is not
    torch.testing.assert_close(matched[1], twice[1])
    assert (matched[0].density - twice[0].density).abs().max() > 1e-6
    other = [replace(earlier[0], past_from_current=shifted(-0.5))]
    assert (network.field_and_depth(now, other)[1] - matched[1]).abs().max() > 1e-5


@torch.no_grad()
def test_a_camera_without_a_past_image_is_not_matched(tiny: Configs, ring: Ring) -> None:
    network, now, then = stereo_network(tiny), ring(4), ring(4, seed=1)
    present = then.valid.clone()
    present[:, 1] = False
    images = then.images.clone()
    images[:, 1] = torch.nan
    past = [PastCameras(replace(then, images=images, valid=present), shifted(0.5))]
    depth, alone = (network.field_and_depth(now, p)[1] for p in (past, []))
    torch.testing.assert_close(depth[:, 1], alone[:, 1])
    assert (depth[:, 0] - alone[:, 0]).abs().max() > 1e-4


def test_the_last_frame_trains_nothing_and_the_matching_is_trained(
    tiny: Configs, ring: Ring
) -> None:
    network = stereo_network(tiny).train()
    images = ring(4, seed=2).images.requires_grad_()
    last = PastCameras(replace(ring(4, seed=2), images=images), shifted(1.0))
    field, depth = network.field_and_depth(
        ring(4), [PastCameras(ring(4, seed=1), shifted(0.5)), last]
    )  # fmt: skip
    (field.density.mean() + depth.square().mean()).backward()
    assert images.grad is None
    assert network.depth_head.match is not None
    assert all(weight.grad.abs().max() > 0 for weight in network.depth_head.match.parameters())


@torch.no_grad()
def test_a_past_frame_can_be_matched_without_being_fused(tiny: Configs, ring: Ring) -> None:
    config = tiny(architecture={"depth": STEREO["depth"]})
    network = build_network(config, 5, seed=1).eval()
    calibrate_batch_norms(network, 1)
    now, past = ring(4), [PastCameras(ring(4, seed=1), shifted(0.5))]
    assert config.architecture.past_instants == 1
    assert not list(network.temporal_fusion.parameters())
    field, views = network.field_and_views(now, past)
    assert (views.depth - network.field_and_depth(now)[1]).abs().max() > 1e-4
    volume = network.lift_views(views, network.lifting_table(now))  # of the present alone
    torch.testing.assert_close(network.decode(volume).density, field.density)


def test_an_unknown_feature_to_match_is_refused(tiny: Configs) -> None:
    assert tiny(architecture=STEREO).architecture.past_instants == 2
    unknown = {**STEREO, "depth": {"stereo": {"feature": "stage9"}}}
    with pytest.raises(ValueError, match="stage9"):
        build_network(tiny(architecture=unknown), 5)


def test_without_stereo_no_weight_is_new(tiny: Configs) -> None:
    plain, stereo = (
        set(build_network(tiny(architecture=parts), 5).state_dict())
        for parts in ({"temporal": {"past_frames": 1}}, STEREO)
    )
    assert {name.rsplit(".", 2)[0] for name in stereo - plain} == {"depth_head.match"}
    assert plain < stereo
