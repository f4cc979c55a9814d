"""What the node says and counts of faults, beyond what the campaign of tests/faults asks of all."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("rclpy", reason="no ROS 2 in this Python")

from nav_msgs.msg import OccupancyGrid

from renderocc_ros.occupancy.messages import stamp_ns_of
from tests.node import robot as robots
from tests.node.live import LATCHED
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


def test_unreadable_image_is_counted_and_its_camera_missing(scene: Scene) -> None:
    scene.robot.cameras["left"].spoil = cut_in_half
    output = scene.named("camera left", "image on /left/image_raw/compressed", "is cut off")
    assert output.startswith("camera left: ")
    assert scene.next_result(["front", "rear"]).cameras_missing == ["left"]
    assert int(scene.listener.values("state")["bad_images.left"]) > 0


def test_whole_node_says_what_its_worst_part_does(scene: Scene) -> None:
    scene.robot.cameras["left"].alive = False
    scene.named("camera left", "no messages on /left/image_raw/compressed (1 publisher)")
    assert scene.listener.message("state").startswith("camera left: no messages")


def test_dead_reference_camera_leaves_its_stamp_to_the_sets(scene: Scene) -> None:
    scene.robot.cameras["front"].alive = False
    message = scene.next_result(["left", "rear"])
    left_ns = stamp_ns_of(message.camera_stamps[0])
    assert stamp_ns_of(message.header.stamp) == pytest.approx(left_ns - 5_000_000, abs=100_000)


def test_odometry_that_never_comes_is_named_and_its_sets_are_counted(scene: Scene) -> None:
    scene.robot.sends_odom = False
    assert scene.control.set(image_depth=4) == ""  # a new, empty TF buffer
    output = scene.named("camera front", "no transform odom ← base_link at")
    assert "TF has no frame" in output
    output = scene.told("results", "no result for", "transforms, camera front")
    assert "no transform odom ← base_link" in output
    before = len(scene.results)
    scene.robot.heal()
    scene.next_result(ALL)
    assert len(scene.results) > before
    assert int(scene.listener.values("state").get("dropped.no transform", 0)) > 0
    scene.listener.wait(scene.listener.is_ok("results"), "end of the complaint")


def test_odometry_that_comes_late_is_waited_for(scene: Scene) -> None:
    scene.robot.odom_delay_s = 0.1
    scene.next_result(ALL)
    scene.next_result(ALL)

    def waited() -> bool:
        latency = scene.listener.values("latency")
        return float(latency["sync and transforms.p95_ms"]) > 80

    scene.listener.wait(waited, "sets that wait for their transforms")


def test_late_subscriber_gets_the_last_costmap(scene: Scene) -> None:
    """Nav2's static layer subscribes transient local."""
    costmaps = scene.listener.listen(OccupancyGrid, "/renderocc/costmap", LATCHED)
    scene.listener.wait(lambda: costmaps, "a costmap for Nav2")
