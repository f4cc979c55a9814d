"""Frames as a picture or a film, painted off screen: for machines without a display."""

from __future__ import annotations

from abc import ABC, abstractmethod
from fractions import Fraction
from typing import BinaryIO

import av
import cv2
import numpy as np
from PIL import Image

from renderocc_ros.viewing.frame_picture import FramePainter
from renderocc_ros.viewing.overview import Picture
from renderocc_ros.viewing.view_frame import ViewFrame

MILLISECONDS = Fraction(1, 1000)
# How long a film shows a frame: a gap of the sequence is cut short, and a jump back in time too.
SHORTEST_MS, LONGEST_MS, LAST_MS = 20, 2000, 500
LOOKED_AT = 30  # frames, for one with voxels
X264 = {"crf": "23", "preset": "veryfast"}
JPEG_QUALITY, WEBP_QUALITY = 85, 70


class StillPicture:
    """One frame, as "png" or "jpeg": the first with voxels, or the first if the next have none."""

    def __init__(self, file: BinaryIO, format: str, width: int, beside: bool) -> None:
        self._file, self._format, self._width, self._beside = file, format, width, beside
        self._chosen: ViewFrame | None = None
        self._seen = 0

    def add(self, frame: ViewFrame) -> bool:
        """Look at a frame; False when the search is over."""
        self._seen += 1
        if self._chosen is None or frame.volumes:
            self._chosen = frame
        return not frame.volumes and self._seen < LOOKED_AT

    def close(self) -> None:
        """Paint and write."""
        if self._chosen is not None:
            picture = FramePainter(self._chosen, self._beside).paint(self._chosen)
            image = Image.fromarray(_scaled(picture, self._width))
            image.save(self._file, self._format, quality=JPEG_QUALITY)


class Film(ABC):
    """Every frame, for as long as it lasted in the sequence.

    Args:
        width: of the film, pixels.
        speed: 2 runs twice as fast as the sequence.
        beside: cameras left of the voxels, see ``FramePainter``.
    """

    def __init__(self, width: int, speed: float, beside: bool) -> None:
        self._width, self._speed, self._beside = width, speed, beside
        self._painter: FramePainter | None = None
        self._last: tuple[Picture, int] | None = None

    def add(self, frame: ViewFrame) -> bool:
        """Paint a frame; True: it takes more."""
        if self._painter is None:
            self._painter = FramePainter(frame, self._beside)
        if self._last is not None:
            picture, stamp_ns = self._last
            lasted_ms = round((frame.stamp_ns - stamp_ns) * 1e-6 / self._speed)
            self._write(picture, min(max(lasted_ms, SHORTEST_MS), LONGEST_MS))
        self._last = (_scaled(self._painter.paint(frame), self._width), frame.stamp_ns)
        return True

    def close(self) -> None:
        """Write the last frame and the file's end."""
        if self._last is not None:
            self._write(self._last[0], LAST_MS)
            self._finish()

    @abstractmethod
    def _write(self, picture: Picture, lasts_ms: int) -> None: ...

    @abstractmethod
    def _finish(self) -> None: ...


class Mp4(Film):
    """H.264, which every browser, phone and slide programme plays; written as it is painted."""

    def __init__(self, file: BinaryIO, width: int, speed: float, beside: bool = False) -> None:
        super().__init__(width - width % 2, speed, beside)
        self._file = av.open(file, "w", "mp4")
        self._stream = self._file.add_stream("libx264", options=X264)
        self._stream.pix_fmt = "yuv420p"
        self._stream.codec_context.time_base = MILLISECONDS
        self._time_ms = 0

    def _write(self, picture: Picture, lasts_ms: int) -> None:
        picture = picture[: len(picture) - len(picture) % 2]  # H.264 halves the colours' resolution
        if not self._time_ms:
            self._stream.height, self._stream.width = picture.shape[:2]
        self._encode(picture)
        self._time_ms += lasts_ms
        self._shown = picture

    def _finish(self) -> None:
        self._encode(self._shown)  # a film ends where its last picture begins: give it twice
        self._file.mux(self._stream.encode())
        self._file.close()

    def _encode(self, picture: Picture) -> None:
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), "rgb24")
        frame.pts, frame.time_base = self._time_ms, MILLISECONDS
        self._file.mux(self._stream.encode(frame))


class AnimatedPicture(Film):
    """ "gif" or "webp", for pages that take no film; in memory to the end: for short sequences."""

    def __init__(
        self, file: BinaryIO, format: str, width: int, speed: float, beside: bool = False
    ) -> None:
        super().__init__(width, speed, beside)
        self._file, self._format = file, format
        self._pictures: list[Image.Image] = []
        self._lasts_ms: list[int] = []

    def _write(self, picture: Picture, lasts_ms: int) -> None:
        image = Image.fromarray(picture)
        if self._format == "gif":
            image = image.quantize(dither=Image.Dither.NONE)
        self._pictures.append(image)
        self._lasts_ms.append(lasts_ms)

    def _finish(self) -> None:
        first, *others = self._pictures
        first.save(
            self._file,
            self._format,
            save_all=True,
            append_images=others,
            duration=self._lasts_ms,
            loop=0,
            quality=WEBP_QUALITY,
        )


def _scaled(picture: Picture, width: int) -> Picture:
    if width == picture.shape[1]:
        return picture
    size = (width, round(len(picture) * width / picture.shape[1]))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)
