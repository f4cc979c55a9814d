"""A robot for the tests: real publishers of images, CameraInfo and TF; its parts can be broken."""

from __future__ import annotations

import threading
import time
from array import array
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
import yaml
from geometry_msgs.msg import TransformStamped
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from tf2_msgs.msg import TFMessage

from renderocc_ros.geometry import RigidTransform
from renderocc_ros.occupancy.messages import stamp_ns_of
from renderocc_ros.occupancy.ros_messages import to_time

WIDTH, HEIGHT, FOCAL_PX = 192, 80, 110.0
# Optical frame (x right, y down, z forward) seen from a body frame (x forward, y left, z up).
BODY_FROM_OPTICAL = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
NAMES = ("front", "left", "rear")
PERIOD_S = 0.1
SPEED_M_S = 3.0


def rig_content(names: tuple[str, ...] = NAMES, **sync: Any) -> dict[str, Any]:
    """A rig file's content for these cameras."""
    cameras = [
        {"name": name, "image_topic": f"{name}/image_raw", "frame": f"{name}_optical"}
        for name in names
    ]
    return {
        "name": "test_robot",
        "cameras": [{**camera, "offset_ms": 5.0 * number} for number, camera in enumerate(cameras)],
        "sync": {"missing": "mask", "timeout_s": 0.15, "period_s": PERIOD_S, **sync},
    }


def write_rig(path: Any, content: dict[str, Any]) -> str:
    """Write a rig file; returns its path as text."""
    path.write_text(yaml.safe_dump(content))
    return str(path)


def test_image(name: str, number: int) -> np.ndarray:
    """(H, W, 3) uint8 RGB: smooth, so that JPEG keeps it, and different every time."""
    seed = np.random.default_rng([sum(name.encode()), number])
    coarse = seed.integers(0, 256, (5, 9, 3)).astype(np.uint8)
    return np.asarray(cv2.resize(coarse, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC))


def ego_from_camera(name: str) -> RigidTransform:
    """Where the robot carries a camera: 1.5 m high, looking along its name."""
    angle = {"front": 0.0, "left": np.pi / 2, "rear": np.pi}.get(name, 0.3)
    c, s = np.cos(angle), np.sin(angle)
    turn = np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
    return RigidTransform(turn @ BODY_FROM_OPTICAL, turn @ np.array([0.5, 0.0, 1.5]))


def odom_from_ego(stamp_ns: int, start_ns: int) -> RigidTransform:
    """The robot drives straight on from its start."""
    return RigidTransform(np.eye(3), np.array([SPEED_M_S * (stamp_ns - start_ns) * 1e-9, 0, 0]))


def transform(parent: str, child: str, pose: RigidTransform, stamp_ns: int) -> TransformStamped:
    message = TransformStamped(child_frame_id=child)
    message.header.frame_id, message.header.stamp = parent, to_time(stamp_ns)
    (x, y, z), (qx, qy, qz, qw) = pose.translation, pose.quaternion_xyzw
    t, q = message.transform.translation, message.transform.rotation
    t.x, t.y, t.z = float(x), float(y), float(z)
    q.x, q.y, q.z, q.w = float(qx), float(qy), float(qz), float(qw)
    return message


@dataclass
class FakeCamera:
    """One camera; a test sets its fields to break it.

    Attributes:
        alive: sends images.
        sends_info: sends CameraInfo.
        spoil: changes an image message before it goes out; may return what goes out instead of it:
            messages, or the bytes of some.
        spoil_info: the same for a CameraInfo.
    """

    name: str
    images: Any
    infos: Any
    offset_ns: int
    alive: bool = True
    sends_info: bool = True
    spoil: Callable[[Any], Any] = lambda message: None
    spoil_info: Callable[[Any], Any] = lambda message: None


@dataclass
class SentSet:
    """What one cycle took: the reference's true stamp, and each camera's message as it was sent."""

    stamp_ns: int
    at_s: float  # on the monotonic clock
    images: dict[str, Any] = field(default_factory=dict)

    @property
    def stamps_ns(self) -> dict[str, int]:
        """By camera, as the headers say."""
        return {name: stamp_ns_of(image.header.stamp) for name, image in self.images.items()}


class Robot:
    """Drives and takes pictures in a thread, until stopped.

    Attributes:
        cameras: by name.
        period_s: between two pictures of a camera.
        sends_odom: TF odom → base_link goes out.
        odom_delay_s: how much later than it is measured.
        spoil_odom: changes a transform of it before it goes out.
        clock_shift_ns: added to every stamp; a test changes it to make time jump.
    """

    def __init__(
        self,
        node: Any,
        names: tuple[str, ...] = NAMES,
        compressed: bool = True,
        reliability: ReliabilityPolicy = ReliabilityPolicy.RELIABLE,
        namespace: str = "",
        period_s: float = PERIOD_S,
    ) -> None:
        self.node, self.compressed = node, compressed
        self.period_s = self._usual_period_s = period_s
        self.sends_odom, self.odom_delay_s, self.clock_shift_ns = True, 0.0, 0
        self.spoil_odom: Callable[[Any], None] = lambda transform: None
        self.sent: list[SentSet] = []
        self.cycles = 0
        self._between_cycles = threading.Lock()
        qos = QoSProfile(depth=10, reliability=reliability)
        kind, ending = self._transport()
        self.cameras = {
            name: FakeCamera(
                name,
                node.create_publisher(kind, f"{namespace}/{name}/image_raw{ending}", qos),
                node.create_publisher(CameraInfo, f"{namespace}/{name}/camera_info", 10),
                5_000_000 * number,
            )
            for number, name in enumerate(names)
        }
        self.tf = node.create_publisher(TFMessage, "/tf", 100)
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self.tf_static = node.create_publisher(TFMessage, "/tf_static", latched)
        self.start_ns = time.time_ns()
        self.publish_static(names)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Robot:
        self._thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self.stop()
        for camera in self.cameras.values():
            self.node.destroy_publisher(camera.images)
            self.node.destroy_publisher(camera.infos)
        self.node.destroy_publisher(self.tf)
        self.node.destroy_publisher(self.tf_static)

    def _transport(self) -> tuple[Any, str]:
        """Type of the image messages, and what follows the name of the raw topic."""
        return (CompressedImage, "/compressed") if self.compressed else (Image, "")

    def stop(self) -> None:
        """Send nothing any more."""
        self._stop.set()
        self._thread.join()

    def publish_static(self, names: tuple[str, ...]) -> None:
        """Latch where these cameras are."""
        poses = [
            transform("base_link", f"{name}_optical", ego_from_camera(name), self.start_ns)
            for name in names
        ]
        self.tf_static.publish(TFMessage(transforms=poses))

    def heal(self) -> None:
        """Everything works again."""
        self.sends_odom, self.odom_delay_s, self.period_s = True, 0.0, self._usual_period_s
        self.spoil_odom = lambda transform: None
        for camera in self.cameras.values():
            camera.alive = camera.sends_info = True
            camera.spoil = camera.spoil_info = lambda message: None

    def retire(self, publisher: Any) -> None:
        """Take down a publisher that the next cycle does not use; the one under way still may."""
        with self._between_cycles:
            self.node.executor.create_task(self.node.destroy_publisher, publisher)

    def cycle(self) -> None:
        """Take one picture with every camera and send all there is to send."""
        now_ns = time.time_ns() + self.clock_shift_ns
        number, self.cycles = self.cycles, self.cycles + 1
        sent = SentSet(now_ns, time.monotonic())
        for camera in self.cameras.values():
            stamp_ns = now_ns + camera.offset_ns
            if camera.sends_info:
                info = self.info_of(camera, stamp_ns)
                _publish(camera.infos, info, camera.spoil_info(info))
            if camera.alive:
                image = sent.images[camera.name] = self._image(camera, stamp_ns, number)
                _publish(camera.images, image, camera.spoil(image))
        if self.odom_delay_s:
            self._stop.wait(self.odom_delay_s)
        if self.sends_odom:
            stamps = [now_ns - 20_000_000, now_ns + 20_000_000]
            for stamp_ns in stamps:
                pose = odom_from_ego(stamp_ns, self.start_ns)
                message = transform("odom", "base_link", pose, stamp_ns)
                self.spoil_odom(message)
                self.tf.publish(TFMessage(transforms=[message]))
        self.sent.append(sent)

    def _run(self) -> None:
        due_s = time.monotonic()
        while not self._stop.is_set() and self.node.context.ok():
            with self._between_cycles:
                self.cycle()
            due_s = max(due_s + self.period_s, time.monotonic())
            self._stop.wait(due_s - time.monotonic())

    def _image(self, camera: FakeCamera, stamp_ns: int, number: int) -> Any:
        pixels = test_image(camera.name, number)
        if self.compressed:
            bgr = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
            message = CompressedImage(format="jpeg")
            message.data = array("B", cv2.imencode(".jpg", bgr)[1].tobytes())
        else:
            message = Image(width=WIDTH, height=HEIGHT, encoding="rgb8", step=3 * WIDTH)
            message.data = array("B", pixels.tobytes())
        message.header.frame_id = f"{camera.name}_optical"
        message.header.stamp = to_time(stamp_ns)
        return message

    def info_of(self, camera: FakeCamera, stamp_ns: int) -> CameraInfo:
        """A camera's calibration."""
        info = CameraInfo(width=WIDTH, height=HEIGHT, distortion_model="plumb_bob", d=[0.0] * 5)
        info.header.frame_id = f"{camera.name}_optical"
        info.header.stamp = to_time(stamp_ns)
        cx, cy = (WIDTH - 1) / 2, (HEIGHT - 1) / 2
        info.k = [FOCAL_PX, 0.0, cx, 0.0, FOCAL_PX, cy, 0.0, 0.0, 1.0]
        info.p = [FOCAL_PX, 0.0, cx, 0.0, 0.0, FOCAL_PX, cy, 0.0, 0.0, 0.0, 1.0, 0.0]
        return info


def _publish(publisher: Any, message: Any, instead: Any) -> None:
    for each in [message] if instead is None else instead:
        publisher.publish(each)
