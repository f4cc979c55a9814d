"""The rig of a recording that comes without one: what is a camera, and whose."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from renderocc_ros.config import Mount, RigConfig, load_rig
from renderocc_ros.geometry import RigidTransform
from renderocc_training.recording import message_content
from renderocc_training.recording.bag_layout import TopicOptions, find_layout
from renderocc_training.recording.bag_poses import BagPoses
from renderocc_training.recording.bag_reader import BagReader
from renderocc_training.recording.bag_survey import survey
from renderocc_training.recording.bag_writer import BagWriter
from renderocc_training.recording.frame_sets import FrameSet, FrameSets
from renderocc_training.recording.left_out import LeftOut
from renderocc_training.recording.picture_topics import names_of
from renderocc_training.recording.rig_file import rig_file
from renderocc_training.recording.rig_guess import RigGuess, guess_rig
from tests.recording.robot_bag import START_NS, Camera, RobotBag, lens

LOW = RigidTransform(np.eye(3), np.array([0.0, 0.0, 0.2]))


def guessed(robot: RobotBag, folder: Path, namespace: str = "") -> RigGuess:
    return guess_rig(survey(robot.write(folder / "bag"), namespace), "robot")


def written(guess: RigGuess, folder: Path) -> RigConfig:
    """The rig as it is read from the file that is written of it."""
    file = folder / "rig.yaml"
    file.write_text(rig_file(guess, "bag"), encoding="utf-8")
    return load_rig(str(file))


def sets_of(bag: Path, rig: RigConfig, **options: str) -> tuple[list[FrameSet], LeftOut]:
    left_out = LeftOut()
    with BagReader(bag) as reader:
        layout = find_layout(reader.topics, rig, TopicOptions(**options))  # type: ignore[arg-type]
        poses = BagPoses(layout, left_out)
        return list(FrameSets(reader, layout, poses, left_out)), left_out


def topics(guess: RigGuess) -> dict[str, bool]:
    """Image topics of the rig, and whether JPEGs are read."""
    return {camera.image_topic: camera.compressed for camera in guess.rig.cameras}


# ------------------------------------------------------------------------------- which pictures


def test_a_realsense_is_one_colour_camera(tmp_path: Path) -> None:
    camera, depth = "/camera/camera/color/image_raw", "/camera/camera/depth/image_rect_raw"
    infra, aligned = (
        f"/camera/camera/{n}" for n in ("infra1/image_rect_raw", "aligned_depth_to_color/image_raw")
    )
    raw = ("raw",)
    robot = RobotBag(
        [
            Camera(camera, "color_optical", transports=("raw", "compressed")),
            Camera(depth, "depth_optical", transports=raw, encoding="16UC1"),
            Camera(infra, "infra_optical", transports=raw, encoding="mono8"),
            Camera(aligned, "color_optical", transports=raw, encoding="16UC1"),
        ]
    )
    guess = guessed(robot, tmp_path)
    assert topics(guess) == {camera: True}
    assert guess.rig.names == ("camera",)
    assert guess.unused[depth] == guess.unused[aligned] == "depth"
    assert guess.unused[infra].startswith("infrared")


@pytest.mark.parametrize(
    ("transports", "compressed"),
    [(("raw",), False), (("raw", "compressed"), True), (("raw", "empty compressed"), False)],
)
def test_files_are_preferred_where_there_are_any(
    transports: tuple[str, ...], compressed: bool, tmp_path: Path
) -> None:
    guess = guessed(RobotBag([Camera("/a/image", "a", transports=transports)]), tmp_path)
    assert topics(guess) == {"/a/image": compressed}


def test_a_video_is_a_camera_where_nothing_else_is_recorded(tmp_path: Path) -> None:
    """From its first key frame on; raw images of the same camera need no decoder."""
    av_packets = pytest.importorskip("tests.rig.videos", reason="PyAV is not installed").packets
    model = lens(64, 48)
    robot = RobotBag([Camera("/a/image", "front_optical", transports=(), model=model)], seconds=2.0)
    packets = av_packets()[4:]  # its third one is the next key frame
    for transports, compressed, count in (((), "ffmpeg", 12), (("raw",), False, 20)):
        robot.cameras = [replace(robot.cameras[0], transports=transports)]
        stamped = [(message_content.stamp_ns(packet), packet) for packet in packets]
        events = [*robot.events(), *((at, "/a/image/ffmpeg", packet) for at, packet in stamped)]
        bag = tmp_path / f"bag{count}"
        with BagWriter(bag) as writer:
            for log_ns, topic, message in sorted(events, key=lambda event: event[0]):
                writer.write(topic, message, log_ns)
        rig = written(guess_rig(survey(bag), "robot"), tmp_path)
        assert rig.cameras[0].compressed == compressed
        assert len(sets_of(bag, rig)[0]) == count


def test_raw_is_taken_rather_than_its_rectified_copy(tmp_path: Path) -> None:
    robot = RobotBag(
        [
            Camera("/front/image_raw", "f"),
            Camera("/front/image_rect_color", "f"),
            Camera("/front/preview/image_raw", "f", model=lens(24, 16)),
            Camera("/rear/image_rect", "r", yaw_deg=180),
        ]
    )
    guess = guessed(robot, tmp_path)
    rectified = {camera.name: camera.rectified for camera in guess.rig.cameras}
    assert rectified == {"front": False, "rear": True}
    for copy in ("/front/image_rect_color", "/front/preview/image_raw"):
        assert guess.unused[copy] == "the same camera as /front/image_raw"


def test_a_rectified_pair_shares_a_frame_and_is_two_cameras(tmp_path: Path) -> None:
    robot = RobotBag(
        [
            Camera("/stereo/left/image_rect_color", "left_optical"),
            Camera("/stereo/right/image_rect_color", "left_optical", baseline_m=0.12),
        ]
    )
    guess = guessed(robot, tmp_path)
    assert guess.rig.names == ("left", "right")
    assert all(camera.frame == "left_optical" for camera in guess.rig.cameras)


def test_grey_cameras_are_used_where_no_colour_one_looks(tmp_path: Path) -> None:
    robot = RobotBag(
        [
            Camera("/cam_gray_left/image_raw", "g", encoding="mono8"),
            Camera("/cam_color_left/image_raw", "c", place_m=(0.3, 0.1, 0.6)),
            Camera("/side/image_raw", "s", yaw_deg=90, encoding="mono8"),
        ]
    )
    guess = guessed(robot, tmp_path)
    assert topics(guess).keys() == {"/cam_color_left/image_raw", "/side/image_raw"}
    assert guess.unused["/cam_gray_left/image_raw"].startswith("grey")


def test_cameras_of_one_driver_setting_are_not_taken_for_one(tmp_path: Path) -> None:
    """Equal frame and stamps, as a copied launch file gives them; the names are different."""
    robot = RobotBag(
        [
            Camera("/a/image_raw", "camera", model=lens(48, 32)),
            Camera("/b/image_raw", "camera", model=lens(64, 48)),
        ]
    )
    assert topics(guessed(robot, tmp_path)).keys() == {"/a/image_raw", "/b/image_raw"}


@pytest.mark.parametrize(
    ("image_topics", "names"),
    [
        (["/cam_front/image_raw", "/cam_back/image_raw"], ["cam_front", "cam_back"]),
        (["/oak_front/rgb/image_raw", "/oak_rear/rgb/image_raw"], ["oak_front", "oak_rear"]),
        (["/robot1/cam0/image_raw", "/robot1/cam1/image_raw"], ["cam0", "cam1"]),
        (["/camera/camera/color/image_raw"], ["camera"]),
        (["/image_raw"], ["camera"]),
        (["/image_front", "/image_rear"], ["front", "rear"]),
        (["/a/image_raw", "/a/image_color"], ["a_image_raw", "a_image_color"]),
        (["/a/b/image", "/a_b/image"], ["a_b_image", "a_b_image_2"]),
    ],
)
def test_names_are_what_tells_topics_apart(image_topics: list[str], names: list[str]) -> None:
    assert names_of(image_topics) == names


# ------------------------------------------------------------------------------- calibration


def test_a_camera_without_calibration_is_left_out_and_said(tmp_path: Path) -> None:
    robot = RobotBag([Camera("/a/image_raw", "a", info=None), Camera("/b/image_raw", "b")])
    guess = guessed(robot, tmp_path)
    assert guess.rig.names == ("b",)
    (check,) = [check for check in guess.checks() if check.level == "wrong"]
    assert (check.subject, check.observation) == ("a: calibration", "no CameraInfo")
    assert "calibration: FILE" in check.cure
    text = rig_file(guess, "bag")
    assert "#     # calibration: front.yaml" in text
    assert written(guess, tmp_path).names == ("b",)
    # What is commented out is the same rig's, once its marks are taken away.
    start = text.index("#   - name: a")
    end = text.index("\n\n", start)
    lines = [line.removeprefix("# ") for line in text[start:end].split("\n")]
    (tmp_path / "both.yaml").write_text(text[:start] + "\n".join(lines) + text[end:])
    assert load_rig(str(tmp_path / "both.yaml")).names == ("b", "a")


def test_one_camera_info_may_be_of_two_cameras(tmp_path: Path) -> None:
    info = "/rig/camera_info"
    robot = RobotBag(
        [
            Camera("/left/image_raw", "l", info=info),
            Camera("/right/image_raw", "r", info=info, yaw_deg=180, phase_ms=3.0),
        ]
    )
    guess = guessed(robot, tmp_path)
    assert [camera.info_topic for camera in guess.rig.cameras] == [info, info]
    notes = [check.observation for check in guess.checks() if check.level == "note"]
    assert "CameraInfo /rig/camera_info is the only one: is it of this camera?" in notes


def test_camera_info_is_looked_for_above_and_by_frame_and_name(tmp_path: Path) -> None:
    robot = RobotBag(
        [
            Camera("/zed/rgb/rect/image", "z", info="/zed/rgb/camera_info"),
            Camera("/left", "l", info="/camera_info_left", yaw_deg=90),
            Camera("/rear/image", "r", info="/calibrations/of_rear", yaw_deg=180),
        ]
    )
    infos = {c.image_topic: c.info_topic for c in guessed(robot, tmp_path).rig.cameras}
    assert infos == {
        "/zed/rgb/rect/image": "/zed/rgb/camera_info",
        "/left": "/camera_info_left",
        "/rear/image": "/calibrations/of_rear",
    }


# ---------------------------------------------------------------------------------- frames


def test_a_camera_without_a_transform_gets_a_place_for_its_mount(tmp_path: Path) -> None:
    robot = RobotBag([Camera("/a/image_raw", "a", yaw_deg=None), Camera("/b/image_raw", "b")])
    guess = guessed(robot, tmp_path)
    assert guess.rig.names == ("b",)
    (check,) = [check for check in guess.checks() if check.level == "wrong"]
    assert check.subject == "a: transform base_link ← a" and "mount" in check.cure
    assert "# mount: {position_m: [0.0, 0.0, 0.0]" in rig_file(guess, "bag")


def test_a_recording_of_images_alone_gives_a_rig_to_fill_in(tmp_path: Path) -> None:
    robot = RobotBag([Camera("/a/image_raw", "", yaw_deg=None, info=None)], base="", odom=None)
    guess = guessed(robot, tmp_path)
    assert not guess.usable
    rig = written(guess, tmp_path)
    assert (rig.names, rig.base_frame, rig.odom_frame) == (("a",), "base_link", None)
    text = rig_file(guess, "bag")
    assert all(f"# {key}:" in text for key in ("frame", "calibration", "mount"))


def test_the_base_is_on_the_ground_and_carries_the_cameras(tmp_path: Path) -> None:
    robot = RobotBag(
        [Camera("/front/image_raw", "front")],
        base="base_footprint",
        mounts=[("base_footprint", "base_link", LOW)],
    )
    frames = guessed(robot, tmp_path).frames
    assert (frames.base, frames.odom, frames.base_is_sure) == ("base_footprint", "odom", True)


def test_a_base_of_another_name_is_a_guess(tmp_path: Path) -> None:
    robot = RobotBag([Camera("/front/image_raw", "front")], base="trolley")
    frames = guessed(robot, tmp_path).frames
    assert (frames.base, frames.odom, frames.base_is_sure) == ("trolley", "odom", False)


def test_a_frame_that_is_not_optical_gives_way_to_its_optical_child(tmp_path: Path) -> None:
    body = Mount(position_m=(0.3, 0.0, 1.0), yaw_deg=20).base_from_body()
    turn = Mount(position_m=(0.0, 0.0, 0.0)).base_from_optical()
    robot = RobotBag(
        [Camera("/front/image_raw", "front_link", yaw_deg=None)],
        mounts=[("base_link", "front_link", body), ("front_link", "front_optical", turn)],
    )
    guess = guessed(robot, tmp_path)
    assert guess.rig.cameras[0].frame == "front_optical"
    assert "looks forward (+20°)" in guess.checks()[2].observation


def test_of_two_robots_that_with_more_cameras_is_the_rig(tmp_path: Path) -> None:
    other = Mount(position_m=(0.3, 0.0, 0.6)).base_from_optical()
    robot = RobotBag(
        [
            Camera("/r1/front/image", "front"),
            Camera("/r1/rear/image", "rear", yaw_deg=180),
            Camera("/r2/front/image", "r2_front", yaw_deg=None),
        ],
        base="r1/base_link",
        mounts=[("r2/base_link", "r2_front", other)],
    )
    guess = guessed(robot, tmp_path)
    assert guess.rig.names == ("front", "rear")
    assert guess.frames.base == "r1/base_link" and guess.frames.others == ("r2/base_link",)
    assert guess.unused == {"/r2/front/image": "on another body than r1/base_link"}


def test_transforms_in_a_namespace_are_read_there(tmp_path: Path) -> None:
    robot = RobotBag([Camera("/robot1/front/image_raw", "front")], tf="/robot1/tf")
    seen = survey(robot.write(tmp_path / "bag"))
    assert (seen.namespace, seen.tf) == ("robot1", "/robot1/tf")
    with pytest.raises(ValueError, match="namespace 'robot2' has no topic"):
        survey(tmp_path / "bag", "robot2")
    rig = written(guess_rig(seen, "robot"), tmp_path)
    sets, left_out = sets_of(tmp_path / "bag", rig, namespace="robot1")
    assert len(sets) == 10 and not left_out


def test_how_the_robot_moves_may_be_on_a_topic_alone(tmp_path: Path) -> None:
    robot = RobotBag([Camera("/f/image_raw", "f")], odom=None, odometry="/wheels/odom")
    guess = guessed(robot, tmp_path)
    assert (guess.frames.odom, guess.frames.odom_reason) == (
        "odom",
        "the frame of /wheels/odom; no transform says it",
    )
    sets, _ = sets_of(tmp_path / "bag", written(guess, tmp_path), odometry="/wheels/odom")
    assert len(sets) >= 9


def test_a_robot_that_stands_has_no_odometry_frame(tmp_path: Path) -> None:
    guess = guessed(RobotBag([Camera("/f/image_raw", "f")], odom=None), tmp_path)
    assert guess.rig.odom_frame is None
    sets, left_out = sets_of(tmp_path / "bag", written(guess, tmp_path))
    assert len(sets) == 10 and not left_out


# ---------------------------------------------------------------------------------- timing


def test_cycles_follow_the_slowest_camera(tmp_path: Path) -> None:
    robot = RobotBag(
        [
            Camera("/front/image_raw", "front", rate_hz=30.0),
            Camera("/rear/image_raw", "rear", yaw_deg=180, rate_hz=10.0, phase_ms=4.0),
        ],
        seconds=2.0,
    )
    guess = guessed(robot, tmp_path)
    assert guess.rig.sync.period_s == pytest.approx(0.1, abs=0.001)
    sets, _ = sets_of(tmp_path / "bag", written(guess, tmp_path))
    whole = [each for each in sets if len(each.images) == 2]
    assert len(whole) >= 18
    for each in whole:
        stamps = [image.stamp_ns for image in each.images.values()]
        assert max(stamps) - min(stamps) < 17_000_000


def test_free_running_cameras_keep_what_is_learned(tmp_path: Path) -> None:
    """No offsets are written: a drifting one would be wrong after an hour."""
    robot = RobotBag(
        [
            Camera("/front/image_raw", "front"),
            Camera("/rear/image_raw", "rear", yaw_deg=180, phase_ms=35.0, delay_ms=250.0),
        ],
        seconds=2.0,
    )
    guess = guessed(robot, tmp_path)
    assert guess.rig.sync.period_s is None and guess.spread_ms == pytest.approx(35.0)
    assert all(camera.offset_ms is None for camera in guess.rig.cameras)
    # What comes 0.28 s later than the first is waited for.
    assert guess.rig.sync.timeout_s == pytest.approx(0.48, abs=0.01)
    sets, left_out = sets_of(tmp_path / "bag", written(guess, tmp_path))
    assert [len(each.images) for each in sets] == [2] * 20 and not left_out


def test_time_may_begin_at_zero_but_not_stay_there(tmp_path: Path) -> None:
    from_zero = RobotBag([Camera("/a/image", "a")], start_ns=0)
    assert guessed(from_zero, tmp_path / "0").usable
    stamps = RobotBag([Camera("/a/image", "a", stamped=False), Camera("/b/image", "b")])
    guess = guessed(stamps, tmp_path / "1")
    assert guess.rig.names == ("b",)
    assert any(check.observation.endswith("all stamps are 0") for check in guess.checks())


# ------------------------------------------------------------------------------------ the file


@pytest.mark.parametrize(
    "frame",
    [
        "a: b",
        "it's",
        'say "x"',
        "# no",
        "yes",
        "1e3",
        "{a}",
        "übel 😀",
        "x\ny: 1",
        "\x1b[31m",
        "- a",
    ],
)
def test_whatever_a_frame_is_called_the_file_reads_back(frame: str, tmp_path: Path) -> None:
    robot = RobotBag([Camera("/f/image", frame)], base=f"{frame}_base", odom=f"{frame}_odom")
    guess = guessed(robot, tmp_path)
    rig = written(guess, tmp_path)
    assert rig == guess.rig.model_copy(update={"cameras": rig.cameras})
    assert rig.cameras[0].frame == frame
    sets, _ = sets_of(tmp_path / "bag", rig)
    assert len(sets) == 10


def test_ten_cameras_of_strange_names(tmp_path: Path) -> None:
    names = (
        *("/image", "/Kamera_2/img", "/x1/y/z/image_raw", "/x1/y/q/image_raw", "/CAM"),
        *("/cam0/image_raw/left", "/_/image", "/image_front", "/image_rear"),
        "/a_very_long_name_of_a_topic_that_somebody_gave/to/his/camera/"
        + 12 * "sub/"
        + "image_raw",
    )
    robot = RobotBag(
        [Camera(name, f"o{i}", yaw_deg=36 * i, info=f"{name}_info") for i, name in enumerate(names)]
    )
    guess = guessed(robot, tmp_path)
    assert topics(guess).keys() == set(names)
    assert len(set(guess.rig.names)) == 10
    assert guess.rig.reference == guess.rig.names[0] == "image"
    assert guess.rig.sync.min_cameras == 5
    sets, left_out = sets_of(tmp_path / "bag", written(guess, tmp_path))
    assert [each.stamp_ns for each in sets] == [START_NS + i * 100_000_000 for i in range(10)]
    assert all(len(each.images) == 10 for each in sets) and not left_out
