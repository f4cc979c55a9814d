"""Labels drawn over their images, to look at."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from renderocc_ros.class_set import IGNORE_ID, ClassSet
from renderocc_ros.viewing.colours import Picture, class_colours, range_colours
from renderocc_training.sequences.model import CameraImage, Frame, RecordedSequence
from renderocc_training.sequences.sensor_files import read_pixels
from renderocc_training.supervision.labels.cache import LabelStore
from renderocc_training.supervision.rays.ray_batch import PixelLabels

DIMMED = 0.55
CAPTION_PX = 28


def overlay(image: Picture, labels: PixelLabels, class_set: ClassSet, by: str) -> Picture:
    """An image with a dot on every labelled pixel.

    Args:
        image: (H, W, 3) uint8 RGB.
        by: "range" (red near, blue far, logarithmic) or "class" (the class set's colours, grey for
            unknown); sky is light blue in both.
    """
    shown = (image * DIMMED).astype(np.uint8)
    if by == "range":
        colours = range_colours(labels.range_m)
    else:
        is_sky = np.isinf(labels.range_m)
        colours = class_colours(np.where(is_sky, class_set.free_id, labels.class_id), class_set)
    radius = max(1, round(image.shape[1] / 700))
    # The farthest first, so that what is in front stays in front.
    order = np.argsort(-np.nan_to_num(labels.range_m, nan=1e9, posinf=1e9), kind="stable")
    for place in order:
        u, v = np.round(labels.pixels[place]).astype(int).tolist()
        cv2.circle(shown, (u, v), radius, colours[place].tolist(), -1, cv2.LINE_AA)
    return shown


def frame_picture(
    sequence: RecordedSequence,
    frame: Frame,
    store: LabelStore,
    class_set: ClassSet,
    width: int = 800,
) -> Picture:
    """All cameras of a frame: above by range, below by class."""
    of_frame = store.labels(sequence, frame)
    columns = []
    for place, camera in enumerate(frame.cameras):
        if camera is None:
            continue
        labels = of_frame.of(of_frame.camera == place).labels
        columns.append(_column(camera, labels, class_set, width))
    rows = [columns[start : start + 3] for start in range(0, len(columns), 3)]
    height = max(column.shape[0] for column in columns)
    return np.concatenate([_row(row, min(3, len(columns)), height) for row in rows])


def _column(camera: CameraImage, labels: PixelLabels, class_set: ClassSet, width: int) -> Picture:
    image = read_pixels(camera)
    size = (width, round(image.shape[0] * width / image.shape[1]))
    pictures = [
        cv2.resize(overlay(image, labels, class_set, by), size, interpolation=cv2.INTER_AREA)
        for by in ("range", "class")
    ]
    caption = np.full((CAPTION_PX, width, 3), 245, np.uint8)
    known = int((labels.class_id != IGNORE_ID).sum())
    sky = int(np.isinf(labels.range_m).sum())
    text = f"{camera.name}: {len(labels.range_m)} pixels, {known} with class, {sky} sky"
    cv2.putText(caption, text, (6, 20), cv2.FONT_HERSHEY_DUPLEX, 0.55, (30, 30, 30), 1, cv2.LINE_AA)
    return np.concatenate([caption, *pictures])


def _row(columns: Sequence[Picture], count: int, height: int) -> Picture:
    width = columns[0].shape[1]
    padded = [
        np.pad(c, ((0, height - c.shape[0]), (0, 0), (0, 0)), constant_values=245) for c in columns
    ]
    padded += [np.full((height, width, 3), 245, np.uint8)] * (count - len(columns))
    return np.concatenate(padded, axis=1)
