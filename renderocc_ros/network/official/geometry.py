"""Where the cameras of a frame are and what their pixels see, in the official conventions.

Frames: a camera is x right, y down, z forward; ego is x forward, y left, z up; global is any
frame fixed to the world. Poses of the same instant may differ from camera to camera, since each
camera has its own time stamp. Shapes: B samples, N cameras, D depth bins, (H, W) feature cells.

A pixel of the network's input image is ``post_rotation · pixel + post_translation`` of the pixel
of the calibrated image; only the upper-left 2x2 and the first two components act.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import wraps
from itertools import product
from typing import Concatenate, ParamSpec

import torch
from torch import Tensor

Rest = ParamSpec("Rest")
BEHIND = -2.0  # grid coordinate (image spans -1 to 1) of points that are not before the camera
MIN_Z_M = 1e-3  # points nearer than this to the camera's plane count as behind it


@dataclass(frozen=True)
class StereoFrame:
    """The images of one instant and where they were taken.

    Attributes:
        images: (B, N, 3, H, W) float, normalised.
        intrinsics: (B, N, 3, 3) of the calibrated image, pixels.
        post_rotation: (B, N, 3, 3) resize, flip and rotation from calibrated to input pixels.
        post_translation: (B, N, 3) and its offset (from cropping), pixels.
        ego_from_camera: (B, N, 4, 4) to the ego frame at the camera's own time stamp.
        global_from_ego: (B, N, 4, 4) ego pose at the camera's own time stamp, metres; float64 where
            coordinates are large.
        valid: (B, N) bool, False where a camera is missing; its other entries then mean nothing
            but must be usable numbers. None where all are there.
    """

    images: Tensor
    intrinsics: Tensor
    post_rotation: Tensor
    post_translation: Tensor
    ego_from_camera: Tensor
    global_from_ego: Tensor
    valid: Tensor | None = None

    @property
    def global_from_camera(self) -> Tensor:
        """(B, N, 4, 4) float64."""
        return self.global_from_ego.double() @ self.ego_from_camera.double()

    def without_images(self) -> StereoFrame:
        """The same cameras with an empty image tensor, to keep the geometry only."""
        return replace(self, images=self.images.new_empty(0))


def _in_full_precision(
    geometry: Callable[Concatenate[StereoFrame, Rest], Tensor],
) -> Callable[Concatenate[StereoFrame, Rest], Tensor]:
    """Without autocast, which would round coordinates to three digits."""

    @wraps(geometry)
    def exact(frame: StereoFrame, /, *args: Rest.args, **kwargs: Rest.kwargs) -> Tensor:
        with torch.autocast(frame.intrinsics.device.type, enabled=False):
            return geometry(frame, *args, **kwargs)

    return exact


def key_ego_from_camera(frame: StereoFrame, key: StereoFrame) -> Tensor:
    """(B, N, 4, 4): cameras of ``frame`` in the ego frame of camera 0 of the key frame."""
    key_from_global = torch.inverse(key.global_from_ego[:, :1].double())
    pose = key_from_global @ frame.global_from_ego.double() @ frame.ego_from_camera.double()
    return pose.to(frame.intrinsics.dtype)


def past_from_current_camera(current: StereoFrame, past: StereoFrame) -> Tensor:
    """(B, N, 4, 4): each camera at the current instant in the same camera at the past one."""
    pose = torch.inverse(past.global_from_camera) @ current.global_from_ego.double()
    return (pose @ current.ego_from_camera.double()).to(current.intrinsics.dtype)


def camera_parameters(frame: StereoFrame, ego_from_camera: Tensor, bda: Tensor) -> Tensor:
    """(B, N, 27): what the depth net knows of a camera (BEVDepth, arXiv 2206.10092, eq. 3).

    Args:
        frame: intrinsics and image transform.
        ego_from_camera: (B, N, 4, 4) of the *key* frame, also where ``frame`` is a past one.
        bda: (B, 3, 3) or (1, 3, 3) augmentation of the ego frame, identity outside training.
    """
    k, r, t = frame.intrinsics, frame.post_rotation, frame.post_translation
    b = bda[:, None].expand(*k.shape)
    values = [k[..., 0, 0], k[..., 1, 1], k[..., 0, 2], k[..., 1, 2]]
    values += [r[..., 0, 0], r[..., 0, 1], t[..., 0], r[..., 1, 0], r[..., 1, 1], t[..., 1]]
    values += [b[..., 0, 0], b[..., 0, 1], b[..., 1, 0], b[..., 1, 1], b[..., 2, 2]]
    return torch.cat([torch.stack(values, dim=-1), ego_from_camera[..., :3, :].flatten(2)], dim=-1)


def feature_pixels(image_size: tuple[int, int], stride: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Input-image pixel (x (W,), y (H,)) of each feature cell: first cell 0, last cell size - 1."""
    height, width = image_size
    x = torch.linspace(0, width - 1, width // stride, dtype=torch.float32, device=like.device)
    y = torch.linspace(0, height - 1, height // stride, dtype=torch.float32, device=like.device)
    return x, y


@_in_full_precision
def frustum_points(
    frame: StereoFrame,
    ego_from_camera: Tensor,
    bda: Tensor,
    depths_m: Tensor,
    image_size: tuple[int, int],
    stride: int,
) -> Tensor:
    """Points that feature cells see at each depth: (B, N, D, H, W, 3), ego frame, metres.

    Rounding decides into which voxel a point at a border falls, so the products are summed in the
    official order: inv(post_rotation), then rotation · inv(intrinsics), then bda.
    """
    x, y = feature_pixels(image_size, stride, frame.intrinsics)
    d = depths_m.view(-1, 1, 1)
    offset = frame.post_translation[:, :, None, None, None, :]
    shifted = (x - offset[..., 0], y.view(-1, 1) - offset[..., 1], d - offset[..., 2])
    u, v, w = _product(torch.inverse(frame.post_rotation), shifted)
    rotation = ego_from_camera[..., :3, :3] @ torch.inverse(frame.intrinsics)
    points = _product(rotation, (u * w, v * w, w))
    t = ego_from_camera[:, :, None, None, None, :3, 3]
    points = (points[0] + t[..., 0], points[1] + t[..., 1], points[2] + t[..., 2])
    return torch.stack(_product(bda[:, None], points), dim=-1)


def _product(matrix: Tensor, v: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """(B, N, 3, 3) times vectors with components (B, N, D, H, W), summed from left to right."""
    m = matrix[:, :, None, None, None]
    x, y, z = (m[..., i, 0] * v[0] + m[..., i, 1] * v[1] + m[..., i, 2] * v[2] for i in range(3))
    return x, y, z


@_in_full_precision
def stereo_grid(
    frame: StereoFrame,
    past_from_current: Tensor,
    depths_m: Tensor,
    image_size: tuple[int, int],
    stride: int,
) -> Tensor:
    """Where each feature cell at each depth lies in the same camera's past image.

    Args:
        frame: the current frame; its intrinsics and image transform serve for both images.
        past_from_current: (B, N, 4, 4).
        depths_m: (D,) depths along the camera's axis.
        image_size: (height, width) of the input image; ``stride`` of the feature in it.

    Returns:
        (B, N, D, H, W, 2) coordinates (x, y) for grid_sample with align_corners, -1 to 1 across
        the image, BEHIND for points that are not before the camera.

    Near the camera's plane rounding is amplified, so here, too, sums are in the official order.
    One camera at a time keeps the planes in the cache.
    """
    x, y = feature_pixels(image_size, stride, frame.intrinsics)
    k, r, t = frame.intrinsics, frame.post_rotation, frame.post_translation
    undone, rays = torch.inverse(r), past_from_current[..., :3, :3] @ torch.inverse(k)
    batch, cameras = k.shape[:2]
    grid = k.new_empty(2, batch, cameras, len(depths_m), len(y), len(x))
    d = depths_m.view(-1, 1, 1)
    for b, n in product(range(batch), range(cameras)):
        at = (x - t[b, n, 0]).expand(len(y), -1), (y - t[b, n, 1]).view(-1, 1).expand(-1, len(x))
        u, v = (undone[b, n, i, 0] * at[0] + undone[b, n, i, 1] * at[1] for i in range(2))
        start = past_from_current[b, n, :3, 3]
        point = _product_of(rays[b, n], (u * d, v * d, d))
        point = tuple(p.add_(start[i]) for i, p in enumerate(point))
        z = point[2]
        behind = z < MIN_Z_M
        h = [p.div_(z) for p in _product_of(k[b, n, :2], point)]
        for axis, size in ((0, image_size[1]), (1, image_size[0])):
            pixel = (r[b, n, axis, 0] * h[0]).add_(r[b, n, axis, 1] * h[1]).add_(t[b, n, axis])
            normalised = pixel.div_(size - 1.0).mul_(2.0).sub_(1.0)
            grid[axis, b, n] = normalised.masked_fill_(behind, BEHIND)
    return grid.movedim(0, -1)


def _product_of(matrix: Tensor, v: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """(M, 3) times vectors whose components have any shape, summed from left to right."""
    return tuple((row[0] * v[0]).add_(row[1] * v[1]).add_(row[2] * v[2]) for row in matrix)
