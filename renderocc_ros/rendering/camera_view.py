"""The field as a camera sees it: distance and class of its pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from renderocc_ros.class_set import IGNORE_ID
from renderocc_ros.geometry import CameraModel, RigidTransform, VoxelGrid
from renderocc_ros.network.occupancy_field import OccupancyField
from renderocc_ros.rendering.ray_sampling import sample_uniform
from renderocc_ros.rendering.volume_rendering import Rays, render_rays

STEP_CELLS = 0.5  # length of a sample in cells
RAYS_AT_ONCE = 1 << 15  # bounds the memory
MIN_OPACITY = 0.5  # a ray that is less opaque meets nothing
FAINT = 1e-6

Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class CameraView:
    """A rendered image, (H, W) each.

    Attributes:
        range_m: expected distance along the ray; what passes through counts at ``far_m``.
        opacity: part of the light that ends in the field, 0 to 1.
        labels: uint8 class ids; 255 where a ray meets nothing.
        near_m, far_m: where the ray enters and leaves the grid; 0 where it never does, or where no
            ray of the lens meets the pixel.
        along_axis: cosine of the angle between ray and optical axis; 0 without a ray.
    """

    range_m: Floats
    opacity: Floats
    labels: NDArray[np.uint8]
    near_m: Floats
    far_m: Floats
    along_axis: Floats

    @property
    def depth_m(self) -> Floats:
        """Along the optical axis (REP-118); NaN where a ray meets nothing.

        Of the light that ends in the field: the rest would pull it to the far bound.
        """
        passed_m = (1 - self.opacity) * self.far_m
        stopped_m = (self.range_m - passed_m) / np.maximum(self.opacity, np.float32(FAINT))
        nothing = self.labels == IGNORE_ID
        return np.where(nothing, np.float32(np.nan), stopped_m * self.along_axis)


class ViewRenderer:
    """Renders a field from cameras, without gradients.

    Args:
        field: of one set.
        grid: where its cells lie in the ego frame.
        threshold: opacity above which a cell is occupied.
    """

    def __init__(self, field: OccupancyField, grid: VoxelGrid, threshold: float) -> None:
        self._grid, self._threshold = grid, threshold
        with torch.inference_mode():
            self._density = field.density.float()
            by_class = field.semantics.float().softmax(dim=1)
            self._classes = by_class.permute(0, 2, 3, 4, 1).contiguous()

    def view(
        self, model: CameraModel, ego_from_camera: RigidTransform, pixels: ArrayLike | None = None
    ) -> CameraView:
        """What a camera sees.

        Args:
            model: its projection; its distortion is rendered.
            ego_from_camera: pose of the optical frame.
            pixels: (H, W, 2) column and row of those to render; all of the model's if not given.
        """
        rays = model.pixel_rays() if pixels is None else model.rays(pixels)
        size, optical = rays.shape[:2], rays.reshape(-1, 3)
        has_ray = np.isfinite(optical).all(axis=1)  # the dark rim of a fisheye sees nothing
        optical = optical[has_ray]
        directions = (optical @ ego_from_camera.rotation.T).astype(np.float32)
        parts = np.array_split(directions, max(1, -(-len(directions) // RAYS_AT_ONCE)))
        with torch.inference_mode():
            rendered = [self._render(ego_from_camera.translation, part) for part in parts]

        def image(values: NDArray[Any], elsewhere: float) -> NDArray[Any]:
            whole = np.full(len(has_ray), elsewhere, values.dtype)
            whole[has_ray] = values
            return whole.reshape(size)

        range_m, opacity, labels, near_m, far_m = (
            np.concatenate(column) for column in zip(*rendered, strict=True)
        )
        return CameraView(
            image(range_m, 0),
            image(opacity, 0),
            image(labels, IGNORE_ID),
            image(near_m, 0),
            image(far_m, 0),
            image(optical[:, 2].astype(np.float32), 0),
        )

    def _render(
        self, origin_m: NDArray[np.float64], directions: Floats
    ) -> tuple[NDArray[Any], ...]:
        """Range, opacity, label, near and far bound of some rays, (R,) each."""
        device = self._density.device
        ways = torch.from_numpy(directions).to(device)
        starts = torch.tensor(origin_m.tolist(), dtype=torch.float32, device=device)
        starts = starts.expand_as(ways)
        rays = Rays(starts, ways, torch.zeros(len(ways), dtype=torch.int64, device=device))
        samples = sample_uniform(self._grid, starts, ways, STEP_CELLS * self._grid.resolution_m)
        seen = render_rays(
            self._grid, self._density, self._classes, rays, samples, threshold=self._threshold
        )
        meets = seen.opacity >= MIN_OPACITY
        labels = torch.where(meets, seen.classes.argmax(dim=1), IGNORE_ID).to(torch.uint8)
        columns = (seen.range_m, seen.opacity, labels, samples.near_m, samples.far_m)
        return tuple(each.cpu().numpy() for each in columns)
