"""Compressed images to pixels, at a reduced size where the full one is not needed.

libjpeg scales by 1/2, 1/4 or 1/8 inside the inverse DCT: a reduced pixel is, nearly, the mean of
the block of pixels that it replaces, so block centres stay in place (measured: a shift below 0.02
reduced pixels) and decoding costs a fraction. Other formats are decoded whole, then averaged.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from renderocc_ros.geometry import CameraModel

REDUCTIONS = (1, 2, 4, 8)
JPEG_MAGIC, JPEG_END = b"\xff\xd8", b"\xff\xd9"
# A camera's pixels stay as they lie on the sensor: its calibration knows nothing of EXIF.
FLAGS = {
    1: cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION,
    2: cv2.IMREAD_REDUCED_COLOR_2 | cv2.IMREAD_IGNORE_ORIENTATION,
    4: cv2.IMREAD_REDUCED_COLOR_4 | cv2.IMREAD_IGNORE_ORIENTATION,
    8: cv2.IMREAD_REDUCED_COLOR_8 | cv2.IMREAD_IGNORE_ORIENTATION,
}

Image = NDArray[np.uint8]


def decode_image(data: Any, reduction: int = 1) -> Image:
    """A JPEG, PNG or other image that OpenCV reads.

    Args:
        data: the file's bytes, in anything with the buffer protocol.
        reduction: 1, 2, 4 or 8: each pixel of the result stands for a block of that many pixels
            each way; incomplete blocks at the right and lower edge count as whole ones.

    Returns:
        (ceil(H / reduction), ceil(W / reduction), 3) uint8, RGB.

    Raises:
        ValueError: not an image, or cut off.
    """
    if reduction not in REDUCTIONS:
        raise ValueError(f"reduction {reduction} is not one of {REDUCTIONS}")
    flat = np.frombuffer(data, np.uint8)
    is_jpeg = flat[:2].tobytes() == JPEG_MAGIC
    if is_jpeg and JPEG_END not in flat[-1024:].tobytes():  # a decoder would fill up with grey
        raise ValueError(f"a JPEG of {flat.size} bytes is cut off: it has no end marker")
    in_decoder = reduction if is_jpeg else 1
    image = cv2.imdecode(flat, FLAGS[in_decoder]) if flat.size else None
    if image is None:
        start = flat[:8].tobytes().hex(" ")
        raise ValueError(
            f"{flat.size} bytes that start with '{start}' are no image OpenCV can read"
        )
    cv2.cvtColor(image, cv2.COLOR_BGR2RGB, dst=image)
    return reduce_image(image, reduction // in_decoder)


def reduce_image(image: Image, reduction: int) -> Image:
    """Means of blocks of ``reduction`` x ``reduction`` pixels; (H, W, 3) uint8 as above."""
    if reduction == 1:
        return image
    height, width = image.shape[:2]
    below, right = -height % reduction, -width % reduction
    if below or right:
        image = cv2.copyMakeBorder(image, 0, below, 0, right, cv2.BORDER_REPLICATE)
    size = ((width + right) // reduction, (height + below) // reduction)
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def reduced_model(model: CameraModel, reduction: int) -> CameraModel:
    """The projection of an image that ``decode_image`` or ``reduce_image`` has reduced."""
    if reduction == 1:
        return model
    width, height = -(-model.width // reduction), -(-model.height // reduction)
    blocks = model.cropped(0, 0, width * reduction, height * reduction)
    return blocks.resized(width, height)
