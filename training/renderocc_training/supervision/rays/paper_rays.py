"""Rays as the official code makes and weighs them, to be compared with a recording of it.

Training does not use them: the ``paper`` recipe weighs rays like this, but makes them by
``rays_of_pixels``. That differs in the pixel convention: here a pixel's centre is half a pixel off
its index, although the intrinsics count from the centre of the first pixel.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from renderocc_training.supervision.rays.weighted_sampling import (
    Weights,
    frame_weights,
    paper_class_weights,
    ray_weights,
)

Floats = NDArray[np.float32]


def paper_rays(
    pixels: Floats, depth_m: Floats, class_id: Floats, ego_from_camera: Floats, intrinsics: Floats
) -> Floats:
    """Rays of one image's labelled pixels.

    Args:
        pixels: (P, 2) whole-numbered (u, v); depth_m: (P,) along the camera's axis;
        class_id: (P,); ego_from_camera: (4, 4); intrinsics: (3, 3).

    Returns:
        (P, 13): u, v, depth, class, origin (3), direction (3) with 1 along the camera's axis,
        unit direction (3).
    """
    focal, centre = intrinsics[[0, 1], [0, 1]], intrinsics[:2, 2]
    in_camera = np.concatenate(
        [(pixels + np.float32(0.5) - centre) / focal, np.ones_like(pixels[:, :1])], axis=1
    )
    direction = in_camera @ ego_from_camera[:3, :3].T
    origin = np.broadcast_to(ego_from_camera[:3, 3], direction.shape)
    unit = direction / np.linalg.norm(direction, axis=1, keepdims=True)
    labels = np.stack([depth_m, class_id], axis=1)
    rays: Floats = np.concatenate([pixels, labels, origin, direction, unit], axis=1)
    return rays.astype(np.float32)


def paper_ray_weights(
    rays: Floats,
    is_auxiliary: NDArray[np.bool_],
    moving_ids: Collection[int],
    class_counts: NDArray[Any],
) -> Weights:
    """(R,) chance of each ray (R, 13): rarity of its class times the weight of its frame."""
    class_id = rays[:, 3].astype(np.uint8)
    frame = frame_weights(class_id, is_auxiliary, moving_ids)
    return ray_weights(class_id, paper_class_weights(class_counts), frame)


def in_order_of_frames(
    rays: Sequence[Floats], images_of_frame: Mapping[int, Sequence[int]]
) -> tuple[Floats, NDArray[np.bool_]]:
    """Rays (R, 13) of all images, frame by frame, and whether each is of an auxiliary frame.

    Args:
        rays: of every image.
        images_of_frame: images of each frame in the order wanted; frame 0 is the sample's own.
    """
    parts = [(frame, rays[i]) for frame, images in images_of_frame.items() for i in images]
    auxiliary = [np.full(len(part), frame != 0) for frame, part in parts]
    return np.concatenate([part for _, part in parts]), np.concatenate(auxiliary)
