"""Images that are none, or not what they say."""

from __future__ import annotations

import random
import struct
import zlib
from array import array
from collections.abc import Callable
from functools import partial
from typing import Any

import cv2
import numpy as np
from rclpy.serialization import serialize_message

from tests.faults.fault import Fault, of_image, of_new_image
from tests.node import robot as robots

OTHERS = ("front", "rear")
TOPIC = "image on /left/image_raw/compressed"


def with_data(content: bytes) -> Callable[[Any], None]:
    """Other bytes in the message."""

    def spoil(message: Any) -> None:
        message.data = array("B", content)

    return spoil


def cut_to(share: float) -> Callable[[Any], None]:
    """Only the beginning of the data."""

    def spoil(message: Any) -> None:
        message.data = message.data[: int(len(message.data) * share)]

    return spoil


def drawn(draw: Callable[[np.ndarray], np.ndarray], ending: str = ".jpg") -> Callable[[Any], None]:
    """Another picture, made of the one that was taken; (H, W, 3) BGR."""

    def spoil(message: Any) -> None:
        pixels = cv2.imdecode(np.frombuffer(message.data, np.uint8), cv2.IMREAD_COLOR)
        message.data = array("B", cv2.imencode(ending, draw(pixels))[1].tobytes())

    return spoil


def of_size(width: int, height: int) -> Callable[[Any], None]:
    """The picture at another size."""
    return drawn(lambda pixels: cv2.resize(pixels, (width, height)))


def saying_size(width: int, height: int) -> Callable[[Any], None]:
    """A JPEG whose header (SOF0) tells another size."""

    def spoil(message: Any) -> None:
        data = bytearray(message.data)
        place = data.find(b"\xff\xc0")
        data[place + 5 : place + 9] = struct.pack(">HH", height, width)
        message.data = array("B", bytes(data))

    return spoil


def png_saying_size(width: int, height: int) -> bytes:
    """74 bytes or so that say they are a PNG of this size."""

    def chunk(name: bytes, content: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(name + content))
        return struct.pack(">I", len(content)) + name + content + check

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 9)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + data


def serialised(change: Callable[[bytearray], bytes]) -> Callable[[Any], list[bytes]]:
    """The message in CDR, changed."""
    return lambda message: [bytes(change(bytearray(serialize_message(message))))]


def saying_length(serialised_message: bytearray) -> bytearray:
    """The data's length, which stands before it, is said to be 2 GB."""
    place = serialised_message.find(b"\xff\xd8\xff") - 4
    serialised_message[place : place + 4] = struct.pack("<I", 2**31)
    return serialised_message


def scan_noise(message: Any) -> None:
    """A radio link that flips bits inside of a JPEG's scan."""
    data, draw = bytearray(message.data), random.Random(0)
    for place in draw.sample(range(len(data) // 2, len(data) - 2), 20):
        data[place] = draw.randrange(255)  # never a marker's first byte
    message.data = array("B", bytes(data))


def named(message: Any, **values: Any) -> None:
    for name, value in values.items():
        setattr(message, name, value)


def in_frame(frame: str) -> Callable[[Any], None]:
    def spoil(message: Any) -> None:
        message.header.frame_id = frame

    return spoil


def frozen() -> Callable[[Any], None]:
    """Always the first picture, with new stamps."""
    first: list[Any] = []

    def spoil(message: Any) -> None:
        first.append(message.data)
        message.data = first[0]
        del first[1:]

    return spoil


def flicker() -> Callable[[Any], None]:
    """Exposure that alternates between black and white."""
    shades = {0: 255, 255: 0}
    shade = [0]

    def spoil(message: Any) -> None:
        shade[0] = shades[shade[0]]
        drawn(lambda pixels: np.full_like(pixels, shade[0]))(message)

    return spoil


def doubled(message: Any) -> list[Any]:
    return [message, message]


def unreadable(name: str, spoil: Callable[[Any], Any], *says: str, in_ci: bool = False) -> Fault:
    """One camera is left out, and told with its topic."""
    return Fault(name, of_image("left", spoil), "camera left", (TOPIC, *says), OTHERS, in_ci=in_ci)


def unseen(name: str, spoil: Callable[[Any], Any], in_ci: bool = False) -> Fault:
    """Nothing is wrong: the image is taken as it is."""
    return Fault(name, of_image("left", spoil), in_ci=in_ci)


JPEG_FAULTS = (
    unreadable("JPEG cut in half", cut_to(0.5), "is cut off", in_ci=True),
    unreadable("JPEG without its last bytes", cut_to(0.98), "is cut off"),
    unreadable("image message without data", with_data(b""), "0 bytes"),
    unreadable("text instead of a JPEG", with_data(b"nothing that OpenCV knows"), "no readable"),
    unreadable(
        "PNG whose pixels are missing",
        with_data(png_saying_size(192, 80)),
        "no readable image",
        in_ci=True,
    ),
    unreadable("PNG that says 60000×60000", with_data(png_saying_size(60000, 60000)), "pixels"),
    unreadable(
        "JPEG that says 60000×60000", saying_size(60000, 60000), "3600000000 pixels", in_ci=True
    ),
    unreadable("JPEG that says 30000×12500", saying_size(30000, 12500), "pixels"),
    unreadable("JPEG that says 1500×625", saying_size(1500, 625), "more than 4 times"),
    unreadable("JPEG that says 0×0", saying_size(0, 0), ""),
    unreadable("JPEG of other proportions than CameraInfo's", of_size(192, 160), "proportions"),
    unreadable("GIF bomb", with_data(b"GIF89a\xff\xff\xff\xff\x80\0\0" + b"\0" * 40), ""),
    unreadable(
        "BMP that says 2 billion pixels wide",
        with_data(b"BM" + b"\0" * 12 + struct.pack("<IiiHHI", 40, 2**31 - 1, 1, 1, 24, 0)),
        "",
    ),
    unreadable("PostScript instead of a JPEG", with_data(b"%!PS-Adobe-3.0 EPSF-3.0\n"), ""),
    unreadable("message cut within its header", serialised(lambda m: m[:10]), "no whole header"),
    unreadable(
        "message cut within its data",
        serialised(lambda m: m[: len(m) // 2]),
        "no whole image message",
        in_ci=True,
    ),
    unreadable("message that says its data has 2 GB", serialised(saying_length), "", in_ci=True),
    unreadable(
        "message of random bytes", serialised(lambda m: random.Random(1).randbytes(3000)), ""
    ),
    unreadable("message of no bytes but the encapsulation", serialised(lambda m: m[:4]), "header"),
    unseen("JPEG of half the size", of_size(96, 40), in_ci=True),
    unseen("JPEG of twice the size", of_size(384, 160)),
    unseen("grey JPEG", drawn(lambda pixels: pixels[..., 1])),
    unseen("PNG on a JPEG topic", drawn(lambda pixels: pixels, ".png")),
    unseen("format that says what it is not", partial(named, format="png; \0'; rm -rf /")),
    unseen("bit errors within a JPEG", scan_noise),
    unseen("header with a frame name of 1 MB", in_frame("x" * 2**20)),
    unseen("header with a frame name of YAML", in_frame("{[: &a *a\n- ")),
    unseen("every image sent twice", doubled),
    Fault(
        "frozen picture with new stamps",
        of_new_image("left", frozen),
        "camera left",
        ("the same picture for", "is the camera frozen?"),
        in_ci=True,
    ),
    Fault(
        "black picture: exposure or a cap",
        of_image("left", drawn(np.zeros_like)),
        "camera left",
        ("the same picture for",),
    ),
    Fault("exposure that alternates between black and white", of_new_image("left", flicker)),
    Fault(
        "frame name of another camera",
        of_image("left", in_frame("rear_optical")),
        "camera left",
        ("carry the frame 'rear_optical' of rear", "swapped?"),
        in_ci=True,
    ),
)


# ------------------------------------------------------------------------------------ raw images

RAW_TOPIC = "image on /left/image_raw"


def raw(**values: Any) -> Callable[[Any], None]:
    """Fields of sensor_msgs/Image."""
    return partial(named, **values)


def padded(message: Any) -> None:
    rows = np.frombuffer(message.data, np.uint8).reshape(message.height, -1)
    wider = np.pad(rows, ((0, 0), (0, 64)), constant_values=99)
    message.step, message.data = wider.shape[1], array("B", wider.tobytes())


def encoded(encoding: str, convert: Callable[[np.ndarray], np.ndarray]) -> Callable[[Any], None]:
    def spoil(message: Any) -> None:
        rgb = np.frombuffer(message.data, np.uint8).reshape(robots.HEIGHT, robots.WIDTH, 3)
        pixels = np.ascontiguousarray(convert(rgb))
        message.encoding, message.step = encoding, pixels[0].nbytes
        message.data = array("B", pixels.tobytes())

    return spoil


def raw_fault(name: str, spoil: Callable[[Any], Any], *says: str, in_ci: bool = False) -> Fault:
    about = (RAW_TOPIC, *says)
    happens = of_image("left", spoil)
    return Fault(name, happens, "camera left", about, OTHERS, node="raw", in_ci=in_ci)


RAW_FAULTS = (
    raw_fault(
        "raw: encoding that nobody knows", raw(encoding="hologram"), "'hologram'", in_ci=True
    ),
    raw_fault("raw: no encoding", raw(encoding=""), "''"),
    raw_fault("raw: depth image", raw(encoding="32FC1"), "'32FC1' is no picture; publish one of"),
    raw_fault("raw: 0×0 pixels", raw(width=0, height=0, step=0, data=array("B")), "0x0"),
    raw_fault("raw: too little data", cut_to(0.1), "bytes"),
    raw_fault(
        "raw: width and height exchanged", raw(width=80, height=192, step=240), "proportions"
    ),
    raw_fault("raw: says 60000×25000", raw(width=60000, height=25000), "", in_ci=True),
    raw_fault("raw: says 4294967295 rows", raw(height=2**32 - 1), ""),
    raw_fault("raw: rows shorter than their pixels", raw(step=8), ""),
    raw_fault("raw: YUV of odd size", raw(encoding="nv12", width=191, height=79), ""),
    raw_fault(
        "raw: message cut within its data", serialised(lambda m: m[: len(m) // 2]), "whole image"
    ),
    Fault("raw: padded rows", of_image("left", padded), node="raw", in_ci=True),
    Fault(
        "raw: grey",
        of_image("left", encoded("mono8", lambda rgb: rgb[..., 1])),
        node="raw",
    ),
    Fault(
        "raw: BGRA",
        of_image("left", encoded("bgra8", lambda rgb: cv2.cvtColor(rgb, cv2.COLOR_RGB2BGRA))),
        node="raw",
    ),
    Fault(
        "raw: encoding that changes with every image",
        of_new_image(
            "left", lambda: alternating(lambda m: None, encoded("bgr8", lambda p: p[..., ::-1]))
        ),
        node="raw",
    ),
    Fault(
        "raw: endianness that 8 bits do not have", of_image("left", raw(is_bigendian=1)), node="raw"
    ),
)


def alternating(*spoilers: Callable[[Any], None]) -> Callable[[Any], None]:
    """One after the other, image by image."""
    turn = [0]

    def spoil(message: Any) -> None:
        turn[0] = (turn[0] + 1) % len(spoilers)
        spoilers[turn[0]](message)

    return spoil
