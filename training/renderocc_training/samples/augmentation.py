"""A sample seen differently: mirrored, or under other light. What is true of it stays true."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from renderocc_ros.geometry import VoxelGrid
from renderocc_training.samples.training_sample import CameraViews, TrainingSample


def mirrored(sample: TrainingSample, grid: VoxelGrid) -> TrainingSample:
    """The sample in a world where left and right are swapped: twice the data, and exact.

    Images are flipped, cameras move to the other side, rays and volumes with them. It needs a grid
    that reaches as far left as right.

    Raises:
        ValueError: the grid does not.
    """
    if not np.isclose(grid.origin_m[1], -grid.upper_m[1]):
        raise ValueError(
            f"a grid from y = {grid.origin_m[1]} to {grid.upper_m[1]} m has no mirror image; set "
            "the recipe's mirror to 0"
        )
    swap = np.diag([1.0, -1.0, 1.0, 1.0]).astype(np.float32)
    rays = sample.rays
    flipped = np.array([1, -1, 1], dtype=np.float32)
    return replace(
        sample,
        views=_mirrored_views(sample.views),
        past=tuple(_mirrored_views(views) for views in sample.past),
        past_from_current=swap @ sample.past_from_current @ swap,
        rays=replace(rays, origin=rays.origin * flipped, direction=rays.direction * flipped),
        depth_m=np.ascontiguousarray(sample.depth_m[..., ::-1]),
        image_class=np.ascontiguousarray(sample.image_class[..., ::-1]),
        votes=None if sample.votes is None else np.ascontiguousarray(sample.votes[:, ::-1]),
        truth=None if sample.truth is None else np.ascontiguousarray(sample.truth[:, ::-1]),
    )


def _mirrored_views(views: CameraViews) -> CameraViews:
    width = views.images.shape[-1]
    intrinsics = views.intrinsics.copy()
    intrinsics[:, 0, 2] = width - 1 - intrinsics[:, 0, 2]
    intrinsics[:, 0, 1] *= -1
    # A flipped image is that of a camera with its x axis turned round; with the world's y axis
    # turned round too, the product is a rotation again.
    world, camera = np.diag([1.0, -1, 1, 1]), np.diag([-1.0, 1, 1, 1])
    return replace(
        views,
        images=np.ascontiguousarray(views.images[..., ::-1]),
        intrinsics=intrinsics,
        ego_from_camera=(world @ views.ego_from_camera @ camera).astype(np.float32),
    )


def recoloured(
    sample: TrainingSample, strength: float, random: np.random.Generator
) -> TrainingSample:
    """The sample under other light, by cameras that expose otherwise; geometry stays.

    The white balance and the saturation change for the whole sample, the exposure and the black
    level camera by camera, and all of a camera's images alike.

    Args:
        strength: saturation and exposure vary by factors up to e^±strength, each colour's share by
            a quarter of that, the black level by ±strength standard deviations of the images.
    """
    cameras = len(sample.views.valid)
    saturation = np.exp(random.uniform(-strength, strength))
    balance = np.exp(random.uniform(-strength / 4, strength / 4, 3))
    exposure = np.exp(random.uniform(-strength, strength, cameras))
    gain = (exposure[:, None] * balance)[..., None, None].astype(np.float32)
    black = random.uniform(-strength, strength, (cameras, 1, 1, 1)).astype(np.float32)

    def changed(views: CameraViews) -> CameraViews:
        grey = views.images.mean(axis=1, keepdims=True)
        images = (grey + np.float32(saturation) * (views.images - grey)) * gain + black
        return replace(views, images=images * views.valid[:, None, None, None])

    return replace(
        sample, views=changed(sample.views), past=tuple(changed(views) for views in sample.past)
    )
