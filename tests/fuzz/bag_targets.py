"""Recordings: whole bags, and the messages in them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, suppress
from functools import cache
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from rosbags.rosbag2 import StoragePlugin, Writer

from renderocc_ros.commands._bag_doctor import look_into
from renderocc_ros.geometry import RigidTransform
from renderocc_ros.occupancy.messages import class_set_of, to_classes_message, to_message, truth_of
from renderocc_ros.rig.cloud_reading import points_of
from renderocc_ros.rig.image_decoding import decode_message
from renderocc_training.recording import messages
from renderocc_training.recording.bag_reader import BagMessage, BagReader
from renderocc_training.recording.bag_writer import BagWriter
from renderocc_training.recording.boxes import Box, boxes_of, detections
from renderocc_training.recording.message_content import (
    model_of_info,
    pose_of,
    stamp_ns,
    transform_of,
)
from renderocc_training.recording.typestore import typestore
from tests.fuzz.damage import damaged_bytes
from tests.fuzz.file_targets import CLASSES, MODEL, image_file, occupancy
from tests.fuzz.target import Target

FUZZ_DOMAIN = 99  # in which nobody else talks
STAMP_NS = 1_700_000_000_000_000_000
CLOUD = np.zeros(20, dtype=[("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("ring", "<u2")])
BOX = Box(
    *("vehicle.car", "car 1", ("vehicle.parked",), "v80-100", RigidTransform.identity()),
    *((4.0, 2.0, 1.5), np.full(3, np.nan)),
)
PIXELS = np.zeros((4, 6, 3), np.uint8)


def _read_transforms(message: Any) -> object:
    return [(stamp_ns(each), transform_of(each)) for each in message.transforms]


# A message of each kind that is read, and what its readers make of it.
MESSAGES: dict[str, tuple[Any, Callable[[Any], object]]] = {
    "tf": (
        messages.tf(
            [messages.transform_stamped(STAMP_NS, "odom", "base", RigidTransform.identity())]
        ),
        _read_transforms,
    ),
    "odom": (
        messages.odometry(
            STAMP_NS, "odom", "base", RigidTransform.identity(), (1, 0, 0), (0, 0, 0)
        ),
        lambda message: (stamp_ns(message), pose_of(message.pose.pose)),
    ),
    "camera_info": (messages.camera_info(STAMP_NS, "front", MODEL), model_of_info),
    "compressed": (
        messages.compressed_image(STAMP_NS, "front", image_file(".png"), "png"),
        decode_message,
    ),
    "image": (messages.image(STAMP_NS, "front", PIXELS, "bgr8"), decode_message),
    "points": (messages.point_cloud(STAMP_NS, "lidar", CLOUD), points_of),
    "boxes": (detections(STAMP_NS, "odom", [BOX]), boxes_of),
    "classes": (to_classes_message(messages.make, CLASSES, STAMP_NS), class_set_of),
    "occupancy": (
        to_message(messages.make, occupancy(), "base", {"front": STAMP_NS}, ["rear"]),
        truth_of,
    ),
}


def write_mcap(folder: Path, compress: bool = False) -> None:
    with BagWriter(folder / "bag", compress=compress) as bag:
        for number in range(3):
            for topic, (message, _) in MESSAGES.items():
                bag.write(f"/{topic}", message, STAMP_NS + number)


def _write_db3(folder: Path) -> None:
    store = typestore()
    with Writer(folder / "bag", version=9, storage_plugin=StoragePlugin.SQLITE3) as bag:
        for topic, (message, _) in MESSAGES.items():
            kind = message.__msgtype__
            connection = bag.add_connection(f"/{topic}", kind, typestore=store)
            for number in range(3):
                bag.write(connection, STAMP_NS + number, store.serialize_cdr(message, kind))


def _read_bag(folder: Path) -> None:
    """As the tools do: strictly, then with what can be salvaged; a bad message is left out."""
    refused: ValueError | None = None
    for salvage in (False, True):
        try:
            with BagReader(folder / "bag", salvage) as reader:
                assert reader.start_ns <= reader.end_ns or not reader.message_count
                assert isinstance(reader.custom_data, dict)
                for message in reader.messages():
                    read = MESSAGES.get(message.topic[1:], (None, lambda _: None))[1]
                    with suppress(ValueError):
                        read(reader.decode(message))
        except ValueError as error:
            refused = error
    if refused is not None:
        raise refused


def _message(topic: str) -> Target:
    message, read = MESSAGES[topic]
    kind = message.__msgtype__

    def make(folder: Path) -> None:
        (folder / "message").write_bytes(typestore().serialize_cdr(message, kind))
        with BagWriter(folder / "bag") as bag:
            bag.write(f"/{topic}", message, STAMP_NS)

    def read_message(folder: Path) -> object:
        data = (folder / "message").read_bytes()
        with BagReader(folder / "bag") as reader:
            return read(reader.decode(BagMessage(f"/{topic}", kind, STAMP_NS, data)))

    return Target("message", make, damaged_bytes, read_message, inputs=12)


def _bag(file: str, make: Callable[[Path], None] = write_mcap) -> Target:
    return Target(f"bag/{file}", make, damaged_bytes, _read_bag, inputs=6)


def _look_into(folder: Path) -> None:
    """As ``doctor --bag`` does; what is broken in it is a line of its table."""
    report = look_into(folder / "bag", None, "", None)
    assert report.topics or report.unread


@cache
def _node() -> Any:
    import rclpy

    context = rclpy.Context()  # its own: other tests in this process have the global one
    rclpy.init(args=[], context=context, domain_id=FUZZ_DOMAIN)
    return rclpy.create_node(
        "fuzzed_player", context=context, enable_rosout=False, start_parameter_services=False
    )


def _play(folder: Path) -> None:
    """All that the player does but wait: publishers, QoS, schedule, and the first messages."""
    from renderocc_ros.tools.player import BagPlayer, PlayOptions

    with ExitStack() as stack:
        for options in (PlayOptions(clock=True), PlayOptions(start_s=1e-9, topics=("/tf*",))):
            player = BagPlayer(_node(), folder / "bag", options)
            stack.callback(player.close)
            player._publish_latched()
            for _, connection, data in islice(player._schedule(), 100):
                if connection is not None:
                    player._publish(connection, data)


def _player(file: str, make: Callable[[Path], None]) -> Target:
    return Target(f"bag/{file}", make, damaged_bytes, _play, inputs=6)


PLAYER = {
    "player: MCAP": _player("bag.mcap", write_mcap),
    "player: SQLite": _player("bag.db3", _write_db3),
    "player: metadata.yaml": _player("metadata.yaml", write_mcap),
}
BAGS = {
    **(PLAYER if find_spec("rclpy") else {}),
    "SQLite, looked into": Target("bag/bag.db3", _write_db3, damaged_bytes, _look_into, inputs=6),
    "MCAP, looked into": Target("bag/bag.mcap", write_mcap, damaged_bytes, _look_into, inputs=6),
    "MCAP": _bag("bag.mcap"),
    "MCAP of zstd": _bag("bag.mcap", lambda at: write_mcap(at, compress=True)),
    "SQLite": _bag("bag.db3", _write_db3),
    "metadata.yaml": _bag("metadata.yaml"),
    **{f"message on /{topic}": _message(topic) for topic in MESSAGES},
}
