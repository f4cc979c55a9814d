"""MCAP files record by record, without their index: what a broken one still holds, and ROS 1."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import count
from pathlib import Path
from typing import Any

from mcap.reader import make_reader
from mcap.records import Channel, Chunk, Message, Schema
from mcap.stream_reader import StreamReader, breakup_chunk
from rosbags.typesys import Stores, get_types_from_idl, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

SERIALISATIONS = ("cdr", "ros1")
REORDER_NS = 1_000_000_000  # messages may be stored so much too late; a recorder writes from caches


@dataclass(frozen=True)
class McapChannel:
    """A topic as the file declares it."""

    topic: str
    message_type: str
    latched: bool


class McapRecords:
    """Reads files from start to end and skips chunks that are broken.

    Args:
        files: of one recording, in their order.

    Raises:
        ValueError: not a single message can be read.

    Attributes:
        channels: by topic.
        counts: readable messages by topic.
        start_ns, end_ns: log times of the first and last readable message.
        damage: what is broken, one sentence per place.
        is_ros1: messages are in ROS 1's serialisation.
    """

    def __init__(self, files: Collection[Path]) -> None:
        self._files = list(files)
        self.channels: dict[str, McapChannel] = {}
        self.counts: Counter[str] = Counter()
        self.damage: list[str] = []
        self._schemas: dict[str, Schema] = {}
        self._unknown: set[str] = set()  # topics of another serialisation
        self.is_ros1 = False
        self.start_ns, self.end_ns = 2**63 - 1, 0
        for file in self._files:
            for channel, message in self._scan(file, self.damage):
                self.counts[channel.topic] += 1
                self.start_ns = min(self.start_ns, message.log_time)
                self.end_ns = max(self.end_ns, message.log_time)
        names = ", ".join(map(str, self._files))
        if not self.counts and self._unknown:
            raise ValueError(
                f"{names} holds no ROS messages, but {', '.join(sorted(self._unknown))}: give a "
                "recording in ROS 2's serialisation, cdr, or in that of ROS 1"
            )
        if not self.counts:
            raise ValueError(f"nothing can be read of {names}")
        self._typestore = self._defined_types()

    def messages(
        self, topics: Collection[str], start_ns: int | None, stop_ns: int | None
    ) -> Iterator[tuple[McapChannel, int, bytes]]:
        """(channel, log time, data) in the order of their log times."""
        waiting: list[tuple[int, int, McapChannel, bytes]] = []
        order = count()
        newest_ns = 0
        for file in self._files:
            for channel, message in self._scan(file, []):
                log_ns = message.log_time
                if channel.topic not in topics or log_ns < (start_ns or 0):
                    continue
                if stop_ns is not None and log_ns >= stop_ns:
                    continue
                heappush(waiting, (log_ns, next(order), channel, message.data))
                newest_ns = max(newest_ns, log_ns)
                while waiting[0][0] <= newest_ns - REORDER_NS:
                    yield _taken(waiting)
        while waiting:
            yield _taken(waiting)

    def decode(self, data: bytes, message_type: str) -> Any:
        """A message with its fields; raises whatever rosbags does."""
        if self.is_ros1:
            return self._typestore.deserialize_ros1(data, message_type)
        return self._typestore.deserialize_cdr(data, message_type)

    def _scan(self, file: Path, damage: list[str]) -> Iterator[tuple[McapChannel, Message]]:
        schemas: dict[int, Schema] = {}
        channels: dict[int, McapChannel] = {}
        with file.open("rb") as stream:
            records = iter(StreamReader(stream, emit_chunks=True).records)
            while True:
                try:
                    record = next(records, None)
                except Exception as error:  # broken records raise all kinds of errors
                    damage.append(f"{file.name}: cut off at byte {stream.tell()} ({_why(error)})")
                    return
                if record is None:
                    return
                try:
                    inner = breakup_chunk(record) if isinstance(record, Chunk) else [record]
                except Exception as error:
                    damage.append(f"{file.name}: a chunk is broken ({_why(error)})")
                    continue
                for entry in inner:
                    if isinstance(entry, Schema):
                        schemas[entry.id] = entry
                    elif isinstance(entry, Channel):
                        channel = self._channel(entry, schemas.get(entry.schema_id))
                        if channel is not None:
                            channels[entry.id] = channel
                    elif isinstance(entry, Message) and entry.channel_id in channels:
                        yield channels[entry.channel_id], entry

    def _channel(self, record: Channel, schema: Schema | None) -> McapChannel | None:
        """None for what is no ROS message."""
        if schema is None or record.message_encoding not in SERIALISATIONS:
            self._unknown.add(f"{record.topic} ({record.message_encoding or 'no encoding'})")
            return None
        self.is_ros1 |= record.message_encoding == "ros1"
        package, _, name = schema.name.rpartition("/")
        message_type = f"{package.removesuffix('/msg')}/msg/{name}"  # ROS 1 leaves the msg out
        self._schemas[message_type] = schema
        profiles = record.metadata.get("offered_qos_profiles", "")
        latched = "transient_local" in profiles or "durability: 1" in profiles
        channel = McapChannel(record.topic, message_type, latched)
        self.channels[record.topic] = channel
        return channel

    def _defined_types(self) -> Typestore:
        """The message definitions found in the files; one that cannot be read is left out."""
        store = get_typestore(Stores.EMPTY)
        for message_type, schema in self._schemas.items():
            try:
                text = schema.data.decode()
                if schema.encoding in ("ros2msg", "ros1msg"):
                    store.register(get_types_from_msg(text, message_type))
                    continue
                for part in text.split("=" * 80 + "\n"):
                    store.register(get_types_from_idl(part.partition("\n")[2] or part))
            except Exception as error:
                self.damage.append(f"the definition of {message_type} is broken ({_why(error)})")
        return store


def lacks_message_index(files: Collection[Path]) -> bool:
    """Whether an MCAP file is whole, but says nowhere in its index where its messages are."""
    for file in files:
        with file.open("rb") as stream:
            try:
                summary = make_reader(stream).get_summary()
            except Exception:  # a broken file is for others to report
                continue
        if summary is None or not summary.statistics or not summary.statistics.message_count:
            continue
        chunks = summary.chunk_indexes
        if chunks and not any(chunk.message_index_offsets for chunk in chunks):
            return True
    return False


def _taken(waiting: list[tuple[int, int, McapChannel, bytes]]) -> tuple[McapChannel, int, bytes]:
    log_ns, _, channel, data = heappop(waiting)
    return channel, log_ns, data


def _why(error: Exception) -> str:
    return f"{type(error).__name__} {error}".strip()
