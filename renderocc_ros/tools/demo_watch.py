"""An onlooker of a running node: what was sent, what came out, and whether it fits together."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import PointCloud2
from visualization_msgs.msg import MarkerArray

from renderocc_ros.config import RigConfig
from renderocc_ros.msg import SemanticOccupancy
from renderocc_ros.node.image_messages import (
    image_message,
    message_type,
    packet_message,
    peek_header,
)
from renderocc_ros.occupancy.messages import stamp_ns_of
from renderocc_ros.rig.image_decoding import decode_message
from renderocc_ros.rig.video_stream import VideoImage, VideoStream

KEPT_IMAGES = 32  # serialised ones per camera, to find those of a result


@dataclass(frozen=True, eq=False)
class Snapshot:
    """A result and the images that it was computed from."""

    message: SemanticOccupancy
    images: Mapping[str, NDArray[np.uint8]]


class DemoWatch:
    """Subscribes to a rig's images and to a node's outputs.

    Args:
        node: an rclpy node of its own, spun by the caller.
        rig: the rig that the watched node uses.
        watched: full name of the watched node.

    Attributes:
        sent_ns: stamps of the images seen on the wire, by camera.
        received: messages per output.
        snapshot: a result with its images, from the middle of what has been seen.
    """

    def __init__(self, node: Any, rig: RigConfig, watched: str) -> None:
        self.sent_ns: dict[str, list[int]] = defaultdict(list)
        self.results: list[dict[str, int]] = []
        self.received: dict[str, int] = dict.fromkeys(("points", "markers", "occupancy"), 0)
        self.snapshot: Snapshot | None = None
        self._rig = rig
        self._recent: dict[str, deque[tuple[int, bytes | VideoImage]]] = {
            name: deque(maxlen=KEPT_IMAGES) for name in rig.names
        }
        self._videos = {
            camera.name: VideoStream() for camera in rig.cameras if camera.transport == "ffmpeg"
        }
        reliable = QoSProfile(depth=50, reliability=ReliabilityPolicy.RELIABLE)
        for camera in rig.cameras:
            node.create_subscription(
                message_type(camera.transport),
                camera.transport_topic,
                lambda m, name=camera.name: self._on_image(name, m),
                reliable,
                raw=True,
            )
        for name, kind in (("points", PointCloud2), ("markers", MarkerArray)):
            node.create_subscription(
                kind,
                f"{watched}/{name}",
                lambda _, name=name: self._count(name),
                reliable,
                raw=True,
            )
        node.create_subscription(
            SemanticOccupancy, f"{watched}/occupancy", self._on_occupancy, reliable
        )

    def complete_cycles(self) -> int:
        """Trigger cycles on the wire of which every camera sent its image."""
        cycles = [set(self.cycles_of(name).values()) for name in self._rig.names]
        return len(set.intersection(*cycles))

    def mixed_sets(self) -> int:
        """Results whose images are of more than one cycle."""
        cycles = {name: self.cycles_of(name) for name in self._rig.names}
        return sum(
            len({cycles[name].get(stamp_ns, -1) for name, stamp_ns in stamps.items()}) > 1
            for stamps in self.results
        )

    def cycles_of(self, name: str) -> dict[int, int]:
        """Number of its cycle for each stamp of a camera, told from the stamps sent alone.

        A camera's images follow those of the reference camera by about the same time, so an image
        belongs to the reference image that lies nearest once this camera's median distance from
        the reference is taken off. (The node's own matching is not asked.)
        """
        reference = np.sort(np.array(self.sent_ns[self._rig.reference_name], np.int64))
        stamps = np.array(self.sent_ns[name], np.int64)
        if not reference.size or not stamps.size:
            return {}
        distance = stamps[:, None] - reference
        nearest = np.abs(distance).argmin(axis=1)
        offset = np.median(distance[np.arange(len(stamps)), nearest])
        cycle = np.abs(distance - offset).argmin(axis=1)
        return dict(zip(stamps.tolist(), cycle.tolist(), strict=True))

    def _on_image(self, name: str, serialised: bytes) -> None:
        stamp_ns, _ = peek_header(serialised)
        self.sent_ns[name].append(stamp_ns)
        if name not in self._videos:
            self._recent[name].append((stamp_ns, serialised))
            return
        for picture in self._videos[name].decode(packet_message(serialised)):
            self._recent[name].append((stamp_ns_of(picture.header.stamp), picture))

    def _count(self, output: str) -> None:
        self.received[output] += 1

    def _on_occupancy(self, message: SemanticOccupancy) -> None:
        self.received["occupancy"] += 1
        stamps = [stamp_ns_of(stamp) for stamp in message.camera_stamps]
        self.results.append(dict(zip(message.cameras_used, stamps, strict=True)))
        count = len(self.results)
        if count & (count - 1) == 0:  # 1st, 2nd, 4th, 8th …: the last of them is about the middle
            self._keep(message, self.results[-1])

    def _keep(self, message: SemanticOccupancy, stamps: Mapping[str, int]) -> None:
        images = {}
        for camera in self._rig.cameras:
            for stamp_ns, content in self._recent[camera.name]:
                if stamps.get(camera.name) == stamp_ns:
                    if not isinstance(content, VideoImage):
                        content = image_message(content, camera.sends_files)
                    images[camera.name] = decode_message(content)
        if self.snapshot is None or len(images) >= len(self.snapshot.images):
            self.snapshot = Snapshot(message, images)
