"""Bags: what is written is read back by rosbags, by mcap and by ROS itself."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mcap.reader import make_reader

from renderocc_ros.class_set import ClassSet, SemanticClass
from renderocc_ros.geometry import CameraModel, RigidTransform, VoxelGrid
from renderocc_ros.occupancy.messages import to_classes_message, to_message
from renderocc_ros.occupancy.semantic_occupancy import SemanticOccupancy
from renderocc_training.recording import messages
from renderocc_training.recording.bag_reader import BagReader
from renderocc_training.recording.bag_writer import BagWriter
from renderocc_training.recording.typestore import typestore

STAMP_NS = 1_535_639_717_200_102_000
TURNED = RigidTransform.from_quaternion((0.1, -0.2, 0.3, 0.9), (1.0, -2.0, 3.5))
CLOUD = np.zeros(5, dtype=[("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("ring", "<u2")])
CLOUD["x"] = np.arange(5)
CLOUD["ring"] = 7
CLASSES = ClassSet("one", (SemanticClass(0, "car", (255, 0, 255), moves=True),))
GRID = VoxelGrid((-1.0, -2.0, -0.5), 0.5, (4, 3, 2))
OCCUPANCY = SemanticOccupancy(
    STAMP_NS,
    GRID,
    CLASSES,
    np.arange(24, dtype=np.uint8).reshape(4, 3, 2) % 2,
    np.full((4, 3, 2), 200, np.uint8),
    np.eye(4, 6, dtype=bool).reshape(4, 3, 2),
)
PINHOLE = CameraModel(640, 480, [[500.0, 0, 320], [0, 510, 240], [0, 0, 1]])
FISHEYE = CameraModel(640, 480, PINHOLE.intrinsics, "equidistant", (0.1, -0.02, 0.003, -0.0004))

EXAMPLES: dict[str, Any] = {
    "/tf": messages.tf([messages.transform_stamped(STAMP_NS, "odom", "base_link", TURNED)]),
    "/odom": messages.odometry(STAMP_NS, "odom", "base_link", TURNED, (9, 0, 0.5), (0, 0, 0.1)),
    "/cam/camera_info": messages.camera_info(STAMP_NS, "cam", PINHOLE),
    "/fisheye/camera_info": messages.camera_info(STAMP_NS, "fisheye", FISHEYE),
    "/cam/image_raw/compressed": messages.compressed_image(STAMP_NS, "cam", b"\xff\xd8jpeg"),
    "/depth": messages.image(STAMP_NS, "cam", np.eye(3, 4, dtype=np.float32), "32FC1"),
    "/rgb": messages.image(STAMP_NS, "cam", np.arange(36, dtype=np.uint8).reshape(3, 4, 3), "rgb8"),
    "/points": messages.point_cloud(STAMP_NS, "lidar", CLOUD),
    "/classes": to_classes_message(messages.make, CLASSES, STAMP_NS),
    "/occupancy": to_message(
        messages.make, OCCUPANCY, "base_link", {"CAM": STAMP_NS - 5}, ["LEFT"]
    ),
}


def test_a_second_writer_of_a_bag_is_refused_and_the_first_goes_on(tmp_path: Path) -> None:
    writes = (
        "import sys; from renderocc_training.recording import messages;"
        "from renderocc_training.recording.bag_writer import BagWriter\n"
        "with BagWriter(sys.argv[1]) as bag:\n"
        "    bag.write('/tf', messages.tf([]), 1)\n"
        "    print('writing', flush=True); input()\n"
    )
    command = [sys.executable, "-c", writes, str(tmp_path / "drive")]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as first:
        assert first.stdout.readline() == "writing\n"
        with (
            pytest.raises(ValueError, match="another process is writing .*drive: choose another"),
            BagWriter(tmp_path / "drive"),
        ):
            pytest.fail("the second one wrote")
        first.communicate("\n")
    assert first.returncode == 0
    with BagReader(tmp_path / "drive") as reader:
        assert reader.message_count == 1
    assert [path.name for path in tmp_path.iterdir()] == ["drive"]


def test_what_a_killed_writer_left_is_no_obstacle(tmp_path: Path) -> None:
    dies = (
        "import os, sys; from renderocc_training.recording import messages;"
        "from renderocc_training.recording.bag_writer import BagWriter\n"
        "with BagWriter(sys.argv[1]) as bag:\n"
        "    bag.write('/tf', messages.tf([]), 1); os.kill(os.getpid(), 9)\n"
    )
    path = tmp_path / "drive"
    assert subprocess.call([sys.executable, "-c", dies, str(path)]) == -9
    assert not path.exists()
    with BagWriter(path) as bag:
        bag.write("/tf", EXAMPLES["/tf"], STAMP_NS)
    assert [each.name for each in tmp_path.iterdir()] == ["drive"]


@pytest.fixture
def bag(tmp_path: Path) -> Path:
    """A bag with one message of each kind, a millisecond apart."""
    with BagWriter(tmp_path / "drive") as writer:
        for number, (topic, message) in enumerate(EXAMPLES.items()):
            writer.write(topic, message, STAMP_NS + number * 1_000_000)
    return tmp_path / "drive"


def test_rosbags_reads_the_same_fields_back(bag: Path) -> None:
    with BagReader(bag) as reader:
        assert list(reader.topics) == list(EXAMPLES)
        read = {message.topic: (message, reader.decode(message)) for message in reader.messages()}
    for number, (topic, wanted) in enumerate(EXAMPLES.items()):
        message, decoded = read[topic]
        assert message.log_time_ns == STAMP_NS + number * 1_000_000
        assert repr(decoded) == repr(wanted)


def test_mcap_reads_the_same_bytes_schemas_and_index(bag: Path) -> None:
    with BagReader(bag) as reader:
        wanted = [(m.topic, m.log_time_ns, m.data) for m in reader.messages()]
    with (bag / "drive.mcap").open("rb") as file:
        mcap = make_reader(file)
        got = [
            (channel.topic, message.log_time, message.data)
            for _, channel, message in mcap.iter_messages()
        ]
        summary = mcap.get_summary()
    assert got == wanted
    assert summary is not None
    assert summary.statistics is not None
    assert summary.statistics.message_count == len(EXAMPLES)
    schemas = {schema.name: schema for schema in summary.schemas.values()}
    assert b"geometry_msgs/Point position" in schemas["nav_msgs/msg/Odometry"].data
    assert all(schema.encoding == "ros2msg" for schema in schemas.values())


def test_ros_itself_reads_every_message(bag: Path) -> None:
    """rclpy reads the bytes, and what it writes again means the same."""
    serialization = pytest.importorskip("rclpy.serialization", reason="ROS 2 is not installed")
    checked = 0
    with BagReader(bag) as reader:
        for message in reader.messages():
            package, _, name = message.message_type.split("/")
            try:
                kind = getattr(importlib.import_module(f"{package}.msg"), name)
            except ImportError:  # a package that this ROS lacks
                continue
            decoded = serialization.deserialize_message(message.data, kind)
            again = serialization.serialize_message(decoded)
            assert len(again) - len(message.data) < 4
            written = typestore().deserialize_cdr(again, message.message_type)
            assert repr(written) == repr(reader.decode(message))
            checked += 1
            if message.topic == "/odom":
                assert decoded.pose.pose.position.z == 3.5
                assert decoded.twist.twist.linear.x == 9.0
    assert checked >= 6


def test_metadata_tells_ros_how_to_play(tmp_path: Path) -> None:
    yaml = pytest.importorskip("yaml")
    with BagWriter(tmp_path / "drive") as writer:
        writer.write("/tf_static", EXAMPLES["/tf"], STAMP_NS)
        writer.write("/tf", EXAMPLES["/tf"], STAMP_NS + 5)
    content = yaml.safe_load((tmp_path / "drive" / "metadata.yaml").read_text())
    information = content["rosbag2_bagfile_information"]
    assert information["version"] == 9
    assert information["storage_identifier"] == "mcap"
    assert information["duration"]["nanoseconds"] == 5
    profiles = {
        entry["topic_metadata"]["name"]: entry["topic_metadata"]["offered_qos_profiles"][0]
        for entry in information["topics_with_message_count"]
    }
    assert profiles["/tf_static"]["durability"] == "transient_local"
    assert profiles["/tf"]["durability"] == "volatile"
    assert profiles["/tf"]["reliability"] == "reliable"
    with BagReader(tmp_path / "drive") as reader:
        assert reader.topics["/tf_static"].latched
        assert not reader.topics["/tf"].latched


def test_compressed_chunks_hold_the_same(tmp_path: Path) -> None:
    cloud = messages.point_cloud(STAMP_NS, "lidar", np.zeros(100_000, CLOUD.dtype))
    for name, compress in (("plain", False), ("small", True)):
        with BagWriter(tmp_path / name, compress=compress) as writer:
            writer.write("/points", cloud, STAMP_NS)
    contents = []
    for name in ("plain", "small"):
        with BagReader(tmp_path / name) as reader:
            contents.append([message.data for message in reader.messages()])
    assert contents[0] == contents[1]
    size = (tmp_path / "small" / "small.mcap").stat().st_size
    assert size < (tmp_path / "plain" / "plain.mcap").stat().st_size / 10


def test_selection_by_topic_and_time(bag: Path) -> None:
    with BagReader(bag) as reader:
        chosen = list(reader.messages(["/odom", "/depth", "/none"]))
        early = list(reader.messages(stop_ns=STAMP_NS + 2_000_000))
        assert (reader.start_ns, reader.end_ns) == (STAMP_NS, STAMP_NS + 9_000_000)
    assert [message.topic for message in chosen] == ["/odom", "/depth"]
    assert [message.topic for message in early] == list(EXAMPLES)[:2]


def test_a_failed_recording_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="ended early"), BagWriter(tmp_path / "drive") as writer:  # noqa: PT012
        writer.write("/tf", EXAMPLES["/tf"], STAMP_NS)
        raise RuntimeError("the source ended early")
    assert list(tmp_path.iterdir()) == []


def test_the_remains_of_a_killed_writer_do_not_disturb(tmp_path: Path) -> None:
    killed = BagWriter(tmp_path / "drive").__enter__()
    killed.write("/tf", EXAMPLES["/tf"], STAMP_NS)
    with BagWriter(tmp_path / "drive") as writer:
        writer.write("/odom", EXAMPLES["/odom"], STAMP_NS)
    with BagReader(tmp_path / "drive") as reader:
        assert list(reader.topics) == ["/odom"]
    assert [path.name for path in tmp_path.iterdir()] == ["drive"]


def test_mistakes_are_named(tmp_path: Path, bag: Path) -> None:
    with pytest.raises(ValueError, match="drive exists"), BagWriter(bag):
        pass
    with BagWriter(tmp_path / "other") as writer:
        writer.write("/tf", EXAMPLES["/tf"], STAMP_NS)
        with pytest.raises(ValueError, match="'/tf' holds tf2_msgs/msg/TFMessage"):
            writer.write("/tf", EXAMPLES["/odom"], STAMP_NS)
        with pytest.raises(ValueError, match="must start with '/'"):
            writer.write("odom", EXAMPLES["/odom"], STAMP_NS)
        with pytest.raises(ValueError, match="'a_msgs/msg/B' is not known"):
            writer.add_topic("/x", "a_msgs/msg/B")
    with pytest.raises(ValueError, match="no bag at"):
        BagReader(tmp_path / "absent")
    with pytest.raises(ValueError, match="holds no recording; name one of .* it: drive, other$"):
        BagReader(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="empty holds no recording$"):
        BagReader(tmp_path / "empty")
    (tmp_path / "notes.txt").touch()
    with pytest.raises(ValueError, match="not a bag"), BagReader(tmp_path / "notes.txt"):
        pass
    with pytest.raises(ValueError, match="encoding '32FC1' takes float32"):
        messages.image(0, "cam", np.zeros((2, 2), np.uint8), "32FC1")
    with pytest.raises(ValueError, match="structured array"):
        messages.point_cloud(0, "lidar", np.zeros((4, 3)))
