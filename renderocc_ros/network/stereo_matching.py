"""Depth told by the past frame: each depth bin is tried, and costs what it fails to explain.

After BEVStereo (arXiv 2209.10248, sec. 3.2), with the official network's matching cost. Shapes:
B samples, N cameras, D depth bins, features (C, h, w) of any stride.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor
from torch.nn.functional import layer_norm, pad

from renderocc_ros.network.camera_tensors import CameraTensors
from renderocc_ros.network.official.geometry import BEHIND, MIN_Z_M
from renderocc_ros.network.official.stereo_cost import CHANNEL_GROUP, stereo_cost
from renderocc_ros.network.view_lifting import frustum_points

UNRELATED_COST = 16.0  # of two features that have nothing in common: e^-16 of a perfect match
OUTSIDE_COST = 5.0  # as in the official network


@dataclass(frozen=True, eq=False)
class PastViews:
    """What a frame's cameras leave behind for the next frame to be matched with.

    Attributes:
        features: (B, N, C, h, w) of ``matchable``.
        intrinsics: (B, N, 3, 3) of the network's images, pixels.
        ego_from_camera: (B, N, 4, 4), metres.
        valid: (B, N) bool.
    """

    features: Tensor
    intrinsics: Tensor
    ego_from_camera: Tensor
    valid: Tensor


Match: TypeAlias = tuple[PastViews, Tensor]
"""Past views, and (B, 4, 4) past_from_current, the motion between the two ego frames, metres."""


def as_past(cameras: CameraTensors, features: Tensor) -> PastViews:
    """What a frame leaves behind, with usable numbers where a camera is missing."""
    valid, eye = cameras.valid[..., None, None], torch.eye(4).to(cameras.ego_from_camera)
    return PastViews(
        features,
        torch.where(valid, cameras.intrinsics, eye[:3, :3]),
        torch.where(valid, cameras.ego_from_camera, eye),
        cameras.valid,
    )


def matchable(features: Tensor) -> Tensor:
    """(M, C, h, w) features of equal strength at every pixel, and a channel that is 1 in the image.

    The cost takes a lookup for one outside the image where the first channel of the last group is
    exactly 0, which rectified features often are; so that channel is the one that is never.
    """
    channels = features.shape[1]
    normed = layer_norm(features.float().movedim(1, -1), (channels,)).movedim(-1, 1)
    # |x − y| of two normal numbers is 2/√π on average
    normed = normed * (UNRELATED_COST / (channels * 2 / torch.pi**0.5))
    normed = pad(normed, (0, 0, 0, 0, 0, -channels % CHANNEL_GROUP))
    return torch.cat([normed, torch.ones_like(normed[:, :1])], dim=1)


def lookups(
    cameras: CameraTensors, match: Match, depths_m: tuple[float, ...], image_size: tuple[int, int]
) -> Tensor:
    """Where each feature pixel at each depth lies in the same camera's past features.

    Args:
        cameras: the current frame; its images are not looked at.
        match: the past frame.
        depths_m: D distances along the camera's z axis.
        image_size: (height, width) of the network's images.

    Returns:
        (B, N, D, h, w, 2) of (x, y), -1 and 1 at the centres of the outer feature pixels; BEHIND
        for points that are not before the past camera.
    """
    past, past_from_current = match
    height, width = past.features.shape[-2:]
    stride, now = image_size[0] / height, as_past(cameras, past.features)
    past_from_camera = torch.linalg.inv(past.ego_from_camera.double()) @ (
        past_from_current.double()[:, None] @ now.ego_from_camera.double()
    )
    depths = torch.tensor(depths_m, device=past.features.device)
    points = frustum_points(now.intrinsics, past_from_camera, depths, (height, width), stride)
    x, y, z = points.unbind(-1)
    k = past.intrinsics[:, :, None, None, None]
    coordinates = []
    for row, size in ((0, width), (1, height)):
        pixel = (k[..., row, 0] * x + k[..., row, 1] * y) / z + k[..., row, 2]
        cell = (pixel + 0.5) / stride - 0.5
        coordinates.append((cell * (2 / (size - 1)) - 1).masked_fill(z < MIN_Z_M, BEHIND))
    return torch.stack(coordinates, dim=-1)


@torch.no_grad()
def matching_distribution(past: Tensor, current: Tensor, where: Tensor) -> Tensor:
    """(M, D, h, w) from two (M, C, h, w) of ``matchable`` and (M, D, h, w, 2) of ``lookups``.

    It sums to 1 over D. As in the official network it carries no gradient.
    """
    return stereo_cost(past, current, where, OUTSIDE_COST)
