"""Writing rosbag2 recordings (MCAP) without ROS."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from rosbags.interfaces import (
    Connection,
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.rosbag2.errors import WriterError

from renderocc_ros.files import claim
from renderocc_training.recording.typestore import typestore

INFINITE = QosTime(9223372036, 854775807)  # rmw's "no deadline"
METADATA_VERSION: Literal[9] = 9  # ROS 2 Jazzy and later


def _qos(depth: int, durability: QosDurability) -> Qos:
    return Qos(
        QosHistory.KEEP_LAST,
        depth,
        QosReliability.RELIABLE,
        durability,
        INFINITE,
        INFINITE,
        QosLiveliness.AUTOMATIC,
        INFINITE,
        avoid_ros_namespace_conventions=False,
    )


STREAM = _qos(10, QosDurability.VOLATILE)
LATCHED = _qos(1, QosDurability.TRANSIENT_LOCAL)
STATIC_TRANSFORMS = _qos(100, QosDurability.TRANSIENT_LOCAL)
LATCHED_TOPICS = {"/tf_static": STATIC_TRANSFORMS}


class BagWriter:
    """A new bag, whole or not at all.

    Messages go to a folder beside the target that takes the target's name when the ``with`` block
    ends; if it ends by an exception, nothing is left behind.

    Args:
        path: folder of the new bag; it must not exist.
        compress: zstd chunks, which every MCAP reader takes. JPEGs do not shrink, clouds do.
        custom_data: texts kept in the bag's metadata.

    Raises:
        ValueError: ``path`` exists or another process writes it, a topic is used with two types,
            or a type is unknown.
    """

    def __init__(
        self,
        path: Path | str,
        compress: bool = False,
        custom_data: Mapping[str, str] | None = None,
    ) -> None:
        self.path = Path(path)
        self.counts: dict[str, int] = {}
        self._topics: dict[str, Connection] = {}
        self._scratch = self.path.parent / f".{self.path.name}.unfinished"
        self._compress = compress
        self._custom_data = dict(custom_data or {})
        self._writer: Writer | None = None

    def __enter__(self) -> BagWriter:
        if self.path.exists():
            raise ValueError(
                f"{self.path} exists and is not overwritten: remove it or choose another"
            )
        self._claim = claim(
            self._scratch / ".claim", f"another process is writing {self.path}: choose another bag"
        )
        shutil.rmtree(self._scratch / self.path.name, ignore_errors=True)  # a killed process's
        writer = Writer(
            self._scratch / self.path.name,
            version=METADATA_VERSION,
            storage_plugin=StoragePlugin.MCAP,
        )
        if self._compress:
            writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
        for key, value in self._custom_data.items():
            writer.set_custom_data(key, value)
        writer.open()
        self._writer = writer
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        writer, self._writer = self._open_writer, None
        try:
            if kind is None:
                writer.close()
                (self._scratch / self.path.name).rename(self.path)
            else:
                writer.abort()
        finally:
            shutil.rmtree(self._scratch, ignore_errors=True)
            self._claim.close()

    def add_topic(self, topic: str, message_type: str, qos: Qos | None = None) -> None:
        """Declare a topic; :meth:`write` does it by itself for an ordinary stream.

        Args:
            qos: what the publisher offered; ``STREAM`` (``/tf_static``: latched) if not given.
        """
        if topic in self._topics:
            if self._topics[topic].msgtype != message_type:
                raise ValueError(
                    f"topic '{topic}' holds {self._topics[topic].msgtype}, not {message_type}"
                )
            return
        if not topic.startswith("/"):
            raise ValueError(f"topic '{topic}' must start with '/'")
        if message_type not in typestore().types:
            raise ValueError(f"topic '{topic}': message type '{message_type}' is not known")
        offered = qos or LATCHED_TOPICS.get(topic, STREAM)
        self._topics[topic] = self._open_writer.add_connection(
            topic, message_type, typestore=typestore(), offered_qos_profiles=[offered]
        )
        self.counts[topic] = 0

    def write(self, topic: str, message: Any, log_time_ns: int) -> None:
        """Append a message of ``renderocc_training.recording.messages``.

        Args:
            log_time_ns: when the recorder received it; ascending order makes a bag fast to read.
        """
        message_type = message.__msgtype__
        self.add_topic(topic, message_type)
        data = typestore().serialize_cdr(message, message_type)
        self._append(topic, log_time_ns, data)

    def _append(self, topic: str, log_time_ns: int, data: bytes | memoryview) -> None:
        try:
            self._open_writer.write(self._topics[topic], log_time_ns, data)
        except OSError as error:
            raise OSError(error.errno, f"{self.path}: {error.strerror}", topic) from error
        self.counts[topic] += 1

    @property
    def _open_writer(self) -> Writer:
        if self._writer is None:
            raise WriterError(f"{self.path} is not open: use BagWriter in a 'with' block")
        return self._writer
