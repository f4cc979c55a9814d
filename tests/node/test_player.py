"""The player as its own process, over DDS: every message, unchanged, in order, at its pace."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2")

import rclpy
import rclpy.context
import rclpy.executors
import rclpy.serialization
from rclpy.qos import DurabilityPolicy, QoSProfile
from rosbags.rosbag2 import StoragePlugin, Writer
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, CompressedImage
from std_msgs.msg import Header
from tf2_msgs.msg import TFMessage

from renderocc_ros.geometry import CameraModel, RigidTransform
from renderocc_ros.tools.player import PlayOptions
from renderocc_training.recording import messages
from renderocc_training.recording.bag_reader import BagReader
from renderocc_training.recording.bag_writer import LATCHED, STREAM, BagWriter
from renderocc_training.recording.typestore import typestore

START_NS = 1_600_000_000_000_000_000
COUNT = 12
GAP_NS = 100_000_000
MODEL = CameraModel(640, 480, np.diag([500.0, 500.0, 1.0]))
PATIENCE_S = 60.0
KINDS = {"/cam/image_raw/compressed": CompressedImage, "/cam/camera_info": CameraInfo}


@pytest.fixture(scope="module")
def bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """1.1 s: noise images of 200 kB, CameraInfo, latched texts, a type that no package here has, a
    name ROS 2 refuses."""
    random = np.random.default_rng(3)
    goal = messages.make("actionlib_msgs/msg/GoalID", stamp=messages.time(START_NS), id="home")
    path = tmp_path_factory.mktemp("player") / "drive"
    with BagWriter(path) as writer:
        writer.add_topic("/note", "std_msgs/msg/Header", LATCHED)
        for number, text in enumerate(("first", "second")):
            writer.write("/note", messages.header(number, text), START_NS + number)
        for number in range(COUNT):
            stamp = START_NS + number * GAP_NS
            data = random.integers(0, 256, 200_000, dtype=np.uint8).tobytes()
            writer.write("/cam/camera_info", messages.camera_info(stamp, "cam", MODEL), stamp)
            image = messages.compressed_image(stamp, "cam", data)
            writer.write("/cam/image_raw/compressed", image, stamp)
            writer.write("/goal", goal, stamp)
            writer.write("/fish-eye/info", messages.camera_info(stamp, "cam", MODEL), stamp)
    return path


def recorded(bag: Path, topic: str) -> list[bytes]:
    with BagReader(bag) as reader:
        return [bytes(message.data) for message in reader.messages([topic])]


def same(received: list[bytes], wanted: list[bytes]) -> bool:
    """Equal messages in equal order; DDS fills each up to a multiple of four bytes."""
    return len(received) == len(wanted) and all(
        got.startswith(want) and len(got) - len(want) < 4
        for got, want in zip(received, wanted, strict=True)
    )


class Listener:
    """Keeps what arrives: bytes, and the time of arrival."""

    def __init__(self) -> None:
        self.context = rclpy.context.Context()
        rclpy.init(context=self.context)
        self.node = rclpy.create_node("listener", context=self.context)
        self.executor = rclpy.executors.SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self.data: dict[str, list[bytes]] = {}
        self.arrived_s: dict[str, list[float]] = {}

    def listen(self, kind: Any, topic: str, latched: bool = False) -> None:
        qos = QoSProfile(depth=2000)
        if latched:
            qos.durability = DurabilityPolicy.TRANSIENT_LOCAL
        self.data[topic], self.arrived_s[topic] = [], []

        def keep(data: bytes) -> None:
            self.data[topic].append(data)
            self.arrived_s[topic].append(time.monotonic())

        self.node.create_subscription(kind, topic, keep, qos, raw=True)

    def clock_ns(self) -> list[int]:
        read = rclpy.serialization.deserialize_message
        clocks = [read(data, Clock).clock for data in self.data["/clock"]]
        return [clock.sec * 1_000_000_000 + clock.nanosec for clock in clocks]

    def until(self, done: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not done():
            assert time.monotonic() < deadline, {key: len(all) for key, all in self.data.items()}
            self.executor.spin_once(timeout_sec=0.05)

    def close(self) -> None:
        self.node.destroy_node()
        rclpy.shutdown(context=self.context)


@pytest.fixture
def listener() -> Iterator[Listener]:
    listener = Listener()
    yield listener
    listener.close()


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts the player as a user would; what still runs at the end is killed."""
    processes: list[subprocess.Popen[str]] = []

    def begin(bag: Path, *arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "renderocc_ros.cli", "play", str(bag), *arguments]
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        processes.append(process)
        return process

    yield begin
    for process in processes:
        if process.poll() is None:
            process.kill()
            process.communicate()


def output(process: subprocess.Popen[str]) -> str:
    """All that a process says until it ends by itself, on one line."""
    text = process.communicate(timeout=PATIENCE_S)[0]
    assert process.returncode == 0, text
    return " ".join(text.split())


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_every_message_arrives_once_in_order_and_unchanged(
    bag: Path, tmp_path: Path, storage: str, listener: Listener, start: Any
) -> None:
    played = bag if storage == "mcap" else copy_to_sqlite(bag, tmp_path / "drive")
    for topic, kind in KINDS.items():
        listener.listen(kind, topic)
    process = start(played, "--wait-for-subscribers", "--rate", "3")
    listener.until(lambda: all(len(data) >= COUNT for data in listener.data.values()))
    printed = output(process)
    for topic in KINDS:
        assert same(listener.data[topic], recorded(bag, topic))
    assert f"skipped: {COUNT} messages of actionlib_msgs/msg/GoalID" in printed
    assert f"skipped: {COUNT} messages of /fish-eye/info, no topic name of ROS 2" in printed
    assert f"published {2 * COUNT + 2} messages on 3 topics" in printed


def test_it_waits_for_a_listener_of_the_topics_named(
    bag: Path, listener: Listener, start: Any
) -> None:
    (images, image), (infos, info) = KINDS.items()
    listener.listen(info, infos)
    process = start(bag, "--wait-for", "/cam/image*", "--wait-for", "/nowhere", "--rate", "4")
    listener.until(lambda: listener.node.count_publishers(infos) > 0)
    heard_s = time.monotonic()
    listener.until(lambda: time.monotonic() > heard_s + 1.5)  # long enough to settle on one alone
    assert listener.data[infos] == []
    listener.listen(image, images)
    listener.until(lambda: all(len(data) == COUNT for data in listener.data.values()))
    output(process)
    assert same(listener.data[images], recorded(bag, images))


def copy_to_sqlite(bag: Path, path: Path) -> Path:
    with (
        BagReader(bag) as reader,
        Writer(path, version=9, storage_plugin=StoragePlugin.SQLITE3) as writer,
    ):
        connections = {
            topic.name: writer.add_connection(
                topic.name,
                topic.message_type,
                typestore=typestore(),
                offered_qos_profiles=[LATCHED if topic.latched else STREAM],
            )
            for topic in reader.topics.values()
        }
        for message in reader.messages():
            writer.write(connections[message.topic], message.log_time_ns, message.data)
    return path


def test_late_subscribers_get_all_that_is_latched(
    bag: Path, listener: Listener, start: Any
) -> None:
    listener.listen(CameraInfo, "/cam/camera_info")
    start(bag, "--wait-for-subscribers", "--rate", "0.2")
    listener.until(lambda: len(listener.data["/cam/camera_info"]) > 1)
    listener.listen(Header, "/note", latched=True)
    listener.until(lambda: len(listener.data["/note"]) == 2)
    assert same(listener.data["/note"], recorded(bag, "/note"))


def test_transforms_are_latched_where_the_bag_says_nothing(
    listener: Listener, start: Any, tmp_path: Path
) -> None:
    """As converters leave it: no QoS at all, and nobody sees the mounts."""
    mount = RigidTransform.identity()
    static = messages.tf([messages.transform_stamped(START_NS, "base_link", "cam", mount)])
    with Writer(tmp_path / "bag", version=9) as writer:
        for topic, kind, message in (
            ("/tf_static", "tf2_msgs/msg/TFMessage", static),
            ("/cam/camera_info", "sensor_msgs/msg/CameraInfo", None),
        ):
            connection = writer.add_connection(topic, kind, typestore=typestore())
            for number in range(1 if message is not None else COUNT):
                stamp = START_NS + number * GAP_NS
                sent = message or messages.camera_info(stamp, "cam", MODEL)
                writer.write(connection, stamp, typestore().serialize_cdr(sent, kind))
    listener.listen(CameraInfo, "/cam/camera_info")
    start(tmp_path / "bag", "--wait-for-subscribers", "--rate", "0.2")
    listener.until(lambda: len(listener.data["/cam/camera_info"]) > 1)
    listener.listen(TFMessage, "/tf_static", latched=True)
    listener.until(lambda: len(listener.data["/tf_static"]) == 1)


def test_a_start_in_the_middle_still_brings_what_is_latched(
    bag: Path, listener: Listener, start: Any
) -> None:
    listener.listen(Header, "/note", latched=True)
    listener.listen(CameraInfo, "/cam/camera_info")
    process = start(bag, "--wait-for-subscribers", "--start", "0.55", "--rate", "4")
    listener.until(lambda: len(listener.data["/cam/camera_info"]) >= COUNT - 6)
    output(process)
    assert same(listener.data["/cam/camera_info"], recorded(bag, "/cam/camera_info")[6:])
    assert same(listener.data["/note"], recorded(bag, "/note"))


def test_only_the_topics_asked_for(bag: Path, listener: Listener, start: Any) -> None:
    for topic, kind in KINDS.items():
        listener.listen(kind, topic)
    process = start(bag, "--wait-for-subscribers", "--topics", "/cam/cam*,/note", "--rate", "4")
    listener.until(lambda: len(listener.data["/cam/camera_info"]) == COUNT)
    printed = output(process)
    assert f"published {COUNT + 2} messages on 2 topics" in printed
    assert listener.data["/cam/image_raw/compressed"] == []


def test_the_pace_is_the_recording_s_times_the_rate(
    bag: Path, listener: Listener, start: Any
) -> None:
    listener.listen(CameraInfo, "/cam/camera_info")
    length_s = (COUNT - 1) * GAP_NS * 1e-9
    took: dict[float, float] = {}
    for rate in (1.0, 4.0):
        arrived = listener.arrived_s["/cam/camera_info"]
        arrived.clear()
        process = start(bag, "--wait-for-subscribers", "--rate", str(rate))
        listener.until(lambda: len(listener.arrived_s["/cam/camera_info"]) == COUNT)
        took[rate] = arrived[-1] - arrived[0]
        output(process)
        # Never early, but for what the first message may have been late on its way.
        assert took[rate] > 0.8 * length_s / rate
    assert took[4.0] < took[1.0]


def test_clock_ascends_in_small_steps_and_jumps_back_when_the_bag_starts_again(
    bag: Path, listener: Listener, start: Any
) -> None:
    listener.listen(Clock, "/clock")
    listener.listen(CameraInfo, "/cam/camera_info")
    process = start(bag, "--wait-for-subscribers", "--clock", "--loop", "--rate", "2")
    listener.until(lambda: len(listener.data["/cam/camera_info"]) > 2 * COUNT)
    process.send_signal(signal.SIGINT)
    assert "stopped" in output(process)
    steps = np.diff(listener.clock_ns())
    assert (steps < 0).sum() == 2
    assert (steps[steps < 0] < -0.9 * COUNT * GAP_NS + GAP_NS).all()
    forward = steps[steps > 0]
    assert len(forward) == len(steps) - 2
    assert forward.max() <= 10_000_000
    infos = recorded(bag, "/cam/camera_info")
    assert same(listener.data["/cam/camera_info"][: 2 * COUNT + 1], infos + infos + infos[:1])


def test_without_subscribers_it_waits_and_ends_when_told(bag: Path, start: Any) -> None:
    process = start(bag, "--wait-for-subscribers")
    process_lines = iter(process.stdout.readline, "")
    assert "skipped: " in next(process_lines)  # it is up, and waits
    process.send_signal(signal.SIGTERM)
    assert "published 0 messages" in output(process)


def test_mistakes_are_named(bag: Path, tmp_path: Path, start: Any) -> None:
    for arguments, wanted in (
        ((tmp_path / "absent",), "does not exist"),
        ((bag, "--topics", "/lidar"), "no topic '/lidar' in the bag; it holds: /cam"),
        ((bag, "--start", "99"), "the bag is 1.1 s long"),
        ((bag, "--rate", "0"), "rate 0.0 must be above 0"),
        ((bag, "--topics", "/goal"), "nothing to play"),
    ):
        process = start(*arguments)
        output = " ".join(process.communicate(timeout=PATIENCE_S)[0].split())
        assert process.returncode == 1
        assert wanted in output
        assert "Traceback" not in output
    with pytest.raises(ValueError, match="start -1"):
        PlayOptions(start_s=-1)
