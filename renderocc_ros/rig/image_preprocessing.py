"""From the images of a set to what a network takes: undistorted, scaled, cropped, normalised.

A target camera is a pinhole of the network's image size. It looks where the source camera looks:
- A source without distortion is scaled to cover the target; what is too much goes at the top (sky)
  and evenly left and right. The window is cut first and scaled by means over areas.
- A source with distortion gets the same target, through one table per calibration (a single remap).
- A fisheye, or any camera wider than ``max_fov_deg``, is cut to that horizontal field of view.

A table is made when a camera's model changes, and only then. Sources much larger than the
target are first reduced by 2, 4 or 8, which the JPEG decoder does best (``reduction``).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from renderocc_ros.geometry import CameraModel
from renderocc_ros.network_config import ImageConfig
from renderocc_ros.rig.camera_set import CameraSet
from renderocc_ros.rig.image_decoding import REDUCTIONS, reduce_image, reduced_model
from renderocc_ros.rig.network_input import NetworkInput

Image = NDArray[np.uint8]

# A remap that steps over more source pixels than this per target pixel would alias: then a finer
# target is sampled and averaged.
MAX_STEP = 1.25
# A reduced source may have this many pixels per target pixel where it is coarsest.
MIN_SOURCE_PIXELS = 0.8
MAX_SAMPLES = 4  # along each axis


class ImagePreprocessor:
    """Images of a rig to network input; keeps one plan per camera.

    May be used from several threads at once.

    Args:
        config: size, normalisation and channel order of the network's images.
        normalise: give float32 images, (value - mean) / std; else uint8 as they are.

    Attributes:
        plans_made: how often a plan was made: once per camera and calibration.
    """

    def __init__(self, config: ImageConfig, *, normalise: bool = True) -> None:
        self._config = config
        self._kind = np.float32 if normalise else np.uint8
        self._plans: dict[str, _Plan] = {}
        self._reductions: dict[CameraModel, int] = {}
        self.plans_made = 0
        mean, std = np.array(config.mean), np.array(config.std)
        self._scale = (1 / std).astype(np.float32)
        self._shift = (-mean / std).astype(np.float32)
        # Where the source shows nothing: the mean, which is zero once normalised. In RGB.
        fill = mean if config.channel_order == "rgb" else mean[::-1]
        self._fill = tuple(float(round(value)) for value in fill)

    def reduction(self, model: CameraModel) -> int:
        """By how much an image of this model may be reduced on decoding: 1, 2, 4 or 8."""
        if model not in self._reductions:
            self._reductions[model] = _Plan(model, self._config, self._fill).reduction
        return self._reductions[model]

    def target(self, name: str, model: CameraModel) -> CameraModel:
        """The projection of the network's image of a camera of this model."""
        return self._plan(name, model).target

    def planes(self, name: str, image: Image, model: CameraModel) -> NDArray[Any]:
        """One camera's image (3, H, W), ahead of its set; its arguments as in PosedImage."""
        planes = np.empty((3, self._config.height, self._config.width), self._kind)
        self._write(self._plan(name, model).apply(image), planes)
        return planes

    def __call__(
        self,
        cameras: CameraSet,
        out: NDArray[Any] | None = None,
        planes: Mapping[str, NDArray[Any]] = MappingProxyType({}),
    ) -> NetworkInput:
        """The network's input of one set.

        Args:
            cameras: the set. An image may be reduced, if its model is too.
            out: (N, 3, H, W) of the right type to write the images to; a new array if not given.
            planes: by camera name, what ``planes`` made of those of its images that were early.
        """
        count, size = len(cameras.names), (self._config.height, self._config.width)
        images = np.empty((count, 3, *size), self._kind) if out is None else out
        if images.shape != (count, 3, *size) or images.dtype != self._kind:
            raise ValueError(
                f"out is {images.dtype} {images.shape}, it must be {np.dtype(self._kind)} "
                f"{(count, 3, *size)}"
            )
        intrinsics = np.tile(np.eye(3), (count, 1, 1))
        poses = np.tile(np.eye(4), (count, 1, 1))
        valid = np.zeros(count, np.bool_)
        for i, posed in enumerate(cameras.images):
            if posed is None:
                images[i] = 0
                continue
            plan = self._plan(posed.name, posed.model)
            if posed.name in planes:
                images[i] = planes[posed.name]
            else:
                self._write(plan.apply(posed.pixels), images[i])
            intrinsics[i] = plan.target.intrinsics
            poses[i] = posed.ego_from_camera.matrix
            valid[i] = True
        return NetworkInput(images, intrinsics, poses, valid)

    def _plan(self, name: str, model: CameraModel) -> _Plan:
        plan = self._plans.get(name)
        if plan is None or plan.source != model:
            plan = self._plans[name] = _Plan(model, self._config, self._fill)
            self.plans_made += 1
        return plan

    def _write(self, image: Image, planes: NDArray[Any]) -> None:
        """(H, W, 3) uint8 RGB to (3, H, W): channel order, type and normalisation in one pass."""
        for channel, plane in enumerate(planes):
            source = image[..., channel if self._config.channel_order == "rgb" else 2 - channel]
            if self._kind is np.float32:
                np.multiply(source, self._scale[channel], out=plane)
                plane += self._shift[channel]
            else:
                plane[...] = source


def target_model(source: CameraModel, config: ImageConfig) -> CameraModel:
    """The pinhole camera of the network's image for a source camera; see the module's text."""
    width, height = config.width, config.height
    ideal = source.undistorted()
    half = np.tan(np.deg2rad(config.max_fov_deg) / 2)
    focal_px = source.intrinsics[0, 0]
    if source.distortion_model == "equidistant" or source.width / (2 * focal_px) > half:
        focal = width / (2 * min(half, _half_width(source)))
        matrix = [[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1]]
        return CameraModel(width, height, np.array(matrix))
    left, top, window_width, window_height = _window(source, config)
    return ideal.cropped(left, top, window_width, window_height).resized(width, height)


def _half_width(source: CameraModel) -> float:
    """Tangent of the angle that the source sees to both sides of its axis, at the least."""
    centre = source.intrinsics[:2, 2]
    edges = source.rays([[-0.5, centre[1]], [source.width - 0.5, centre[1]]])
    tangents = [abs(x) / z if z > 0 else np.inf for x, _, z in edges if np.isfinite(z)]
    return float(min(tangents, default=np.inf))


def _window(source: CameraModel, config: ImageConfig) -> tuple[int, int, int, int]:
    """Left, top, width and height of the source's pixels that the target shows."""
    scale = max(config.width / source.width, config.height / source.height)
    width = min(round(config.width / scale), source.width)
    height = min(round(config.height / scale), source.height)
    return (source.width - width) // 2, source.height - height, width, height


@dataclass(frozen=True, eq=False)
class _Plan:
    """How images of one camera model become images of its target."""

    source: CameraModel
    config: ImageConfig
    fill: tuple[float, ...]

    @cached_property
    def target(self) -> CameraModel:
        return target_model(self.source, self.config)

    @cached_property
    def reduction(self) -> int:
        """The largest one that leaves enough source pixels for every target pixel."""
        least = max(1.0, float(self._steps(self.source).min()) / MIN_SOURCE_PIXELS)
        return max(reduction for reduction in REDUCTIONS if reduction <= least)

    @cached_property
    def window(self) -> tuple[int, int, int, int] | None:
        """The source's window that is the target, if scaling it is all there is to do."""
        ideal = self.source.undistorted()
        left, top, width, height = _window(self.source, self.config)
        plain = ideal.cropped(left, top, width, height).resized(*self._size)
        distorted = any(self.source.distortion) or self.source.distortion_model == "equidistant"
        return None if distorted or plain != self.target else (left, top, width, height)

    def apply(self, image: Image) -> Image:
        """(H, W, 3) of the source to (H, W, 3) of the target."""
        if self.window is not None:
            left, top, width, height = self.window
            part = image[top : top + height, left : left + width]
            fine = width / self.config.width <= MAX_STEP  # then both do the same; this is fast
            method = cv2.INTER_LINEAR if fine else cv2.INTER_AREA
            return np.asarray(cv2.resize(part, self._size, interpolation=method), np.uint8)
        reduced = reduce_image(image, self.reduction)
        across, table = self._table
        remapped = cv2.remap(
            reduced, *table, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=self.fill
        )
        return reduce_image(np.asarray(remapped, np.uint8), across)

    @property
    def _size(self) -> tuple[int, int]:
        return self.config.width, self.config.height

    @cached_property
    def _table(self) -> tuple[int, tuple[NDArray[Any], NDArray[Any]]]:
        """Samples per target pixel and axis, and for each the place in the reduced source."""
        source = reduced_model(self.source, self.reduction)
        largest = float(self._steps(source).max())
        samples = min(math.ceil(largest / MAX_STEP), MAX_SAMPLES)
        width, height = self._size
        fine = self.target.resized(samples * width, samples * height)
        pixels, inside = source.project(fine.pixel_rays())
        places = np.where(inside[..., None], pixels, -2.0).astype(np.float32)
        return samples, cv2.convertMaps(places, None, cv2.CV_16SC2)

    def _steps(self, source: CameraModel) -> NDArray[np.float64]:
        """Source pixels per target pixel, along both axes, at places all over the target."""
        u, v = np.meshgrid(
            np.linspace(1, self.target.width - 2, 9), np.linspace(1, self.target.height - 2, 9)
        )
        places = np.stack([u, v], axis=-1)
        corners = [places + shift for shift in ((0.0, 0.0), (1.0, 0.0), (0.0, 1.0))]
        here, right, below = (source.project(self.target.rays(corner))[0] for corner in corners)
        inside = source.contains(here)
        steps = np.linalg.norm(np.stack([right - here, below - here]), axis=-1)[:, inside]
        steps = steps[np.isfinite(steps)]
        return steps if steps.size else np.ones(1)
