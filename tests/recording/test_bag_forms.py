"""One drive in the forms that recorders, converters and power losses leave."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from pathlib import Path
from tempfile import gettempdir
from typing import Any

import pytest
from mcap.writer import CompressionType, IndexType
from mcap.writer import Writer as McapWriter
from rosbags.rosbag1 import Writer as Ros1Writer
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from renderocc_training.evaluation.stamped_topic import StampedTopic
from renderocc_training.recording import message_content
from renderocc_training.recording.bag_layout import TopicOptions, find_layout
from renderocc_training.recording.bag_poses import BagPoses
from renderocc_training.recording.bag_reader import BagReader
from renderocc_training.recording.frame_sets import FrameSets
from renderocc_training.recording.left_out import LeftOut
from renderocc_training.recording.typestore import typestore
from tests.recording.test_frame_sets import assert_whole, rig_with
from tests.sequences.extraction.conftest import MS, START_NS, Drive
from tests.sequences.extraction.test_extract import ros1_message

Event = tuple[int, str, Any]
NO_METADATA = "metadata.yaml is missing: the recorder did not end properly"


def events(seconds: float = 1.0) -> list[Event]:
    return sorted(Drive(seconds=seconds).events(), key=lambda event: event[0])


def write_mcap(
    file: Path, drive: list[Event], *, ros1: bool = False, finish: bool = True, **options: Any
) -> Path:
    """With mcap's own writer, whose options rosbags' lacks; without ``finish`` cut short."""
    store = ros1_store() if ros1 else typestore()
    file.parent.mkdir(exist_ok=True)
    with file.open("wb") as stream:
        writer = McapWriter(stream, chunk_size=4000, **options)
        writer.start(profile="ros1" if ros1 else "ros2", library="test")
        channels: dict[str, int] = {}
        for log_ns, topic, message in drive:
            kind = message.__msgtype__
            if ros1:
                message = ros1_message(store, message)
            if topic not in channels:
                text = store.generate_msgdef(kind, ros_version=1 if ros1 else 2)[0].encode()
                name = kind.replace("/msg/", "/") if ros1 else kind
                schema = writer.register_schema(name, "ros1msg" if ros1 else "ros2msg", text)
                channels[topic] = writer.register_channel(topic, "ros1" if ros1 else "cdr", schema)
            serialise = store.serialize_ros1 if ros1 else store.serialize_cdr
            writer.add_message(channels[topic], log_ns, bytes(serialise(message, kind)), log_ns)
        if finish:
            writer.finish()
    return file


def ros1_store() -> Typestore:
    store = get_typestore(Stores.ROS1_NOETIC)
    tf = "geometry_msgs/TransformStamped[] transforms"
    store.register(get_types_from_msg(tf, "tf2_msgs/msg/TFMessage"))
    return store


def write_ros1(file: Path) -> Path:
    store, connections = ros1_store(), dict[str, Any]()
    with Ros1Writer(file) as writer:
        for log_ns, topic, message in ros1_events():
            kind = message.__msgtype__
            if topic not in connections:
                connections[topic] = writer.add_connection(topic, kind, typestore=store)
            data = store.serialize_ros1(ros1_message(store, message), kind)
            writer.write(connections[topic], log_ns, data)
    return file


def write_rosbag2(
    bag: Path, drive: list[Event], storage: StoragePlugin, writer: Writer | None = None
) -> Path:
    with writer or Writer(bag, version=9, storage_plugin=storage) as writer:
        connections: dict[str, Any] = {}
        for log_ns, topic, message in drive:
            kind = message.__msgtype__
            if topic not in connections:
                connections[topic] = writer.add_connection(topic, kind, typestore=typestore())
            data = typestore().serialize_cdr(message, kind)
            writer.write(connections[topic], log_ns, data)
    return bag


def parts(count: int, drive: list[Event]) -> list[list[Event]]:
    share = -(-len(drive) // count)
    return [drive[number * share : (number + 1) * share] for number in range(count)]


def split_mcap(bag: Path, count: int) -> Path:
    for number, part in enumerate(parts(count, events())):
        write_mcap(bag / f"drive_{number}.mcap", part)
    return bag


def split_db3(bag: Path, count: int) -> Path:
    bag.mkdir()
    for number, part in enumerate(parts(count, events())):
        one = write_rosbag2(bag.parent / f"part{number}", part, StoragePlugin.SQLITE3)
        next(one.glob("*.db3")).rename(bag / f"drive_{number}.db3")
    return bag


def packed(bag: Path, mode: CompressionMode, storage: StoragePlugin, last_is_not: bool) -> Path:
    """Compressed by the recorder, which died: no metadata.yaml, and the last file as it was."""
    bag.mkdir()
    for number, part in enumerate(parts(3, events())):
        one = bag.parent / f"part{number}"
        writer = Writer(one, version=9, storage_plugin=storage)
        if not (last_is_not and number == 2):
            writer.set_compression(mode, CompressionFormat.ZSTD)
        write_rosbag2(one, part, storage, writer)
        (file,) = (file for file in one.iterdir() if file.suffix != ".yaml")
        file.rename(bag / f"drive_{number}{''.join(file.suffixes)}")
    return bag


def renamed(bag: Path, storage: StoragePlugin) -> Path:
    (file,) = (f for f in write_rosbag2(bag, events(), storage).iterdir() if f.suffix != ".yaml")
    return file.rename(bag / f"monday{file.suffix}").parent


def of_no_storage(bag: Path, storage: StoragePlugin) -> Path:
    """As 'ros2 bag reindex' leaves it."""
    metadata = write_rosbag2(bag, events(), storage) / "metadata.yaml"
    text = re.sub(r"storage_identifier: \w+", 'storage_identifier: ""', metadata.read_text())
    metadata.write_text(text)
    return bag


def shuffled(bag: Path) -> Path:
    """As a recorder's cache writes: up to 50 ms out of order, in a file without an index."""
    draw = random.Random(3)
    late = sorted(events(), key=lambda event: event[0] + draw.randint(0, 50_000_000))
    return write_mcap(bag / "drive.mcap", late, index_types=IndexType.CHUNK)


SQLITE, MCAP = StoragePlugin.SQLITE3, StoragePlugin.MCAP
BY_FILE, BY_MESSAGE = CompressionMode.FILE, CompressionMode.MESSAGE
USELESS = "metadata.yaml does not fit its files"
FORMS: dict[str, tuple[Callable[[Path], Path], str]] = {
    "12 MCAP files": (lambda bag: split_mcap(bag, 12), NO_METADATA),
    "12 db3 files": (lambda bag: split_db3(bag, 12), NO_METADATA),
    "renamed MCAP": (lambda bag: renamed(bag, MCAP), USELESS),
    "renamed db3": (lambda bag: renamed(bag, SQLITE), USELESS),
    "reindexed MCAP": (lambda bag: of_no_storage(bag, MCAP), USELESS),
    "reindexed db3": (lambda bag: of_no_storage(bag, SQLITE), USELESS),
    "out of order, no index": (shuffled, ""),
    "no message index": (
        lambda bag: write_mcap(
            bag / "drive.mcap",
            events(),
            index_types=IndexType.CHUNK,
            compression=CompressionType.LZ4,
        ),
        "",
    ),
    "not in chunks": (
        lambda bag: write_mcap(bag / "drive.mcap", events(), use_chunking=False),
        "",
    ),
    "packed db3 files": (lambda bag: packed(bag, BY_FILE, SQLITE, True), NO_METADATA),
    "packed MCAP files": (lambda bag: packed(bag, BY_FILE, MCAP, True), NO_METADATA),
    "packed messages": (lambda bag: packed(bag, BY_MESSAGE, SQLITE, False), NO_METADATA),
    "ROS 1": (lambda bag: write_mcap(bag / "drive.mcap", ros1_events(), ros1=True), ""),
    "ROS 1 bag": (lambda bag: write_ros1(bag.with_suffix(".bag")), ""),
}


def ros1_events() -> list[Event]:
    return [event for event in events() if event[1] != "/boxes"]


@pytest.mark.parametrize("name", FORMS)
def test_the_whole_drive_is_read(name: str, tmp_path: Path) -> None:
    form, damage = FORMS[name]
    left_out = LeftOut()
    with BagReader(form(tmp_path / "drive"), salvage=True) as reader:
        layout = find_layout(reader.topics, rig_with(), TopicOptions())
        sets = list(FrameSets(reader, layout, BagPoses(layout, left_out), left_out))
        assert_whole(sets)
        stamps = [message.log_time_ns for message in reader.messages()]
        assert stamps == sorted(stamps)
        assert len(stamps) == reader.message_count
    assert not left_out
    if damage:
        assert reader.damage[0].startswith(damage)
    else:
        assert reader.damage == []


@pytest.mark.parametrize("name", ["no message index", "not in chunks", "ROS 1"])
def test_what_is_whole_is_read_without_salvage_too(name: str, tmp_path: Path) -> None:
    with BagReader(FORMS[name][0](tmp_path / "drive")) as reader:
        assert len(list(reader.messages(["/front/image_raw/compressed"]))) == 10


@pytest.mark.parametrize("name", ["reindexed db3", "not in chunks", "ROS 1", "ROS 1 bag"])
def test_messages_are_found_by_their_stamps(name: str, tmp_path: Path) -> None:
    """Truth, rendered views and LiDAR are looked up so: in ROS 1 bags nothing was found."""
    with BagReader(FORMS[name][0](tmp_path / "drive"), salvage=True) as reader:
        clouds = StampedTopic(reader, "/points")
        wanted = [START_NS + number * 100 * MS + 30 * MS for number in range(10)]
        assert clouds.stamps_ns == wanted
        for stamp_ns in wanted:
            near = clouds.nearest(stamp_ns + 20 * MS, 25 * MS)
            assert message_content.stamp_ns(near) == stamp_ns
        assert clouds.nearest(wanted[0] - 26 * MS, 25 * MS) is None


def test_the_last_file_of_a_split_recording_may_be_cut_off(tmp_path: Path) -> None:
    bag = split_mcap(tmp_path / "drive", 12)
    last = bag / "drive_11.mcap"
    last.write_bytes(last.read_bytes()[: last.stat().st_size * 3 // 10])
    with BagReader(bag, salvage=True) as reader:
        order = [message.log_time_ns for message in reader.messages()]
    assert order == sorted(order)
    assert 0 < len(events()) - len(order) <= len(events()) // 12
    assert reader.damage[0] == NO_METADATA
    assert reader.damage[1].startswith("drive_11.mcap: cut off at byte")
    with pytest.raises(ValueError, match="metadata.yaml is missing"), BagReader(bag):
        pass


@pytest.mark.parametrize("mode", [BY_FILE, BY_MESSAGE])
def test_a_single_packed_file_is_read(mode: CompressionMode, tmp_path: Path) -> None:
    file = next(packed(tmp_path / "drive", mode, MCAP, False).glob("drive_0*"))
    with BagReader(file) as reader:
        read = [reader.decode(message) for message in reader.messages()]
    assert len(read) == len(parts(3, events())[0])
    assert not list(Path(gettempdir()).glob("renderocc-bag-*/drive_0*"))


def test_a_damaged_packed_file_and_a_metadata_file_are_named(tmp_path: Path) -> None:
    file = next(packed(tmp_path / "drive", BY_FILE, MCAP, False).glob("drive_0*"))
    file.write_bytes(b"no zstd at all")
    with pytest.raises(ValueError, match=r"drive_0.mcap.zstd is broken .*: copy it again"):
        BagReader(file).__enter__()
    metadata = tmp_path / "part0" / "metadata.yaml"
    with pytest.raises(ValueError, match=r"metadata.yaml describes a bag: give its folder"):
        BagReader(metadata)


def test_what_holds_no_ros_messages_is_named(tmp_path: Path) -> None:
    file = tmp_path / "drive.mcap"
    with file.open("wb") as stream:
        writer = McapWriter(stream)
        writer.start(profile="", library="foxglove")
        schema = writer.register_schema("foxglove.CompressedImage", "jsonschema", b"{}")
        channel = writer.register_channel("/front/image", "json", schema)
        writer.add_message(channel, 1, b"{}", 1)
        writer.finish()
    with pytest.raises(ValueError, match=r"no ROS messages, but /front/image \(json\)"):
        BagReader(file).__enter__()


def test_raw_images_beside_an_empty_compressed_topic(tmp_path: Path) -> None:
    drive = sorted(Drive(seconds=1.0, raw=True).events(), key=lambda event: event[0])
    bag = tmp_path / "drive"
    with Writer(bag, version=9, storage_plugin=MCAP) as writer:
        connections: dict[str, Any] = {}
        for name in ("front", "rear"):
            topic = f"/{name}/image_raw/compressed"
            kind = "sensor_msgs/msg/CompressedImage"
            writer.add_connection(topic, kind, typestore=typestore())
        for log_ns, topic, message in drive:
            kind = message.__msgtype__
            if topic not in connections:
                connections[topic] = writer.add_connection(topic, kind, typestore=typestore())
            writer.write(connections[topic], log_ns, typestore().serialize_cdr(message, kind))
    with BagReader(bag) as reader:
        layout = find_layout(reader.topics, rig_with(), TopicOptions())
    assert list(layout.images) == ["/front/image_raw", "/rear/image_raw"]


@pytest.mark.parametrize("seed", range(20))
def test_damaged_bytes_never_give_anything_but_a_value_error(seed: int, tmp_path: Path) -> None:
    draw = random.Random(seed)
    file = write_mcap(tmp_path / "drive.mcap", events(0.3), finish=seed % 2 == 0)
    content = bytearray(file.read_bytes())
    for _ in range(draw.choice((1, 10, 200))):
        content[draw.randrange(len(content))] = draw.randrange(256)
    file.write_bytes(content[: draw.choice((len(content), len(content) // 2))])
    for salvage in (False, True):
        try:
            with BagReader(file, salvage) as reader:
                for message in reader.messages():
                    try:
                        reader.decode(message)
                    except ValueError:
                        continue
        except ValueError:
            continue
