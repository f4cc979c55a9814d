"""``renderocc doctor --bag`` as it is called: what it says, what it writes, how much it reads."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mcap.writer import Writer as McapWriter
from typer.testing import CliRunner

from renderocc_ros.cli import app
from renderocc_ros.config import load_rig
from renderocc_training.recording import bag_survey, messages
from renderocc_training.recording.bag_reader import BagMessage, BagReader
from renderocc_training.recording.bag_writer import BagWriter
from renderocc_training.recording.typestore import typestore
from tests.recording.robot_bag import START_NS, Camera, RobotBag
from tests.recording.test_bag_forms import FORMS
from tests.recording.test_rig_guess import sets_of
from tests.sequences.extraction.conftest import Drive

FRONT = Camera("/front/image_raw", "front")


def doctor(*words: str | Path) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["doctor", *map(str, words)], env={"COLUMNS": "80"})
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


def report(*words: str | Path) -> tuple[int, dict[str, Any]]:
    result = CliRunner().invoke(app, ["doctor", *map(str, words), "--json"])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, json.loads(result.stdout)


@pytest.fixture(scope="module")
def drive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two cameras, LiDAR and boxes: all that there may be."""
    return Drive(seconds=1.0).write(tmp_path_factory.mktemp("doctor") / "drive")


def test_topics_their_use_and_what_to_do_next(drive: Path, tmp_path: Path) -> None:
    code, shown = report("--bag", drive, "--write-rig", tmp_path / "rig.yaml")
    assert code == 0
    uses = {topic["topic"]: topic["use"] for topic in shown["topics"]}
    assert uses == {
        "/boxes": "boxes: classes of labels",
        "/front/camera_info": "calibration",
        "/front/image_raw/compressed": "camera front",
        "/points": "LiDAR: labels, truth",
        "/rear/camera_info": "calibration",
        "/rear/image_raw/compressed": "camera rear",
        "/tf": "transforms",
        "/tf_static": "transforms",
    }
    (points,) = [topic for topic in shown["topics"] if topic["topic"] == "/points"]
    assert (points["type"], points["rate"]) == ("PointCloud2", "10.0 Hz")
    checks = {check["subject"]: check for check in shown["checks"]}
    frame = checks["front: transform base_link ← front"]
    assert frame["found"] == "at (1.00, 0.20, 1.40) m, looks forward (+0°)"
    assert checks["front: calibration"]["found"] == "48x32, none, about 62° wide"
    assert checks["LiDAR"]["found"].endswith("50 points in 'lidar', at (0.50, 0.00, 1.80) m")
    assert checks["odometry odom ← base_link"]["level"] == "ok"
    assert shown["commands"][0].startswith(f"renderocc extract {drive} --rig {tmp_path}/rig.yaml")
    rig = load_rig(str(tmp_path / "rig.yaml"))
    assert [(camera.image_topic, camera.frame) for camera in rig.cameras] == [
        ("/front/image_raw", "front"),
        ("/rear/image_raw", "rear"),
    ]
    assert rig.ego_radius_m is None  # cameras 1.4 m high are a car's


def test_lines_fit_a_terminal_and_nothing_is_cut(drive: Path) -> None:
    words = ["doctor", "--bag", str(drive)]
    output = CliRunner().invoke(app, words, env={"COLUMNS": "80"}).stdout
    lines = output.split("renderocc extract")[0].splitlines()
    assert max(map(len, lines)) <= 80
    assert "…" not in output and "/front/image_raw/compressed" in output


def test_a_rig_is_compared_with_a_recording(drive: Path, tmp_path: Path) -> None:
    (tmp_path / "rig.yaml").write_text(
        "name: r\ncameras:\n- {name: a, image_topic: /front/image_raw}\n"
        "- {name: b, image_topic: /lost/image_raw}\n"
    )
    code, shown = report("--bag", drive, "--rig", tmp_path / "rig.yaml")
    assert code == 1
    wrong = {check["subject"]: check for check in shown["checks"] if check["level"] == "wrong"}
    assert {"b: images", "b: calibration"} <= wrong.keys()
    assert "the recording has images on /front/image_raw/compressed" in wrong["b: images"]["found"]


@pytest.mark.parametrize("form", FORMS)
def test_any_form_of_a_recording_gives_the_same_rig(form: str, drive: Path, tmp_path: Path) -> None:
    write, damage = FORMS[form]
    code, shown = report("--bag", write(tmp_path / "bag"))
    assert code == 0
    rig = report("--bag", drive)[1]["rig_text"]
    assert shown["rig_text"].split("\n", 1)[1] == rig.split("\n", 1)[1]
    notes = [check["found"] for check in shown["checks"] if check["subject"] == "recording"]
    assert any(note.startswith(damage) for note in notes) if damage else not notes


def test_an_existing_file_is_never_overwritten(drive: Path, tmp_path: Path) -> None:
    rig = tmp_path / "rig.yaml"
    rig.write_text("mine")
    code, output = doctor("--bag", drive, "--write-rig", rig)
    assert code == 1 and "is not overwritten" in output.replace("\n", " ")
    assert rig.read_text() == "mine"
    code, output = doctor("--bag", drive, "--write-rig", tmp_path / "rig.txt")
    assert code == 1 and "end in .yaml" in output
    assert not (tmp_path / "rig.txt").exists()


def test_a_recording_without_cameras_is_described(tmp_path: Path) -> None:
    """Empty, and with a single message."""
    with BagWriter(tmp_path / "empty"):
        pass
    code, shown = report("--bag", tmp_path / "empty", "--write-rig", tmp_path / "rig.yaml")
    assert code == 1
    assert shown["checks"][0]["found"] == "no topic has images of a camera"
    assert not (tmp_path / "rig.yaml").exists()
    (*_, event) = RobotBag([], odometry="/odom", base="").events()
    with BagWriter(tmp_path / "one") as bag:
        bag.write(event[1], event[2], event[0])
    code, shown = report("--bag", tmp_path / "one")
    assert code == 1 and [topic["topic"] for topic in shown["topics"]] == ["/odom"]


def test_files_may_be_where_raw_images_would_be(tmp_path: Path) -> None:
    """As many converters of data sets write them: CompressedImage on /b/jpegs."""
    bag, rig = tmp_path / "bag", tmp_path / "rig.yaml"
    events = sorted(RobotBag([FRONT, Camera("/b", "b")]).events(), key=lambda event: event[0])
    with BagWriter(bag) as writer:
        for log_ns, topic, message in events:
            writer.write(topic.replace("/b/compressed", "/b/jpegs"), message, log_ns)
    _, shown = report("--bag", bag, "--write-rig", rig)
    uses = {topic["topic"]: topic["use"] for topic in shown["topics"]}
    assert uses["/b/jpegs"] == "camera b_jpegs"
    cameras = {camera.image_topic: camera.compressed for camera in load_rig(str(rig)).cameras}
    assert cameras == {"/b/jpegs": "as_named", "/front/image_raw": True}
    sets, left_out = sets_of(bag, load_rig(str(rig)))
    assert [len(each.images) for each in sets] == [2] * 10 and not left_out


def test_video_that_no_rig_can_name_is_said_with_the_cure(tmp_path: Path) -> None:
    packet = messages.make(
        "ffmpeg_image_transport_msgs/msg/FFMPEGPacket", header=messages.header(START_NS, "c"),
        width=64, height=48, encoding="h264", pts=0, flags=1, is_bigendian=False,
        data=np.zeros(9, np.uint8),
    )  # fmt: skip
    with BagWriter(tmp_path / "bag") as writer:
        writer.write("/c/video", packet, START_NS)
    _, shown = report("--bag", tmp_path / "bag")
    assert shown["topics"][0]["use"] == "rename it to /c/video/ffmpeg: rigs look there"


def test_of_several_clouds_the_sensors_own_is_named_for_extract(tmp_path: Path) -> None:
    clouds = [("/map_cloud", "map"), ("/camera/depth/points", "d"), ("/velodyne_points", "velo")]
    robot = RobotBag([FRONT], lidars=clouds)
    _, shown = report("--bag", robot.write(tmp_path / "bag"))
    assert "--lidar /velodyne_points" in shown["commands"][0]


def test_a_depth_cameras_cloud_is_no_lidar(tmp_path: Path) -> None:
    robot = RobotBag([FRONT], lidars=[("/camera/depth/color/points", "depth_optical")])
    _, shown = report("--bag", robot.write(tmp_path / "bag"))
    (check,) = [check for check in shown["checks"] if check["subject"] == "LiDAR"]
    assert check["level"] == "note" and "--lidar /camera/depth/color/points" in check["cure"]
    assert "--lidar ''" in shown["commands"][0]


def test_a_broken_first_message_is_not_the_camera(tmp_path: Path) -> None:
    """A recorder may begin with a cut off JPEG, a driver with an empty calibration."""

    def broken(topic: str, number: int, message: Any) -> Any:
        if number == 0 and topic == "/front/image_raw/compressed":
            message.data = message.data[:100]
        if number == 0 and topic == "/rear/camera_info":
            message.k = 0 * message.k
        return message

    bag = Drive(seconds=1.0, edit=broken).write(tmp_path / "bag")
    code, shown = report("--bag", bag)
    assert code == 0
    wrong = Drive(seconds=1.0, edit=lambda t, n, m: broken(t, 0, m)).write(tmp_path / "wrong")
    code, shown = report("--bag", wrong)
    assert code == 1
    subjects = [check["subject"] for check in shown["checks"] if check["level"] == "wrong"]
    assert subjects == ["front: calibration", "rear: calibration"]


def test_a_long_recording_is_not_read_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of ten minutes the first ten seconds, and the first message of what begins later."""
    late = RobotBag([Camera("/late/image", "front")], base="", seconds=0.3)
    early = RobotBag([Camera("/front/image_raw", "front", rate_hz=1.0)], odom=None, seconds=600.0)
    events = [*early.events(), *((at + 500 * 10**9, *rest) for at, *rest in late.events())]
    with BagWriter(tmp_path / "bag") as writer:
        for log_ns, topic, message in sorted(events, key=lambda event: event[0]):
            writer.write(topic, message, log_ns)
    taken: list[str] = []
    read = BagReader.messages

    def counted(self: BagReader, *places: Any, **options: Any) -> Iterator[BagMessage]:
        for message in read(self, *places, **options):
            taken.append(message.topic)
            yield message

    monkeypatch.setattr(BagReader, "messages", counted)
    seen = bag_survey.survey(tmp_path / "bag")
    assert seen.messages > 1200 and len(taken) < 50
    assert taken.count("/late/image/compressed") == 1
    assert seen.topics["/late/image/compressed"].first is not None
    assert "of the first 9.0 s" in seen.read or "of the first 10.0 s" in seen.read


def test_odometry_may_begin_after_what_is_read(tmp_path: Path) -> None:
    robot = RobotBag([Camera("/front/image_raw", "front", rate_hz=2.0)], seconds=20.0)
    with BagWriter(tmp_path / "bag") as writer:
        for log_ns, topic, message in sorted(robot.events(), key=lambda event: event[0]):
            if topic != "/tf" or log_ns - START_NS > 15 * 10**9:
                writer.write(topic, message, log_ns)
    code, shown = report("--bag", tmp_path / "bag")
    assert code == 0 and "odom_frame: odom" in shown["rig_text"]
    checks = {check["subject"]: check for check in shown["checks"]}
    assert checks["odometry odom ← base_link"]["found"].startswith("it begins late")


def test_five_gigabytes_are_not_read(tmp_path: Path) -> None:
    """A file with a hole of that size behind its first seconds, which no disk has to hold."""
    hole, store = 5 * 2**30, typestore()
    events = sorted(RobotBag([FRONT], seconds=30.0).events(), key=lambda event: event[0])
    with (tmp_path / "large.mcap").open("wb") as stream:
        writer = McapWriter(stream, chunk_size=4000)
        writer.start(profile="ros2", library="test")
        channels: dict[str, int] = {}
        for number, (log_ns, topic, message) in enumerate(events):
            kind = message.__msgtype__
            if topic not in channels:
                text = store.generate_msgdef(kind, ros_version=2)[0].encode()
                schema = writer.register_schema(kind, "ros2msg", text)
                channels[topic] = writer.register_channel(topic, "cdr", schema)
            data = bytes(store.serialize_cdr(message, kind))
            writer.add_message(channels[topic], log_ns, data, log_ns)
            if number == len(events) // 2:
                stream.write(b"\x09" + hole.to_bytes(8, "little"))  # an attachment
                stream.seek(hole, 1)
        writer.finish()
    assert (tmp_path / "large.mcap").stat().st_size > hole
    code, shown = report("--bag", tmp_path / "large.mcap")
    assert code == 0 and "of the first 10.0 s" in shown["heading"]
    (images,) = [topic for topic in shown["topics"] if topic["use"] == "camera front"]
    assert images["rate"] == "10.0 Hz"


def test_it_needs_no_ros_and_says_which_extra_reads_bags(drive: Path) -> None:
    hide = (
        "import sys\n"
        "for name in {names!r}: sys.modules[name] = None\n"
        "sys.argv = ['renderocc', 'doctor', '--bag', {bag!r}]\n"
        "from renderocc_ros.cli import main\n"
        "main()\n"
    )

    def without(*names: str) -> subprocess.CompletedProcess[str]:
        code = hide.format(names=names, bag=str(drive))
        return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)

    assert without("rclpy", "sensor_msgs", "tf2_ros", "torch").returncode == 0
    for name in ("rosbags", "renderocc_training"):
        done = without(name)
        assert done.returncode == 1
        assert name in done.stderr and "[train]'" in done.stderr
        assert "Traceback" not in done.stderr
