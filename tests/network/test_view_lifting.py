"""Depth that is put into the lifting must come out in the right voxel; pooling must add up."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from renderocc_ros.geometry import CameraModel, RigidTransform, VoxelGrid
from renderocc_ros.network.view_lifting import (
    LiftingTable,
    build_table,
    frustum_points,
    lift,
    pool_fast,
    pool_plain,
)

Array = NDArray[np.float64]
STRIDE = 8
FEATURES = (8, 16)  # rows and columns
BIN_M = 0.05
DEPTHS_M = torch.arange(0.0, 45.0, BIN_M) + BIN_M / 2


def room_depth(origin: Array, directions: Array) -> Array:
    """Distance along rays from inside an axis-aligned room to its walls, floor or ceiling."""
    low, high = np.array([-12.0, -9.0, -0.3]), np.array([14.0, 11.0, 5.6])
    with np.errstate(divide="ignore", invalid="ignore"):
        to_wall = (np.where(directions > 0, high, low) - origin) / directions
    return np.nanmin(np.where(to_wall > 0, to_wall, np.nan), axis=-1)


def ground_depth(origin: Array, directions: Array) -> Array:
    """Distance to the ground at height -0.15 m; nan above the horizon."""
    with np.errstate(divide="ignore"):
        distance = (-0.15 - origin[2]) / directions[..., 2]
    return np.where(distance > 0, distance, np.nan)


def pole_depth(origin: Array, directions: Array) -> Array:
    """Distance to an upright cylinder, 0.4 m thick, at (7, 2); nan beside it."""
    offset = origin[:2] - (7.0, 2.0)
    a = (directions[..., :2] ** 2).sum(-1)
    b = directions[..., :2] @ offset
    inside = b * b - a * (offset @ offset - 0.2**2)
    with np.errstate(divide="ignore", invalid="ignore"):
        distance = (-b - np.sqrt(inside)) / a
    return np.where((inside > 0) & (distance > 0), distance, np.nan)


SCENES = {"room": room_depth, "ground": ground_depth, "pole": pole_depth}


@st.composite
def cameras(draw: st.DrawFn) -> tuple[CameraModel, RigidTransform]:
    """An image of some size and lens, scaled and cropped to the network's; any pose inside."""
    width, height = draw(st.integers(200, 1600)), draw(st.integers(150, 900))
    focal = width * draw(st.floats(0.35, 1.5))
    centre = [width * draw(st.floats(0.35, 0.65)), height * draw(st.floats(0.35, 0.65))]
    intrinsics = np.array([[focal, 0, centre[0]], [0, focal * 1.01, centre[1]], [0, 0, 1]])
    model = CameraModel(width, height, intrinsics)
    scale = draw(st.floats(0.2, 1.2))
    model = model.resized(max(1, round(width * scale)), max(1, round(height * scale)))
    left, top = draw(st.integers(-20, 60)), draw(st.integers(-20, 60))
    model = model.cropped(left, top, FEATURES[1] * STRIDE, FEATURES[0] * STRIDE)
    quaternion = [*(draw(st.floats(-1, 1)) for _ in range(3)), draw(st.floats(0.1, 2))]
    level = np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])
    tilt = RigidTransform.from_quaternion(quaternion, np.zeros(3)).rotation
    position = np.array(draw(st.tuples(*[st.floats(-3, 3)] * 2, st.floats(0.3, 2.5))))
    return model, RigidTransform(tilt @ level, position)


def surface_points(
    model: CameraModel, ego_from_camera: RigidTransform, scene: str
) -> tuple[Array, Array]:
    """Where the centre of each feature pixel sees the scene, (h, w, 3), and its z depth (h, w).

    Through CameraModel's rays, not through the code under test.
    """
    rows, columns = np.indices(FEATURES)
    pixels = np.stack([columns, rows], axis=-1) * STRIDE + (STRIDE - 1) / 2
    rays = model.rays(pixels)
    directions = rays @ ego_from_camera.rotation.T
    distance = SCENES[scene](ego_from_camera.translation, directions)
    return ego_from_camera.translation + distance[..., None] * directions, distance * rays[..., 2]


@pytest.mark.parametrize("scene", SCENES)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_depth_lands_in_the_voxel_that_contains_the_surface(
    scene: str, data: st.DataObject
) -> None:
    grid = VoxelGrid((-16.0, -16.0, -2.0), 0.5, (64, 64, 16))
    model, ego_from_camera = data.draw(cameras())
    points, z_depth = surface_points(model, ego_from_camera, scene)
    seen = np.isfinite(z_depth) & (z_depth < DEPTHS_M[-1].item())
    depth = torch.zeros(1, 1, len(DEPTHS_M), *FEATURES)
    bins = np.floor(np.where(seen, z_depth, 0) / BIN_M).astype(int)
    rows, columns = np.nonzero(seen)
    depth[0, 0, bins[rows, columns], rows, columns] = 1.0

    lifted = frustum_points(
        torch.tensor(model.intrinsics)[None, None],
        torch.from_numpy(ego_from_camera.matrix)[None, None],
        DEPTHS_M,
        FEATURES,
        STRIDE,
    )
    table = build_table(lifted, torch.ones(1, 1, dtype=torch.bool), grid, flat=False)
    counts = lift(depth, torch.ones(1, 1, 1, *FEATURES), table, grid.size)[0, 0].numpy()

    # Half a bin along the ray is all that may be lost; a point closer to a border may cross it.
    slack = BIN_M / 2 * (np.linalg.norm(points - ego_from_camera.translation, axis=-1) / z_depth)
    for point, reach in zip(points[seen], slack[seen] + 1e-3, strict=True):
        corners = point + reach * (np.indices((2, 2, 2)).reshape(3, -1).T * 2 - 1)
        index, inside = grid.index_of(corners)
        if inside.all():
            assert counts[tuple(index.T)].sum() > 0, f"no voxel around {point} was filled"
    filled = grid.centres(np.argwhere(counts > 0))
    gaps = np.abs(filled[:, None] - points[seen][None]).max(axis=-1)
    if len(filled):
        nearest = gaps.min(axis=1)
        assert (nearest <= grid.resolution_m / 2 + slack[seen].max() + 1e-3).all()


def test_hand_computed_point() -> None:
    # Pixel (3.5, 3.5) is the centre of the first of the 8 x 8 pixel blocks. With f = 10 and the
    # principal point there, its ray is the optical axis, which looks along ego x from (1, 2, 3).
    intrinsics = torch.tensor([[10.0, 0, 3.5], [0, 10.0, 3.5], [0, 0, 1]])[None, None]
    pose = torch.eye(4)
    pose[:3] = torch.tensor([[0.0, 0, 1, 1], [-1, 0, 0, 2], [0, -1, 0, 3]])
    points = frustum_points(intrinsics, pose[None, None], torch.tensor([4.0]), (1, 2), 8)
    assert points[0, 0, 0, 0, 0].tolist() == [5.0, 2.0, 3.0]
    # The next block lies 8 pixels to the right: 0.8 to the right (ego -y) per metre of depth.
    torch.testing.assert_close(points[0, 0, 0, 0, 1], torch.tensor([5.0, 2.0 - 3.2, 3.0]))


def random_table(
    seed: int, batch: int, grid: VoxelGrid, *, flat: bool
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, LiftingTable]:
    generator = torch.Generator().manual_seed(seed)
    shape = (batch, 3, 5, 4, 6)
    points = torch.rand(*shape, 3, generator=generator) * 8 - 4
    valid = torch.rand(batch, 3, generator=generator) > 0.3
    depth = torch.rand(shape, generator=generator)
    context = torch.randn(batch, 3, 7, 4, 6, generator=generator)
    return points, valid, depth, context, build_table(points, valid, grid, flat=flat)


@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_pooling_equals_brute_force(seed: int, flat: bool) -> None:
    grid = VoxelGrid((-3.0, -2.5, -1.5), 0.9, (6, 5, 3))
    points, valid, depth, context, table = random_table(seed, 2, grid, flat=flat)
    size = (6, 5, 1) if flat else grid.size
    wanted = np.zeros((2, 7, *size))
    for b, n, d, v, u in np.ndindex(*depth.shape):
        index, inside = grid.index_of(points[b, n, d, v, u].double().numpy())
        if inside and valid[b, n]:
            i, j, k = index
            weight = depth[b, n, d, v, u].item()
            wanted[b, :, i, j, 0 if flat else k] += weight * context[b, n, :, v, u].double().numpy()
    assert wanted.any()
    for pool in (pool_plain, pool_fast):
        volume = lift(depth, context, table, size, pool)
        np.testing.assert_allclose(volume.numpy(), wanted, atol=1e-5)


def test_both_poolings_have_the_same_gradients() -> None:
    grid = VoxelGrid((-3.0, -2.5, -1.5), 0.9, (6, 5, 3))
    _, _, depth, context, table = random_table(7, 2, grid, flat=False)
    target = torch.randn(2 * grid.cell_count, 7, generator=torch.Generator().manual_seed(1))
    gradients = []
    for pool in (pool_plain, pool_fast):
        inputs = depth.clone().requires_grad_(), context.clone().requires_grad_()
        (pool(*inputs, table) * target).sum().backward()
        gradients.append([x.grad for x in inputs])
    for plain, fast in zip(*gradients, strict=True):
        assert plain is not None
        assert plain.abs().max() > 0.1
        torch.testing.assert_close(fast, plain, atol=1e-5, rtol=1e-5)


def test_table_is_sorted_and_counts_every_point_once() -> None:
    grid = VoxelGrid((-3.0, -2.5, -1.5), 0.9, (6, 5, 3))
    points, valid, _, _, table = random_table(3, 2, grid, flat=False)
    assert sorted(table.point.tolist()) == list(range(points[..., 0].numel()))
    assert (table.cell.diff() >= 0).all()
    assert table.start[-1] == table.inside == (table.cell < 2 * grid.cell_count).sum()
    _, inside = grid.index_of(points.double().numpy())
    assert table.inside == (inside & valid[:, :, None, None, None].numpy()).sum()
