"""Views that an evaluation renders: of a wall of known distance, through a lens with a dark rim."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from renderocc_ros.class_set import IGNORE_ID, ClassSet
from renderocc_ros.geometry import CameraModel, RigidTransform, VoxelGrid
from renderocc_ros.network.occupancy_field import OccupancyField
from renderocc_ros.rendering.camera_view import CameraView, ViewRenderer
from renderocc_ros.rig.camera_set import PosedImage
from renderocc_training.evaluation.rendered_views import (
    ViewLabels,
    at_size_of,
    lattice_of,
    rendered,
    score_view,
)
from renderocc_training.evaluation.view_scores import depth_scores
from renderocc_training.evaluation.voxel_scores import voxel_scores

GRID = VoxelGrid((-8.0, -8.0, -4.0), 0.5, (32, 32, 16))
WALL_M = 5.0  # ahead of the camera, which stands at the ego frame's origin
FORWARD = RigidTransform(np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]]), np.zeros(3))
# Its polynomial turns at 1.05 rad: the corners of the image are met by no ray.
FISHEYE = CameraModel(
    320, 240, [[90, 0, 159.5], [0, 90, 119.5], [0, 0, 1]], "equidistant", (-0.3, 0.0, 0.0, 0.0)
)


@pytest.fixture
def view(occ3d: ClassSet) -> CameraView:
    density = torch.zeros(1, *GRID.size)
    density[:, GRID.centres()[..., 0] > WALL_M] = 50.0
    semantics = torch.zeros(1, len(occ3d), *GRID.size)
    semantics[:, occ3d.id_of("manmade")] = 20.0
    image = np.zeros((FISHEYE.height, FISHEYE.width, 3), np.uint8)
    posed = PosedImage("front", 0, image, FISHEYE, FORWARD)
    return rendered(ViewRenderer(OccupancyField(density, semantics), GRID, 0.5), posed)


def lattice_rays() -> np.ndarray:
    return FISHEYE.rays(np.stack(np.meshgrid(*lattice_of(FISHEYE)), axis=-1))


def test_a_wall_is_as_far_as_it_is_and_the_rim_of_a_fisheye_sees_nothing(
    view: CameraView, occ3d: ClassSet
) -> None:
    rays = lattice_rays()
    rim = np.isnan(rays).any(axis=-1)
    assert 0.1 < rim.mean() < 0.9
    assert (view.far_m[rim] == 0).all() and (view.labels[rim] == IGNORE_ID).all()
    wall_m = WALL_M / rays[..., 2]
    ahead = ~rim & (np.abs(wall_m[..., None] * rays[..., :2]) < (7.5, 3.5)).all(axis=-1)
    assert ahead.sum() > 1000
    assert np.abs(view.range_m - wall_m)[ahead].max() < GRID.resolution_m
    assert (view.labels[ahead] == occ3d.id_of("manmade")).all()


def test_what_no_ray_meets_is_not_scored(view: CameraView, occ3d: ClassSet) -> None:
    size = (FISHEYE.height, FISHEYE.width)
    depth_m = np.full(size, WALL_M, np.float32)
    classes = np.full(size, occ3d.id_of("manmade"), np.uint8)
    sums, confusion = score_view(view, ViewLabels(depth_m, classes), FISHEYE, occ3d)
    within = WALL_M / lattice_rays()[..., 2] < view.far_m
    assert sums.pixels == confusion.sum() == within.sum() > 1000
    assert depth_scores(sums).abs_rel < 0.1
    assert voxel_scores(confusion).miou > 0.97
    sky = np.full(size, occ3d.free_id, np.uint8)
    _, confusion = score_view(view, ViewLabels(None, sky), FISHEYE, occ3d)
    assert confusion.sum() == (view.far_m > 0).sum()


@pytest.mark.parametrize("size", [(375, 1242), (376, 1241), (1079, 1919), (900, 1600)])
@pytest.mark.parametrize("by", [1, 2, 4])
def test_labels_are_those_of_the_pixels_of_an_image_decoded_smaller(
    size: tuple[int, int], by: int
) -> None:
    small = CameraModel(-(-size[1] // by), -(-size[0] // by), [[9, 0, 1], [0, 9, 1], [0, 0, 1]])
    place = np.stack(np.meshgrid(np.arange(size[0]), np.arange(size[1]), indexing="ij"))
    rows, columns = (at_size_of(each, small) for each in place)
    centre = (np.arange(small.height) + 0.5) * by - 0.5
    assert (np.abs(rows - centre[:, None]) <= 1 + by / 2).all()
    assert (np.abs(columns - ((np.arange(small.width) + 0.5) * by - 0.5)) <= 1 + by / 2).all()


def test_labels_of_another_size_are_refused() -> None:
    with pytest.raises(ValueError, match="100x60 does not belong to an image that is 320x240"):
        at_size_of(np.zeros((60, 100), np.uint8), FISHEYE)
    with pytest.raises(ValueError, match="640x240"):
        at_size_of(np.zeros((240, 640), np.uint8), FISHEYE)


def test_a_label_before_the_grid_is_not_scored(occ3d: ClassSet) -> None:
    density, semantics = torch.ones(1, *GRID.size), torch.zeros(1, len(occ3d), *GRID.size)
    behind = RigidTransform(FORWARD.rotation, np.array([-20.0, 0.0, 0.0]))
    posed = PosedImage("rear", 0, np.zeros((240, 320, 3), np.uint8), FISHEYE, behind)
    view = rendered(ViewRenderer(OccupancyField(density, semantics), GRID, 0.5), posed)
    for depth_m, scored in ((5.0, False), (13.0, True)):  # the grid begins 12 m ahead
        depth = np.full((240, 320), depth_m, np.float32)
        sums, _ = score_view(view, ViewLabels(depth, None), FISHEYE, occ3d)
        assert (sums.pixels > 100) == scored and (sums.pixels == 0) != scored
