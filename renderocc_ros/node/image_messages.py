"""Image messages, still serialised, as pixels."""

from __future__ import annotations

import struct

import cv2
import numpy as np
from cv_bridge import CvBridge, CvBridgeError
from numpy.typing import NDArray
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CompressedImage, Image

from renderocc_ros.occupancy.messages import NANOSECONDS
from renderocc_ros.rig.image_decoding import decode_image

_BRIDGE = CvBridge()


def peek_header(serialised: bytes) -> tuple[int, str]:
    """Stamp in nanoseconds and frame of a serialised message whose first field is a Header.

    Nothing else is deserialised, so a stale image costs next to nothing.

    Raises:
        ValueError: the bytes end before the header does.
    """
    try:
        order = "<" if serialised[1] & 1 else ">"  # OMG CDR: the encapsulation's second byte
        seconds, nanoseconds, length = struct.unpack_from(f"{order}iII", serialised, 4)
    except (struct.error, IndexError) as error:
        raise ValueError(f"a message of {len(serialised)} bytes has no whole header") from error
    frame = bytes(serialised[16 : 16 + max(0, length - 1)]).decode(errors="replace")
    return seconds * NANOSECONDS + nanoseconds, frame


def decode(serialised: bytes, compressed: bool, reduction: int = 1) -> NDArray[np.uint8]:
    """The pixels (H, W, 3), uint8, RGB, of a serialised CompressedImage or Image.

    Args:
        reduction: see ``rig.image_decoding.decode_image``; raw images are never reduced.

    Raises:
        ValueError: no image in it, or an encoding that is no picture.
    """
    if compressed:
        return decode_image(deserialize_message(serialised, CompressedImage).data, reduction)
    message = deserialize_message(serialised, Image)
    if message.width == 0 or message.height == 0:
        raise ValueError(f"an image of {message.width}x{message.height} pixels")
    try:
        return np.asarray(_BRIDGE.imgmsg_to_cv2(message, "rgb8"), np.uint8)
    except (CvBridgeError, cv2.error, ValueError, TypeError, KeyError) as error:
        raise ValueError(
            f"an image of encoding '{message.encoding}', {message.width}x{message.height}, step "
            f"{message.step}, {len(message.data)} bytes cannot be read: {error}; "
            "publish whole images of a colour, mono or Bayer encoding, such as rgb8"
        ) from error
