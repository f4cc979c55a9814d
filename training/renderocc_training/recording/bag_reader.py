"""Reading recordings without ROS: rosbag2 (MCAP, sqlite3, compressed, split) and ROS 1 bags."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from rosbags.highlevel import AnyReader, AnyReaderError
from rosbags.interfaces import Connection, ConnectionExtRosbag2, QosDurability
from rosbags.serde import SerdeError

from renderocc_training.recording.damaged_mcap import DamagedChannel, DamagedMcap
from renderocc_training.recording.typestore import typestore

CURE = (
    "'mcap recover' mends a file, 'ros2 bag reindex' a folder that lacks metadata.yaml; "
    "'renderocc extract' needs neither, it salvages what can be read"
)
RECORDINGS = (".mcap", ".db3")
UNREADABLE = (AnyReaderError, SerdeError, ValueError, IndexError, UnicodeDecodeError)


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
        self._damaged: DamagedMcap | None = None
        if not self.path.exists():
            raise ValueError(f"there is no bag at {self.path}")
        if self.path.is_dir() and not _holds_recording(self.path):
            bags = sorted(each.name for each in self.path.iterdir() if _is_bag(each))
            hint = f"; name one of the bags in it: {', '.join(bags)}" if bags else ""
            raise ValueError(f"the folder {self.path} holds no recording{hint}")
        try:
            self._reader = AnyReader([self._entry()], default_typestore=typestore())
        except (AnyReaderError, FileNotFoundError) as error:
            raise ValueError(
                f"{self.path} is not a bag that can be read: {error}{self._cure()}"
            ) from error

    def __enter__(self) -> BagReader:
        try:
            self._reader.open()
        except Exception as error:  # those of SQLite and zstd come through rosbags
            files = self._mcap_files()
            if not self._salvage or not files:
                raise ValueError(f"{self.path} cannot be read: {error}{self._cure()}") from error
            self._damaged = DamagedMcap(files)
            self.damage += self._damaged.damage or [str(error)]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._damaged is None:
            self._reader.close()

    @property
    def topics(self) -> dict[str, Topic]:
        """All topics by name."""
        if self._damaged is not None:
            counts = self._damaged.counts
            return {
                name: Topic(name, channel.message_type, counts[name], channel.latched)
                for name, channel in self._damaged.channels.items()
            }
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
        return self._damaged.start_ns if self._damaged else self._reader.start_time

    @property
    def end_ns(self) -> int:
        """Log time of the last message."""
        return self._damaged.end_ns if self._damaged else self._reader.end_time - 1

    @property
    def message_count(self) -> int:
        """Number of messages on all topics."""
        return self._damaged.counts.total() if self._damaged else self._reader.message_count

    @property
    def custom_data(self) -> dict[str, str]:
        """Texts that the writer kept in the bag's metadata."""
        if self._damaged is not None:
            return {}
        metadata = getattr(self._reader.readers[0], "storage", None)
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
        if self._damaged is not None:
            wanted = set(self.topics if topics is None else topics)
            for channel, log_time_ns, data in self._damaged.messages(wanted, start_ns, stop_ns):
                yield BagMessage(channel.topic, channel.message_type, log_time_ns, data)
            return
        chosen = [
            connection
            for connection in self._reader.connections
            if topics is None or connection.topic in topics
        ]
        if not chosen:
            return
        last_ns = start_ns
        try:
            for connection, log_time_ns, data in self._reader.messages(chosen, start_ns, stop_ns):
                yield BagMessage(connection.topic, connection.msgtype, log_time_ns, data)
                last_ns = log_time_ns + 1
        except Exception as error:
            if not self._salvage:
                raise ValueError(f"{self.path} is damaged: {error}{self._cure()}") from error
            self.damage.append(f"{self.path.name}: {error}")
            names = {connection.topic for connection in chosen}
            for channel, log_time_ns, data in self._behind_the_damage(names, last_ns, stop_ns):
                yield BagMessage(channel.topic, channel.message_type, log_time_ns, data)

    def decode(self, message: BagMessage) -> Any:
        """The message with its fields, by the definitions that the bag carries."""
        try:
            if self._damaged is not None:
                return self._damaged.typestore.deserialize_cdr(message.data, message.message_type)
            return self._reader.deserialize(message.data, message.message_type)
        except UNREADABLE as error:
            raise ValueError(f"a {message.message_type} cannot be read: {error}") from error

    def _entry(self) -> Path:
        """What to open: the only file of a folder whose metadata.yaml was never written."""
        if self._salvage and self.path.is_dir() and not (self.path / "metadata.yaml").exists():
            files = sorted(file for file in self.path.iterdir() if file.suffix in RECORDINGS)
            if len(files) == 1:
                self.damage.append("metadata.yaml is missing: the recorder did not end properly")
                return files[0]
        return self.path

    def _mcap_files(self) -> list[Path]:
        if self.path.is_dir():
            return sorted(self.path.glob("*.mcap"))
        return [self.path] if self.path.suffix == ".mcap" else []

    def _cure(self) -> str:
        return f"; {CURE}" if self._mcap_files() else ""

    def _behind_the_damage(
        self, topics: set[str], start_ns: int | None, stop_ns: int | None
    ) -> Iterator[tuple[DamagedChannel, int, bytes]]:
        files = self._mcap_files()
        if files:
            yield from DamagedMcap(files).messages(topics, start_ns, stop_ns)


def _holds_recording(folder: Path) -> bool:
    return any(
        file.name == "metadata.yaml" or not set(file.suffixes).isdisjoint(RECORDINGS)
        for file in folder.iterdir()
    )


def _is_bag(path: Path) -> bool:
    return _holds_recording(path) if path.is_dir() else path.suffix == ".bag"


def _is_latched(connection: Connection) -> bool:
    if isinstance(connection.ext, ConnectionExtRosbag2):
        profiles = connection.ext.offered_qos_profiles
        return any(qos.durability is QosDurability.TRANSIENT_LOCAL for qos in profiles)
    return bool(connection.ext.latching)
