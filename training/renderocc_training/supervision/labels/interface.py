"""What makes 2D labels, and what makes classes of LiDAR points: the two kinds of plug-ins."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from renderocc_ros.class_set import IGNORE_ID
from renderocc_training.sequences.model import CameraImage, Frame, LidarSweep, RecordedSequence
from renderocc_training.supervision.rays.ray_batch import PixelLabels

PointLabels = tuple[NDArray[np.uint8], NDArray[np.int32]]  # class ids and instances of points


class PixelLabeller(Protocol):
    """Labels pixels of a camera image with range, class and instance.

    Attributes:
        name: a short word; part of the name of the folder that holds the labels.
        reach: how many frames before and after its own it looks at.
    """

    name: str
    reach: int

    def label(self, sequence: RecordedSequence, frame: Frame, camera: CameraImage) -> PixelLabels:
        """Labels of pixels; ``LabelStore`` drops those that the camera's model gives no ray.

        Raises:
            ValueError: what it needs of the sequence is not there; the message says what.
        """
        ...


class ClassImages(Protocol):
    """Knows the class of every pixel of an image."""

    name: str

    def classes(
        self, sequence: RecordedSequence, frame: Frame, camera: CameraImage
    ) -> NDArray[np.uint8]:
        """(H, W) uint8 of the original image: class, the class set's free id for sky, or
        ``IGNORE_ID`` where not known."""
        ...


class RangeImages(Protocol):
    """Knows the distance of every pixel of an image."""

    name: str

    def ranges(
        self, sequence: RecordedSequence, frame: Frame, camera: CameraImage
    ) -> NDArray[np.float32]:
        """(H, W) metres along the ray of each pixel of the original image; NaN if not known."""
        ...


class PointClasses(Protocol):
    """Gives every point of a LiDAR sweep a class."""

    name: str

    def classes(
        self,
        sequence: RecordedSequence,
        sweep: LidarSweep,
        points_ego: NDArray[np.float64],
        instance: NDArray[np.int32],
    ) -> PointLabels:
        """Class ids (P,) and instances (P,).

        Args:
            points_ego: (P, 3) metres in the ego frame at the sweep's stamp.
            instance: (P,) number of the tracked box that holds the point, ``NO_BOX`` for none; the
                result may say ``STANDS`` instead of that.
        """
        ...


class NoClasses:
    """Depth alone: no class is known."""

    name = "none"

    def classes(
        self,
        sequence: RecordedSequence,
        sweep: LidarSweep,
        points_ego: NDArray[np.float64],
        instance: NDArray[np.int32],
    ) -> PointLabels:
        """All unknown."""
        return np.full(len(points_ego), IGNORE_ID, dtype=np.uint8), instance


def no_labels() -> PixelLabels:
    """Labels of no pixel."""
    return PixelLabels(
        np.zeros((0, 2), np.float32),
        np.zeros(0, np.float32),
        np.zeros(0, np.uint8),
        np.zeros(0, np.int32),
    )
