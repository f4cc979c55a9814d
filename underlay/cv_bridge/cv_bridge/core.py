"""The bridge between ROS image messages and OpenCV arrays."""

import sys
from array import array
from typing import Any

import cv2
import numpy as np
from sensor_msgs.msg import CompressedImage, Image

from cv_bridge.encodings import DEPTHS, CvBridgeError, convert, parse


class CvBridge:
    """Converts images both ways.

    Arrays are (height, width) for one channel, (height, width, channels) otherwise, and of native
    byte order. Encodings are the names in ``sensor_msgs/image_encodings.hpp``, or ``passthrough``
    for what is there already. A conversion that cannot be done raises CvBridgeError.
    """

    def __init__(self) -> None:
        self.numpy_type_to_cvtype = {dtype.name: depth for depth, dtype in DEPTHS.items()}
        self.numpy_type_to_cvtype.update({depth: dtype.name for depth, dtype in DEPTHS.items()})
        self.cvtype_to_name = {
            getattr(cv2, f"CV_{depth}C{channels}"): f"{depth}C{channels}"
            for depth in DEPTHS
            for channels in (1, 2, 3, 4)
        }

    def dtype_with_channels_to_cvtype2(self, dtype: np.dtype, n_channels: int) -> str:
        """The generic encoding, such as ``8UC3``, of an array of that type and channels."""
        if dtype.name not in self.numpy_type_to_cvtype:
            names = ", ".join(sorted(d.name for d in DEPTHS.values()))
            raise CvBridgeError(f"OpenCV has no images of type {dtype.name}: use one of {names}")
        return f"{self.numpy_type_to_cvtype[dtype.name]}C{n_channels}"

    def cvtype2_to_dtype_with_channels(self, cvtype: int) -> tuple[str, int]:
        """The array type and the number of channels of an OpenCV type such as cv2.CV_8UC3."""
        depths = ("uint8", "int8", "uint16", "int16", "int32", "float32", "float64")
        return depths[cvtype & 7], (cvtype >> 3) + 1

    def encoding_to_cvtype2(self, encoding: str) -> int:
        """The OpenCV type, such as cv2.CV_8UC3, of an encoding."""
        parsed = parse(encoding)
        depth: int = getattr(cv2, f"CV_{parsed.depth}")
        return depth + ((parsed.channels - 1) << 3)

    def encoding_to_dtype_with_channels(self, encoding: str) -> tuple[str, int]:
        """The array type and the number of channels of an encoding."""
        parsed = parse(encoding)
        return parsed.dtype.name, parsed.channels

    def imgmsg_to_cv2(self, img_msg: Image, desired_encoding: str = "passthrough") -> np.ndarray:
        """The image of a message.

        With ``passthrough`` it shares memory with the message where rows are not padded and the
        byte order is native; otherwise it is a copy.
        """
        encoding = parse(img_msg.encoding)
        dtype = encoding.dtype.newbyteorder(">" if img_msg.is_bigendian else "<")
        row_bytes = img_msg.width * encoding.channels * dtype.itemsize
        if img_msg.step < row_bytes:
            raise CvBridgeError(
                f"Image is wrongly formed: step {img_msg.step} < {row_bytes} bytes of a row of "
                f"{img_msg.width} pixels {img_msg.encoding}"
            )
        pixel = (encoding.channels,) if encoding.channels > 1 else ()
        shape = (img_msg.height, img_msg.width, *pixel)
        strides = (img_msg.step, encoding.channels * dtype.itemsize, dtype.itemsize)
        buffer = img_msg.data
        if isinstance(buffer, list):
            buffer = array("B", buffer)
        image = np.ndarray(shape, dtype, buffer, strides=strides[: len(shape)])
        image = np.ascontiguousarray(image)
        if not dtype.isnative:
            image = image.astype(dtype.newbyteorder("="))
        if desired_encoding == "passthrough":
            return image
        return convert(image, img_msg.encoding, desired_encoding)

    def cv2_to_imgmsg(
        self, cvim: np.ndarray, encoding: str = "passthrough", header: Any | None = None
    ) -> Image:
        """The message of an image; `encoding` names what the channels are, nothing is converted."""
        _check_is_array(cvim)
        channels = 1 if cvim.ndim < 3 else cvim.shape[2]
        generic = self.dtype_with_channels_to_cvtype2(cvim.dtype, channels)
        message = Image(height=cvim.shape[0], width=cvim.shape[1], encoding=encoding)
        if header is not None:
            message.header = header
        if encoding == "passthrough":
            message.encoding = generic
        elif self.cvtype_to_name.get(self.encoding_to_cvtype2(encoding)) != generic:
            raise CvBridgeError(
                f"encoding specified as {encoding}, but image has incompatible type {generic}"
            )
        big = cvim.dtype.byteorder == ">" or (cvim.dtype.byteorder == "=" and _is_big_endian())
        message.is_bigendian = int(big)
        message.step = cvim.shape[1] * channels * cvim.dtype.itemsize
        message.data = _bytes_of(np.ascontiguousarray(cvim))
        return message

    def compressed_imgmsg_to_cv2(
        self, cmprs_img_msg: CompressedImage, desired_encoding: str = "passthrough"
    ) -> np.ndarray | None:
        """The decoded image, in BGR order where it has colours.

        Data that is no image gives None. A desired encoding is reached from bgr8, so it is for
        images with three channels of 8 bits only.
        """
        encoded = np.frombuffer(cmprs_img_msg.data, np.uint8)
        image = cv2.imdecode(encoded, cv2.IMREAD_UNCHANGED) if encoded.size else None
        if desired_encoding in ("passthrough", "bgr8"):
            return image
        return convert(image, "bgr8", desired_encoding)

    def cv2_to_compressed_imgmsg(
        self, cvim: np.ndarray, dst_format: str = "jpg"
    ) -> CompressedImage:
        """The encoded image; `dst_format` is a file ending that OpenCV writes: jpg, png …"""
        _check_is_array(cvim)
        try:
            _, encoded = cv2.imencode(f".{dst_format}", cvim)
        except cv2.error as error:
            raise CvBridgeError(error) from error
        return CompressedImage(format=dst_format, data=_bytes_of(encoded))


def _bytes_of(contiguous: np.ndarray) -> "array[int]":
    """The bytes as the type that a message field takes without looking at each of them."""
    data = array("B")
    data.frombytes(contiguous.reshape(-1).view(np.uint8).data)
    return data


def _is_big_endian() -> bool:
    return sys.byteorder == "big"


def _check_is_array(image: Any) -> None:
    if not isinstance(image, (np.ndarray, np.generic)):
        raise TypeError("Your input type is not a numpy array")
