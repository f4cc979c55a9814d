"""Image messages, still serialised, as pixels."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CompressedImage, Image

from renderocc_ros.occupancy.messages import NANOSECONDS
from renderocc_ros.rig.image_decoding import decode_message


def peek_header(serialised: bytes) -> tuple[int, str]:
    """Stamp in nanoseconds and frame of a serialised message whose first field is a Header.

    As in tf2, a slash before the frame's name means nothing.
    Nothing else is deserialised, so a stale image costs next to nothing.

    Raises:
        ValueError: the bytes end before the header does, or the stamp is none.
    """
    try:
        order = "<" if serialised[1] & 1 else ">"  # OMG CDR: the encapsulation's second byte
        seconds, nanoseconds, length = struct.unpack_from(f"{order}iII", serialised, 4)
    except (struct.error, IndexError) as error:
        raise ValueError(f"a message of {len(serialised)} bytes has no whole header") from error
    if seconds < 0 or nanoseconds >= NANOSECONDS:
        raise ValueError(f"its stamp cannot be: {seconds} s and {nanoseconds} ns")
    if seconds == nanoseconds == 0:
        raise ValueError("its stamp is zero: the driver is to stamp its images")
    frame = bytes(serialised[16 : 16 + max(0, length - 1)]).decode(errors="replace").lstrip("/")
    return seconds * NANOSECONDS + nanoseconds, frame


def image_message(serialised: bytes, compressed: bool) -> Any:
    """The CompressedImage or Image.

    Raises:
        ValueError: the bytes are no such message.
    """
    try:
        return deserialize_message(serialised, CompressedImage if compressed else Image)
    except (RuntimeError, MemoryError) as error:  # of the middleware
        raise ValueError(f"{len(serialised)} bytes are no whole image message: {error}") from error


def decode(serialised: bytes, compressed: bool, reduction: int = 1) -> NDArray[np.uint8]:
    """The pixels (H, W, 3), uint8, RGB, of a serialised CompressedImage or Image.

    Raises:
        ValueError: no image in it, or an encoding that is no picture.
    """
    return decode_message(image_message(serialised, compressed), reduction)
