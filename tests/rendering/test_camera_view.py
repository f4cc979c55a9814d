"""A wall in front of a camera is seen at its distance, in its class, and nowhere else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from renderocc_ros.geometry import CameraModel, RigidTransform, VoxelGrid
from renderocc_ros.network.occupancy_field import OccupancyField
from renderocc_ros.rendering.camera_view import CameraView, ViewRenderer

GRID = VoxelGrid((-16.0, -16.0, -2.0), 0.5, (64, 64, 16))
CLASSES, WALL, FLOOR = 5, 3, 1
FORWARD = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
MODEL = CameraModel(80, 60, np.array([[40.0, 0, 39.5], [0, 40.0, 29.5], [0, 0, 1]]))
CAMERA_M = np.array([1.0, 0.0, 1.5])


def room(wall_m: float) -> OccupancyField:
    """A floor below z = 0 and a wall whose face is at x = wall_m."""
    density = torch.zeros(GRID.size)
    logits = torch.zeros((CLASSES, *GRID.size))
    logits[0] = 4.0
    x, _, z = np.moveaxis(GRID.centres(), -1, 0)
    for inside, label in ((z < 0, FLOOR), ((x > wall_m) & (z > 0), WALL)):
        mask = torch.from_numpy(inside)
        density[mask] = 100.0
        logits[:, mask] = 0.0
        logits[label, mask] = 50.0
    return OccupancyField(density[None], logits[None])


def view(wall_m: float, model: CameraModel = MODEL) -> CameraView:
    return ViewRenderer(room(wall_m), GRID, 0.5).view(model, RigidTransform(FORWARD, CAMERA_M))


@pytest.mark.parametrize("wall_m", [4.0, 9.5, 14.0])
def test_wall_and_floor_are_where_geometry_says(wall_m: float) -> None:
    seen = view(wall_m)
    rays = MODEL.pixel_rays()
    along_x, down = rays[..., 2], rays[..., 1]
    to_wall = (wall_m - CAMERA_M[0]) / along_x
    with np.errstate(divide="ignore"):
        to_floor = np.where(down > 0, CAMERA_M[2] / np.maximum(down, 1e-9), np.inf)
    sideways = np.abs(rays[..., 0] * np.minimum(to_wall, to_floor)) < 15.5
    height = CAMERA_M[2] - down * to_wall
    on_wall = (to_wall < 0.95 * to_floor) & sideways & (height < 5.5)
    on_floor = (to_floor < 0.95 * to_wall) & sideways
    above = (height > 6.5) & (to_wall < to_floor)
    assert on_wall.sum() > 500
    assert (seen.labels[on_wall] == WALL).all()
    assert (seen.labels[on_floor] == FLOOR).all()
    # z-depth: the same over the whole wall, however oblique the ray. A sample is 0.25 m long.
    assert np.abs(seen.depth_m[on_wall] - (wall_m - CAMERA_M[0])).max() < 0.26
    half_layer = (CAMERA_M[2] + 0.5 * GRID.resolution_m) / CAMERA_M[2]
    assert np.abs(seen.depth_m - half_layer * to_floor * along_x)[on_floor].max() < 0.4
    assert (seen.labels[above] == 255).all()
    assert np.isnan(seen.depth_m[above]).all()


def test_empty_field_is_empty_everywhere() -> None:
    empty = replace(room(4.0), density=torch.zeros(1, *GRID.size))
    seen = ViewRenderer(empty, GRID, 0.5).view(MODEL, RigidTransform(FORWARD, CAMERA_M))
    assert (seen.labels == 255).all()
    assert np.isnan(seen.depth_m).all()


def test_distorted_camera_sees_the_same_points() -> None:
    """Pixels of a distorted camera agree with those of the ideal one that have the same ray."""
    distorted = CameraModel(80, 60, MODEL.intrinsics, "plumb_bob", (-0.2, 0.05, 0.0, 0.0, 0.0))
    seen, ideal = view(6.0, distorted), view(6.0)
    pixels, inside = MODEL.project(distorted.pixel_rays())
    columns, rows = np.rint(np.nan_to_num(pixels)).astype(int).T
    same = seen.labels == ideal.labels[rows.T.clip(0, 59), columns.T.clip(0, 79)]
    assert (same | ~inside).mean() > 0.95
    assert not np.array_equal(seen.labels, ideal.labels)
