"""A part of a large PNG in little memory: nuScenes has maps of more than 2^30 pixels.

A PNG's rows are one zlib stream, and each row is filtered by the one above it. Rows are inflated a
strip at a time; a strip with the finished row above it is a small PNG again, which OpenCV decodes.
Portable Network Graphics (PNG) Specification, second edition, sections 5, 9 and 10.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np
from numpy.typing import NDArray

from renderocc_ros.outside_data import parsing
from renderocc_ros.rig.image_decoding import read_header

SIGNATURE = b"\x89PNG\r\n\x1a\n"
GREY_OF_8_BITS = (8, 0, 0, 0, 0)  # depth, colour, compression, filter, interlacing
MAX_SIDE = 1 << 20  # pixels; a row is held in memory as a whole
STRIP_BYTES = 16 << 20
READ_BYTES = 1 << 20

Grey = NDArray[np.uint8]


def read_crop(path: Path, left: int, bottom: int, right: int, top: int) -> Grey:
    """(h, w) grey values of a part of a picture, its lowest row first.

    Args:
        left, bottom, right, top: edges in pixels from the picture's lower left corner; what lies
            outside of the picture is left out.

    Raises:
        ValueError: no picture that can be read.
    """
    left, bottom = max(left, 0), max(bottom, 0)
    with parsing(path, "give the data set's own map, or save it as a grey PNG of 8 bits"):
        with path.open("rb") as file:
            size = _grey_png(file)
            if size is not None:
                width, height = size
                first, last = max(height - top, 0), max(height - bottom, 0)
                rows = [
                    strip[max(first - start, 0) : last - start, left:right].copy()
                    for start, strip in _strips(file, width, height, last)
                    if start + len(strip) > first
                ]
                return np.concatenate(rows)[::-1] if rows else np.zeros((0, 0), np.uint8)
        content = path.read_bytes()
        read_header(content)  # refuses what OpenCV would take gigabytes for
        picture = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_GRAYSCALE)
        if picture is None:
            raise ValueError("it is no picture that OpenCV can read")
        return np.asarray(picture[::-1][bottom:top, left:right], np.uint8)


def _grey_png(file: BinaryIO) -> tuple[int, int] | None:
    """Width and height of a grey PNG of 8 bits; None of anything else."""
    start = file.read(len(SIGNATURE) + 8 + 13 + 4)
    if not start.startswith(SIGNATURE) or len(start) < 33:
        return None
    width, height, *kind = struct.unpack(">IIBBBBB", start[16:29])
    if tuple(kind) != GREY_OF_8_BITS:
        return None
    if not 0 < width <= MAX_SIDE or not 0 < height <= MAX_SIDE:
        raise ValueError(f"it says that it has {width} x {height} pixels")
    return width, height


def _strips(file: BinaryIO, width: int, height: int, last: int) -> Iterator[tuple[int, Grey]]:
    """(number of its first row, rows) from the upper edge on until a row is reached."""
    row_bytes = width + 1  # the first says how it is filtered
    most = max(1, STRIP_BYTES // row_bytes)
    above, waiting, done = bytes(width), bytearray(), 0
    for inflated in _inflated(file):
        waiting += inflated
        while done < last and len(waiting) >= min(most, height - done) * row_bytes:
            count = min(most, height - done)
            strip = _decoded(above, bytes(waiting[: count * row_bytes]), width, count)
            del waiting[: count * row_bytes]
            yield done, strip
            above, done = strip[-1].tobytes(), done + count
        if done >= last:
            return
    raise ValueError(f"it ends after {done} of {height} rows")


def _decoded(above: bytes, filtered: bytes, width: int, count: int) -> Grey:
    header = struct.pack(">IIBBBBB", width, count + 1, *GREY_OF_8_BITS)
    data = zlib.compress(b"\0" + above + filtered, 0)
    chunks = ((b"IHDR", header), (b"IDAT", data), (b"IEND", b""))
    png = SIGNATURE + b"".join(
        struct.pack(">I", len(content))
        + kind
        + content
        + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in chunks
    )
    picture = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_GRAYSCALE)
    if picture is None or picture.shape != (count + 1, width):
        raise ValueError("a part of the PNG is damaged")
    return np.asarray(picture[1:], np.uint8)


def _inflated(file: BinaryIO) -> Iterator[bytes]:
    """The content of the data chunks, a little at a time."""
    inflate = zlib.decompressobj()
    while len(head := file.read(8)) == 8:
        size, kind = struct.unpack(">I4s", head)
        if kind == b"IEND":
            return
        if kind != b"IDAT":
            file.seek(size + 4, 1)
            continue
        while size:
            part = file.read(min(size, READ_BYTES))
            if not part:
                return
            size -= len(part)
            while part:
                yield inflate.decompress(part, STRIP_BYTES)
                part = inflate.unconsumed_tail
        file.seek(4, 1)
