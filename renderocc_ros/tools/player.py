"""Playing a recording over ROS where ``ros2 bag`` is not at hand.

Messages go out as the bytes that were recorded, at their own pace by the machine's steady clock,
with the QoS that their publishers had offered.
"""

from __future__ import annotations

import heapq
import importlib
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from rclpy.duration import Duration
from rclpy.exceptions import InvalidTopicNameException
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.validate_full_topic_name import validate_full_topic_name
from rosbags.interfaces import Connection, Qos, QosDurability, QosReliability
from rosbags.rosbag2 import Reader
from rosgraph_msgs.msg import Clock

from renderocc_ros.outside_data import parsing

CLOCK_PERIOD_NS = 10_000_000
STOP_CHECK_S = 0.1  # between two looks at whether to stop
SETTLED_S = 0.5  # subscribers that come within this of each other are waited for together
ACKNOWLEDGE_S = 2.0
LATCHED_NAMES = ("tf_static", "robot_description")  # where the bag does not say what is
MAX_KEPT = 1000  # messages in a publisher's queue, whatever the file says
CURE = "it cannot be played; 'mcap recover' mends an MCAP file"


@dataclass(frozen=True)
class PlayOptions:
    """How to play.

    Attributes:
        rate: 2 plays twice as fast.
        loop: start again at the end, until stopped; header stamps and /clock jump back.
        clock: publish the recording's time on /clock, at least 100 times a second.
        start_s: skip the first seconds; what is latched is published all the same.
        topics: names or patterns such as "/cam_*/*"; all if empty.
        wait_for_subscribers: begin only when somebody listens.
        wait_for: begin only when each topic of these names or patterns has a listener; what the
            recording does not hold is not waited for.
    """

    rate: float = 1.0
    loop: bool = False
    clock: bool = False
    start_s: float = 0.0
    topics: tuple[str, ...] = ()
    wait_for_subscribers: bool = False
    wait_for: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 0 < self.rate < float("inf"):
            raise ValueError(f"rate {self.rate} must be above 0; 1 is the recording's own pace")
        if not 0 <= self.start_s < float("inf"):
            raise ValueError(f"start {self.start_s} s must be 0 or more")


@dataclass
class PlayReport:
    """What happened.

    Attributes:
        published: messages per topic.
        skipped: messages by what is not played and why: a type, or a topic.
        passes: how often the recording was played to its end.
        latest_s: how far behind its time the latest message went out.
    """

    published: Counter[str] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)
    passes: int = 0
    latest_s: float = 0.0


class BagPlayer:
    """Publishes the messages of one bag.

    Args:
        node: whose publishers are used.
        bag: a rosbag2 folder (MCAP or sqlite3), or a single .mcap or .db3 file.
        options: how to play.

    Raises:
        ValueError: no bag there, one that cannot be read, no such topic, or a start after its end.
    """

    def __init__(self, node: Node, bag: Path, options: PlayOptions) -> None:
        self.options = options
        self.report = PlayReport()
        self.stopped = False
        self._bag = bag
        self._reader = _open(bag)
        chosen = _choose(self._reader.connections, options.topics)
        if options.clock:  # time has one publisher
            chosen = [each for each in chosen if each.topic != "/clock"]
        kinds = {each.msgtype: _message_class(each.msgtype) for each in chosen}
        self._connections = [
            each for each in chosen if kinds[each.msgtype] and _is_topic_name(each.topic)
        ]
        for each in chosen:
            if kinds[each.msgtype] is None:
                self.report.skipped[f"{each.msgtype}, not installed here"] += each.msgcount
            elif not _is_topic_name(each.topic):
                self.report.skipped[f"{each.topic}, no topic name of ROS 2"] += each.msgcount
        if not self._connections:
            raise ValueError(f"{bag}: nothing to play; this ROS has none of {', '.join(kinds)}")
        self.start_ns = self._reader.start_time + round(options.start_s * 1e9)
        self.end_ns = self._reader.end_time
        if self.start_ns >= self.end_ns:
            length_s = (self.end_ns - self._reader.start_time) * 1e-9
            raise ValueError(f"start {options.start_s} s: the bag is {length_s:.1f} s long")
        with parsing(bag, CURE):  # names of topics come from the file
            self._publishers = {
                each.topic: node.create_publisher(kinds[each.msgtype], each.topic, _qos(each))
                for each in self._connections
            }
        self._clock = node.create_publisher(Clock, "/clock", 10) if options.clock else None

    def close(self) -> None:
        """Wait until what was sent has been acknowledged, then close the file."""
        for publisher in self._publishers.values():
            publisher.wait_for_all_acked(Duration(seconds=ACKNOWLEDGE_S))
        self._reader.close()

    def stop(self) -> None:
        """Make ``play`` return soon; safe to call from a signal handler.

        An exception from a handler would be lost where it strikes a destructor or a callback.
        """
        self.stopped = True

    def play(self, on_progress: Callable[[float], None] = lambda seconds: None) -> PlayReport:
        """Publish everything; returns at the end, or after ``stop``.

        Args:
            on_progress: told the recording's time in seconds since its start, often.
        """
        if self.options.wait_for_subscribers or self.options.wait_for:
            self._wait_for_subscribers()
        while not self.stopped:
            self._play_once(on_progress)
            if not self.stopped:
                self.report.passes += 1
            if not self.options.loop:
                break
        return self.report

    def _play_once(self, on_progress: Callable[[float], None]) -> None:
        self._publish_latched()
        begun = time.monotonic()
        published_clock_ns = 0
        for stamp_ns, connection, data in self._schedule():
            due = begun + (stamp_ns - self.start_ns) * 1e-9 / self.options.rate
            while (wait := due - time.monotonic()) > 0 and not self.stopped:
                time.sleep(min(wait, STOP_CHECK_S))
            if self.stopped:
                return
            if self._clock is not None and stamp_ns != published_clock_ns:
                self._clock.publish(_clock_message(stamp_ns))
                published_clock_ns = stamp_ns
            if connection is not None:
                self._publish(connection, data)
                self.report.latest_s = max(self.report.latest_s, time.monotonic() - due)
            on_progress((stamp_ns - self._reader.start_time) * 1e-9)

    def _schedule(self) -> Iterator[tuple[int, Connection | None, bytes]]:
        """Messages, and between them the ticks of /clock, in the order of time."""
        messages = (
            (stamp_ns, connection, data)
            for connection, stamp_ns, data in self._messages(self._connections, start=self.start_ns)
        )
        if self._clock is None:
            return messages
        # Often enough for whoever counts by the recording's time, and for who counts by the wall's.
        step = max(1, round(CLOCK_PERIOD_NS * min(1.0, self.options.rate)))
        ticks = ((stamp_ns, None, b"") for stamp_ns in range(self.start_ns, self.end_ns, step))
        return heapq.merge(ticks, messages, key=lambda event: event[0])

    def _messages(
        self, connections: Sequence[Connection], **times: int
    ) -> Iterator[tuple[Connection, int, bytes]]:
        """From the file; raises ValueError where it is damaged."""
        with parsing(self._bag, CURE):
            yield from self._reader.messages(connections, **times)

    def _publish_latched(self) -> None:
        """What a robot published once before the start, such as /tf_static."""
        latched = [each for each in self._connections if _is_latched(each)]
        if latched and self.options.start_s > 0:
            for connection, _, data in self._messages(latched, stop=self.start_ns):
                self._publish(connection, data)

    def _publish(self, connection: Connection, data: bytes) -> None:
        self._publishers[connection.topic].publish(bytes(data))
        self.report.published[connection.topic] += 1

    def _wait_for_subscribers(self) -> None:
        """Until somebody listens, and no further subscriber has come for a moment."""
        awaited = {
            topic
            for topic in self._publishers
            if any(fnmatchcase(topic, pattern) for pattern in self.options.wait_for)
        }
        count, since = 0, time.monotonic()
        while not self.stopped and (count == 0 or time.monotonic() - since < SETTLED_S or awaited):
            time.sleep(0.02)
            counts = {name: p.get_subscription_count() for name, p in self._publishers.items()}
            awaited = {topic for topic in awaited if not counts[topic]}
            now = sum(counts.values())
            if now != count:
                count, since = now, time.monotonic()


def _open(bag: Path) -> Reader:
    if bag.suffix == ".bag":
        raise ValueError(f"{bag} is a ROS 1 bag: turn it into rosbag2 with rosbags-convert")
    with parsing(bag, CURE):
        reader = Reader(bag)
        reader.open()
    return reader


def _is_topic_name(name: str) -> bool:
    """Whether ROS 2 takes the name; converters and simulators write others."""
    try:
        return bool(validate_full_topic_name(name))
    except InvalidTopicNameException:
        return False


def _choose(connections: Sequence[Connection], patterns: Sequence[str]) -> list[Connection]:
    names = sorted({connection.topic for connection in connections})
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise ValueError(f"no topic '{pattern}' in the bag; it holds: {', '.join(names)}")
    return [
        connection
        for connection in connections
        if not patterns or any(fnmatchcase(connection.topic, pattern) for pattern in patterns)
    ]


def _message_class(message_type: str) -> Any:
    """The Python class of a type such as sensor_msgs/msg/Image; None if ROS here lacks it."""
    package, _, name = message_type.replace("/", ".").rpartition(".")
    try:
        return getattr(importlib.import_module(package), name)
    except (ImportError, AttributeError, ValueError, TypeError):  # or no name of a module at all
        return None


def _offered(connection: Connection) -> list[Qos]:
    return list(getattr(connection.ext, "offered_qos_profiles", []))


def _is_latched(connection: Connection) -> bool:
    profiles = _offered(connection)
    if not profiles:  # as converters leave it
        return connection.topic.rpartition("/")[2] in LATCHED_NAMES
    return any(qos.durability is QosDurability.TRANSIENT_LOCAL for qos in profiles)


def _qos(connection: Connection) -> QoSProfile:
    """What the recorded publishers offered.

    A latched topic keeps all that the bag holds of it: /tf_static often has several publishers, and
    here one of them must serve late subscribers with the transforms of all.
    """
    profiles = _offered(connection)
    lossy = profiles and all(qos.reliability is QosReliability.BEST_EFFORT for qos in profiles)
    latched = _is_latched(connection)
    depth = max([10, *(qos.depth for qos in profiles)])
    if latched:
        depth = max(1, connection.msgcount)
    return QoSProfile(
        depth=min(depth, MAX_KEPT),
        reliability=ReliabilityPolicy.BEST_EFFORT if lossy else ReliabilityPolicy.RELIABLE,
        durability=(DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE),
    )


def _clock_message(stamp_ns: int) -> Clock:
    message = Clock()
    message.clock.sec, message.clock.nanosec = divmod(stamp_ns, 1_000_000_000)
    return message
