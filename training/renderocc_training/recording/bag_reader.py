"""Reading recordings without ROS: rosbag2 (MCAP, sqlite3, compressed, split) and ROS 1 bags."""

from __future__ import annotations

import re
import struct
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any

import zstandard
from rosbags.highlevel import AnyReader
from rosbags.interfaces import Connection, ConnectionExtRosbag2, QosDurability

from renderocc_ros.outside_data import parsing, reason_of
from renderocc_training.recording.mcap_records import McapChannel, McapRecords, lacks_message_index
from renderocc_training.recording.typestore import typestore

MCAP_CURE = (
    "'mcap recover' mends a file, 'ros2 bag reindex' a folder that lacks metadata.yaml; "
    "'renderocc extract' needs neither, it salvages what can be read"
)
DATABASE_CURE = "'sqlite3 FILE .recover | sqlite3 NEW' mends a database"
RECORDINGS = (".mcap", ".db3")
PACKED = ".zstd"
ZSTD_FRAME = b"\x28\xb5\x2f\xfd"  # a message in CDR begins with 0
LARGEST_MESSAGE = 1 << 30
METADATA = "metadata.yaml"
RESTORE = "copy it again"
NO_METADATA = "metadata.yaml is missing: the recorder did not end properly"


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
        salvage: of a damaged recording read what can be read, and say in ``damage`` what cannot.

    Raises:
        ValueError: not a bag, or one that cannot be read; the message names it and says why.

    Attributes:
        damage: what is broken, one sentence per place; empty without ``salvage``.
    """

    def __init__(self, path: Path | str, salvage: bool = False) -> None:
        self.path = Path(path)
        self.damage: list[str] = []
        self._salvage = salvage
        self._records: McapRecords | None = None
        if not self.path.exists():
            raise ValueError(f"there is no bag at {self.path}")
        if self.path.name == METADATA:
            raise ValueError(f"{self.path} describes a bag: give its folder, {self.path.parent}")
        if self.path.is_dir() and not _holds_recording(self.path):
            bags = sorted(each.name for each in self.path.iterdir() if _is_bag(each))
            hint = f"; name one of the bags in it: {', '.join(bags)}" if bags else ""
            raise ValueError(f"the folder {self.path} holds no recording{hint}")
        self._files = _recordings(self.path)
        self._unpacked: TemporaryDirectory[str] | None = None
        self._reader: AnyReader | None = None

    def __enter__(self) -> BagReader:
        problem = self._open([self.path])
        if problem and (self._salvage or self.path.is_file()):
            self._unpack()
        if problem and self.path.is_file() and self._files != [self.path]:
            problem = self._open(self._files)
        if problem and self._salvage and self.path.is_dir():
            # The files themselves, whatever metadata.yaml says of them.
            first_problem, problem = problem, self._open(self._files)
            if first_problem == NO_METADATA:
                self.damage.append(first_problem)
            elif not problem:
                self.damage.append(f"metadata.yaml does not fit its files: {first_problem}")
        if problem and self._is_mcap and (self._salvage or problem != NO_METADATA):
            records = McapRecords(self._files)
            if self._salvage or not records.damage:
                self._records, problem = records, ""
                self.damage += records.damage
        if problem:
            raise ValueError(
                f"{self.path} is not a bag, or cannot be read: {problem}{self._cure()}"
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._reader is not None:
            self._reader.close()
        if self._unpacked is not None:
            self._unpacked.cleanup()

    @property
    def _bag(self) -> AnyReader:
        if self._reader is None:
            raise ValueError(f"{self.path} is not open: read it inside of 'with'")
        return self._reader

    def _unpack(self) -> None:
        """Files that are compressed as a whole, until this is closed; metadata.yaml lists them."""
        for place, file in enumerate(self._files):
            if file.suffix == PACKED:
                if self._unpacked is None:
                    self._unpacked = TemporaryDirectory(prefix="renderocc-bag-")
                plain = Path(self._unpacked.name) / file.stem
                with file.open("rb") as source, plain.open("wb") as target, parsing(file, RESTORE):
                    zstandard.ZstdDecompressor().copy_stream(source, target)
                self._files[place] = plain

    def _open(self, paths: list[Path]) -> str:
        """Open this with rosbags; what is wrong if it cannot be, else nothing."""
        if paths[0].is_dir() and not (paths[0] / METADATA).exists():
            return NO_METADATA
        if self._is_mcap and lacks_message_index(self._files):
            return "there is no index of its messages"
        try:
            reader = AnyReader(paths, default_typestore=typestore())
            reader.open()
        except Exception as error:  # those of SQLite, zstd and lz4 come through rosbags
            return reason_of(error)
        self._reader = reader
        return ""

    @property
    def topics(self) -> dict[str, Topic]:
        """All topics by name."""
        if self._records is not None:
            counts = self._records.counts
            return {
                name: Topic(name, channel.message_type, counts[name], channel.latched)
                for name, channel in self._records.channels.items()
            }
        topics: dict[str, Topic] = {}
        for connection in self._bag.connections:
            earlier = topics.get(connection.topic)
            topics[connection.topic] = Topic(
                connection.topic,
                connection.msgtype,
                connection.msgcount + (earlier.count if earlier else 0),
                _is_latched(connection) or bool(earlier and earlier.latched),
            )
        return topics

    @property
    def start_ns(self) -> int:
        """Log time of the first message."""
        return self._records.start_ns if self._records else self._bag.start_time

    @property
    def end_ns(self) -> int:
        """Log time of the last message."""
        return self._records.end_ns if self._records else self._bag.end_time - 1

    @property
    def message_count(self) -> int:
        """Number of messages on all topics."""
        return self._records.counts.total() if self._records else self._bag.message_count

    @property
    def custom_data(self) -> dict[str, str]:
        """Texts that the writer kept in the bag's metadata."""
        if self._records is not None:
            return {}
        metadata = getattr(self._bag.readers[0], "storage", None)
        return dict(getattr(getattr(metadata, "metadata", None), "custom", None) or {})

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
        if self._records is not None:
            wanted = set(self.topics if topics is None else topics)
            for channel, log_time_ns, data in self._records.messages(wanted, start_ns, stop_ns):
                yield _message(channel.topic, channel.message_type, log_time_ns, data)
            return
        chosen = [
            connection
            for connection in self._bag.connections
            if topics is None or connection.topic in topics
        ]
        if not chosen:
            return
        last_ns = start_ns
        try:
            for connection, log_time_ns, data in self._bag.messages(chosen, start_ns, stop_ns):
                yield _message(connection.topic, connection.msgtype, log_time_ns, data)
                last_ns = log_time_ns + 1
        except Exception as error:
            if not self._salvage:
                raise ValueError(
                    f"{self.path} is damaged: {reason_of(error)}{self._cure()}"
                ) from error
            self.damage.append(f"{self.path.name}: {reason_of(error)}")
            names = {connection.topic for connection in chosen}
            for channel, log_time_ns, data in self._behind_the_damage(names, last_ns, stop_ns):
                yield _message(channel.topic, channel.message_type, log_time_ns, data)

    def decode(self, message: BagMessage) -> Any:
        """The message with its fields, by the definitions that the bag carries."""
        try:
            if self._records is not None:
                return self._records.decode(message.data, message.message_type)
            return self._bag.deserialize(message.data, message.message_type)
        except Exception as error:  # broken messages raise all kinds of errors in rosbags
            raise ValueError(
                f"a {message.message_type} cannot be read: {reason_of(error)}"
            ) from error

    def stamp_ns(self, message: BagMessage) -> int | None:
        """Stamp of a message that begins with a header, undecoded; None if it is cut off there."""
        is_ros1 = self._records.is_ros1 if self._records is not None else not self._bag.is2
        data = message.data
        # ROS 1: seq, seconds, nanoseconds. CDR: byte order in the second byte of four, then both.
        form, place = "<II", 4
        if not is_ros1 and len(data) > 1:
            form = "<iI" if data[1] & 1 else ">iI"
        if len(data) < place + 8:
            return None
        seconds, nanoseconds = struct.unpack_from(form, data, place)
        return int(seconds) * 1_000_000_000 + int(nanoseconds)

    @property
    def _is_mcap(self) -> bool:
        return any(file.suffix == ".mcap" for file in self._files)

    def _cure(self) -> str:
        if any(file.suffix == ".db3" for file in self._files):
            return f"; {DATABASE_CURE}"
        return f"; {MCAP_CURE}" if self._is_mcap else ""

    def _behind_the_damage(
        self, topics: set[str], start_ns: int | None, stop_ns: int | None
    ) -> Iterator[tuple[McapChannel, int, bytes]]:
        if self._is_mcap:
            yield from McapRecords(self._files).messages(topics, start_ns, stop_ns)


def _recordings(path: Path) -> list[Path]:
    """The files of a bag, in the order of their numbers: 0, 1, 2, … 10, 11."""
    if path.is_file():
        return [path]
    files = {file: _kind(file) for file in path.iterdir() if _kind(file) in RECORDINGS}
    kind = min(files.values(), key=RECORDINGS.index, default="")
    return sorted((file for file, each in files.items() if each == kind), key=_by_number)


def _kind(file: Path) -> str:
    """ ".mcap" or ".db3", also of files that are compressed as a whole."""
    return file.with_suffix("").suffix if file.suffix == PACKED else file.suffix


def _message(topic: str, message_type: str, log_time_ns: int, data: bytes) -> BagMessage:
    """Unpacked, where messages are compressed one by one and no metadata.yaml says so."""
    if bytes(data[:4]) == ZSTD_FRAME and 0 <= zstandard.frame_content_size(data) < LARGEST_MESSAGE:
        data = zstandard.ZstdDecompressor().decompress(data)
    return BagMessage(topic, message_type, log_time_ns, data)


def _by_number(file: Path) -> list[tuple[int, str]]:
    parts = re.split(r"(\d+)", file.name)
    return [(int(part), "") if part.isdigit() else (-1, part) for part in parts]


def _holds_recording(folder: Path) -> bool:
    return any(
        file.name == METADATA or not set(file.suffixes).isdisjoint(RECORDINGS)
        for file in folder.iterdir()
    )


def _is_bag(path: Path) -> bool:
    return _holds_recording(path) if path.is_dir() else path.suffix == ".bag"


def _is_latched(connection: Connection) -> bool:
    if isinstance(connection.ext, ConnectionExtRosbag2):
        profiles = connection.ext.offered_qos_profiles
        return any(qos.durability is QosDurability.TRANSIENT_LOCAL for qos in profiles)
    return bool(connection.ext.latching)
