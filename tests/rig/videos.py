"""A camera's video as packets of ffmpeg_image_transport: every picture has its own colours."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from renderocc_ros.rig.video_stream import PACKET
from renderocc_training.recording import messages

WIDTH, HEIGHT, GROUP = 64, 48, 6
START_NS, PERIOD_NS = 1_700_000_000_000_000_000, 100_000_000
TOLERANCE = 8  # of a colour; the encoder's loss and subsampled chroma
CODECS: dict[str, tuple[str, dict[str, str]]] = {
    "h264": ("libx264", {"preset": "ultrafast", "tune": "zerolatency"}),
    "hevc": (
        "libx265",
        {"preset": "ultrafast", "tune": "zerolatency", "x265-params": "log-level=none"},
    ),
}


def colour(number: int) -> NDArray[np.int64]:
    """RGB of picture ``number``."""
    return np.array((40 + 8 * (number % 24), 210 - 7 * (number % 24), 60 + 60 * (number % 3)))


def picture(number: int, width: int = WIDTH, height: int = HEIGHT) -> NDArray[np.uint8]:
    """(H, W, 3): one colour, and on its left a bar that moves down."""
    pixels = np.full((height, width, 3), colour(number), np.uint8)
    pixels[4 * (number % 8) :][:8, : width // 4] = 255
    return pixels


def number_of(pixels: NDArray[np.uint8], among: int = 24) -> int:
    """Which picture it is, by the colour right of the middle; -1 if it is none of them."""
    seen = pixels[:, pixels.shape[1] // 2 + 4 :].reshape(-1, 3).mean(0)
    off = [np.abs(colour(number) - seen).max() for number in range(among)]
    best = int(np.argmin(off))
    return best if off[best] <= TOLERANCE else -1


class Encoder:
    """Encodes pictures one by one, as a driver does.

    Args:
        b_frames: pictures between two that others refer to, which are sent after both.
        encoding: what the packets say; the encoder's name if not given.
    """

    def __init__(
        self,
        codec: str = "h264",
        b_frames: int = 0,
        pixel_format: str = "yuv420p",
        size: tuple[int, int] = (WIDTH, HEIGHT),
        encoding: str | None = None,
    ) -> None:
        name, options = CODECS[codec]
        if b_frames:
            options = {key: value for key, value in options.items() if key != "tune"}
        self._encoder = av.CodecContext.create(name, "w")
        self._encoder.width, self._encoder.height = size
        self._encoder.pix_fmt, self._encoder.options = pixel_format, options
        self._encoder.time_base, self._encoder.gop_size = Fraction(1, 10), GROUP
        self._encoder.max_b_frames = b_frames
        self._format, self._count = pixel_format, 0
        self._constant = {"width": size[0], "height": size[1], "encoding": encoding or name}

    def encode(self, pixels: NDArray[np.uint8] | None) -> list[dict[str, Any]]:
        """The fields of the packets that come with a picture, but their headers; None: the rest."""
        frame = None
        if pixels is not None:
            frame = av.VideoFrame.from_ndarray(pixels, "rgb24").reformat(format=self._format)
            frame.pts = self._count
            self._count += 1
        return [
            {
                **self._constant,
                "pts": packet.pts,
                "flags": int(packet.is_keyframe),
                "is_bigendian": False,
                "data": np.frombuffer(bytes(packet), np.uint8),
            }
            for packet in self._encoder.encode(frame)
        ]


def packets(
    codec: str = "h264",
    count: int = 18,
    pictures: list[NDArray[np.uint8]] | None = None,
    **options: Any,
) -> list[Any]:
    """FFMPEGPackets of a video with a key frame every GROUP pictures, in the order of sending.

    Args:
        pictures: (H, W, 3) RGB; ``picture(0)``, ``picture(1)`` … if not given.
    """
    size = options.get("size", (WIDTH, HEIGHT))
    shown = pictures or [picture(number, *size) for number in range(count)]
    encoder = Encoder(codec, **options)
    return [packet(fields) for pixels in [*shown, None] for fields in encoder.encode(pixels)]


def packet(
    fields: dict[str, Any], start_ns: int = START_NS, frame_id: str = "front_optical"
) -> Any:
    """An FFMPEGPacket of what ``Encoder`` gives."""
    stamp_ns = start_ns + fields["pts"] * PERIOD_NS
    return messages.make(PACKET, header=messages.header(stamp_ns, frame_id), **fields)


def changed(packet: Any, **fields: Any) -> Any:
    """The same packet with other fields."""
    return replace(packet, **fields)
