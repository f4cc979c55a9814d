"""Labels made worse on purpose, to measure what training stands."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from renderocc_ros.class_set import IGNORE_ID, ClassSet
from renderocc_training.sequences.model import CameraImage, Frame, RecordedSequence
from renderocc_training.supervision.labels.interface import PixelLabeller
from renderocc_training.supervision.rays.ray_batch import PixelLabels

BLOCKS = (5, 9)  # knots of the error of ranges over an image, down and across


class DegradedLabels:
    """Another labeller's labels with errors, always the same for an image.

    Args:
        base: gives the labels.
        range_noise: standard deviation of the logarithm of the factor that ranges are off by. Like
            a monocular model's, the error is smooth over an image, and another in each.
        wrong_classes: share of the labelled pixels that get the class of another one of theirs.
    """

    def __init__(
        self, class_set: ClassSet, base: PixelLabeller, range_noise: float, wrong_classes: float
    ) -> None:
        self.name, self.reach = f"{base.name}+degraded", base.reach
        self._base = base
        self._range_noise, self._wrong_classes = range_noise, wrong_classes

    def label(self, sequence: RecordedSequence, frame: Frame, camera: CameraImage) -> PixelLabels:
        """The base's labels, degraded."""
        labels = self._base.label(sequence, frame, camera)
        key = hashlib.sha256(f"{sequence.name} {frame.token} {camera.name}".encode()).digest()
        random = np.random.default_rng(np.frombuffer(key, np.uint32))
        off = self._range_noise * _smooth(random, labels.pixels, camera)
        class_id = labels.class_id.copy()
        known = np.flatnonzero(class_id != IGNORE_ID)
        wrong = known[random.random(len(known)) < self._wrong_classes]
        class_id[wrong] = class_id[random.choice(known, len(wrong))] if len(wrong) else ()
        range_m = (labels.range_m * np.exp(off)).astype(np.float32)  # the sky stays infinitely far
        return replace(labels, range_m=range_m, class_id=class_id)


def _smooth(
    random: np.random.Generator, pixels: NDArray[np.float32], camera: CameraImage
) -> NDArray[np.float64]:
    """(P,) of mean 0 and standard deviation 1 over images; smooth over this one.

    Between knots the mean square of a bilinear weight is 2/3 in each direction.
    """
    knots = random.standard_normal(BLOCKS).astype(np.float32)
    last = np.array([camera.model.width - 1, camera.model.height - 1])
    place = (pixels / last * (np.array(BLOCKS[::-1]) - 1)).astype(np.float32)
    values = cv2.remap(knots, place[None], None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(values[0] * 1.5, np.float64)
