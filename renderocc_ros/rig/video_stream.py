"""Packets of a camera's video to images: ffmpeg_image_transport_msgs/FFMPEGPacket. No ROS in here.

A picture is made of those before it, so every packet is decoded, in order. Decoding begins at a key
frame, and begins anew at one where a packet was lost: what lies between is refused, never guessed.
A picture may come out some packets later (B-frames); it always gets the header of its own packet.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from renderocc_ros.geometry import CameraModel
from renderocc_ros.rig.image_decoding import MAX_PIXELS, model_of_image
from renderocc_ros.rig.time_line import JUMP_NS
from renderocc_ros.rig.video_units import H264Units, H265Units

PACKET = "ffmpeg_image_transport_msgs/msg/FFMPEGPacket"
NO_PYAV = "video needs PyAV: pip install 'renderocc-ros[video]', or apt install python3-av"
NO_PICTURE = "the decoder made no picture of it"
MAX_DELAY = 16  # pictures that a decoder may hold back (ITU-T H.264, A.3.1: MaxDpbFrames)
BLOCK = 64  # coded width and height are multiples of blocks of up to so many pixels


@dataclass(frozen=True, eq=False)
class VideoImage:
    """A decoded picture with the fields of sensor_msgs/Image; its pixels are made when read.

    Attributes:
        header: of the packet that it came in.
        encoding: rgb8; where a camera's Bayer pattern went through the encoder, that pattern.
    """

    header: Any
    width: int
    height: int
    encoding: str
    frame: Any
    step: ClassVar[int] = 0
    is_bigendian: ClassVar[int] = 0

    @property
    def data(self) -> NDArray[np.uint8]:
        """The pixels, flat, rows without padding."""
        if self.encoding == "rgb8":
            return np.asarray(self.frame.to_ndarray(format="rgb24"), np.uint8).ravel()
        luma = self.frame.planes[0]
        rows = np.frombuffer(luma, np.uint8).reshape(-1, luma.line_size)
        return np.ascontiguousarray(rows[: self.height, : self.width]).ravel()


@dataclass(frozen=True)
class _Form:
    """What stays the same while a stream lasts: codec, and pixels of a picture."""

    codec: str
    width: int
    height: int


class VideoStream:
    """The decoder of one camera. Every packet becomes one image, or one problem.

    Raises:
        ValueError: PyAV is not installed.

    Attributes:
        problems: why packets gave no image; whoever reads them empties the list.
    """

    def __init__(self) -> None:
        try:
            import av
        except ImportError as error:
            raise ValueError(NO_PYAV) from error
        self.problems: list[str] = []
        self._av = av
        self._decoder: Any = None
        self._units: H264Units | H265Units = H264Units()
        self._form: _Form | None = None
        self._awaits = ""
        self._inside: dict[int, tuple[Any, str]] = {}
        self._count = 0
        self._last: tuple[int, bytes] = (0, b"")
        self._last_ns = self._step = 0

    def decode(self, packet: Any, model: CameraModel | None = None) -> list[VideoImage]:
        """The images that are whole with this packet, in the order of their stamps.

        Args:
            packet: anything with the fields of an FFMPEGPacket.
            model: the camera's calibration, if it is known: another view is not even decoded.
        """
        images: list[VideoImage] = []
        try:
            if model is not None:
                model_of_image(model, (int(packet.width), int(packet.height)))
            self._take(packet, images)
        except ValueError as error:
            self.problems.append(str(error))
        return images

    def finish(self) -> list[VideoImage]:
        """What is still inside, as no packet follows."""
        return self._begin_anew(NO_PICTURE)

    def _take(self, packet: Any, images: list[VideoImage]) -> None:
        form = _Form(codec_of(packet.encoding), int(packet.width), int(packet.height))
        if not (form.width > 0 and form.height > 0 and form.width * form.height <= MAX_PIXELS):
            raise ValueError(f"a packet of {form.width}x{form.height} pixels is no camera's")
        encoding = pixels_of(packet.encoding)
        data, pts, stamp = bytes(packet.data), int(packet.pts), packet.header.stamp
        stamp_ns = int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)
        if form != self._form:
            images += self._open(form)
        elif self._last_ns - stamp_ns > JUMP_NS * (MAX_DELAY if self._decoder.has_b_frames else 1):
            images += self._begin_anew("the time line was set back")
        elif (pts, data) == self._last:
            raise ValueError("it repeats the packet before it")
        content = self._units.content(data, bool(packet.flags & 1))
        lost = content.lost or self._gap(pts, content.key)
        self._last, self._last_ns = (pts, data), stamp_ns
        if content.key:
            self._awaits = ""
        elif lost and not self._awaits:
            images += self._begin_anew(f"a packet was lost: {lost}")
            raise ValueError(self._awaits)
        if not content.picture:
            raise ValueError("the packet holds no picture")
        if self._awaits:
            raise ValueError(f"it waits for a key frame: {self._awaits.partition(':')[0]}")
        images += self._fed(data, packet.header, encoding)

    def _fed(self, data: bytes, header: Any, encoding: str) -> list[VideoImage]:
        coded = self._av.Packet(data)
        coded.pts = self._count
        self._count += 1
        self._inside[coded.pts] = header, encoding
        try:
            frames = self._decoder.decode(coded)
        except self._av.FFmpegError as error:
            del self._inside[coded.pts]
            reason = f"a packet is damaged, or one before it was lost: {error.strerror}"
            self.problems.append(reason)
            return self._begin_anew(reason)
        images = self._images(frames)
        delay = MAX_DELAY if self._decoder.has_b_frames else 0
        for late in list(self._inside)[: max(0, len(self._inside) - delay)]:
            del self._inside[late]
            self.problems.append(NO_PICTURE)
        return images

    def _images(self, frames: Iterable[Any]) -> list[VideoImage]:
        assert self._form is not None
        images, width, height = [], self._form.width, self._form.height
        for frame in frames:
            header, encoding = self._inside.pop(frame.pts, (None, ""))
            if header is None:
                continue  # its packet was found damaged
            if frame.is_corrupt:
                self.problems.append("the picture is damaged")
            elif (frame.width, frame.height) != (width, height):
                size = f"{frame.width}x{frame.height}"
                self.problems.append(f"its picture is {size}, the packet says {width}x{height}")
            else:
                images.append(VideoImage(header, width, height, encoding, frame))
        return images

    def _gap(self, pts: int, key: bool) -> str:
        """Senders count their images, so a number is missing; not where pictures change places."""
        step = pts - self._last[0]
        if key or step <= 0 or self._decoder.has_b_frames:
            return ""
        self._step = min(self._step or step, step)
        return f"its pts is {pts}, {pts - step} came before" if step >= 2 * self._step else ""

    def _open(self, form: _Form) -> list[VideoImage]:
        images = self._begin_anew("another stream begins")
        self._form, self._awaits, self._step = form, "none has come yet", 0
        self._units = H264Units() if form.codec == "h264" else H265Units()
        decoder = self._av.CodecContext.create(form.codec, "r")
        decoder.thread_count = 1  # threads that decode whole frames would hold pictures back
        most = -(-form.width // BLOCK) * -(-form.height // BLOCK) * BLOCK**2
        decoder.options = {"err_detect": "explode", "max_pixels": str(most)}
        self._decoder = decoder
        return images

    def _begin_anew(self, reason: str) -> list[VideoImage]:
        """Wait for a key frame; gives what was whole, and forgets all."""
        images: list[VideoImage] = []
        if self._inside:
            try:
                images = self._images(self._decoder.decode(None))
            except self._av.FFmpegError as error:
                self.problems.append(f"a packet is damaged: {error.strerror}")
        if self._decoder is not None:
            self._decoder.flush_buffers()
        self.problems += [reason] * len(self._inside)
        self._inside.clear()
        self._awaits = reason
        return images


def codec_of(encoding: str) -> str:
    """ "h264" or "hevc", of "hevc;yuv420p;bgr8;bgr8" or of an encoder's name such as libx264.

    Raises:
        ValueError: another codec.
    """
    name = encoding.partition(";")[0].lower()
    for codec, parts in (("h264", ("264", "avc")), ("hevc", ("265", "hevc"))):
        if any(part in name for part in parts):
            return codec
    raise ValueError(f"encoding '{encoding}' is not read: publish H.264 (h264) or H.265 (hevc)")


def pixels_of(encoding: str) -> str:
    """The encoding of decoded pixels, by codec;pixel format;what was encoded;the camera's own.

    Raises:
        ValueError: a Bayer pattern of more than 8 bits, which a video does not hold.
    """
    _, _, encoded, own = [*encoding.split(";"), "", "", ""][:4]
    if not encoded.startswith("bayer_"):
        return "rgb8"
    if not own.startswith("bayer_") or not own.endswith("8"):
        raise ValueError(f"encoding '{encoding}': '{own}' is no Bayer pattern of 8 bits")
    return own
