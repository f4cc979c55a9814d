"""What can still be read of an MCAP file whose end is missing or whose middle is broken."""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from mcap.exceptions import McapError
from mcap.records import Channel, Chunk, Message, Schema
from mcap.stream_reader import StreamReader, breakup_chunk
from rosbags.typesys import Stores, get_types_from_idl, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore
from zstandard import ZstdError

BROKEN = (McapError, ZstdError, struct.error, EOFError, ValueError, RuntimeError)


@dataclass(frozen=True)
class DamagedChannel:
    """A topic as the file declares it."""

    topic: str
    message_type: str
    latched: bool


class DamagedMcap:
    """Reads files record by record, without their index, and skips chunks that are broken.

    Args:
        files: of one recording, in their order.

    Raises:
        ValueError: not a single message can be read.

    Attributes:
        channels: by topic.
        counts: readable messages by topic.
        start_ns, end_ns: log times of the first and last readable message.
        damage: what is broken, one sentence per place.
        typestore: the message definitions found in the files.
    """

    def __init__(self, files: Collection[Path]) -> None:
        self._files = list(files)
        self.channels: dict[str, DamagedChannel] = {}
        self.counts: Counter[str] = Counter()
        self.damage: list[str] = []
        self.typestore: Typestore = get_typestore(Stores.EMPTY)
        self._schemas: dict[str, Schema] = {}
        self.start_ns, self.end_ns = 2**63 - 1, 0
        for file in self._files:
            for channel, message in self._scan(file, self.damage):
                self.counts[channel.topic] += 1
                self.start_ns = min(self.start_ns, message.log_time)
                self.end_ns = max(self.end_ns, message.log_time)
        if not self.counts:
            raise ValueError(f"nothing can be read of {', '.join(map(str, self._files))}")
        for schema in self._schemas.values():
            self._register(schema)

    def messages(
        self, topics: Collection[str], start_ns: int | None, stop_ns: int | None
    ) -> Iterator[tuple[DamagedChannel, int, bytes]]:
        """(channel, log time, data) in the order of the files."""
        for file in self._files:
            for channel, message in self._scan(file, []):
                if channel.topic not in topics:
                    continue
                if start_ns is not None and message.log_time < start_ns:
                    continue
                if stop_ns is not None and message.log_time >= stop_ns:
                    continue
                yield channel, message.log_time, message.data

    def _scan(self, file: Path, damage: list[str]) -> Iterator[tuple[DamagedChannel, Message]]:
        schemas: dict[int, Schema] = {}
        channels: dict[int, DamagedChannel] = {}
        with file.open("rb") as stream:
            records = iter(StreamReader(stream, emit_chunks=True).records)
            while True:
                try:
                    record = next(records, None)
                except BROKEN as error:
                    damage.append(f"{file.name}: cut off at byte {stream.tell()} ({_why(error)})")
                    return
                if record is None:
                    return
                try:
                    inner = breakup_chunk(record) if isinstance(record, Chunk) else [record]
                except BROKEN as error:
                    damage.append(f"{file.name}: a chunk is broken ({_why(error)})")
                    continue
                for entry in inner:
                    if isinstance(entry, Schema):
                        schemas[entry.id] = entry
                    elif isinstance(entry, Channel):
                        channels[entry.id] = self._channel(entry, schemas)
                    elif isinstance(entry, Message) and entry.channel_id in channels:
                        yield channels[entry.channel_id], entry

    def _channel(self, record: Channel, schemas: dict[int, Schema]) -> DamagedChannel:
        schema = schemas[record.schema_id]
        self._schemas[schema.name] = schema
        profiles = record.metadata.get("offered_qos_profiles", "")
        latched = "transient_local" in profiles or "durability: 1" in profiles
        channel = DamagedChannel(record.topic, schema.name, latched)
        self.channels[record.topic] = channel
        return channel

    def _register(self, schema: Schema) -> None:
        text = schema.data.decode()
        if schema.encoding == "ros2msg":
            self.typestore.register(get_types_from_msg(text, schema.name))
        else:
            for part in text.split("=" * 80 + "\n"):
                self.typestore.register(get_types_from_idl(part.partition("\n")[2] or part))


def _why(error: Exception) -> str:
    return f"{type(error).__name__} {error}".strip()
