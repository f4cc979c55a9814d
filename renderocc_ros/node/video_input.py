"""A camera that sends video: every packet is decoded, in a thread of the camera's own."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from renderocc_ros.geometry import CameraModel
from renderocc_ros.node.image_messages import packet_message
from renderocc_ros.rig.video_stream import VideoImage, VideoStream

# Packets that may wait for the decoder; what comes then is dropped, so decoding goes on at the next
# key frame and neither memory nor latency grow.
MAX_WAITING = 30


class VideoInput:
    """Turns packets into images; whatever becomes of their sets, none is left out.

    Args:
        node: its executor calls what follows.
        on_image: takes an image, and when the packet came that it was whole with.
        on_bad: takes the reason why a packet gave no image.
        model_of: the camera's calibration now; None before it is known.

    Raises:
        ValueError: PyAV is not installed.
    """

    def __init__(
        self,
        node: Any,
        on_image: Callable[[VideoImage, float], None],
        on_bad: Callable[[str], None],
        model_of: Callable[[], CameraModel | None],
    ) -> None:
        self._stream, self._model_of = VideoStream(), model_of
        self._node, self._on_image, self._on_bad = node, on_image, on_bad
        self._lock = threading.Lock()
        self._waiting = 0
        self._decoded: deque[tuple[VideoImage | str, float]] = deque()
        self._thread = ThreadPoolExecutor(1, "video")
        self._wake = node.create_guard_condition(self._pass_on)

    def take(self, serialised: bytes, arrived_s: float) -> None:
        """The next packet, by the executor; returns at once."""
        with self._lock:
            behind = self._waiting >= MAX_WAITING
            self._waiting += not behind
        if behind:
            self._on_bad(f"{MAX_WAITING} packets wait to be decoded: this machine is too slow")
        else:
            self._thread.submit(self._decode, serialised, arrived_s)

    def close(self) -> None:
        """Decode no more."""
        self._thread.shutdown(wait=True, cancel_futures=True)
        self._node.destroy_guard_condition(self._wake)

    def _decode(self, serialised: bytes, arrived_s: float) -> None:
        try:
            images = self._stream.decode(packet_message(serialised), self._model_of())
            self._decoded.extend((image, arrived_s) for image in images)
        except Exception as error:  # whatever one packet does, the others go on
            self._decoded.append((str(error), arrived_s))
        problems, self._stream.problems = self._stream.problems, []
        self._decoded.extend((problem, arrived_s) for problem in problems)
        with self._lock:
            self._waiting -= 1
        self._wake.trigger()

    def _pass_on(self) -> None:
        while self._decoded:
            result, arrived_s = self._decoded.popleft()
            if isinstance(result, str):
                self._on_bad(result)
            else:
                self._on_image(result, arrived_s)
