"""The field as each camera would see it, beside 2D labels: scores that need no 3D truth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from renderocc_ros.class_set import IGNORE_ID, ClassSet
from renderocc_ros.geometry import CameraModel
from renderocc_ros.rendering.camera_view import CameraView, ViewRenderer
from renderocc_ros.rig.camera_set import PosedImage
from renderocc_ros.rig.raw_images import raw_rows
from renderocc_training.evaluation.stamped_topic import StampedTopic
from renderocc_training.evaluation.view_scores import DepthSums, depth_sums
from renderocc_training.evaluation.voxel_scores import Counts, confusion_matrix, no_counts
from renderocc_training.recording.bag_reader import BagReader

VIEW_WIDTH = 176  # columns of a rendered view: about two per voxel at 40 m
LABEL_TOLERANCE_NS = 1_000_000
MILLIMETRES = ("16UC1", "mono16")


@dataclass(frozen=True, eq=False)
class ViewLabels:
    """Labels of one image, each (H, W) or None: metres along the optical axis, and class ids."""

    depth_m: NDArray[np.float32] | None
    classes: NDArray[np.uint8] | None


def lattice_of(model: CameraModel) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Columns (W,) and rows (H,) of the pixels of a camera that are rendered."""
    stride = max(1, round(model.width / VIEW_WIDTH))
    return (
        np.arange(stride // 2, model.width, stride),
        np.arange(stride // 2, model.height, stride),
    )


def rendered(renderer: ViewRenderer, posed: PosedImage) -> CameraView:
    """The field from a camera of its own set, on a lattice of its pixels."""
    pixels = np.stack(np.meshgrid(*lattice_of(posed.model)), axis=-1)
    return renderer.view(posed.model, posed.ego_from_camera, pixels)


def score_view(
    view: CameraView, labels: ViewLabels, model: CameraModel, classes: ClassSet
) -> tuple[DepthSums, Counts]:
    """Compare a view, ``rendered`` of a camera of this model, with its labels.

    Depth counts where the labelled surface lies inside the grid. Classes count there too, or
    wherever a ray enters the grid if no depth is known; and at sky, which must be free.
    """
    columns, rows = lattice_of(model)
    lattice = np.ix_(rows, columns)
    within = view.far_m > 0
    sums = DepthSums()
    if labels.depth_m is not None:
        ahead = np.where(view.along_axis > 0.05, view.along_axis, np.nan)
        label_m = labels.depth_m[lattice] / ahead
        within = (label_m > view.near_m) & (label_m < view.far_m)
        sums = depth_sums(view.range_m, np.where(within, label_m, np.nan))
    confusion = no_counts(len(classes))
    if labels.classes is not None:
        truth = labels.classes[lattice]
        sky = (truth == classes.free_id) & (view.far_m > 0)
        truth = np.where(within | sky, truth, IGNORE_ID).astype(np.uint8)
        seen = np.where(view.labels == IGNORE_ID, classes.free_id, view.labels).astype(np.uint8)
        confusion = confusion_matrix(truth, seen, classes)
    return sums, confusion


class BagLabels:
    """Label images of a bag, looked up by camera and stamp.

    Args:
        reader: an open bag.
        patterns: "depth" and "classes" to a topic in which {camera} stands for the camera's name
            in lower case.
        names: the rig's cameras.
    """

    def __init__(
        self, reader: BagReader, patterns: Mapping[str, str], names: tuple[str, ...]
    ) -> None:
        self._topics = {
            (kind, name): StampedTopic(reader, topic)
            for kind, pattern in patterns.items()
            for name in names
            if (topic := pattern.replace("{camera}", name.lower())) in reader.topics
        }

    def __bool__(self) -> bool:
        return bool(self._topics)

    def of(self, posed: PosedImage) -> ViewLabels:
        """The labels of an image, at the size of its model.

        Raises:
            ValueError: an encoding that is no label or depth image.
        """
        depth, classes = self._image("depth", posed), self._image("classes", posed)
        scale = 1000.0 if depth is not None and depth.dtype == np.uint16 else 1.0
        return ViewLabels(
            None if depth is None else depth.astype(np.float32) / np.float32(scale),
            None if classes is None else classes.astype(np.uint8),
        )

    def _image(self, kind: str, posed: PosedImage) -> NDArray[Any] | None:
        topic = self._topics.get((kind, posed.name))
        message = topic.nearest(posed.stamp_ns, LABEL_TOLERANCE_NS) if topic else None
        if message is None:
            return None
        formats = {"32FC1": np.float32} | dict.fromkeys(MILLIMETRES, np.uint16)
        pixels = raw_rows(message, np.dtype(formats.get(message.encoding, np.uint8)), 1)
        return at_size_of(pixels, posed.model)


def at_size_of(pixels: NDArray[Any], model: CameraModel) -> NDArray[Any]:
    """A label image (H, W) at the size of an image that was decoded at a fraction of its own.

    JPEGs are decoded at a whole fraction of their size, rounded up.

    Raises:
        ValueError: no such fraction of (H, W) is the model's size.
    """
    height, width = pixels.shape
    by = -(-height // model.height)
    if by < 1 or (-(-height // by), -(-width // by)) != (model.height, model.width):
        raise ValueError(
            f"a label image of {width}x{height} does not belong to an image that is "
            f"{model.width}x{model.height} now: labels are to have their image's size"
        )
    rows, columns = (
        np.minimum(np.arange(count) * by + by // 2, size - 1)
        for count, size in ((model.height, height), (model.width, width))
    )
    return np.asarray(pixels[np.ix_(rows, columns)])
