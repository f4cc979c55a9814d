"""Label images that came with a recording: ``labels/<kind>/<camera>/<name of the image>.png``.

``extract`` puts the images of label topics there: ``classes`` holds class ids in 8 bits (free for
the sky, 255 for unknown), ``depth`` millimetres along the optical axis in 16 bits (0 for unknown).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from renderocc_ros.class_set import IGNORE_ID, ClassSet
from renderocc_ros.geometry import CameraModel
from renderocc_ros.outside_data import parsing
from renderocc_ros.rig.image_decoding import model_of_image, read_header
from renderocc_training.sequences.model import CameraImage, Frame, RecordedSequence, label_file
from renderocc_training.supervision.labels.mapping import NumberClasses, NumberMapping


class ClassImageFiles:
    """Class images from files.

    Args:
        class_set: what the numbers in the images mean.
        mapping: from other numbers to that class set; None if they are its ids.
    """

    name = "images"

    def __init__(self, class_set: ClassSet, mapping: NumberMapping | None = None) -> None:
        self._class_ids = NumberClasses(mapping, class_set) if mapping else None
        self._class_set = class_set

    def classes(
        self, sequence: RecordedSequence, frame: Frame, camera: CameraImage
    ) -> NDArray[np.uint8]:
        """(H, W) class ids."""
        file, image = read_label_image(sequence, "classes", camera)
        if self._class_ids is not None:
            return self._class_ids(image, file)
        largest = self._class_set.free_id
        wrong = np.setdiff1d(np.unique(image), [*range(largest + 1), IGNORE_ID])
        if wrong.size:
            raise ValueError(
                f"{file} holds {wrong[:5].tolist()}: not a class of '{self._class_set.name}' "
                f"(0 to {largest}, {IGNORE_ID} for unknown); give a mapping file of kind 'numbers'"
            )
        return image.astype(np.uint8)


class DepthImageFiles:
    """Range images from depth files."""

    name = "images"

    def ranges(
        self, sequence: RecordedSequence, frame: Frame, camera: CameraImage
    ) -> NDArray[np.float32]:
        """(H, W) metres along each pixel's ray; NaN where the file has no depth."""
        _, image = read_label_image(sequence, "depth", camera)
        depth_m = np.where(image > 0, image.astype(np.float32) / 1000, np.float32(np.nan))
        return ranges_of_depth(depth_m, camera)


def ranges_of_depth(depth_m: NDArray[np.float32], camera: CameraImage) -> NDArray[np.float32]:
    """Depth along the optical axis (H, W) to range along the ray: range = z / cos θ."""
    cosine = camera.model.pixel_rays()[..., 2]
    with np.errstate(divide="ignore", invalid="ignore"):
        range_m = depth_m / cosine
    return np.where(cosine > 0, range_m, np.nan).astype(np.float32)


def label_image_file(sequence: RecordedSequence, kind: str, camera: CameraImage) -> Path:
    """Where a camera's label image of a kind ("classes" or "depth") lies."""
    return label_file(sequence.root, kind, camera, ".png")


def read_label_image(
    sequence: RecordedSequence, kind: str, camera: CameraImage
) -> tuple[Path, NDArray[Any]]:
    """The file of a camera's label image, and its numbers (H, W), scaled to the camera image.

    Raises:
        ValueError: it is not there, not readable, or of other proportions than the camera image.
    """
    file = label_image_file(sequence, kind, camera)
    size = (camera.model.width, camera.model.height)
    image = _read_gray(file, camera.model) if file.is_file() else None
    if image is None or image.ndim != 2:
        raise ValueError(
            f"no label image {file}: extract the recording with --labels {kind}=/topic of its "
            "label images, or use another source"
        )
    if image.shape != size[::-1]:
        image = cv2.resize(image, size, interpolation=cv2.INTER_NEAREST_EXACT)
    return file, np.asarray(image)


def _read_gray(file: Path, model: CameraModel) -> NDArray[Any] | None:
    """The numbers of an image file, whose size is looked at before it is decoded."""
    with parsing(file, "extract the recording again"):
        content = file.read_bytes()
        model_of_image(model, read_header(content)[1])
        image: NDArray[Any] | None = cv2.imdecode(
            np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED
        )
        return image
