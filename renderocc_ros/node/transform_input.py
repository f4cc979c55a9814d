"""What comes on /tf and /tf_static, and what of it cannot be.

tf2 takes in whatever it gets: a single message that lies minutes ahead makes it forget the poses of
all that time, and two nodes that send the same frame alternate unseen. Here each transform is
looked at first. What is refused, or contradicts another, is a problem until it has stopped for
``PROBLEM_S``.
"""

from __future__ import annotations

import itertools
import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.serialization import deserialize_message
from tf2_msgs.msg import TFMessage
from tf2_ros import Buffer

from renderocc_ros.node.qos import NO_SUBSCRIPTION_EVENTS
from renderocc_ros.occupancy.messages import stamp_ns_of

Floats = NDArray[np.float64]

PROBLEM_S = 1.5
LEAP_NS, LEAPS_TO_BELIEVE = 5_000_000_000, 3
MAX_DISTANCE_M = 1e12  # farther than the Sun: no robot's, and squares of it lose all digits
NORM_TOLERANCE = 0.1
SAME_PLACE_M, SAME_ROTATION = 1e-3, 1e-3
# Two sources of one frame: it goes from one place to another and back, again and again, faster than
# anything turns round.
MAX_SPEED_M_S, MIN_JUMP_M = 3.0, 0.2
STEPS_SEEN, RETURNS_TO_TELL = 10, 3
PARENT_HOLDS_S = 10.0  # as long as tf2 keeps transforms
# Some localisations date ahead on purpose, by a second, and images may come late.
MAX_AHEAD_S, AHEAD_FOR_S, IMAGES_COME_S = 2.0, 0.4, 1.0
BACK_NS = 1_000_000_000


@dataclass
class _Frame:
    """The last transform of a moving frame."""

    parent: str
    stamp_ns: int
    place_m: Floats
    leaps: list[int] = field(default_factory=list)  # stamps of another time line, one after another
    # Metres from one transform to the next, None where it may have moved so fast.
    steps: deque[Floats | None] = field(default_factory=lambda: deque(maxlen=STEPS_SEEN))
    ahead_since_s: float | None = None  # of the images


class TransformInput:
    """Fills a tf2 buffer.

    Args:
        buffer: to fill.
        node: the rclpy node; callbacks run in its executor.
        image_time: gives the stamp of the newest image, nanoseconds, and its age in seconds; what
            lies near it is in time.
        on_leap: called when the transforms have gone to an earlier time line.

    Attributes:
        refused: transforms that were not taken.
    """

    def __init__(
        self,
        buffer: Buffer,
        node: Any,
        image_time: Callable[[], tuple[int, float]],
        on_leap: Callable[[], None],
    ) -> None:
        self.refused = 0
        self._buffer, self._node = buffer, node
        self._image_time, self._on_leap = image_time, on_leap
        self._moving: dict[str, _Frame] = {}
        self._parents: dict[str, tuple[str, float]] = {}  # by frame, and until when it holds
        self._static: dict[str, tuple[str, Floats]] = {}
        self._problems: dict[str, tuple[float, str]] = {}  # by topic and frame: when, and what
        self._contradictions: dict[str, tuple[int, str]] = {}  # by static frame: publishers, what
        self._subscriptions = [
            node.create_subscription(
                TFMessage,
                topic,
                partial(self._take, topic),
                QoSProfile(depth=100, durability=durability),
                raw=True,
                event_callbacks=NO_SUBSCRIPTION_EVENTS,
            )
            for topic, durability in (
                ("/tf", DurabilityPolicy.VOLATILE),
                ("/tf_static", DurabilityPolicy.TRANSIENT_LOCAL),
            )
        ]

    def problems(self) -> list[str]:
        """What was wrong just now, most recent last."""
        since_s = time.monotonic() - PROBLEM_S
        self._problems = {k: v for k, v in self._problems.items() if v[0] >= since_s}
        recent = [text for _, text in sorted(self._problems.values())]
        if self._contradictions:
            count = self._node.count_publishers("/tf_static")
            self._contradictions = {
                k: (then, text) for k, (then, text) in self._contradictions.items() if count >= then
            }
        return [text for _, text in self._contradictions.values()] + recent

    def clear(self) -> None:
        """The time line starts anew, as transforms that were held back for it have told."""
        for child, frame in self._moving.items():
            if frame.leaps:
                self._problems.pop(f"/tf {child}", None)
        self._moving.clear()

    def destroy(self) -> None:
        """Unsubscribe."""
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)

    def _take(self, topic: str, serialised: bytes) -> None:
        try:
            transforms = deserialize_message(serialised, TFMessage).transforms
        except Exception as error:  # of the middleware, which has many kinds
            self._refuse(topic, "", f"a message of {len(serialised)} bytes cannot be read: {error}")
            return
        for transform in transforms:
            try:
                self._take_one(topic, transform)
            except Exception as error:  # of tf2, which has many kinds: one transform costs no other
                self._refuse(topic, transform.child_frame_id, str(error))

    def _take_one(self, topic: str, transform: Any) -> None:
        parent, child = transform.header.frame_id.lstrip("/"), transform.child_frame_id.lstrip("/")
        t, q = transform.transform.translation, transform.transform.rotation
        pose = np.array((t.x, t.y, t.z, q.x, q.y, q.z, q.w))
        stamp_ns = stamp_ns_of(transform.header.stamp)
        if fault := _fault(parent, child, pose, stamp_ns):
            self._refuse(topic, child, f"{parent} ← {child}: {fault}")
            return
        if self._closes_loop(parent, child):
            self._refuse(topic, child, f"{parent} ← {child} closes a loop of frames")
            return
        is_static = topic == "/tf_static"
        until_s = math.inf if is_static else time.monotonic() + PARENT_HOLDS_S
        self._parents[child] = parent, until_s
        if is_static:
            self._compare_static(parent, child, pose)
            self._buffer.set_transform_static(transform, "tf_static")
        elif self._is_in_time(parent, child, stamp_ns, pose):
            self._buffer.set_transform(transform, "tf")

    def _closes_loop(self, parent: str, child: str) -> bool:
        """Whether a frame is said to hang on one that hangs on it."""
        now_s, above = time.monotonic(), parent
        known, until_s = self._parents.get(child, ("", 0.0))
        if known == parent and until_s >= now_s:
            return False
        while above != child:
            above, until_s = self._parents.get(above, ("", 0.0))
            if until_s < now_s:
                return False
        return True

    def _compare_static(self, parent: str, child: str, pose: Floats) -> None:
        before = self._static.get(child)
        self._static[child] = parent, pose
        if before is None:
            return
        if before[0] != parent:
            what = f"has two parents, {before[0]} and {parent}"
        elif not _same(before[1], pose):
            distance_m = float(np.linalg.norm(before[1][:3] - pose[:3]))
            what = f"is at two places in {parent}, {distance_m:.3f} m apart or turned"
        else:
            return
        count = self._node.count_publishers("/tf_static")
        if count > 1:  # a single source may correct itself
            text = f"/tf_static: {child} {what}; {count} publishers, the last one counts: stop one"
            self._contradictions[child] = count, text

    def _is_in_time(self, parent: str, child: str, stamp_ns: int, pose: Floats) -> bool:
        """Whether a moving transform follows those before it; notes what does not."""
        frame = self._moving.get(child)
        if frame is None:
            self._moving[child] = _Frame(parent, stamp_ns, pose[:3])
            return True
        distance_ns = stamp_ns - frame.stamp_ns
        if self._is_back_from_ahead(frame, distance_ns):
            self._buffer.clear()  # what was told of the time to come lies among what is true
            self._moving[child] = _Frame(parent, stamp_ns, pose[:3])
            return True
        if abs(distance_ns) > LEAP_NS:
            frame.leaps.append(stamp_ns)
            if abs(stamp_ns - frame.leaps[0]) > LEAP_NS:
                frame.leaps = [stamp_ns]
            near_images = abs(stamp_ns - self._image_time()[0]) < LEAP_NS
            if len(frame.leaps) < LEAPS_TO_BELIEVE and not near_images:
                self._refuse(
                    "/tf",
                    child,
                    f"{parent} ← {child} is {abs(distance_ns) * 1e-9:.1f} s "
                    f"{'ahead of' if distance_ns > 0 else 'behind'} the last one: clocks differ",
                )
                return False
            if distance_ns < 0:  # tf2 would take nothing that is older than what it has
                self._buffer.clear()
                self._on_leap()
            self._problems.pop(f"/tf {child}", None)  # it is time that has leapt
            self._moving[child] = _Frame(parent, stamp_ns, pose[:3])
            return True
        frame.leaps.clear()
        if frame.parent != parent:
            text = f"{child} has two parents, {frame.parent} and {parent}: stop one of the sources"
            self._note("/tf", child, text)
        else:
            self._compare_place(frame, child, distance_ns, pose)
        self._compare_with_images(frame, child, stamp_ns)
        frame.parent, frame.place_m = parent, pose[:3]
        frame.stamp_ns = max(frame.stamp_ns, stamp_ns)
        return True

    def _is_back_from_ahead(self, frame: _Frame, distance_ns: int) -> bool:
        """Whether a source that was ahead of the images for a while has now the right time."""
        since_s = frame.ahead_since_s
        was_ahead = since_s is not None and time.monotonic() - since_s > AHEAD_FOR_S
        return was_ahead and distance_ns < -BACK_NS

    def _compare_place(self, frame: _Frame, child: str, distance_ns: int, pose: Floats) -> None:
        step_m = pose[:3] - frame.place_m
        fastest_m = max(MIN_JUMP_M, MAX_SPEED_M_S * abs(distance_ns) * 1e-9)
        is_fast = math.hypot(*step_m) > fastest_m
        frame.steps.append(step_m if is_fast else None)
        if not is_fast:
            return
        steps = [step for step in frame.steps if step is not None]
        returns = sum(float(step @ after) < 0 for step, after in itertools.pairwise(steps))
        if returns >= RETURNS_TO_TELL:
            self._note(
                "/tf",
                child,
                f"{frame.parent} ← {child} jumps by {math.hypot(*step_m):.2f} m and back: two "
                "sources disagree (odometry and a filter, say); stop one of them",
            )

    def _compare_with_images(self, frame: _Frame, child: str, stamp_ns: int) -> None:
        image_ns, age_s = self._image_time()
        ahead_s = (stamp_ns - image_ns) * 1e-9
        if age_s > IMAGES_COME_S or ahead_s < MAX_AHEAD_S:
            frame.ahead_since_s = None
            return
        now_s = time.monotonic()
        frame.ahead_since_s = frame.ahead_since_s or now_s
        if now_s - frame.ahead_since_s > AHEAD_FOR_S:
            self._note(
                "/tf",
                child,
                f"{frame.parent} ← {child} is {ahead_s:.1f} s ahead of the images: synchronise the "
                "clocks of cameras and odometry",
            )

    def _refuse(self, topic: str, frame: str, text: str) -> None:
        self.refused += 1
        self._note(topic, frame, f"{text}; not used")

    def _note(self, topic: str, frame: str, text: str) -> None:
        self._problems[f"{topic} {frame}"] = time.monotonic(), f"{topic}: {text}"


def _fault(parent: str, child: str, pose: Floats, stamp_ns: int) -> str:
    """Why a transform cannot be; empty if it can."""
    if not parent or not child or parent == child:
        return "frames need names, and two different ones"
    if not np.isfinite(pose).all():
        return f"not finite: {pose[:3].tolist()}, rotation {pose[3:].tolist()}"
    if np.abs(pose[:3]).max() > MAX_DISTANCE_M:
        return f"a translation of {pose[:3].tolist()} m"
    if abs(math.hypot(*pose[3:]) - 1) > NORM_TOLERANCE:
        return f"a rotation of length {math.hypot(*pose[3:]):.3g}, not 1: {pose[3:].tolist()}"
    if stamp_ns < 0:
        return f"a stamp before 1970: {stamp_ns * 1e-9:.3f} s"
    return ""


def _same(first: Floats, second: Floats) -> bool:
    turned = 1 - abs(float(first[3:] @ second[3:]))
    return bool(np.linalg.norm(first[:3] - second[:3]) < SAME_PLACE_M) and turned < SAME_ROTATION
