"""Rays that carry 2D labels: the only supervision that training needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from renderocc_ros.class_set import IGNORE_ID
from renderocc_ros.geometry import CameraModel, RigidTransform

Floats = NDArray[np.float32]
Flags = NDArray[np.bool_]

NO_BOX = -1  # instance of what lies on no tracked box
STANDS = -2  # the same, but it is known to stand still, although its class can move


@dataclass(frozen=True, eq=False)
class PixelLabels:
    """What is known of P pixels of one image.

    Attributes:
        pixels: (P, 2) float32, (u, v) of the original image; the first pixel's centre is (0, 0).
        range_m: (P,) float32, distance along the pixel's ray, metres (not z-depth); inf where the
            pixel shows the sky, NaN where the distance is not known.
        class_id: (P,) uint8, ``IGNORE_ID`` where the class is not known.
        instance: (P,) int32, number of the tracked box that the point lies on, ``NO_BOX`` or
            ``STANDS``.
    """

    pixels: Floats
    range_m: Floats
    class_id: NDArray[np.uint8]
    instance: NDArray[np.int32]

    def __post_init__(self) -> None:
        lengths = {field.name: len(getattr(self, field.name)) for field in fields(self)}
        if len(set(lengths.values())) != 1:
            raise ValueError(f"pixel labels of different lengths: {lengths}")
        if (self.range_m <= 0).any():
            worst = float(np.nanmin(self.range_m))
            raise ValueError(f"a labelled range of {worst} m; ranges are above 0, unknown is NaN")

    def __getitem__(self, chosen: NDArray[Any]) -> PixelLabels:
        return PixelLabels(*(getattr(self, field.name)[chosen] for field in fields(self)))

    def with_rays(self, model: CameraModel) -> PixelLabels:
        """Those of pixels that the model of their image gives a ray."""
        return self[np.isfinite(model.rays(self.pixels)).all(axis=1)]


@dataclass(frozen=True, eq=False)
class RayBatch:
    """R labelled rays in the ego frame of one sample.

    Attributes:
        origin: (R, 3) float32 metres.
        direction: (R, 3) float32 unit vectors.
        start_m: (R,) float32: nothing is claimed of the ray before this distance; 0 for most rays,
            just before the object for a ray that was moved along with it.
        range_m: (R,) float32: where the ray ends, metres; inf for sky, NaN for unknown.
        class_id: (R,) uint8, ``IGNORE_ID`` for unknown.
        instance: (R,) int32 number of the tracked box that the ray ends on, ``NO_BOX`` or
            ``STANDS``.
        is_auxiliary: (R,) bool, whether it comes from another frame than the sample's own.
        weight: (R,) float32, chance to be drawn relative to the others (see
            ``weighted_sampling``); 0 is never drawn.
        valid: (R,) bool; padding is not.
    """

    origin: Floats
    direction: Floats
    start_m: Floats
    range_m: Floats
    class_id: NDArray[np.uint8]
    instance: NDArray[np.int32]
    is_auxiliary: Flags
    weight: Floats
    valid: Flags

    def __post_init__(self) -> None:
        lengths = {field.name: len(getattr(self, field.name)) for field in fields(self)}
        if len(set(lengths.values())) != 1:
            raise ValueError(f"columns of rays of different lengths: {lengths}")

    def __len__(self) -> int:
        return len(self.origin)

    def __getitem__(self, chosen: NDArray[np.intp] | NDArray[np.bool_]) -> RayBatch:
        return RayBatch(*(getattr(self, field.name)[chosen] for field in fields(self)))

    @staticmethod
    def concatenate(batches: Sequence[RayBatch]) -> RayBatch:
        """All rays of several batches, in their order; none gives an empty batch."""
        if not batches:
            return RayBatch.padding(0)
        columns = (
            np.concatenate([getattr(batch, field.name) for batch in batches])
            for field in fields(RayBatch)
        )
        return RayBatch(*columns)

    @staticmethod
    def padding(count: int) -> RayBatch:
        """Rays that are not valid and say nothing."""
        direction = np.zeros((count, 3), dtype=np.float32)
        direction[:, 0] = 1.0
        zeros = np.zeros(count, dtype=np.float32)
        return RayBatch(
            origin=np.zeros((count, 3), dtype=np.float32),
            direction=direction,
            start_m=zeros,
            range_m=np.full(count, np.nan, dtype=np.float32),
            class_id=np.full(count, IGNORE_ID, dtype=np.uint8),
            instance=np.full(count, -1, dtype=np.int32),
            is_auxiliary=np.zeros(count, dtype=bool),
            weight=zeros.copy(),
            valid=np.zeros(count, dtype=bool),
        )


def rays_of_pixels(
    labels: PixelLabels,
    model: CameraModel,
    ego_from_camera: RigidTransform,
    is_auxiliary: bool = False,
) -> RayBatch:
    """Rays through labelled pixels, with weight 1.

    Pixels that the distortion model gives no ray are dropped.

    Args:
        labels: pixels of one image.
        model: projection of that image.
        ego_from_camera: from the optical frame, at the image's own stamp, to the ego frame of the
            sample; for an image of another frame it holds the motion in between.
    """
    direction = model.rays(labels.pixels) @ ego_from_camera.rotation.T
    has_ray = np.isfinite(direction).all(axis=1)
    count = int(has_ray.sum())
    return RayBatch(
        origin=np.tile(ego_from_camera.translation.astype(np.float32), (count, 1)),
        direction=direction[has_ray].astype(np.float32),
        start_m=np.zeros(count, dtype=np.float32),
        range_m=labels.range_m[has_ray],
        class_id=labels.class_id[has_ray],
        instance=labels.instance[has_ray],
        is_auxiliary=np.full(count, is_auxiliary),
        weight=np.ones(count, dtype=np.float32),
        valid=np.ones(count, dtype=bool),
    )
