"""The field as a camera sees it: depth and class of every pixel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from renderocc_ros.class_set import IGNORE_ID
from renderocc_ros.geometry import CameraModel, RigidTransform, VoxelGrid
from renderocc_ros.rendering.ray_sampling import sample_uniform
from renderocc_ros.rendering.volume_rendering import Rays, render_rays

STEP_CELLS = 0.5  # length of a sample in cells
RAYS_AT_ONCE = 1 << 14  # bounds the memory


@dataclass(frozen=True, eq=False)
class CameraView:
    """A rendered image.

    Attributes:
        depth_m: (H, W) float32, along the optical axis (REP-118); NaN where a ray meets nothing.
        labels: (H, W) uint8 class ids; 255 where a ray meets nothing.
    """

    depth_m: NDArray[np.float32]
    labels: NDArray[np.uint8]


def render_view(
    grid: VoxelGrid,
    density: Tensor,
    class_probability: Tensor,
    model: CameraModel,
    ego_from_camera: RigidTransform,
    threshold: float,
    min_opacity: float = 0.5,
) -> CameraView:
    """Composite the field along the rays of all pixels.

    Args:
        grid: where the cells lie in the ego frame.
        density: (X, Y, Z) opacity per metre.
        class_probability: (X, Y, Z, K), each summing to 1.
        model: the camera, at the size of the view; its distortion is rendered.
        ego_from_camera: pose of the optical frame.
        threshold: opacity above which a cell is occupied.
        min_opacity: a ray that is less opaque meets nothing.
    """
    optical = model.pixel_rays().reshape(-1, 3)
    seen = np.isfinite(optical).all(axis=1)  # the dark rim of a fisheye sees nothing
    directions = (optical[seen] @ ego_from_camera.rotation.T).astype(np.float32)
    depth = np.full(len(optical), np.nan, np.float32)
    labels = np.full(len(optical), IGNORE_ID, np.uint8)
    origin, limits = ego_from_camera.translation, (threshold, min_opacity)
    parts = [
        _render(grid, density, class_probability, origin, part, *limits)
        for part in np.array_split(directions, max(1, -(-len(directions) // RAYS_AT_ONCE)))
    ]
    range_m, found = (np.concatenate(column) for column in zip(*parts, strict=True))
    depth[seen], labels[seen] = range_m * optical[seen, 2], found
    size = (model.height, model.width)
    return CameraView(depth.reshape(size), labels.reshape(size))


def _render(
    grid: VoxelGrid,
    density: Tensor,
    class_probability: Tensor,
    origin: NDArray[np.float64],
    directions: NDArray[np.float32],
    threshold: float,
    min_opacity: float,
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Range in metres and class id of some rays; NaN and 255 where they meet nothing."""
    ways = torch.from_numpy(directions).to(density.device)
    start = torch.tensor(origin.tolist(), dtype=torch.float32, device=density.device)
    starts = start.expand_as(ways)
    rays = Rays(starts, ways, torch.zeros(len(ways), dtype=torch.int64, device=density.device))
    samples = sample_uniform(grid, starts, ways, STEP_CELLS * grid.resolution_m)
    fields = density[None], class_probability[None]
    rendered = render_rays(grid, *fields, rays, samples, threshold=threshold)
    # The range of an opaque ray: what passes through would otherwise pull it to the far bound.
    passed_m = (1 - rendered.opacity) * samples.far_m
    stopped = (rendered.range_m - passed_m) / rendered.opacity.clamp(min=1e-6)
    meets = rendered.opacity >= min_opacity
    range_m = torch.where(meets, stopped, torch.nan)
    labels = torch.where(meets, rendered.classes.argmax(dim=1), IGNORE_ID)
    return range_m.cpu().numpy(), labels.to(torch.uint8).cpu().numpy()
