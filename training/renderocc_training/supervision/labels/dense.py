"""Labels from images of classes and ranges, on a grid of pixels or where LiDAR points are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from renderocc_ros.class_set import IGNORE_ID, ClassSet
from renderocc_training.sequences.model import CameraImage, Frame, RecordedSequence
from renderocc_training.supervision.labels.interface import ClassImages, PixelLabeller, RangeImages
from renderocc_training.supervision.rays.ray_batch import NO_BOX, PixelLabels


class DenseLabels:
    """Every so many pixels of an image, whatever is known of them.

    Args:
        class_set: its free id stands for the sky in class images.
        classes: class images; None if no class is known.
        ranges: range images; None if no range is known but that of the sky.
        stride_px: distance of the labelled pixels.
    """

    reach = 0

    def __init__(
        self,
        class_set: ClassSet,
        classes: ClassImages | None,
        ranges: RangeImages | None,
        stride_px: int,
    ) -> None:
        self.name = f"{ranges.name if ranges else 'none'}+{classes.name if classes else 'none'}"
        self._class_set, self._classes, self._ranges = class_set, classes, ranges
        self._stride_px = stride_px

    def label(self, sequence: RecordedSequence, frame: Frame, camera: CameraImage) -> PixelLabels:
        """Labels of a grid of pixels; those of which nothing is known are left out."""
        pixels, row, column = pixel_grid(camera, self._stride_px)
        class_id = np.full(len(pixels), IGNORE_ID, dtype=np.uint8)
        range_m = np.full(len(pixels), np.nan, dtype=np.float32)
        if self._ranges is not None:
            range_m = self._ranges.ranges(sequence, frame, camera)[row, column]
        if self._classes is not None:
            class_id = self._classes.classes(sequence, frame, camera)[row, column]
        labels = PixelLabels(pixels, range_m, class_id, np.full(len(pixels), NO_BOX, np.int32))
        return _known(with_sky(labels, self._class_set))


class WithClassImages:
    """Another labeller's pixels with the classes of an image, and the sky that only images show.

    Args:
        class_set: its free id stands for the sky in class images.
        base: gives range and instance; a class that it knows itself stays.
        classes: give the others theirs.
        stride_px: distance of the pixels at which sky is looked for.
    """

    def __init__(
        self, class_set: ClassSet, base: PixelLabeller, classes: ClassImages, stride_px: int
    ) -> None:
        self.name = f"{base.name}+{classes.name}"
        self.reach = base.reach
        self._class_set, self._base, self._classes = class_set, base, classes
        self._stride_px = stride_px

    def label(self, sequence: RecordedSequence, frame: Frame, camera: CameraImage) -> PixelLabels:
        """The base's labels, then the sky."""
        image = self._classes.classes(sequence, frame, camera)
        base = self._base.label(sequence, frame, camera)
        column, row = np.floor(base.pixels + 0.5).astype(int).T
        height, width = image.shape
        shown = image[np.clip(row, 0, height - 1), np.clip(column, 0, width - 1)]
        # What returned a laser pulse is not the sky: the image is wrong there, or its edge is.
        shown = np.where(shown == self._class_set.free_id, np.uint8(IGNORE_ID), shown)
        class_id = np.where(base.class_id == IGNORE_ID, shown, base.class_id)
        pixels, row, column = pixel_grid(camera, self._stride_px)
        sky = image[row, column] == self._class_set.free_id
        count = int(sky.sum())
        return _known(
            PixelLabels(
                np.concatenate([base.pixels, pixels[sky]]),
                np.concatenate([base.range_m, np.full(count, np.inf, np.float32)]),
                np.concatenate([class_id, np.full(count, IGNORE_ID, np.uint8)]),
                np.concatenate([base.instance, np.full(count, NO_BOX, np.int32)]),
            )
        )


def pixel_grid(
    camera: CameraImage, stride_px: int
) -> tuple[NDArray[np.float32], NDArray[np.intp], NDArray[np.intp]]:
    """Pixels (P, 2) in the middle of blocks of ``stride_px``, and their rows and columns (P,)."""
    first = stride_px // 2
    rows, columns = (
        np.arange(first, n, stride_px) for n in (camera.model.height, camera.model.width)
    )
    row, column = (index.ravel() for index in np.meshgrid(rows, columns, indexing="ij"))
    return np.stack([column, row], axis=1).astype(np.float32), row, column


def with_sky(labels: PixelLabels, class_set: ClassSet) -> PixelLabels:
    """The free id of class images becomes an infinite range of unknown class."""
    sky = labels.class_id == class_set.free_id
    return replace(
        labels,
        range_m=np.where(sky, np.float32(np.inf), labels.range_m),
        class_id=np.where(sky, np.uint8(IGNORE_ID), labels.class_id),
    )


def _known(labels: PixelLabels) -> PixelLabels:
    """Those of which range or class is known."""
    return labels[~np.isnan(labels.range_m) | (labels.class_id != IGNORE_ID)]
