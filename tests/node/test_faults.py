"""What breaks on robots: the node goes on, names the cause, and recovers without a restart."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator
from typing import Any

import pytest

pytest.importorskip("rclpy", reason="no ROS 2 in this Python")

from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import CompressedImage, PointCloud2

from renderocc_ros.occupancy.messages import stamp_ns_of
from tests.node import robot as robots
from tests.node.scene import ALL, Scene, scene_of

pytestmark = pytest.mark.ros


@pytest.fixture(scope="module")
def jpeg_scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("rig")
    yield from scene_of(robots.write_rig(folder / "rig.yaml", robots.rig_content()), True)


@pytest.fixture
def scene(jpeg_scene: Scene) -> Iterator[Scene]:
    yield jpeg_scene
    jpeg_scene.recovered()


def cut_in_half(message: Any) -> None:
    message.data = message.data[: len(message.data) // 2]


def without_data(message: Any) -> None:
    message.data = array("B")


def no_picture(message: Any) -> None:
    message.data = array("B", b"nothing that OpenCV knows")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [(cut_in_half, "is cut off"), (without_data, "0 bytes"), (no_picture, "are no readable image")],
)
def test_unreadable_jpeg_costs_one_camera_and_is_named(
    scene: Scene, spoil: Callable[[Any], None], message: str
) -> None:
    scene.robot.cameras["left"].spoil = spoil
    output = scene.named("camera left", "image on /left/image_raw/compressed", message)
    assert output.startswith("camera left: ")
    assert scene.next_result(["front", "rear"]).cameras_missing == ["left"]
    assert int(scene.listener.values("state")["bad_images.left"]) > 0


def not_a_number(info: Any) -> None:
    info.k[0] = float("nan")


def not_calibrated(info: Any) -> None:
    info.k[0] = info.k[4] = 0.0


def unknown_model(info: Any) -> None:
    info.distortion_model, info.d = "kannala", [0.1, 0.0]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (not_a_number, "finite"),
        (not_calibrated, "not calibrated"),
        (unknown_model, "'kannala' is not one of"),
    ],
)
def test_unusable_calibration_costs_one_camera_and_is_named(
    scene: Scene, spoil: Callable[[Any], None], message: str
) -> None:
    scene.robot.cameras["front"].spoil_info = spoil
    scene.named("camera front", "CameraInfo on /front/camera_info", message)
    scene.next_result(["left", "rear"])


def test_camera_info_that_never_comes_is_named(scene: Scene) -> None:
    scene.robot.cameras["rear"].sends_info = False
    assert scene.control.set(image_depth=3) == ""  # subscribes anew and forgets the calibration
    scene.named("camera rear", "camera rear: no CameraInfo on /rear/camera_info (1 publisher)")
    scene.next_result(["front", "left"])


def test_camera_that_dies_and_returns(scene: Scene) -> None:
    scene.robot.cameras["left"].alive = False
    scene.named(
        "camera left", "no messages on /left/image_raw/compressed (1 publisher), last one", "ago"
    )
    scene.next_result(["front", "rear"])
    assert scene.listener.message("state").startswith("camera left: no messages")


def test_dead_reference_camera_does_not_stop_the_rest(scene: Scene) -> None:
    scene.robot.cameras["front"].alive = False
    message = scene.next_result(["left", "rear"])
    left_ns = stamp_ns_of(message.camera_stamps[0])
    assert stamp_ns_of(message.header.stamp) == pytest.approx(left_ns - 5_000_000, abs=100_000)


def test_odometry_that_never_comes_is_named(scene: Scene) -> None:
    scene.robot.sends_odom = False
    assert scene.control.set(image_depth=4) == ""  # a new, empty TF buffer
    output = scene.named("camera front", "no transform odom ← base_link at")
    assert "TF has no frame" in output
    before = len(scene.results)
    scene.robot.heal()
    scene.next_result(ALL)
    dropped = int(scene.listener.values("state").get("dropped.no transform", 0))
    assert dropped > 0
    assert len(scene.results) > before


def test_odometry_that_stops_is_named_with_its_last_time(scene: Scene) -> None:
    scene.robot.sends_odom = False
    scene.named("camera front", "no transform", "(latest ")


def test_odometry_that_comes_late_is_waited_for(scene: Scene) -> None:
    scene.robot.odom_delay_s = 0.1
    scene.next_result(ALL)
    scene.next_result(ALL)

    def waited() -> bool:
        latency = scene.listener.values("latency")
        return float(latency["sync and transforms.p95_ms"]) > 80

    scene.listener.wait(waited, "sets that wait for their transforms")


def test_two_publishers_on_one_topic_are_named(scene: Scene) -> None:
    node = scene.robot.node
    second = node.create_publisher(CompressedImage, "/left/image_raw/compressed", 1)
    scene.named("camera left", "2 publishers on /left/image_raw/compressed")
    node.destroy_publisher(second)


@pytest.mark.parametrize("jump_s", [-30, 3600])
def test_time_line_that_jumps_starts_anew(scene: Scene, jump_s: int) -> None:
    scene.next_result(ALL)
    newest_ns = stamp_ns_of(scene.results[-1].header.stamp)
    scene.robot.clock_shift_ns += jump_s * 1_000_000_000

    def jumped() -> bool:
        return any(
            abs(stamp_ns_of(m.header.stamp) - newest_ns) > abs(jump_s) * 5e8
            and m.cameras_used == ALL
            for m in scene.results
        )

    scene.listener.wait(jumped, f"results after a jump of {jump_s} s")


def test_subscriber_that_asks_too_much_is_named(scene: Scene) -> None:
    node = scene.robot.node
    greedy = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    subscription = node.create_subscription(
        PointCloud2, "/renderocc/points", lambda _: None, greedy
    )
    scene.named("outputs", "broken_robot gets nothing from /renderocc/points", "transient_local")
    # In the executor's own thread: another one would take it from under its wait.
    node.executor.create_task(node.destroy_subscription, subscription)
    scene.listener.wait(scene.listener.is_ok("outputs"), "recovery of the outputs")
