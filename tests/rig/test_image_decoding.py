"""Images of every encoding, as the live node, extraction and evaluation decode them."""

from __future__ import annotations

import struct
import tracemalloc
import zlib
from typing import Any

import cv2
import numpy as np
import pytest

from renderocc_ros.geometry import CameraModel
from renderocc_ros.rig.image_decoding import decode_for, decode_image, decode_message
from renderocc_training.sequences.extraction.readings import image_file
from tests.rig import pictures

MODEL = CameraModel(64, 48, np.array([[40.0, 0, 31.5], [0, 41.0, 23.5], [0, 0, 1]]))
COLOURED = pictures.raw_messages() | pictures.compressed_messages()


def whole(_: CameraModel) -> int:
    return 1


@pytest.mark.parametrize("name", COLOURED)
def test_colours_come_out_right_and_are_kept(name: str) -> None:
    message = COLOURED[name]
    pixels, model = decode_for(message, MODEL, whole)
    pictures.assert_shows(pixels, pictures.THIRDS)
    assert model == MODEL
    file = image_file(message)
    pictures.assert_shows(decode_image(file.content), pictures.THIRDS)
    assert (file.width, file.height) == (64, 48)
    assert file.suffix == ("png" if name.startswith("PNG") else "jpg")


@pytest.mark.parametrize("name", pictures.grey_messages())
def test_grey_is_grey(name: str) -> None:
    message = pictures.grey_messages()[name]
    pictures.assert_shows(decode_message(message), pictures.GREYS)
    pictures.assert_shows(decode_image(image_file(message).content), pictures.GREYS)


def test_jpeg_and_png_are_kept_byte_for_byte() -> None:
    for name in ("JPEG", "progressive JPEG", "JPEG and 200 bytes of padding", "PNG"):
        message = COLOURED[name]
        assert image_file(message).content == message.data.tobytes()


def cut_off(name: str, share: float) -> Any:
    data = COLOURED[name].data.tobytes()
    return pictures.compressed(data[: int(len(data) * share)])


def with_thumbnail() -> bytes:
    """A JPEG without its end, in whose header lies a whole one."""
    jpeg = pictures.saved(pictures.RGB, "JPEG", quality=95)
    exif = b"Exif\x00\x00" + jpeg
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + jpeg[2:-20]


@pytest.mark.parametrize("restarts", [{}, {"restart_marker_rows": 1}, {"restart_marker_blocks": 3}])
def test_without_an_end_marker_all_or_nothing_is_there(restarts: dict[str, int]) -> None:
    """Cameras leave the marker out; of pixels that are missing none is made up."""
    coarse = np.random.default_rng(0).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    pixels = cv2.resize(coarse, (148, 117), interpolation=cv2.INTER_CUBIC)
    jpeg = pictures.saved(pixels, "JPEG", quality=90, **restarts)
    whole = decode_image(jpeg)
    for reduction in (1, 2, 8):
        reduced = decode_image(jpeg[:-2], reduction)
        assert np.array_equal(reduced, decode_image(jpeg, reduction))
    assert image_file(pictures.compressed(jpeg[:-2])).content == jpeg
    markers = [at for at in range(700, len(jpeg) - 2) if 0xD0 <= jpeg[at + 1] <= 0xD7]
    markers = [at for at in markers if jpeg[at] == 0xFF]
    assert bool(markers) == bool(restarts)
    for length in (*markers[::4], *(len(jpeg) - cut for cut in (4, 7, 12, 50, 400))):
        with pytest.raises(ValueError, match="cut off"):
            decode_image(jpeg[:length])
    assert whole.shape == pixels.shape


def other_encoding(**changes: Any) -> Any:
    message = pictures.raw(pictures.RGB, "rgb8")
    for field, value in changes.items():
        setattr(message, field, value)
    return message


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (cut_off("JPEG", 0.8), "the JPEG is cut off: it has no end marker"),
        (cut_off("progressive JPEG", 0.8), "cut off"),
        (pictures.compressed(with_thumbnail()), "cut off"),
        (cut_off("PNG", 0.8), "the PNG is cut off"),
        (cut_off("WebP", 0.5), "no readable image"),
        (cut_off("BMP", 0.001), "no readable image"),
        (pictures.compressed(b""), "0 bytes"),
        (pictures.compressed(b"no image"), "start with '6e 6f 20 69"),
        (other_encoding(encoding="32FC1"), "'32FC1' is no picture; publish one of .*rgb8"),
        (other_encoding(encoding="16UC1"), "'16UC1' is no picture"),
        (other_encoding(width=0), "0x48 pixels"),
        (other_encoding(step=100), "step 100"),
        (other_encoding(width=2**32 - 1, step=0), "too little"),
        (other_encoding(data=np.zeros(99, np.uint8)), "99 bytes are too little"),
        (other_encoding(encoding="nv12", height=47), "must be even"),
    ],
)
def test_what_is_no_whole_picture_is_refused(message: Any, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        decode_message(message)
    with pytest.raises(ValueError, match=reason):
        image_file(message)


def png_that_says(width: int, height: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(bytes(1000)))
    return b"\x89PNG\r\n\x1a\n" + header + pixels + chunk(b"IEND", b"")


def jpeg_that_says(width: int, height: int) -> bytes:
    jpeg = bytearray(pictures.saved(pictures.RGB, "JPEG"))
    place = jpeg.index(b"\xff\xc0") + 5
    jpeg[place : place + 4] = struct.pack(">HH", height, width)
    return bytes(jpeg)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (jpeg_that_says(60000, 45000), "no camera's image: .*2700000000 pixels"),
        (png_that_says(60000, 45000), "2700000000 pixels"),
        (jpeg_that_says(60000, 60000), "3600000000 pixels"),
        (jpeg_that_says(800, 600), "800x600 pixels, more than 4 times the 64x48"),
        (jpeg_that_says(64, 60000), "other proportions"),
    ],
)
def test_a_size_that_is_not_the_camera_s_is_refused_before_decoding(
    data: bytes, reason: str
) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=reason):
            decode_for(pictures.compressed(data), MODEL, whole)
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


def test_an_image_is_too_large_whatever_pillow_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("PIL.Image.MAX_IMAGE_PIXELS", 400_000 * 400_000)  # as nuscenes-devkit does
    with pytest.raises(ValueError, match=r"no camera's image: .*2700000000 pixels"):
        decode_image(jpeg_that_says(60000, 45000))


def test_what_opencv_throws_on_is_no_image() -> None:
    with pytest.raises(ValueError, match="no readable image"):
        decode_image(png_that_says(2**20 + 1, 3))


@pytest.mark.parametrize("reduction", [1, 2, 8])
def test_the_model_follows_the_size_of_the_image(reduction: int) -> None:
    """A driver that halves images leaves the CameraInfo as it was."""
    half = np.ascontiguousarray(pictures.RGB[::2, ::2])
    message = pictures.compressed(cv2.imencode(".png", half[..., ::-1])[1].tobytes())
    asked = []

    def by(model: CameraModel) -> int:
        asked.append(model)
        return reduction

    pixels, model = decode_for(message, MODEL, by)
    assert pixels.shape[:2] == (model.height, model.width) == (24 // reduction, 32 // reduction)
    assert asked == [MODEL.resized(32, 24)]  # a small image is not reduced once more for nothing
    assert model == MODEL.resized(32 // reduction, 24 // reduction)
