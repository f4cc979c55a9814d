"""What the encodings of sensor_msgs/Image mean, and how one becomes another."""

import re
from typing import NamedTuple

import cv2
import numpy as np

DEPTHS = {
    "8U": np.dtype("uint8"),
    "8S": np.dtype("int8"),
    "16U": np.dtype("uint16"),
    "16S": np.dtype("int16"),
    "32S": np.dtype("int32"),
    "32F": np.dtype("float32"),
    "64F": np.dtype("float64"),
}
_GENERIC = re.compile(r"(8U|8S|16U|16S|32S|32F|64F)(?:C([0-9]+))?")
_BAYER = re.compile(r"bayer_(rggb|bggr|gbrg|grbg)(8|16)")

# Colour name -> (name in OpenCV's conversion constants, channels)
_COLOURS = {
    "mono8": ("GRAY", 1), "mono16": ("GRAY", 1),
    "rgb8": ("RGB", 3), "rgb16": ("RGB", 3),
    "bgr8": ("BGR", 3), "bgr16": ("BGR", 3),
    "rgba8": ("RGBA", 4), "rgba16": ("RGBA", 4),
    "bgra8": ("BGRA", 4), "bgra16": ("BGRA", 4),
    "yuv422": ("UYVY", 2), "uyvy": ("UYVY", 2),
    "yuv422_yuy2": ("YUY2", 2), "yuyv": ("YUY2", 2),
}  # fmt: skip
# OpenCV names a Bayer pattern by the second row's second and third pixel.
_OPENCV_BAYER = {"rggb": "BG", "bggr": "RG", "gbrg": "GR", "grbg": "GB"}


class CvBridgeError(TypeError):
    """A conversion that cannot be done."""


class Encoding(NamedTuple):
    """How the pixels of an image are stored."""

    name: str
    depth: str
    channels: int
    colour: str | None  # as OpenCV's constants call it; None where the meaning is not colour

    @property
    def dtype(self) -> np.dtype:
        """The type of one channel, in native byte order."""
        return DEPTHS[self.depth]

    @property
    def bits(self) -> int:
        """Bits of one channel."""
        return self.dtype.itemsize * 8


def parse(name: str) -> Encoding:
    """The encoding of that name; CvBridgeError where there is none."""
    if name in _COLOURS:
        colour, channels = _COLOURS[name]
        return Encoding(name, "16U" if name.endswith("16") else "8U", channels, colour)
    bayer = _BAYER.fullmatch(name)
    if bayer:
        return Encoding(name, f"{bayer[2]}U", 1, f"Bayer{_OPENCV_BAYER[bayer[1]]}")
    generic = _GENERIC.fullmatch(name)
    if generic:
        return Encoding(name, generic[1], int(generic[2] or 1), None)
    raise CvBridgeError(f"Unrecognized image encoding [{name}]")


def convert(image: np.ndarray, source_name: str, target_name: str) -> np.ndarray:
    """A copy of `image`, stored as `source_name`, in the encoding `target_name`."""
    if source_name == target_name:
        return image.copy()
    source, target = parse(source_name), parse(target_name)
    code, rescale = _plan(source, target)
    if code is not None:
        try:
            image = cv2.cvtColor(image, code)
        except cv2.error as error:
            raise CvBridgeError(error) from error
    return _to_depth(image, source, target) if rescale else image


def _plan(source: Encoding, target: Encoding) -> tuple[int | None, bool]:
    """The colour conversion that is needed, if any, and whether the depth may change after it."""
    if source.colour is None and target.colour is not None:
        raise CvBridgeError(
            f"[{source.name}] is not a color format. but [{target.name}] is. "
            "The conversion does not make sense"
        )
    if source.colour is None or target.colour is None:
        if source.channels != target.channels:
            raise CvBridgeError(_channels_message(source, target))
        return None, True
    if source.colour == target.colour and not source.colour.startswith("Bayer"):
        return None, True
    middle = f"YUV2{target.colour}_" if source.colour in ("UYVY", "YUY2") else None
    name = f"COLOR_{middle}{source.colour}" if middle else f"COLOR_{source.colour}2{target.colour}"
    code = getattr(cv2, name, None)
    bayer_with_alpha = source.colour.startswith("Bayer") and target.colour.endswith("A")
    if code is None or bayer_with_alpha or target.channels == 2:
        raise CvBridgeError(f"Unsupported conversion from [{source.name}] to [{target.name}]")
    return code, source.bits != target.bits


def _channels_message(source: Encoding, target: Encoding) -> str:
    if source.colour is None:
        return f"[{source.name}] and [{target.name}] do not have the same number of channel"
    return (
        f"[{source.name}] is a color format but [{target.name}] is not so they must have the same "
        "OpenCV type, CV_8UC3, CV16UC1 ...."
    )


def _to_depth(image: np.ndarray, source: Encoding, target: Encoding) -> np.ndarray:
    """Change the depth: 8 and 16 bits are scaled to each other, all else keeps its value."""
    scale = {(8, 16): 65535.0 / 255.0, (16, 8): 255.0 / 65535.0}.get((source.bits, target.bits), 1)
    if image.dtype == target.dtype:
        return image.copy()
    if scale != 1:
        image = image * scale
    if target.dtype.kind == "f":
        return image.astype(target.dtype)
    limits = np.iinfo(target.dtype)
    return np.clip(np.rint(image), limits.min, limits.max).astype(target.dtype)
