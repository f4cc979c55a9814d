"""Pixels of raw images, in the encodings of sensor_msgs/image_encodings.hpp. No ROS in here."""

from __future__ import annotations

from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
U8, U16 = np.dtype(np.uint8), np.dtype(np.uint16)


class _Encoding(NamedTuple):
    """How pixels are stored.

    Attributes:
        dtype: of one number.
        channels: numbers per pixel; with chroma planes, those of the luma plane.
        to_rgb: OpenCV's conversion; None for grey and for RGB.
        chroma: "" or how planes of half the width and height follow the luma plane (4:2:0):
            "planar" (all U, all V) or "interleaved".
    """

    dtype: np.dtype[Any]
    channels: int
    to_rgb: int | None = None
    chroma: str = ""


def _encodings() -> dict[str, _Encoding]:
    encodings = {
        "8UC1": _Encoding(U8, 1),
        "yuv420": _Encoding(U8, 1, cv2.COLOR_YUV2RGB_I420, "planar"),
        "i420": _Encoding(U8, 1, cv2.COLOR_YUV2RGB_I420, "planar"),
        "nv12": _Encoding(U8, 1, cv2.COLOR_YUV2RGB_NV12, "interleaved"),
        "nv21": _Encoding(U8, 1, cv2.COLOR_YUV2RGB_NV21, "interleaved"),
        "yuv422": _Encoding(U8, 2, cv2.COLOR_YUV2RGB_UYVY),
        "uyvy": _Encoding(U8, 2, cv2.COLOR_YUV2RGB_UYVY),
        "yuv422_yuy2": _Encoding(U8, 2, cv2.COLOR_YUV2RGB_YUY2),
        "yuyv": _Encoding(U8, 2, cv2.COLOR_YUV2RGB_YUY2),
    }
    bayer = {  # OpenCV names a pattern by its second row and column
        "rggb": cv2.COLOR_BayerBG2RGB,
        "bggr": cv2.COLOR_BayerRG2RGB,
        "gbrg": cv2.COLOR_BayerGR2RGB,
        "grbg": cv2.COLOR_BayerGB2RGB,
    }
    for bits, dtype in ((8, U8), (16, U16)):
        encodings[f"mono{bits}"] = _Encoding(dtype, 1)
        encodings[f"{bits}UC3"] = _Encoding(dtype, 3, cv2.COLOR_BGR2RGB)
        encodings[f"{bits}UC4"] = _Encoding(dtype, 4, cv2.COLOR_BGRA2RGB)
        encodings[f"rgb{bits}"] = _Encoding(dtype, 3)
        encodings[f"bgr{bits}"] = _Encoding(dtype, 3, cv2.COLOR_BGR2RGB)
        encodings[f"rgba{bits}"] = _Encoding(dtype, 4, cv2.COLOR_RGBA2RGB)
        encodings[f"bgra{bits}"] = _Encoding(dtype, 4, cv2.COLOR_BGRA2RGB)
        encodings |= {
            f"bayer_{name}{bits}": _Encoding(dtype, 1, code) for name, code in bayer.items()
        }
    return encodings


ENCODINGS = _encodings()
_BY_NAME = {name.lower(): encoding for name, encoding in ENCODINGS.items()}


def raw_pixels(message: Any) -> Image:
    """Pixels of a sensor_msgs/Image: (H, W) grey or (H, W, 3) RGB, uint8; 16 bits become 8.

    Raises:
        ValueError: an encoding that is no picture, no pixels, or too little data.
    """
    encoding = _BY_NAME.get(message.encoding.lower())
    if encoding is None:
        raise ValueError(
            f"encoding '{message.encoding}' is no picture; publish one of {', '.join(ENCODINGS)}"
        )
    pixels: NDArray[Any]
    if encoding.chroma:
        pixels = _planes(message, encoding.chroma)
    else:
        pixels = raw_rows(message, encoding.dtype, encoding.channels)
    if encoding.to_rgb is not None:
        try:
            pixels = cv2.cvtColor(pixels, encoding.to_rgb)
        except cv2.error as error:
            raise ValueError(f"{_described(message)}: {error}") from error
    if pixels.dtype == U16:
        pixels = (pixels.astype(np.uint32) + 128) // 257  # 65535 becomes 255, rounded
    return np.asarray(pixels, np.uint8)


def raw_rows(message: Any, dtype: np.dtype[Any], channels: int) -> NDArray[Any]:
    """(H, W) or (H, W, channels) numbers of a raw Image, without the padding of its rows.

    Raises:
        ValueError: too little data.
    """
    width = message.width * channels * dtype.itemsize
    data, step = _data(message, width, message.height)
    numbers = np.ascontiguousarray(data.reshape(-1, step)[:, :width]).view(dtype)
    if message.is_bigendian and dtype.itemsize > 1:
        numbers = numbers.byteswap()
    shape = (message.height, message.width) + ((channels,) if channels > 1 else ())
    return numbers.reshape(shape)


def _planes(message: Any, chroma: str) -> Image:
    """(3 H / 2, W): the luma plane above the chroma planes, as OpenCV takes them."""
    width, height = message.width, message.height
    if width % 2 or height % 2:
        raise ValueError(f"{_described(message)}: width and height must be even")
    data, step = _data(message, width, height * 3 // 2)
    luma = data[: height * step].reshape(height, step)[:, :width]
    rest = data[height * step :]
    if chroma == "planar":
        colours = rest.reshape(height, step // 2)[:, : width // 2].reshape(height // 2, width)
    else:
        colours = rest.reshape(height // 2, step)[:, :width]
    return np.concatenate([luma, colours])


def _data(message: Any, row_bytes: int, rows: int) -> tuple[Image, int]:
    """The bytes of all rows, and the step from one to the next: 0 means rows without padding.

    The padding of the last row may be missing.
    """
    data = np.frombuffer(message.data, np.uint8)
    step = message.step or row_bytes
    if step * (rows - 1) + row_bytes <= data.size < step * rows:
        data = np.concatenate([data, np.zeros(step * rows - data.size, np.uint8)])
    if step < row_bytes or data.size < step * rows or (rows != message.height and step % 2):
        raise ValueError(
            f"{_described(message)}: step {message.step} and {data.size} bytes are too little"
        )
    return data[: step * rows], step


def _described(message: Any) -> str:
    return f"image {message.width}x{message.height} {message.encoding}"
