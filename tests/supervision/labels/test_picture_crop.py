"""A part of a picture is the same whether it is cut from the file or from the whole picture."""

from __future__ import annotations

import struct
import tracemalloc
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from renderocc_training.supervision.labels import picture_crop
from renderocc_training.supervision.labels.picture_crop import read_crop


@pytest.mark.parametrize("kind", ["grey.png", "colour.png", "grey.jpg"])
def test_a_crop_is_that_of_the_whole_picture(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(picture_crop, "STRIP_BYTES", 1000)  # seven rows
    random = np.random.default_rng(4)
    smooth = cv2.GaussianBlur(random.integers(0, 256, (90, 140), dtype=np.uint8), (9, 9), 0)
    path = tmp_path / kind
    assert cv2.imwrite(str(path), smooth if "grey" in kind else cv2.merge([smooth] * 3))
    whole = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)[::-1]
    boxes = (
        (0, 0, 140, 90),
        (20, 30, 70, 31),
        (130, 80, 400, 300),
        (-5, -5, 10, 10),
        (3, 88, 9, 95),
    )
    for left, bottom, right, top in boxes:
        crop = read_crop(path, left, bottom, right, top)
        expected = whole[max(bottom, 0) : top, max(left, 0) : right]
        np.testing.assert_array_equal(crop, expected)
    assert read_crop(path, 10, 200, 20, 210).size == 0


def large_map(path: Path, width: int, height: int) -> None:
    """A grey PNG of any size, a stripe of road from the lower left to the upper right corner."""
    packer = zlib.compressobj(1)
    data = b""
    for row in range(height):
        centre = (height - row) * width // height
        line = bytearray(width)
        line[max(centre - 50, 0) : centre + 50] = b"\xff" * len(
            line[max(centre - 50, 0) : centre + 50]
        )
        data += packer.compress(b"\0" + bytes(line))
    data += packer.flush()
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    with path.open("wb") as file:
        file.write(picture_crop.SIGNATURE)
        for kind, content in ((b"IHDR", header), (b"IDAT", data), (b"IEND", b"")):
            checksum = struct.pack(">I", zlib.crc32(kind + content))
            file.write(struct.pack(">I", len(content)) + kind + content + checksum)


def test_a_map_of_more_pixels_than_opencv_takes_is_read_in_little_memory(tmp_path: Path) -> None:
    width, height = 33_000, 33_000
    assert width * height > 1 << 30
    path = tmp_path / "queenstown.png"
    large_map(path, width, height)
    with pytest.raises(cv2.error):
        cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    tracemalloc.start()
    crop = read_crop(path, 29_000, 29_000, 31_400, 31_400)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert crop.shape == (2400, 2400) and peak < 150e6
    for row in (0, 1200, 2399):
        at = np.flatnonzero(crop[row] > 127)
        assert abs(at.mean() - (row + 1)) < 2 or at[0] == 0 or at[-1] == 2399


def test_a_damaged_map_is_named(tmp_path: Path) -> None:
    path = tmp_path / "map.png"
    large_map(path, 300, 200)
    whole = path.read_bytes()
    path.write_bytes(whole[:120])
    with pytest.raises(ValueError, match=r"map.png is broken .it ends after 0 of 200 rows"):
        read_crop(path, 0, 0, 10, 10)
    path.write_bytes(b"GIF89a" + bytes(50))
    with pytest.raises(ValueError, match=r"map.png is broken .*no readable image"):
        read_crop(path, 0, 0, 10, 10)
    with pytest.raises(ValueError, match=r"gone.png cannot be read"):
        read_crop(tmp_path / "gone.png", 0, 0, 10, 10)
