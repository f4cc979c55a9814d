"""One sensor reading on its way into a data set."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from renderocc_ros.geometry import CameraModel, RigidTransform
from renderocc_ros.rig.image_decoding import completed, decode_message, image_header
from renderocc_ros.rig.raw_images import raw_pixels, raw_rows

SUFFIXES = {"JPEG": "jpg", "MPO": "jpg", "PNG": "png"}  # by what Pillow calls a format
JPEG_QUALITY = 95
LIDAR_COLUMNS = (("x",), ("y",), ("z",), ("intensity", "i"), ("ring", "channel"))


@dataclass(frozen=True, eq=False)
class Reading:
    """A file of one sensor, and where the sensor was.

    Attributes:
        channel: name of the sensor.
        stamp_ns: acquisition time.
        content: the file, whole.
        suffix: of the file: jpg, png or pcd.bin.
        ego_from_sensor, world_from_ego: at ``stamp_ns``.
        camera: projection of this image; None for a LiDAR.
    """

    channel: str
    stamp_ns: int
    content: bytes
    suffix: str
    ego_from_sensor: RigidTransform
    world_from_ego: RigidTransform
    camera: CameraModel | None = None

    @property
    def world_from_sensor(self) -> RigidTransform:
        """Where the sensor was."""
        return self.world_from_ego @ self.ego_from_sensor


@dataclass(frozen=True, eq=False)
class ImageFile:
    """An encoded image: its bytes, its kind and its size in pixels."""

    content: bytes
    suffix: str
    width: int
    height: int


def image_file(message: Any) -> ImageFile:
    """The file of an image message: JPEG and PNG as they are, all else encoded once as JPEG.

    A JPEG without an end marker gets one.

    Raises:
        ValueError: not an image that the node could read, or cut off.
    """
    kind, (width, height) = image_header(message)
    if kind in SUFFIXES:
        return ImageFile(completed(message.data, kind), SUFFIXES[kind], width, height)
    pixels = decode_message(message) if kind else raw_pixels(message)
    stored = pixels if pixels.ndim == 2 else cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    kept, content = cv2.imencode(".jpg", stored, (cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY))
    if not kept:
        raise ValueError("OpenCV could not encode the image")
    return ImageFile(content.tobytes(), "jpg", width, height)


def label_file(message: Any) -> bytes:
    """A label or depth image as PNG, lossless; CompressedImage keeps its bytes.

    32FC1 (metres) becomes 16 bits of millimetres, 0 where there is no depth.

    Raises:
        ValueError: an encoding that is no label or depth image.
    """
    if hasattr(message, "format"):
        if not message.data[:4].tobytes().endswith(b"PNG"):
            raise ValueError(f"a label image must be PNG, '{message.format}' changes the labels")
        return bytes(message.data.tobytes())
    readers: dict[str, Callable[[], NDArray[Any]]] = {
        "mono8": lambda: raw_rows(message, np.dtype(np.uint8), 1),
        "8UC1": lambda: raw_rows(message, np.dtype(np.uint8), 1),
        "mono16": lambda: raw_rows(message, np.dtype(np.uint16), 1),
        "16UC1": lambda: raw_rows(message, np.dtype(np.uint16), 1),
        "32FC1": lambda: _millimetres(raw_rows(message, np.dtype(np.float32), 1)),
    }
    if message.encoding not in readers:
        raise ValueError(f"label encoding '{message.encoding}' is not one of: {', '.join(readers)}")
    kept, content = cv2.imencode(".png", readers[message.encoding]())
    if not kept:
        raise ValueError("OpenCV could not encode the label image")
    return bytes(content.tobytes())


def _millimetres(depth_m: NDArray[np.float32]) -> NDArray[np.uint16]:
    known = np.isfinite(depth_m) & (depth_m > 0) & (depth_m < 65.535)
    return np.where(known, np.round(np.nan_to_num(depth_m) * 1000), 0).astype(np.uint16)


def lidar_file(points: NDArray[np.void]) -> bytes:
    """A cloud as nuScenes' .pcd.bin: x, y, z, intensity, ring in float32.

    Args:
        points: structured array with x, y, z; intensity and ring are 0 where it has none.
    """
    columns = np.zeros((len(points), 5), dtype="<f4")
    for place, choices in enumerate(LIDAR_COLUMNS):
        name = next((name for name in choices if name in (points.dtype.names or ())), None)
        if name is not None:
            columns[:, place] = points[name]
    return columns.tobytes()


def point_label_file(points: NDArray[np.void]) -> bytes | None:
    """The classes of a cloud with a field ``label``, as SemanticKITTI keeps them: uint32 each."""
    if "label" not in (points.dtype.names or ()):
        return None
    return points["label"].astype("<u4").tobytes()
