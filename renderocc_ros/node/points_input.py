"""A LiDAR's points for the self-check: kept as they come, read when they are asked for."""

from __future__ import annotations

import time
from collections import Counter, deque
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import PointCloud2

from renderocc_ros.node.diagnostics import OK, WARN, Finding
from renderocc_ros.node.image_messages import peek_header
from renderocc_ros.node.qos import NO_SUBSCRIPTION_EVENTS, mismatch, overridden
from renderocc_ros.node.statistics import Arrivals
from renderocc_ros.node.transforms import TransformMissing, TransformReader
from renderocc_ros.rig.cloud_reading import finite_points, points_of

KEPT = 16  # clouds that wait to be asked for: more than a second of a LiDAR at 10 Hz
MAX_APART_S = 0.15  # a cloud and the image that it is compared with
SILENT_S = 1.0


class _Unusable(Exception):
    """A cloud is of no use; its reason in a word, for counting."""

    def __init__(self, reason: str, problem: str) -> None:
        super().__init__(problem)
        self.reason = reason


class PointsInput:
    """Subscribes to clouds and gives the one nearest to a time, in the odometry frame.

    Args:
        node: the rclpy node.
        topic: of the PointCloud2 messages.
        transforms: for the thread that asks alone.
        odom_frame: the frame that does not jump.

    Attributes:
        used: clouds that were read.
        dropped: clouds that were of no use when they came or when they were asked for, by reason.
        problem: why the last one that was asked for is not usable; empty if it is.
    """

    def __init__(self, node: Any, topic: str, transforms: TransformReader, odom_frame: str) -> None:
        self.used = 0
        self.dropped: Counter[str] = Counter()
        self.problem = ""
        self._node, self._transforms, self._odom = node, transforms, odom_frame
        self._arrivals = Arrivals()
        self._started_s = time.monotonic()
        self._lock = Lock()
        self._clouds: deque[tuple[int, str, bytes]] = deque(maxlen=KEPT)
        reliability = ReliabilityPolicy.BEST_EFFORT
        self._qos = overridden(node, topic, QoSProfile(depth=2, reliability=reliability))
        self._subscription = node.create_subscription(
            PointCloud2,
            topic,
            self._take,
            self._qos,
            raw=True,
            event_callbacks=NO_SUBSCRIPTION_EVENTS,
        )

    def destroy(self) -> None:
        """Unsubscribe."""
        self._node.destroy_subscription(self._subscription)

    def clear(self) -> None:
        """Forget what is kept: the time line starts anew."""
        with self._lock:
            self._clouds.clear()

    def near(self, stamp_ns: int) -> NDArray[np.float64] | None:
        """Points (N, 3) in the odometry frame, of the cloud nearest to a time, metres.

        None, and the reason is counted, where there is no such cloud or it cannot be used.
        """
        with self._lock:
            clouds = list(self._clouds)
        if not clouds:
            return None
        nearest = min(clouds, key=lambda cloud: abs(cloud[0] - stamp_ns))
        try:
            points = self._points(*nearest, stamp_ns)
        except _Unusable as unusable:
            self._refuse(unusable.reason, str(unusable))
            return None
        self.used, self.problem = self.used + 1, ""
        return points

    def finding(self, blind_s: float) -> Finding:
        """What comes and what is wrong with it, for diagnostics.

        Args:
            blind_s: for how long this process could not look.
        """
        topic, age_s = self._subscription.topic_name, self._arrivals.age_s
        values = {
            "topic": topic,
            "rate_hz": f"{self._arrivals.rate_hz:.2f}",
            "received": str(self._arrivals.count),
            "used": str(self.used),
            **{f"dropped.{reason}": str(count) for reason, count in [*self.dropped.items()]},
        }
        silent_s = time.monotonic() - self._started_s if age_s is None else age_s
        if silent_s > SILENT_S + blind_s:
            problem = self._silence()
        elif self.problem:
            problem = f"cloud on {topic}: {self.problem}"
        else:
            return Finding("points", OK, f"{self._arrivals.rate_hz:.1f} Hz", values)
        return Finding("points", WARN, problem, values)

    def _take(self, serialised: bytes) -> None:
        self._arrivals.note()
        try:
            stamp_ns, frame = peek_header(serialised)
        except Exception as error:  # whatever one cloud does, the others go on
            self.clear()  # those before it are soon too old, and would be said to be what is wrong
            self._refuse("no stamp", str(error))
            return
        with self._lock:
            self._clouds.append((stamp_ns, frame, serialised))

    def _points(
        self, cloud_ns: int, frame: str, serialised: bytes, stamp_ns: int
    ) -> NDArray[np.float64]:
        apart_s = (cloud_ns - stamp_ns) * 1e-9
        if abs(apart_s) > MAX_APART_S:
            side = "ahead of" if apart_s > 0 else "behind"
            raise _Unusable(
                "other time",
                f"the nearest one is {abs(apart_s):.2f} s {side} the images: synchronise the "
                "clocks of LiDAR and cameras",
            )
        try:
            odom_from_points = self._transforms.lookup(self._odom, frame, cloud_ns)
        except TransformMissing as missing:
            raise _Unusable("no transform", str(missing)) from missing
        try:
            read = finite_points(points_of(deserialize_message(serialised, PointCloud2)))
            points = np.stack([read[axis].astype(np.float64) for axis in "xyz"], axis=1)
        except Exception as error:  # of numpy and of the middleware too
            raise _Unusable("unreadable", f"cannot be read: {error}") from error
        if not len(points):
            raise _Unusable("empty", "no point in it has a place")
        return odom_from_points.apply(points)

    def _refuse(self, reason: str, problem: str) -> None:
        self.dropped[reason] += 1
        self.problem = problem

    def _silence(self) -> str:
        publishers = self._node.get_publishers_info_by_topic(self._subscription.topic_name)
        message = (
            f"no messages on {self._subscription.topic_name} ({len(publishers)} "
            f"publisher{'' if len(publishers) == 1 else 's'})"
        )
        for publisher in publishers:
            if reason := mismatch(publisher.qos_profile, self._qos):
                return f"{message}: incompatible QoS of {publisher.node_name}, {reason}"
        return message
