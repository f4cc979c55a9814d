"""Matching cost, geometry and pooling: the fast beside the plain, and scenes with known answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from renderocc_ros.geometry import VoxelGrid
from renderocc_ros.network.official import StereoFrame, geometry
from renderocc_ros.network.official.stereo_cost import stereo_cost, stereo_cost_plain
from renderocc_ros.network.official.voxel_pooling import (
    plan_pooling,
    pool_voxels,
    pool_voxels_plain,
    voxel_of_points,
)

FrameAt = Callable[..., StereoFrame]
DEPTHS_M = torch.arange(1.0, 9.0, 0.5)
SIZE, STRIDE = (64, 96), 4


def random_grid(generator: torch.Generator) -> Tensor:
    """Lookups inside, on the edge, between edge and outside, far away and behind the camera."""
    grid = 1.4 * (2 * torch.rand(2, 5, 6, 8, 2, generator=generator) - 1)
    grid[:, 0, 0, :4] = torch.tensor([[-1.0, -1.0], [1.0, 1.0], [-2.0, -2.0], [1e30, -1e30]])
    grid[:, 1, 1, 0] = torch.tensor([1.0 + 1 / 8, 0.0])
    return grid


@pytest.mark.parametrize("channels", [8, 6])
def test_fast_matching_equals_the_plain_one(channels: int) -> None:
    generator = torch.Generator().manual_seed(channels)
    past, current = torch.randn(2, 2, channels, 6, 8, generator=generator)
    past[:, (channels - 1) // 4 * 4, 2, 3] = 0.0  # a zero inside the image counts as outside too
    grid = random_grid(generator)
    grid[:, 2, 2, 2] = torch.tensor([2 * 3 / 7 - 1, 2 * 2 / 5 - 1])
    plain = stereo_cost_plain(past, current, grid, 5.0)
    torch.testing.assert_close(stereo_cost(past, current, grid, 5.0), plain, rtol=1e-4, atol=1e-6)
    assert not torch.allclose(stereo_cost(past, current, grid, 0.0), plain, atol=1e-3)


def test_a_textured_wall_costs_least_at_its_depth(frame_at: FrameAt) -> None:
    now = frame_at(0.0, spread_s=0.0)
    wall_m = 4.0
    moved = now.global_from_ego.clone()
    moved[..., :2, 3] -= 0.4 * moved[..., :2, 1]  # 0.4 m to the side
    past = replace(now, global_from_ego=moved)
    to_past = geometry.past_from_current_camera(now, past)
    grid = geometry.stereo_grid(now, to_past, DEPTHS_M, SIZE, STRIDE)[0]
    generator = torch.Generator().manual_seed(3)
    texture = torch.randn(3, 16, 16, 24, generator=generator)
    at_wall = grid[:, DEPTHS_M.tolist().index(wall_m)]
    seen_now = torch.nn.functional.grid_sample(texture, at_wall, align_corners=True)
    best = DEPTHS_M[stereo_cost(texture, seen_now, grid, 5.0).argmax(dim=1)]
    inside = (at_wall.abs() < 1).all(dim=-1)
    sideways = inside[0]  # camera 0 looks ahead, so it moved along its image rows
    assert sideways.float().mean() > 0.5
    assert (best[0][sideways] == wall_m).float().mean() > 0.99


def test_lookups_are_the_projections_of_the_points(frame_at: FrameAt) -> None:
    now, past = frame_at(1.0), frame_at(0.5)
    to_past = geometry.past_from_current_camera(now, past)
    grid = geometry.stereo_grid(now, to_past, DEPTHS_M, SIZE, STRIDE)
    for camera, depth, row, column in ((0, 3, 2, 20), (1, 8, 15, 0), (2, 15, 7, 11)):
        k = now.intrinsics[0, camera].double()
        pixel = torch.tensor([column * 95 / 23, row * 63 / 15], dtype=torch.float64)
        original = (pixel - torch.tensor([0.0, -10.0])) / 0.6
        point = torch.ones(4, dtype=torch.float64)
        point[:3] = DEPTHS_M[depth] * (torch.inverse(k) @ torch.cat([original, torch.ones(1)]))
        world = now.global_from_camera[0, camera] @ point
        then = torch.inverse(past.global_from_camera[0, camera]) @ world
        seen = (k @ then[:3])[:2] / then[2] * 0.6 + torch.tensor([0.0, -10.0])
        expected = seen / torch.tensor([95.0, 63.0]) * 2 - 1
        torch.testing.assert_close(
            grid[0, camera, depth, row, column].double(), expected, atol=1e-5, rtol=1e-5
        )


def test_points_behind_the_past_camera_are_marked(frame_at: FrameAt) -> None:
    now = frame_at(0.0, spread_s=0.0)
    ahead = now.global_from_ego.clone()
    ahead[..., :3, 3] += 6.0 * ahead[..., :3, 0]
    to_past = geometry.past_from_current_camera(now, replace(now, global_from_ego=ahead))
    grid = geometry.stereo_grid(now, to_past, DEPTHS_M, SIZE, STRIDE)[0, 0]
    centre = grid[:, 8, 12, 0] != geometry.BEHIND
    assert centre.tolist() == [depth > 6.0 for depth in DEPTHS_M.tolist()]


GRID = VoxelGrid((-4.0, -4.0, -1.0), 0.5, (16, 14, 6))


def scattered(generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Points in and around the grid with depth and context."""
    points = 12 * torch.rand(2, 2, 5, 3, 4, 3, generator=generator) - 6
    depth = torch.rand(2, 2, 5, 3, 4, generator=generator)
    return points, depth, torch.randn(2, 2, 7, 3, 4, generator=generator)


@pytest.mark.parametrize("truncate", [False, True])
def test_pooling_equals_adding_point_by_point(truncate: bool) -> None:
    points, depth, context = scattered(torch.Generator().manual_seed(5))
    expected = torch.zeros(2, 7, 6, 14, 16)
    for b, n, d, h, w in torch.cartesian_prod(*(torch.arange(s) for s in depth.shape)).tolist():
        cell = (points[b, n, d, h, w] - torch.tensor(GRID.origin_m)) / 0.5
        cell = cell.trunc() if truncate else cell.floor()
        if (cell >= 0).all() and (cell < torch.tensor(GRID.size)).all():
            x, y, z = cell.long().tolist()
            expected[b, :, z, y, x] += depth[b, n, d, h, w] * context[b, n, :, h, w]
    assert (expected != 0).any()
    voxels = voxel_of_points(points, GRID, truncate)
    plan = plan_pooling(voxels, GRID)
    torch.testing.assert_close(pool_voxels(plan, depth, context), expected)
    torch.testing.assert_close(pool_voxels_plain(voxels, depth, context, GRID), expected)


def test_truncation_takes_in_points_up_to_a_cell_below_the_grid() -> None:
    low = torch.tensor([[[-4.49, 0.0, 0.0], [-4.51, 0.0, 0.0], [float("nan"), 0.0, 0.0]]])
    assert (voxel_of_points(low, GRID, truncate=True) >= 0).tolist() == [[True, False, False]]
    assert (voxel_of_points(low, GRID, truncate=False) >= 0).tolist() == [[False, False, False]]


def test_nothing_in_view_pools_to_nothing() -> None:
    points, depth, context = scattered(torch.Generator().manual_seed(5))
    plan = plan_pooling(voxel_of_points(points + 100.0, GRID), GRID)
    assert pool_voxels(plan, depth, context).abs().sum() == 0


def test_pooling_passes_gradients_to_depth_and_context() -> None:
    points, depth, context = scattered(torch.Generator().manual_seed(6))
    voxels, grads = voxel_of_points(points, GRID), []
    plan = plan_pooling(voxels, GRID)
    for fast in (True, False):
        d, c = depth.clone().requires_grad_(), context.clone().requires_grad_()
        volume = pool_voxels(plan, d, c) if fast else pool_voxels_plain(voxels, d, c, GRID)
        volume.square().sum().backward()
        grads.append((d.grad, c.grad))
    for fast_grad, plain_grad in zip(*grads, strict=True):
        torch.testing.assert_close(fast_grad, plain_grad)


def test_depth_of_a_point_lands_in_its_voxel(frame_at: FrameAt) -> None:
    """Cells at a known depth are where pinhole geometry puts them, seen from another ego pose."""
    then, key = frame_at(0.0), frame_at(0.5)
    ego = geometry.key_ego_from_camera(then, key)
    points = geometry.frustum_points(then, ego, torch.eye(3)[None], DEPTHS_M, SIZE, 16)
    for camera, depth, row, column in ((0, 4, 1, 2), (1, 9, 3, 5), (2, 0, 0, 0)):
        pixel = torch.tensor([column * 95 / 5, row * 63 / 3, 1.0], dtype=torch.float64)
        pixel[1] += 10.0
        pixel[:2] /= 0.6
        ray = torch.inverse(then.intrinsics[0, camera].double()) @ pixel
        point = torch.cat([DEPTHS_M[depth] * ray, torch.ones(1, dtype=torch.float64)])
        world = then.global_from_camera[0, camera] @ point
        expected = (torch.inverse(key.global_from_ego[0, 0]) @ world)[:3]
        torch.testing.assert_close(
            points[0, camera, depth, row, column].double(), expected, atol=1e-4, rtol=1e-5
        )
