"""Image messages, still serialised, as pixels."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CompressedImage, Image

from renderocc_ros.config import Transport
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
    frame = bytes(serialised[16 : 16 + max(0, length - 1)]).decode(errors="replace")
    return _checked(seconds, nanoseconds, frame)


def read_header(header: Any) -> tuple[int, str]:
    """As ``peek_header``, of a std_msgs/Header."""
    return _checked(header.stamp.sec, header.stamp.nanosec, header.frame_id)


def _checked(seconds: int, nanoseconds: int, frame: str) -> tuple[int, str]:
    if seconds < 0 or nanoseconds >= NANOSECONDS:
        raise ValueError(f"its stamp cannot be: {seconds} s and {nanoseconds} ns")
    if seconds == nanoseconds == 0:
        raise ValueError("its stamp is zero: the driver is to stamp its images")
    return seconds * NANOSECONDS + nanoseconds, frame.lstrip("/")


def message_type(transport: Transport) -> Any:
    """The class of the messages that a camera's images are sent in.

    Raises:
        ValueError: its package is not installed.
    """
    if transport != "ffmpeg":
        return Image if transport == "raw" else CompressedImage
    try:
        from ffmpeg_image_transport_msgs.msg import FFMPEGPacket
    except ImportError as error:
        raise ValueError(
            "a camera with 'compressed: ffmpeg' needs the package ffmpeg_image_transport_msgs: "
            "sudo apt install ros-$ROS_DISTRO-ffmpeg-image-transport-msgs"
        ) from error
    return FFMPEGPacket


def image_message(serialised: bytes, compressed: bool) -> Any:
    """The CompressedImage or Image.

    Raises:
        ValueError: the bytes are no such message.
    """
    return _deserialised(serialised, CompressedImage if compressed else Image)


def packet_message(serialised: bytes) -> Any:
    """The FFMPEGPacket.

    Raises:
        ValueError: the bytes are no such message.
    """
    return _deserialised(serialised, message_type("ffmpeg"))


def _deserialised(serialised: bytes, kind: Any) -> Any:
    try:
        return deserialize_message(serialised, kind)
    except (RuntimeError, MemoryError) as error:  # of the middleware
        raise ValueError(f"{len(serialised)} bytes are no whole image message: {error}") from error


def decode(serialised: bytes, compressed: bool, reduction: int = 1) -> NDArray[np.uint8]:
    """The pixels (H, W, 3), uint8, RGB, of a serialised CompressedImage or Image.

    Raises:
        ValueError: no image in it, or an encoding that is no picture.
    """
    return decode_message(image_message(serialised, compressed), reduction)
