"""Which voxels some camera looks into."""

from __future__ import annotations

import torch
from torch import Tensor

from renderocc_ros.geometry import VoxelGrid


def voxels_in_view(
    grid: VoxelGrid,
    intrinsics: Tensor,
    ego_from_camera: Tensor,
    image_size: tuple[int, int],
) -> Tensor:
    """(N, X, Y, Z) bool: whether a voxel's centre lies in front of a camera and in its image.

    This is geometry: it does not tell whether something hides the voxel.

    Args:
        intrinsics: (N, 3, 3) of images of ``image_size`` (height, width), without distortion.
        ego_from_camera: (N, 4, 4).
    """
    height, width = image_size
    x, y, z = (
        (torch.arange(n, dtype=torch.float64) + 0.5) * grid.resolution_m + start
        for n, start in zip(grid.size, grid.origin_m, strict=True)
    )
    seen = []
    for matrix, pose in zip(intrinsics.double().cpu(), ego_from_camera.double().cpu(), strict=True):
        # The projection is affine in x, y and z before the division: add up three small terms.
        image_from_ego = matrix @ torch.linalg.inv(pose)[:3]
        u, v, depth = (
            (row[0] * x)[:, None, None] + (row[1] * y)[:, None] + (row[2] * z + row[3])
            for row in image_from_ego.float()[:, :, None]
        )
        seen.append(
            (depth > 0)
            & (u >= -0.5 * depth)
            & (u < (width - 0.5) * depth)
            & (v >= -0.5 * depth)
            & (v < (height - 0.5) * depth)
        )
    return torch.stack(seen)
