"""One picture as image messages of every encoding: its left third is red, then green, then blue."""

from __future__ import annotations

import io
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from renderocc_training.recording import messages

WIDTH, HEIGHT = 64, 48
THIRDS = ((200, 30, 30), (30, 200, 30), (30, 30, 200))
GREYS = tuple((round(0.299 * r + 0.587 * g + 0.114 * b),) * 3 for r, g, b in THIRDS)
TOLERANCE = 25  # chroma is subsampled, JPEG is lossy
STAMP_NS = 1_700_000_000_000_000_000


def picture() -> NDArray[np.uint8]:
    """(48, 64, 3) RGB."""
    pixels = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    pixels[:, :21], pixels[:, 21:42], pixels[:, 42:] = THIRDS
    return pixels


RGB = picture()
BGR = np.ascontiguousarray(RGB[..., ::-1])
GREY = cv2.cvtColor(RGB, cv2.COLOR_RGB2GRAY)
OPAQUE = np.full((HEIGHT, WIDTH, 1), 255, np.uint8)


def wide(pixels: NDArray[np.uint8]) -> NDArray[np.uint16]:
    return pixels.astype(np.uint16) * 257


def bayer(pattern: str) -> NDArray[np.uint8]:
    mosaic = np.zeros((HEIGHT, WIDTH), np.uint8)
    for place, letter in enumerate(pattern):
        own = (slice(place // 2, None, 2), slice(place % 2, None, 2))
        mosaic[own] = RGB[..., "rgb".index(letter)][own]
    return mosaic


def planes() -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]]:
    """Y (48, 64), U and V (24, 32)."""
    packed = cv2.cvtColor(RGB, cv2.COLOR_RGB2YUV_I420)
    u, v = packed[HEIGHT:].reshape(2, HEIGHT // 2, WIDTH // 2)
    return packed[:HEIGHT], u, v


def padded(rows: NDArray[np.uint8], step: int) -> NDArray[np.uint8]:
    flat = rows.reshape(len(rows), -1)
    return np.hstack([flat, np.full((len(flat), step - flat.shape[1]), 7, np.uint8)])


def raw(data: NDArray[Any], encoding: str, step: int | None = None, big: int = 0) -> Any:
    content = np.frombuffer(np.ascontiguousarray(data).tobytes(), np.uint8)
    return messages.make(
        "sensor_msgs/msg/Image",
        header=messages.header(STAMP_NS, "front"),
        height=HEIGHT,
        width=WIDTH,
        encoding=encoding,
        is_bigendian=big,
        step=data[0].nbytes if step is None else step,
        data=content,
    )


def raw_messages() -> dict[str, Any]:
    """By encoding, and what is special about it."""
    y, u, v = planes()
    uyvy = cv2.cvtColor(RGB, cv2.COLOR_RGB2YUV_UYVY)
    yuyv = cv2.cvtColor(RGB, cv2.COLOR_RGB2YUV_YUY2)
    known = {
        "rgb8": raw(RGB, "rgb8"),
        "RGB8": raw(RGB, "RGB8"),
        "rgb8 in padded rows": raw(padded(RGB, 216), "rgb8"),
        "rgb8 of step 0": raw(RGB, "rgb8", step=0),
        "rgb8, last row not padded": raw(padded(RGB, 216).reshape(1, -1)[:, :-24], "rgb8", 216),
        "bgr8": raw(BGR, "bgr8"),
        "8UC3": raw(BGR, "8UC3"),
        "16UC3": raw(wide(BGR), "16UC3"),
        "16UC4, big endian": raw(wide(np.dstack([BGR, OPAQUE])).astype(">u2"), "16UC4", big=1),
        "8UC4": raw(np.dstack([BGR, OPAQUE]), "8UC4"),
        "rgba8": raw(np.dstack([RGB, OPAQUE]), "rgba8"),
        "bgra8": raw(np.dstack([BGR, OPAQUE]), "bgra8"),
        "rgb16": raw(wide(RGB), "rgb16"),
        "bgr16": raw(wide(BGR), "bgr16"),
        "rgba16": raw(wide(np.dstack([RGB, OPAQUE])), "rgba16"),
        "rgb16, big endian": raw(wide(RGB).astype(">u2"), "rgb16", big=1),
        "yuv422": raw(uyvy, "yuv422"),
        "uyvy": raw(uyvy, "uyvy"),
        "yuv422_yuy2": raw(yuyv, "yuv422_yuy2"),
        "yuyv": raw(yuyv, "yuyv"),
        "yuv420": raw(np.vstack([y, u.reshape(-1, WIDTH), v.reshape(-1, WIDTH)]), "yuv420"),
        "nv12": raw(np.vstack([y, np.dstack([u, v]).reshape(-1, WIDTH)]), "nv12"),
        "nv21": raw(np.vstack([y, np.dstack([v, u]).reshape(-1, WIDTH)]), "nv21"),
    }
    chroma = np.vstack([padded(u, 40), padded(v, 40)]).reshape(-1, 80)
    known["yuv420 in padded rows"] = raw(np.vstack([padded(y, 80), chroma]), "yuv420")
    interleaved = np.dstack([u, v]).reshape(-1, WIDTH)
    known["nv12 in padded rows"] = raw(padded(np.vstack([y, interleaved]), 80), "nv12")
    for pattern in ("rggb", "bggr", "gbrg", "grbg"):
        known[f"bayer_{pattern}8"] = raw(bayer(pattern), f"bayer_{pattern}8")
        known[f"bayer_{pattern}16"] = raw(wide(bayer(pattern)), f"bayer_{pattern}16")
    return known


def grey_messages() -> dict[str, Any]:
    """Those that hold no colours."""
    return {
        "mono8": raw(GREY, "mono8"),
        "8UC1": raw(GREY, "8UC1"),
        "mono16": raw(wide(GREY), "mono16"),
        "grey JPEG": compressed(saved(GREY, "JPEG", quality=95)),
    }


def saved(pixels: NDArray[np.uint8], kind: str, mode: str = "", **options: Any) -> bytes:
    image = Pillow.fromarray(pixels)
    stream = io.BytesIO()
    (image.convert(mode) if mode else image).save(stream, kind, **options)
    return stream.getvalue()


def compressed(data: bytes) -> Any:
    return messages.compressed_image(STAMP_NS, "front", data)


def compressed_messages() -> dict[str, Any]:
    """By format, and what is special about it."""
    jpeg, png = saved(RGB, "JPEG", quality=95), saved(RGB, "PNG")
    turned = Pillow.Exif()
    turned[0x0112] = 6
    pair = {"save_all": True, "append_images": [Pillow.fromarray(RGB)]}
    files = {
        "JPEG": jpeg,
        "JPEG without an end marker": jpeg[:-2],
        "progressive JPEG": saved(RGB, "JPEG", quality=95, progressive=True),
        "CMYK JPEG": saved(RGB, "JPEG", "CMYK", quality=95),
        "JPEG that EXIF turns": saved(RGB, "JPEG", quality=95, exif=turned),
        "pair of JPEGs (MPO)": saved(RGB, "MPO", quality=95, **pair),
        "PNG": png,
        "PNG of 16 bits": cv2.imencode(".png", wide(BGR))[1].tobytes(),
        "PNG with alpha": saved(np.dstack([RGB, OPAQUE]), "PNG"),
        "PNG with a palette": saved(RGB, "PNG", "P"),
        "PNG and padding": png + bytes(200),
        "WebP": saved(RGB, "WEBP", quality=95),
        "TIFF": saved(RGB, "TIFF"),
        "BMP": saved(RGB, "BMP"),
        "JPEG 2000": cv2.imencode(".jp2", BGR)[1].tobytes(),
    }
    for padding in (16, 63, 200, 2000, 6000):
        files[f"JPEG and {padding} bytes of padding"] = jpeg + bytes(padding)
    return {name: compressed(data) for name, data in files.items()}


def assert_shows(pixels: NDArray[np.uint8], thirds: tuple[tuple[int, ...], ...]) -> None:
    """Whether (48, 64, 3) RGB shows these colours from left to right."""
    assert pixels.dtype == np.uint8 and pixels.shape == (HEIGHT, WIDTH, 3)
    for column, colour in zip((10, 31, 53), thirds, strict=True):
        seen = pixels[10:38, column - 4 : column + 5].reshape(-1, 3).mean(axis=0)
        assert np.abs(seen - colour).max() < TOLERANCE
