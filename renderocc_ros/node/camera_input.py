"""One camera's subscriptions, its calibration, and what is known of its health."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from message_filters import SimpleFilter
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CameraInfo

from renderocc_ros.config import TRANSPORT_SUFFIXES, CameraConfig, Transport
from renderocc_ros.node.image_messages import (
    image_message,
    message_type,
    peek_header,
    read_header,
)
from renderocc_ros.node.qos import NO_SUBSCRIPTION_EVENTS, QOS_OVERRIDES, mismatch, overridden
from renderocc_ros.node.statistics import Arrivals
from renderocc_ros.node.stream_watch import StreamWatch
from renderocc_ros.node.video_input import VideoInput
from renderocc_ros.rig.calibration import camera_model
from renderocc_ros.rig.calibration_files import fixed_model
from renderocc_ros.rig.video_stream import VideoImage

if TYPE_CHECKING:
    from rclpy.subscription import MessageInfo  # not in Jazzy, where it is a plain dict

# A camera is silent when nothing came for this long and for this many of its own periods.
SILENT_S, SILENT_PERIODS = 0.3, 2.5
# A publisher needs a moment to be discovered after the node has subscribed.
DISCOVERY_S = 0.4
VIDEO_DEPTH = (
    30  # packets kept by the middleware: each that is lost costs all to the next key frame
)
MAX_INFO_BYTES = 65536  # usual are 400: more would hold up all the other messages
MODEL_CHANGES_TO_TELL, MODEL_CHANGES_WITHIN_S, MODEL_CHANGES_TOLD_S = 4, 3.0, 1.5


@dataclass(frozen=True, eq=False)
class ArrivedImage:
    """An image message as it came: still serialised, but for a picture of a video.

    Attributes:
        stamp_ns: acquisition time, from its header.
        frame: optical frame: the rig file's, or else the header's.
        content: the CDR bytes; a picture of a video.
        compressed: they are a CompressedImage, no Image.
        arrived_s: when the middleware had it, on the clock of ``time.perf_counter()``.
    """

    stamp_ns: int
    frame: str
    content: bytes | VideoImage
    compressed: bool
    arrived_s: float

    def message(self) -> Any:
        """What ``rig.image_decoding`` takes.

        Raises:
            ValueError: the bytes are no such message.
        """
        if isinstance(self.content, VideoImage):
            return self.content
        return image_message(self.content, self.compressed)


class CameraInput(SimpleFilter):
    """Subscribes to a camera's images, raw or compressed, and to its CameraInfo.

    A filter in message_filters' terms: passes on each image as an :class:`ArrivedImage`.

    Args:
        node: the rclpy node.
        camera: topics and frame.
        qos: of the image subscription.
        on_bad: called with name and reason for a message that has no header.

    Attributes:
        arrivals, info_arrivals: of images and CameraInfo.
        model: the calibration, of the rig file or the last usable CameraInfo; None before one came.
        info_problem: why the last CameraInfo is not usable; empty if it is.
        image_problem: why the last image was not usable; empty if it was.
        frame: frame_id of the last image, or the configured one.
        watch: what is odd about the stream.
    """

    def __init__(
        self,
        node: Any,
        camera: CameraConfig,
        qos: QoSProfile,
        on_bad: Callable[[str, str], None],
    ) -> None:
        super().__init__()
        self.config = camera
        self.arrivals, self.info_arrivals = Arrivals(), Arrivals()
        self.model = fixed_model(camera)
        self.info_problem = self.image_problem = ""
        self.frame = camera.frame or ""
        self.watch = StreamWatch()
        self.started_s = time.monotonic()
        self._node, self._on_bad = node, on_bad
        self._video: VideoInput | None = None
        if camera.transport == "ffmpeg":
            qos = QoSProfile(depth=max(qos.depth, VIDEO_DEPTH), reliability=qos.reliability)
            on_packet = partial(on_bad, camera.name)
            self._video = VideoInput(node, self._take_picture, on_packet, lambda: self.model)
        self._qos = overridden(node, camera.transport_topic, qos)
        self._last_info: dict[str, Any] | None = None
        self._model_changes_s: deque[float] = deque(maxlen=MODEL_CHANGES_TO_TELL)
        self._latched = False
        self._packet = b""
        self._infos = self._subscribe_to_info(DurabilityPolicy.VOLATILE, QOS_OVERRIDES)
        self._images = node.create_subscription(
            message_type(camera.transport),
            camera.transport_topic,
            self._take_image,
            self._qos,
            raw=True,
            event_callbacks=NO_SUBSCRIPTION_EVENTS,
        )

    def _subscribe_to_info(
        self, durability: DurabilityPolicy, overrides: QoSOverridingOptions | None
    ) -> Any:
        reliable = durability == DurabilityPolicy.TRANSIENT_LOCAL
        reliability = ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT
        return self._node.create_subscription(
            CameraInfo,
            self.config.camera_info_topic,
            self._take_info,
            QoSProfile(depth=2, reliability=reliability, durability=durability),
            raw=True,
            qos_overriding_options=overrides,
            event_callbacks=NO_SUBSCRIPTION_EVENTS,
        )

    def ask_for_latched_info(self) -> None:
        """Subscribe anew where CameraInfo was sent once, latched, before this node listened."""
        silent_s = time.monotonic() - self.started_s
        if self._latched or self.info_arrivals.count or silent_s < DISCOVERY_S:
            return
        offered = self._node.get_publishers_info_by_topic(self.info_topic)
        latched = DurabilityPolicy.TRANSIENT_LOCAL
        if any(each.qos_profile.durability == latched for each in offered):
            self._latched = True
            self._node.destroy_subscription(self._infos)
            self._infos = self._subscribe_to_info(latched, None)

    @property
    def model_alternates(self) -> bool:
        """Whether the calibration has changed several times just now."""
        changes_s = self._model_changes_s
        if len(changes_s) < MODEL_CHANGES_TO_TELL:
            return False
        ended_s, lasted_s = time.monotonic() - changes_s[-1], changes_s[-1] - changes_s[0]
        return ended_s < MODEL_CHANGES_TOLD_S and lasted_s < MODEL_CHANGES_WITHIN_S

    def destroy(self) -> None:
        """Unsubscribe."""
        for subscription in (self._infos, self._images):
            self._node.destroy_subscription(subscription)
        if self._video is not None:
            self._video.close()

    @property
    def topic(self) -> str:
        """The image topic by its full, remapped name."""
        return str(self._images.topic_name)

    @property
    def info_topic(self) -> str:
        """The CameraInfo topic by its full, remapped name."""
        return str(self._infos.topic_name)

    @property
    def publisher_count(self) -> int:
        """Publishers of the image topic now."""
        return int(self._node.count_publishers(self.topic))

    def publishers(self) -> list[Any]:
        """What the graph tells of the image topic's publishers."""
        return list(self._node.get_publishers_info_by_topic(self.topic))

    def is_silent(self, blind_s: float) -> bool:
        """Whether nothing came for longer than its rate explains.

        Args:
            blind_s: for how long this process could not look.
        """
        age_s, rate_hz = self.arrivals.age_s, self.arrivals.rate_hz
        if age_s is None:
            return time.monotonic() - self.started_s > DISCOVERY_S + blind_s
        usual_s = SILENT_PERIODS / rate_hz if rate_hz else 2 * SILENT_S
        return age_s > max(SILENT_S, usual_s) + blind_s

    def silence(self) -> str:
        """Why no image came, by the ROS graph."""
        count = self.publisher_count
        message = f"no messages on {self.topic} ({_publishers(count)})"
        for publisher in self.publishers():
            if reason := mismatch(publisher.qos_profile, self._qos):
                return (
                    f"{message}: incompatible QoS of {publisher.node_name}, {reason}; set "
                    "image_reliability: best_effort"
                )
        return message + ("" if count else self._other_form())

    def info_silence(self) -> str:
        """Why no CameraInfo came, by the ROS graph."""
        count = self._node.count_publishers(self.info_topic)
        return f"no CameraInfo on {self.info_topic} ({_publishers(count)})"

    def _other_form(self) -> str:
        """A hint where the images are sent, only not as the rig file says."""
        raw = self.topic.removesuffix(TRANSPORT_SUFFIXES[self.config.transport])
        cures: dict[Transport, str] = {"raw": "false", "compressed": "true", "ffmpeg": "ffmpeg"}
        for transport, cure in cures.items():
            count = self._node.count_publishers(other := raw + TRANSPORT_SUFFIXES[transport])
            if count and transport != self.config.transport:
                return f"; {other} has {_publishers(count)}: set compressed: {cure}"
        return ""

    def _take_image(self, serialised: bytes, info: MessageInfo) -> None:
        self.arrivals.note()
        arrived_s = time.perf_counter() - _waited_s(info["received_timestamp"])
        if self._video is not None:
            self._packet = serialised
            self._video.take(serialised, arrived_s)
            return
        self._pass_on(lambda: peek_header(serialised), serialised, serialised, arrived_s)

    def _take_picture(self, picture: VideoImage, arrived_s: float) -> None:
        self._pass_on(lambda: read_header(picture.header), picture, self._packet, arrived_s)

    def _pass_on(
        self,
        header: Callable[[], tuple[int, str]],
        content: bytes | VideoImage,
        received: bytes,
        arrived_s: float,
    ) -> None:
        try:
            stamp_ns, frame = header()
            self.frame = self.config.frame or frame
            self.watch.note(stamp_ns, frame, received, arrived_s)
            compressed = self.config.sends_files
            self.signalMessage(ArrivedImage(stamp_ns, self.frame, content, compressed, arrived_s))
        except ValueError as error:
            self._on_bad(self.config.name, str(error))
        except Exception as error:  # whatever one image does, the others go on
            self._on_bad(self.config.name, f"{type(error).__name__}: {error}")

    def _take_info(self, serialised: bytes) -> None:
        self.info_arrivals.note()
        if self.config.calibration is not None:
            return
        try:
            if len(serialised) > MAX_INFO_BYTES:
                raise ValueError(f"{len(serialised)} bytes are no calibration")
            values = calibration_of(deserialize_message(serialised, CameraInfo))
            if values == self._last_info:
                return
            self._last_info = values
            self.model = camera_model(**values, rectified=self.config.rectified)
            self._model_changes_s.append(time.monotonic())
            self.info_problem = ""
        except Exception as error:  # of the middleware too: it costs this camera alone
            self.model = self._last_info = None
            self.info_problem = f"CameraInfo on {self.info_topic}: {error}"


def calibration_of(info: Any) -> dict[str, Any]:
    """The numbers of a sensor_msgs/CameraInfo as ``rig.calibration.camera_model`` takes them."""
    roi = info.roi
    return {
        "width": info.width,
        "height": info.height,
        "k": tuple(info.k),
        "d": tuple(info.d),
        "p": tuple(info.p),
        "distortion_model": info.distortion_model,
        "binning": (info.binning_x, info.binning_y),
        "roi": (roi.x_offset, roi.y_offset, roi.width, roi.height),
    }


def _waited_s(received_ns: int) -> float:
    """How long a message waited for its callback; 0 where the middleware does not tell (0)."""
    return max(0.0, (time.time_ns() - received_ns) * 1e-9) if received_ns else 0.0


def _publishers(count: int) -> str:
    return f"{count} publisher{'' if count == 1 else 's'}"
