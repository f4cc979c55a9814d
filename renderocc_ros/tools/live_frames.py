"""What a running node gets and says, set by set, for viewers."""

from __future__ import annotations

import signal
import time
from collections import OrderedDict, deque
from collections.abc import Iterator
from typing import Any

import numpy as np
import rclpy
from numpy.typing import NDArray
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from rich.console import Console
from sensor_msgs.msg import PointCloud2
from sensor_msgs_py import point_cloud2
from tf2_ros import Buffer, TransformListener

from renderocc_ros.class_set import ClassSet
from renderocc_ros.config import RigConfig, load_class_set
from renderocc_ros.msg import SemanticClasses, SemanticOccupancy
from renderocc_ros.node.inputs import Inputs, PosedSet
from renderocc_ros.node.parameters import NodeParameters
from renderocc_ros.node.statistics import Counters, StageTimes
from renderocc_ros.node.transforms import TransformReader
from renderocc_ros.occupancy.messages import class_set_of, occupancy_of, stamp_ns_of
from renderocc_ros.rig.camera_set import CameraSet, PosedImage
from renderocc_ros.rig.image_decoding import decode_for
from renderocc_ros.viewing.view_frame import ViewFrame

TRUTH_TOPIC = "/ground_truth/occupancy"
KEPT = 64  # sets, truths and scans that may wait for what the node says of their instant
WAIT_S, SPIN_S, SILENCE_S = 1.0, 0.1, 10.0
SAME_NS, LIDAR_TOLERANCE_NS = 10_000_000, 60_000_000
RELIABLE = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
LOSSY = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)


def live_frames(
    rig: RigConfig,
    occupancy_topic: str,
    truth_topic: str | None,
    lidar_topic: str | None,
    console: Console,
) -> Iterator[ViewFrame]:
    """A frame for everything that the node says, until SIGINT or SIGTERM.

    Args:
        rig: of the node.
        truth_topic: "" for none.
        lidar_topic: PointCloud2; the only one if not given, "" for none.
        console: told when nothing comes.
    """
    stopped: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.append(1))
    rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
    node = rclpy.create_node("renderocc_view")
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    watch = _LiveWatch(node, rig, occupancy_topic, truth_topic, lidar_topic)
    told_s = time.monotonic()
    try:
        while not stopped:
            executor.spin_once(timeout_sec=SPIN_S)
            for frame in watch.take():
                told_s = time.monotonic()
                yield frame
            if time.monotonic() - told_s > SILENCE_S:
                told_s = time.monotonic()
                console.print(f"[yellow]{watch.silence()}", soft_wrap=True)
    finally:
        executor.shutdown()
        watch.destroy()
        node.destroy_node()
        rclpy.try_shutdown()


class _LiveWatch:
    """Subscribes to what the node gets and says, and brings together what is of one instant."""

    def __init__(
        self,
        node: Any,
        rig: RigConfig,
        occupancy_topic: str,
        truth_topic: str | None,
        lidar_topic: str | None,
    ) -> None:
        self._node, self._rig, self._lidar_topic = node, rig, lidar_topic
        self._topic = occupancy_topic
        self._tables: dict[str, ClassSet] = {}
        self._sets: OrderedDict[int, PosedSet] = OrderedDict()
        self._truths: deque[SemanticOccupancy] = deque(maxlen=KEPT)
        self._scans: deque[PointCloud2] = deque(maxlen=KEPT)
        self._said: deque[tuple[float, SemanticOccupancy]] = deque(maxlen=KEPT)
        self._inputs = Inputs(
            node,
            rig,
            NodeParameters(image_depth=10),
            on_image=lambda camera, image: None,
            on_set=self._on_set,
            on_time_jump=lambda: None,
            times=StageTimes(),
            counters=Counters(),
        )
        self._buffer = Buffer()
        self._listener = TransformListener(self._buffer, node, spin_thread=False)
        self._transforms = TransformReader(self._buffer, rig.base_frame, rig.odom_frame, rig.mounts)
        for topic in filter(None, (occupancy_topic, _truth_of(truth_topic))):
            classes = f"{topic.rpartition('/')[0]}/classes"
            node.create_subscription(SemanticClasses, classes, self._on_classes, LATCHED)
        node.create_subscription(SemanticOccupancy, occupancy_topic, self._on_said, RELIABLE)
        if _truth_of(truth_topic):
            node.create_subscription(
                SemanticOccupancy, _truth_of(truth_topic), self._on_truth, RELIABLE
            )
        if lidar_topic:
            self._listen_to_lidar(lidar_topic)

    def take(self) -> Iterator[ViewFrame]:
        """The frames that are complete, or have waited long enough for their images."""
        while self._said:
            arrived_s, message = self._said[0]
            stamp_ns = stamp_ns_of(message.header.stamp)
            if stamp_ns not in self._sets and time.monotonic() - arrived_s < WAIT_S:
                return
            self._said.popleft()
            ready = self._sets.get(stamp_ns)
            truth = _nearest(self._truths, stamp_ns, SAME_NS)
            yield ViewFrame(
                stamp_ns,
                None if ready is None else self._cameras(ready),
                occupancy_of(message, self._table(message.class_table)),
                None if truth is None else occupancy_of(truth, self._table(truth.class_table)),
                self._points(stamp_ns),
            )

    def silence(self) -> str:
        """Why there is nothing to see."""
        count = self._node.count_publishers(self._topic)
        if not count:
            return f"nobody publishes {self._topic}: start the node, or give its name with --node"
        return (
            f"nothing on {self._topic} for {SILENCE_S:.0f} s: the node's /diagnostics say why, or "
            f"'renderocc doctor --rig {self._rig.name}'"
        )

    def destroy(self) -> None:
        """Unsubscribe."""
        self._inputs.destroy()
        self._listener.unregister()

    def _on_set(self, ready: PosedSet) -> None:
        self._sets[ready.stamp_ns] = ready
        while len(self._sets) > KEPT:
            self._sets.popitem(last=False)
        if self._lidar_topic is None:
            self._find_lidar()

    def _on_said(self, message: SemanticOccupancy) -> None:
        self._said.append((time.monotonic(), message))

    def _on_truth(self, message: SemanticOccupancy) -> None:
        self._truths.append(message)

    def _on_scan(self, message: PointCloud2) -> None:
        self._scans.append(message)

    def _on_classes(self, message: SemanticClasses) -> None:
        self._tables[message.class_table] = class_set_of(message)

    def _table(self, name: str) -> ClassSet:
        if name not in self._tables:
            self._tables[name] = load_class_set(name)
        return self._tables[name]

    def _find_lidar(self) -> None:
        """The only cloud that is none of voxels."""
        topics = self._node.get_topic_names_and_types()
        named = [name for name, kinds in topics if "sensor_msgs/msg/PointCloud2" in kinds]
        voxels = {
            f"{name.rpartition('/')[0]}/points"
            for name, kinds in topics
            if "renderocc_ros/msg/SemanticOccupancy" in kinds
        }
        clouds = [name for name in named if name not in voxels]
        if len(clouds) == 1:
            self._listen_to_lidar(clouds[0])

    def _listen_to_lidar(self, topic: str) -> None:
        self._lidar_topic = topic
        self._node.create_subscription(PointCloud2, topic, self._on_scan, LOSSY)

    def _cameras(self, ready: PosedSet) -> CameraSet | None:
        """Decoded; a camera whose image cannot be read is missing."""
        posed_images: dict[str, PosedImage] = {}
        for name, image in ready.images.items():
            try:
                pixels, model = decode_for(image.message(), ready.models[name], lambda _: 1)
                pose = ready.ego_from_camera[name]
                posed_images[name] = PosedImage(name, image.stamp_ns, pixels, model, pose)
            except ValueError:
                continue
        if not posed_images:
            return None
        slots = tuple(posed_images.get(name) for name in self._rig.names)
        return CameraSet(ready.stamp_ns, self._rig.names, slots, ready.odom_from_ego)

    def _points(self, stamp_ns: int) -> NDArray[np.float32] | None:
        cloud = _nearest(self._scans, stamp_ns, LIDAR_TOLERANCE_NS)
        if cloud is None:
            return None
        scanned = {"lidar": (cloud.header.frame_id, stamp_ns_of(cloud.header.stamp))}
        pose = self._transforms.poses(stamp_ns, scanned).ego_from_camera.get("lidar")
        if pose is None:
            return None
        points = point_cloud2.read_points(cloud, ("x", "y", "z"), skip_nans=True)
        stacked = np.stack([points[axis].ravel() for axis in "xyz"], axis=1)
        return pose.apply(stacked).astype(np.float32)


def _truth_of(topic: str | None) -> str:
    return TRUTH_TOPIC if topic is None else topic


def _nearest(messages: deque[Any], stamp_ns: int, tolerance_ns: int) -> Any | None:
    """The message of an instant; None if none is within the tolerance."""

    def distance_ns(message: Any) -> int:
        return abs(stamp_ns_of(message.header.stamp) - stamp_ns)

    near = [message for message in messages if distance_ns(message) <= tolerance_ns]
    return min(near, key=distance_ns, default=None)
