"""Images to pixels, in one way for the node, for extraction and for evaluation.

libjpeg scales by 1/2, 1/4 or 1/8 inside the inverse DCT: a reduced pixel is, nearly, the mean of
the block of pixels that it replaces, so block centres stay in place (measured: a shift below 0.02
reduced pixels) and decoding costs a fraction. Other formats are decoded whole, then averaged.
"""

from __future__ import annotations

import io
import struct
import warnings
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from renderocc_ros.geometry import CameraModel
from renderocc_ros.rig.calibration import scaled_to_image
from renderocc_ros.rig.raw_images import raw_pixels

REDUCTIONS = (1, 2, 4, 8)
END = b"\xff\xd9"  # of a JPEG
MAX_UNENDED = 1 << 24  # pixels of a JPEG without an end marker
NOISE = b"\xa5\x3c\x96\x71" * 16
NOISE += b"".join(bytes([0xFF, 0xD0 + k]) + NOISE for k in range(8)) * 4
JPEGS = ("JPEG", "MPO")  # formats of which OpenCV decodes a fraction
MAX_ENLARGEMENT = 4  # times that an image may be as wide as its CameraInfo says
MAX_PIXELS = 178_956_970  # of an image: what Pillow takes unless told otherwise
# A camera's pixels stay as they lie on the sensor: its calibration knows nothing of EXIF.
FLAGS = {
    1: cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION,
    2: cv2.IMREAD_REDUCED_COLOR_2 | cv2.IMREAD_IGNORE_ORIENTATION,
    4: cv2.IMREAD_REDUCED_COLOR_4 | cv2.IMREAD_IGNORE_ORIENTATION,
    8: cv2.IMREAD_REDUCED_COLOR_8 | cv2.IMREAD_IGNORE_ORIENTATION,
}
# What Pillow raises on bytes that are no image, by the ways in which they are none.
PILLOW_ERRORS = (OSError, SyntaxError, ValueError, struct.error)
# Sizes are compared with the calibration's.
warnings.filterwarnings("ignore", category=Pillow.DecompressionBombWarning)

Image = NDArray[np.uint8]


def decode_for(
    message: Any, model: CameraModel, reduction_of: Callable[[CameraModel], int]
) -> tuple[Image, CameraModel]:
    """A camera's image; its size is compared with the calibration's before it is decoded.

    Args:
        message: anything with the fields of sensor_msgs/Image or sensor_msgs/CompressedImage.
        model: what the camera's CameraInfo says.
        reduction_of: by how much an image of this model may be reduced; raw ones never are.

    Returns:
        (H, W, 3) uint8 RGB, and the projection of these very pixels.

    Raises:
        ValueError: no image, cut off, or of another size or proportions than the camera's.
    """
    kind, size = image_header(message)
    if kind:
        return decode_file(message.data, model, reduction_of)
    return _raw_rgb(message), model_of_image(model, size)


def decode_file(
    data: Any, model: CameraModel, reduction_of: Callable[[CameraModel], int]
) -> tuple[Image, CameraModel]:
    """As ``decode_for``, of an image file's bytes."""
    kind, size = read_header(data)
    model = model_of_image(model, size)
    reduction = reduction_of(model)
    return _file_rgb(data, kind, reduction), reduced_model(model, reduction)


def model_of_image(model: CameraModel, size: tuple[int, int]) -> CameraModel:
    """The projection of an image of this width and height, which drivers may have scaled.

    Raises:
        ValueError: no size, far larger than the camera's, or of other proportions.
    """
    width, height = size
    if width <= 0 or height <= 0:
        raise ValueError(f"an image of {width}x{height} pixels")
    if width > MAX_ENLARGEMENT * model.width:
        raise ValueError(
            f"the image says that it has {width}x{height} pixels, more than {MAX_ENLARGEMENT} "
            f"times the {model.width}x{model.height} of its CameraInfo"
        )
    return scaled_to_image(model, width, height)


def decode_message(message: Any, reduction: int = 1) -> Image:
    """Pixels (H, W, 3), uint8, RGB, of any image message; see ``decode_image``."""
    kind, _ = image_header(message)
    return _file_rgb(message.data, kind, reduction) if kind else _raw_rgb(message)


def image_header(message: Any) -> tuple[str, tuple[int, int]]:
    """What an image message says of itself: file format ("" if raw), (width, height) in pixels.

    Raises:
        ValueError: no image, or cut off.
    """
    if hasattr(message, "format"):
        return read_header(message.data)
    if message.width == 0 or message.height == 0:
        raise ValueError(f"an image of {message.width}x{message.height} pixels")
    return "", (int(message.width), int(message.height))


def read_header(data: Any) -> tuple[str, tuple[int, int]]:
    """Format, as Pillow calls it, and (width, height) of an image file; nothing is decoded.

    Raises:
        ValueError: not an image, or cut off.
    """
    encoded = np.frombuffer(data, np.uint8)
    content = encoded.tobytes()
    try:
        with Pillow.open(io.BytesIO(content)) as image:
            kind, size = image.format or "", image.size
    except Pillow.DecompressionBombError as error:
        raise ValueError(f"this is no camera's image: {error}") from error
    except PILLOW_ERRORS as error:
        raise _no_image(encoded) from error
    if size[0] * size[1] > MAX_PIXELS:  # Pillow's own limit is raised by some who import it
        raise ValueError(f"this is no camera's image: it has {size[0] * size[1]} pixels")
    # A decoder would fill up with grey what a cut off file lacks.
    is_small = size[0] * size[1] <= MAX_UNENDED  # it is decoded before its size is compared
    if kind in JPEGS and _lacks_end(content) and not (is_small and _lacks_end_alone(content)):
        raise ValueError(f"the {kind} is cut off: it has no end marker")
    if kind == "PNG" and b"IEND" not in content:
        raise ValueError("the PNG is cut off: it has no end marker")
    return kind, size


def decode_image(data: Any, reduction: int = 1) -> Image:
    """A JPEG, PNG or other image file that OpenCV reads.

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
    return _file_rgb(data, read_header(data)[0], reduction)


def _file_rgb(data: Any, kind: str, reduction: int) -> Image:
    in_decoder = reduction if kind in JPEGS else 1
    encoded = np.frombuffer(completed(data, kind), np.uint8)
    try:
        image = cv2.imdecode(encoded, FLAGS[in_decoder])
    except cv2.error as error:
        raise _no_image(encoded) from error
    if image is None:
        raise _no_image(encoded)
    cv2.cvtColor(image, cv2.COLOR_BGR2RGB, dst=image)
    return reduce_image(image, reduction // in_decoder)


def _raw_rgb(message: Any) -> Image:
    pixels = raw_pixels(message)
    return pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, axis=-1)


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


def completed(data: Any, kind: str) -> bytes:
    """The bytes of a file that ``read_header`` took; a JPEG without an end marker gets one."""
    content = bytes(memoryview(data).cast("B"))
    lacks_end = kind in JPEGS and _lacks_end(content)
    return content.rstrip(b"\xff") + END if lacks_end else content


def _lacks_end(jpeg: bytes) -> bool:
    return jpeg.find(END, _scan_start(jpeg)) < 0


def _lacks_end_alone(jpeg: bytes) -> bool:
    """Whether all pixels are there: what follows then changes none of them, in a single scan.

    Cameras leave out the marker. Noise, and every restart marker, would go on where pixels end.
    """
    with Pillow.open(io.BytesIO(jpeg)) as image:
        if image.info.get("progressive"):
            return False
    pixels = jpeg.rstrip(b"\xff")  # half a marker
    decoded = [
        cv2.imdecode(np.frombuffer(pixels + tail + END, np.uint8), FLAGS[1])
        for tail in (b"", NOISE)
    ]
    return decoded[0] is not None and np.array_equal(*decoded)


def _scan_start(jpeg: bytes) -> int:
    """Where the image's own scan begins: a thumbnail before it has an end marker of its own."""
    place = 2
    while jpeg[place : place + 1] == b"\xff" and jpeg[place + 1 : place + 2] != b"\xda":
        place += 2 + int.from_bytes(jpeg[place + 2 : place + 4], "big")
    return place


def _no_image(encoded: Image) -> ValueError:
    start = encoded[:8].tobytes().hex(" ")
    if encoded[:3].tobytes() == b"\0\0\1" or encoded[:4].tobytes() == b"\0\0\0\1":
        return ValueError(
            f"{encoded.size} bytes that start with '{start}' are a packet of H.264 or H.265, no "
            "image: send it by ffmpeg_image_transport, and write compressed: ffmpeg in the rig file"
        )
    return ValueError(f"{encoded.size} bytes that start with '{start}' are no readable image")
