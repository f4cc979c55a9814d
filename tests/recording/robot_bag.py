"""Recordings of robots as their drivers leave them: any topics, frames, rates and encodings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from renderocc_ros.config import Mount
from renderocc_ros.geometry import CameraModel, RigidTransform
from renderocc_training.recording import messages
from renderocc_training.recording.bag_writer import BagWriter

MS = 1_000_000
START_NS = 1_700_000_000_000_000_000
LIDAR = Mount(position_m=(0.1, 0.0, 0.9))


def lens(width: int = 48, height: int = 32) -> CameraModel:
    """A lens of about 62 degrees."""
    middle = (width - 1) / 2, (height - 1) / 2
    intrinsics = [[0.83 * width, 0, middle[0]], [0, 0.83 * width, middle[1]], [0, 0, 1]]
    return CameraModel(width, height, intrinsics)


@dataclass(frozen=True)
class Camera:
    """A camera, or whatever else sends pictures.

    Attributes:
        topic: without /compressed.
        frame: in headers; "" for none.
        yaw_deg: where it looks, at ``place_m`` on the robot; None for a frame without a transform.
        transports: "raw", "compressed", and "empty compressed", a topic without messages.
        encoding: of raw pixels; "mono8" also makes grey files.
        info: topic; "" for the one beside the images, None for none.
        baseline_m: P's fourth column is that of the right camera of a rectified pair.
    """

    topic: str
    frame: str
    yaw_deg: float | None = 0.0
    place_m: tuple[float, float, float] = (0.3, 0.0, 0.6)
    transports: tuple[str, ...] = ("compressed",)
    encoding: str = "bgr8"
    info: str | None = ""
    model: CameraModel = field(default_factory=lens)
    rate_hz: float = 10.0
    phase_ms: float = 0.0
    delay_ms: float = 1.0
    baseline_m: float = 0.0
    stamped: bool = True

    def pixels(self, number: int) -> Any:
        random = np.random.default_rng(number + 100 * len(self.topic))
        shape = (self.model.height, self.model.width)
        if self.encoding in ("16UC1", "mono16"):
            return random.integers(0, 5000, shape, dtype=np.uint16)
        if self.encoding == "32FC1":
            return random.uniform(0, 5, shape).astype(np.float32)
        colours = random.integers(0, 256, (*shape, 3), dtype=np.uint8)
        return colours[..., 0] if self.encoding == "mono8" else colours

    def messages(self, number: int, stamp_ns: int) -> Iterator[tuple[str, Any]]:
        pixels = self.pixels(number)
        for transport in self.transports:
            if transport == "raw":
                image = messages.image(stamp_ns, self.frame, pixels, self.encoding)
                yield self.topic, image
            elif transport == "compressed":
                data = cv2.imencode(".jpg", pixels)[1].tobytes()
                yield (
                    f"{self.topic}/compressed",
                    messages.compressed_image(stamp_ns, self.frame, data),
                )
        if self.info is not None:
            info = messages.camera_info(stamp_ns, self.frame, self.model)
            info.p[3] = -self.baseline_m * info.p[0]
            yield self.info or f"{self.topic.rpartition('/')[0]}/camera_info", info


@dataclass
class RobotBag:
    """A robot that drives ahead at 1 m/s.

    Attributes:
        mounts: further static transforms: (parent, child, parent_from_child).
        base: carries the cameras; "" for no transforms at all.
        odom: moving frame in /tf; None for none.
        odometry: topic of nav_msgs/Odometry.
        tf: name of the transforms' topic.
        lidars: (topic, frame).
    """

    cameras: Sequence[Camera]
    mounts: Sequence[tuple[str, str, RigidTransform]] = ()
    base: str = "base_link"
    odom: str | None = "odom"
    odometry: str | None = None
    tf: str = "/tf"
    lidars: Sequence[tuple[str, str]] = ()
    seconds: float = 1.0
    start_ns: int = START_NS

    def events(self) -> Iterator[tuple[int, str, Any]]:
        static = [
            messages.transform_stamped(self.start_ns, *mount)
            for mount in [*self.mounts, *self._own_mounts()]
        ]
        if static and self.base:
            yield self.start_ns, f"{self.tf}_static", messages.tf(static)
        for stamp_ns in self._times(50.0):
            pose = RigidTransform(np.eye(3), np.array([(stamp_ns - self.start_ns) * 1e-9, 0, 0]))
            if self.odom and self.base:
                moved = messages.transform_stamped(stamp_ns, self.odom, self.base, pose)
                yield stamp_ns, self.tf, messages.tf([moved])
            if self.odometry:
                still = (0.0, 0.0, 0.0)
                frames = ("odom", self.base or "base_link")
                odometry = messages.odometry(stamp_ns, *frames, pose, still, still)
                yield stamp_ns, self.odometry, odometry
        for camera in self.cameras:
            for number, at_ns in enumerate(self._times(camera.rate_hz)):
                stamp_ns = at_ns + round(camera.phase_ms * MS)
                for topic, message in camera.messages(number, stamp_ns * camera.stamped):
                    yield stamp_ns + round(camera.delay_ms * MS), topic, message
        points = np.zeros(20, [("x", "<f4"), ("y", "<f4"), ("z", "<f4")])
        for topic, frame in self.lidars:
            for stamp_ns in self._times(10.0):
                yield stamp_ns + MS, topic, messages.point_cloud(stamp_ns, frame, points)

    def write(self, path: Path) -> Path:
        with BagWriter(path) as bag:
            for camera in self.cameras:
                if "empty compressed" in camera.transports:
                    kind = "sensor_msgs/msg/CompressedImage"
                    bag.add_topic(f"{camera.topic}/compressed", kind)
            for log_ns, topic, message in sorted(self.events(), key=lambda event: event[0]):
                bag.write(topic, message, log_ns)
        return path

    def _times(self, rate_hz: float) -> list[int]:
        period_ns = round(1e9 / rate_hz)
        return [self.start_ns + i * period_ns for i in range(round(self.seconds * rate_hz))]

    def _own_mounts(self) -> Iterator[tuple[str, str, RigidTransform]]:
        for camera in self.cameras:
            if camera.yaw_deg is not None and camera.frame:
                mount = Mount(position_m=camera.place_m, yaw_deg=camera.yaw_deg)
                yield self.base, camera.frame, mount.base_from_optical()
        for _, frame in self.lidars:
            yield self.base, frame, LIDAR.base_from_body()
