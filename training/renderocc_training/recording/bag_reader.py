"""Reading recordings without ROS: rosbag2 (MCAP, sqlite3, compressed, split) and ROS 1 bags."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from rosbags import rosbag1, rosbag2
from rosbags.highlevel import AnyReader, AnyReaderError
from rosbags.interfaces import Connection, ConnectionExtRosbag2, QosDurability

from renderocc_training.recording.typestore import typestore

# What rosbags raises on a file that ends early or holds nonsense.
DAMAGE = (AnyReaderError, rosbag1.ReaderError, rosbag2.ReaderError, ValueError, EOFError)


@dataclass(frozen=True)
class Topic:
    """What a bag says of one topic."""

    name: str
    message_type: str
    count: int
    latched: bool


@dataclass(frozen=True)
class BagMessage:
    """One recorded message, still serialised.

    Attributes:
        log_time_ns: when the recorder received it.
        data: the message in the bag's own serialisation (CDR; ROS 1 for a .bag).
    """

    topic: str
    message_type: str
    log_time_ns: int
    data: bytes


class BagReader:
    """One bag, opened by ``with``.

    Args:
        path: a rosbag2 folder, a single .mcap or .db3 file, or a ROS 1 .bag file.

    Raises:
        ValueError: not a bag, or one that cannot be read; the message names it and says why.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        if not self.path.exists():
            raise ValueError(f"there is no bag at {self.path}")
        try:
            self._reader = AnyReader([self.path], default_typestore=typestore())
        except (AnyReaderError, FileNotFoundError) as error:
            raise ValueError(f"{self.path} is not a bag that can be read: {error}") from error

    def __enter__(self) -> BagReader:
        try:
            self._reader.open()
        except AnyReaderError as error:
            raise ValueError(f"{self.path} cannot be read: {error}") from error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._reader.close()

    @property
    def topics(self) -> dict[str, Topic]:
        """All topics by name."""
        topics: dict[str, Topic] = {}
        for connection in self._reader.connections:
            known = topics.get(connection.topic)
            topics[connection.topic] = Topic(
                connection.topic,
                connection.msgtype,
                connection.msgcount + (known.count if known else 0),
                _is_latched(connection) or bool(known and known.latched),
            )
        return topics

    @property
    def start_ns(self) -> int:
        """Log time of the first message."""
        return self._reader.start_time

    @property
    def end_ns(self) -> int:
        """Log time of the last message."""
        return self._reader.end_time - 1

    @property
    def message_count(self) -> int:
        """Number of messages on all topics."""
        return self._reader.message_count

    def messages(
        self,
        topics: Collection[str] | None = None,
        start_ns: int | None = None,
        stop_ns: int | None = None,
    ) -> Iterator[BagMessage]:
        """Messages in the order of their log times.

        Args:
            topics: only these; all if not given.
            start_ns, stop_ns: log times from (inclusive) and to (exclusive).

        Raises:
            ValueError: the file is damaged at this place.
        """
        chosen = [
            connection
            for connection in self._reader.connections
            if topics is None or connection.topic in topics
        ]
        if not chosen:
            return
        try:
            for connection, log_time_ns, data in self._reader.messages(chosen, start_ns, stop_ns):
                yield BagMessage(connection.topic, connection.msgtype, log_time_ns, data)
        except DAMAGE as error:
            raise ValueError(f"{self.path} is damaged: {error}") from error

    def decode(self, message: BagMessage) -> Any:
        """The message with its fields, by the definitions that the bag carries."""
        return self._reader.deserialize(message.data, message.message_type)


def _is_latched(connection: Connection) -> bool:
    if isinstance(connection.ext, ConnectionExtRosbag2):
        profiles = connection.ext.offered_qos_profiles
        return any(qos.durability is QosDurability.TRANSIENT_LOCAL for qos in profiles)
    return bool(connection.ext.latching)
