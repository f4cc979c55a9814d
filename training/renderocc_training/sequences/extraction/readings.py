"""One sensor reading on its way into a data set."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from renderocc_ros.geometry import CameraModel, RigidTransform

SUFFIXES = {"JPEG": "jpg", "PNG": "png"}
JPEG_QUALITY = 95
LIDAR_COLUMNS = (("x",), ("y",), ("z",), ("intensity", "i"), ("ring", "channel"))

_TO_BGR: dict[str, int | None] = {
    "bgr8": None,
    "8UC3": None,
    "mono8": None,
    "8UC1": None,
    "rgb8": cv2.COLOR_RGB2BGR,
    "rgba8": cv2.COLOR_RGBA2BGR,
    "bgra8": cv2.COLOR_BGRA2BGR,
    "bayer_rggb8": cv2.COLOR_BayerBG2BGR,  # OpenCV names the pattern by its second row and column
    "bayer_bggr8": cv2.COLOR_BayerRG2BGR,
    "bayer_gbrg8": cv2.COLOR_BayerGR2BGR,
    "bayer_grbg8": cv2.COLOR_BayerGB2BGR,
    "yuv422": cv2.COLOR_YUV2BGR_UYVY,
    "uyvy": cv2.COLOR_YUV2BGR_UYVY,
    "yuv422_yuy2": cv2.COLOR_YUV2BGR_YUY2,
    "yuyv": cv2.COLOR_YUV2BGR_YUY2,
}
_CHANNELS = {"rgba8": 4, "bgra8": 4, "bgr8": 3, "rgb8": 3, "8UC3": 3} | dict.fromkeys(
    ("yuv422", "uyvy", "yuv422_yuy2", "yuyv"), 2
)


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


def compressed_file(message: Any) -> ImageFile:
    """The file inside a CompressedImage, as it is; only its head is looked at.

    Raises:
        ValueError: neither JPEG nor PNG, or cut off.
    """
    content = message.data.tobytes()
    try:
        with Image.open(io.BytesIO(content)) as image:
            suffix, (width, height) = SUFFIXES.get(image.format or ""), image.size
    except (UnidentifiedImageError, OSError) as error:
        raise ValueError(f"'{message.format}' holds no readable image") from error
    if suffix is None:
        raise ValueError(f"image format '{message.format}' is neither JPEG nor PNG")
    if suffix == "jpg" and content.rfind(b"\xff\xd9", -64) < 0:
        raise ValueError("the JPEG is cut off: its end is missing")
    return ImageFile(content, suffix, width, height)


def raw_file(message: Any) -> ImageFile:
    """A raw Image, encoded once as JPEG.

    Raises:
        ValueError: an encoding that is no picture, or too little data.
    """
    pixels = image_pixels(message)
    kept, content = cv2.imencode(".jpg", pixels, (cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY))
    if not kept:
        raise ValueError("OpenCV could not encode the image")
    return ImageFile(content.tobytes(), "jpg", message.width, message.height)


def image_pixels(message: Any) -> NDArray[np.uint8]:
    """Pixels (H, W, 3) BGR or (H, W) grey of a raw sensor_msgs/Image with 8 bits a channel.

    Raises:
        ValueError: an encoding that is no picture, or too little data.
    """
    if message.encoding not in _TO_BGR:
        known = ", ".join(_TO_BGR)
        raise ValueError(f"image encoding '{message.encoding}' is not one of: {known}")
    pixels = raw_rows(message, np.dtype(np.uint8), _CHANNELS.get(message.encoding, 1))
    code = _TO_BGR[message.encoding]
    return np.asarray(pixels if code is None else cv2.cvtColor(pixels, code), dtype=np.uint8)


def raw_rows(message: Any, dtype: np.dtype[Any], channels: int) -> NDArray[Any]:
    """(H, W) or (H, W, channels) numbers of a raw Image, without the padding of its rows."""
    data = np.ascontiguousarray(message.data, dtype=np.uint8)
    width = message.width * channels * dtype.itemsize
    if message.step < width or data.size < message.step * message.height:
        raise ValueError(
            f"image {message.width}x{message.height} {message.encoding}: step {message.step} and "
            f"{data.size} bytes are too little"
        )
    rows = data[: message.step * message.height].reshape(message.height, message.step)[:, :width]
    numbers = np.ascontiguousarray(rows).view(dtype)
    if message.is_bigendian and dtype.itemsize > 1:
        numbers = numbers.byteswap()
    shape = (message.height, message.width) + ((channels,) if channels > 1 else ())
    return numbers.reshape(shape)


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


def finite_points(points: NDArray[np.void]) -> NDArray[np.void]:
    """The points of a structured array whose x, y and z are numbers.

    Raises:
        ValueError: no x, y, z.
    """
    names = points.dtype.names or ()
    lacking = [name for name in "xyz" if name not in names]
    if lacking:
        raise ValueError(f"the cloud has no field {', '.join(lacking)}: {', '.join(names)}")
    finite = np.isfinite(points["x"]) & np.isfinite(points["y"]) & np.isfinite(points["z"])
    return points if finite.all() else points[finite]


def lidar_file(points: NDArray[np.void]) -> bytes:
    """A cloud as nuScenes' .pcd.bin: x, y, z, intensity, ring in float32.

    Args:
        points: structured array with x, y, z; intensity and ring are 0 where it has none.
    """
    columns = np.zeros((len(points), 5), dtype="<f4")
    for place, choices in enumerate(LIDAR_COLUMNS):
        found = next((name for name in choices if name in (points.dtype.names or ())), None)
        if found is not None:
            columns[:, place] = points[found]
    return columns.tobytes()


def point_label_file(points: NDArray[np.void]) -> bytes | None:
    """The classes of a cloud with a field ``label``, as SemanticKITTI keeps them: uint32 each."""
    if "label" not in (points.dtype.names or ()):
        return None
    return points["label"].astype("<u4").tobytes()
