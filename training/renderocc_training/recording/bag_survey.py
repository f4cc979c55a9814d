"""A first look into a recording of any length: its topics, and who is mounted on whom.

Time and memory are bounded: names and counts come from the recording's index, messages from its
first seconds. Topics that begin later are looked up by their first message, odometry by the first
transforms of it, and static transforms are read to the end.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from renderocc_ros.rig.image_decoding import image_header
from renderocc_ros.rig.stamp_learning import camera_period_ns, median_ns
from renderocc_ros.rig.video_stream import PACKET, VideoStream
from renderocc_training.recording import message_content as content
from renderocc_training.recording.bag_layout import IMAGE_KINDS, OCCUPANCY, TF, resolved
from renderocc_training.recording.bag_poses import put_transforms
from renderocc_training.recording.bag_reader import BagMessage, BagReader, Topic
from renderocc_training.recording.left_out import LeftOut
from renderocc_training.recording.transform_tree import TransformTree

CAMERA_INFO = "sensor_msgs/msg/CameraInfo"
CLOUD = "sensor_msgs/msg/PointCloud2"
ODOMETRY = "nav_msgs/msg/Odometry"
BOXES = "vision_msgs/msg/Detection3DArray"
# Types whose names of fields are known here; of all others, the index says enough.
READ = (*IMAGE_KINDS.values(), CAMERA_INFO, CLOUD, ODOMETRY, BOXES, OCCUPANCY)
WINDOW_NS, WINDOW_BYTES = 10_000_000_000, 400_000_000
MESSAGES = 30  # of one topic that are decoded
STATIC_MESSAGES, LATE_TRANSFORMS = 10_000, 2_000
# Frames that the world has, and no robot: where a robot's own frames end.
WORLD = frozenset(("odom", "map", "world", "earth", "utm"))


@dataclass
class SurveyedTopic:
    """What is known of a topic.

    Attributes:
        first: its first message that can be used, decoded, of a video its first picture; else its
            first one; None if none was read.
        frame: the frame_id of its first header, without a leading slash.
        stamps_ns, logged_ns: of the messages that were decoded; stamps are those of headers.
        problem: why none could be decoded.
        video: the decoder of a video.
    """

    topic: Topic
    first: Any = None
    first_is_broken: bool = False
    frame: str = ""
    stamps_ns: list[int] = field(default_factory=list)
    logged_ns: list[int] = field(default_factory=list)
    problem: str = ""
    video: VideoStream | None = None

    @property
    def name(self) -> str:
        """Full name."""
        return self.topic.name

    @property
    def message_type(self) -> str:
        """As rosbag2 writes it: package/msg/Name."""
        return self.topic.message_type

    @property
    def is_known(self) -> bool:
        """Whether no more of its messages need to be decoded."""
        return self.first is not None and len(self.logged_ns) >= MESSAGES

    @property
    def period_ns(self) -> int | None:
        """Time between two messages; None if it cannot be told from those that were read."""
        return camera_period_ns(self.stamps_ns) or camera_period_ns(self.logged_ns)

    @property
    def delay_ns(self) -> int:
        """Median time from stamp to record."""
        pairs = zip(self.stamps_ns, self.logged_ns, strict=True)
        return median_ns(logged - stamp for stamp, logged in pairs)


@dataclass
class BagSurvey:
    """What a recording holds, as far as its beginning and its index say.

    Attributes:
        topics: by name, in alphabetical order.
        tree: transforms: static ones whole, others of the first seconds.
        tf, tf_static: their topics; None if there is none.
        namespace: whose transforms these are; "" for /tf.
        other_robots: namespaces that have transforms of their own and were not read.
        seconds: of the whole recording.
        read: what was read, in words.
        damage: what is broken.
        left_out: transforms that are none.
    """

    path: Path
    topics: dict[str, SurveyedTopic]
    tree: TransformTree
    tf: str | None
    tf_static: str | None
    namespace: str
    other_robots: tuple[str, ...]
    seconds: float
    messages: int
    read: str
    damage: tuple[str, ...]
    left_out: LeftOut

    def of_type(self, *types: str) -> list[SurveyedTopic]:
        """Topics of these types that hold messages."""
        return [
            each for each in self.topics.values() if each.message_type in types and each.topic.count
        ]

    def images(self) -> list[SurveyedTopic]:
        """Topics that hold images of any kind."""
        return self.of_type(*IMAGE_KINDS.values())

    def several(self, message_type: str) -> bool:
        """Whether a user has to choose: more than one topic of a type, with or without messages."""
        return sum(each.message_type == message_type for each in self.topics.values()) > 1


def survey(path: Path, namespace: str = "") -> BagSurvey:
    """Look into a recording.

    Args:
        path: whatever ``BagReader`` opens; of a damaged one, what can be read.
        namespace: of one of several robots, whose transforms are read; if not given and there is no
            /tf, the one with most images.

    Raises:
        ValueError: not a recording, or nothing of it can be read; or no topic in the namespace.
    """
    with BagReader(path, salvage=True) as reader:
        topics = {name: SurveyedTopic(topic) for name, topic in sorted(reader.topics.items())}
        namespace = namespace.strip("/")
        if namespace and not any(name.startswith(f"/{namespace}/") for name in topics):
            raise ValueError(f"{path}: namespace '{namespace}' has no topic in it")
        namespace = namespace or _namespace(topics)
        tf, tf_static, others = _transform_topics(topics.values(), namespace)
        tree, left_out = TransformTree(), LeftOut()
        looked = [each.name for each in topics.values() if is_read(each.message_type)]
        static = _read_static(reader, tf_static, tree, left_out)
        seconds, count, size = _read_window(reader, topics, looked, tf, tree, left_out)
        for name in looked:
            if not topics[name].stamps_ns and topics[name].topic.count:
                for message in islice(reader.messages([name]), MESSAGES):
                    _take(reader, topics[name], message)
                    if topics[name].first is not None:
                        break
        spans = reader.message_count > 0
        return BagSurvey(
            path=path,
            topics=topics,
            tree=tree,
            tf=tf,
            tf_static=tf_static,
            namespace=namespace,
            other_robots=others,
            seconds=(reader.end_ns - reader.start_ns) * 1e-9 if spans else 0.0,
            messages=reader.message_count,
            read=f"{static} static transform messages, and {count} messages "
            f"({size / 1e6:.1f} MB) of the first {seconds:.1f} s",
            damage=tuple(dict.fromkeys(reader.damage)),
            left_out=left_out,
        )


def is_world(frame: str) -> bool:
    """Whether a frame stands on the ground and carries robots."""
    return not WORLD.isdisjoint(re.findall(r"[a-z]+", frame.lower().rpartition("/")[2]))


def is_read(message_type: str) -> bool:
    """Whether messages of a type are looked into, and not counted alone."""
    return message_type in READ


def _namespace(topics: Mapping[str, SurveyedTopic]) -> str:
    """Of the transforms, where /tf is not; of several that with most images below it."""
    if topics.keys() & {"/tf", "/tf_static"}:
        return ""
    images = [each.name for each in topics.values() if each.message_type in IMAGE_KINDS.values()]
    _, _, spaces = _transform_topics(topics.values(), "")
    return max(
        spaces, key=lambda space: sum(name.startswith(f"/{space}/") for name in images), default=""
    )


def _transform_topics(
    topics: Iterable[SurveyedTopic], namespace: str
) -> tuple[str | None, str | None, tuple[str, ...]]:
    """tf and tf_static of a namespace, else of the whole robot; and the namespaces left over."""
    names = [each.name for each in topics if each.message_type == TF and each.topic.count]
    chosen = [
        next((name for name in (resolved(kind, namespace), f"/{kind}") if name in names), None)
        for kind in ("tf", "tf_static")
    ]
    others = {name.rpartition("/")[0].strip("/") for name in names if name not in chosen} - {""}
    return chosen[0], chosen[1], tuple(sorted(others))


def _read_static(
    reader: BagReader, topic: str | None, tree: TransformTree, left_out: LeftOut
) -> int:
    count = 0
    if topic is not None:
        for message in islice(reader.messages([topic]), STATIC_MESSAGES):
            count += 1
            _put(reader, message, tree, True, left_out)
    return count


def _read_window(
    reader: BagReader,
    topics: dict[str, SurveyedTopic],
    looked: list[str],
    tf: str | None,
    tree: TransformTree,
    left_out: LeftOut,
) -> tuple[float, int, int]:
    """Read the beginning: seconds, messages and bytes of it."""
    names = [*looked, tf] if tf is not None else looked
    if not names or not reader.message_count:
        return 0.0, 0, 0
    start_ns = last_ns = reader.start_ns
    count = size = 0
    for message in reader.messages(names, stop_ns=start_ns + WINDOW_NS):
        count, size, last_ns = count + 1, size + len(message.data), message.log_time_ns
        if message.topic == tf:
            _put(reader, message, tree, False, left_out)
        elif not topics[message.topic].is_known:
            _take(reader, topics[message.topic], message)
        if size > WINDOW_BYTES:
            break
    if tf is not None and size > WINDOW_BYTES:
        for message in reader.messages([tf], last_ns + 1, start_ns + WINDOW_NS):
            _put(reader, message, tree, False, left_out)
    if tf is not None and not any(map(is_world, tree.frames)):  # odometry may begin later
        for message in islice(reader.messages([tf], start_ns + WINDOW_NS), LATE_TRANSFORMS):
            _put(reader, message, tree, False, left_out)
            if any(map(is_world, tree.frames)):
                break
    return (last_ns - start_ns) * 1e-9, count, size


def _put(
    reader: BagReader, message: BagMessage, tree: TransformTree, static: bool, left_out: LeftOut
) -> None:
    try:
        put_transforms(tree, reader.decode(message), static, left_out)
    except ValueError as error:
        left_out.note(message.topic, str(error))


def _take(reader: BagReader, known: SurveyedTopic, message: BagMessage) -> None:
    try:
        decoded = reader.decode(message)
    except ValueError as error:
        known.problem = known.problem or str(error)
        return
    header = getattr(decoded, "header", None)
    known.stamps_ns.append(message.log_time_ns if header is None else content.stamp_ns(decoded))
    known.logged_ns.append(message.log_time_ns)
    if header is not None and len(known.logged_ns) == 1:
        known.frame = str(header.frame_id).lstrip("/")
    if known.message_type == PACKET:
        known.first = known.first or _picture(known, decoded)
    elif known.first is None or known.first_is_broken:
        known.first, known.first_is_broken = decoded, not _is_whole(decoded, known.message_type)


def _is_whole(message: Any, message_type: str) -> bool:
    """Whether an image or a calibration can be used: a recorder may begin with a broken one."""
    try:
        if message_type == CAMERA_INFO:
            content.model_of_info(message)
        elif message_type in IMAGE_KINDS.values():
            image_header(message)
    except ValueError:
        return False
    return True


def _picture(known: SurveyedTopic, packet: Any) -> Any:
    """The first picture of a video, once it is whole; why there is none is noted."""
    try:
        known.video = known.video or VideoStream()
        pictures = known.video.decode(packet)
    except ValueError as error:  # PyAV is not installed
        known.problem = str(error)
        return None
    known.problem = next(iter(known.video.problems), known.problem)
    return next(iter(pictures), None)
