"""The self-check with a LiDAR: real drives, and clouds that are of no use."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy", reason="no ROS 2 in this Python")

from sensor_msgs.msg import PointCloud2, PointField
from tf2_msgs.msg import TFMessage

from renderocc_ros.geometry import RigidTransform
from renderocc_ros.occupancy.ros_messages import to_time
from tests.node import robot as robots
from tests.node import street_sight
from tests.node.live import NETWORK, Control, Listener, occupancy_node, ros_node
from tests.node.test_self_check import StreetRobot

pytestmark = pytest.mark.ros

TOPIC = "lidar/points"
TURNED_DEG = 3.0


class TurnedRobot(StreetRobot):
    """Says that the camera "slant" is turned about y, and carries a LiDAR."""

    def __init__(self, node: Any) -> None:
        super().__init__(node, ("front", "slant"))
        self._points = node.create_publisher(PointCloud2, TOPIC, 10)
        self._cloud = cloud(street_sight.scan(), 0)

    def publish_static(self, names: tuple[str, ...]) -> None:
        mounts = {name: robots.ego_from_camera(name) for name in names}
        turn = cv2.Rodrigues(np.deg2rad([0.0, TURNED_DEG, 0.0]))[0]
        slant = mounts["slant"]
        mounts["slant"] = RigidTransform(turn @ slant.rotation, slant.translation)
        poses = [
            robots.transform("base_link", f"{name}_optical", pose, self.start_ns)
            for name, pose in mounts.items()
        ]
        self.tf_static.publish(TFMessage(transforms=poses))

    def cycle(self) -> None:
        self._cloud.header.stamp = to_time(time.time_ns())
        self._points.publish(self._cloud)
        super().cycle()


def test_turned_camera_is_named_by_lidar_and_a_right_one_is_not(tmp_path: Path) -> None:
    """The network's sight is known; image, mount, odometry and points come over DDS."""
    rig = robots.write_rig(tmp_path / "rig.yaml", robots.rig_content(("front", "slant")))
    parameters = {"self_check__enabled": True, "self_check__points_topic": TOPIC}
    sight = "from tests.node import street_sight; street_sight.install()"
    with ros_node("lidar_robot") as node:
        listener = Listener(node)
        with TurnedRobot(node), occupancy_node(rig=rig, first=sight, **parameters):
            listener.wait(listener.says("camera slant", "it looks turned by "), "turned camera")
            listener.wait(
                lambda: int(listener.values("camera front")["self_check.range_looks"]) >= 8,
                "looks at the other one",
            )
            slant, front = (listener.values(f"camera {name}") for name in ("slant", "front"))
            assert listener.is_ok("camera front")(), listener.message("camera front")
            assert listener.is_ok("points")(), listener.message("points")
    np.testing.assert_allclose(turn_of(slant), [0, -TURNED_DEG, 0], atol=0.8)
    assert np.linalg.norm(turn_of(front)) < 0.8
    assert int(front["self_check.range_error_percent"]) < 10
    assert 50 < int(front["self_check.overlap_percent"]) < 90  # the other one is turned


def turn_of(values: dict[str, str]) -> list[float]:
    """Degrees about x, y and z of the base frame."""
    numbers, _, _ = values["self_check.turned_deg"].partition(" about")
    return [float(number) for number in numbers.split(",")]


def cloud(
    points: np.ndarray, stamp_ns: int, frame: str = "base_link", order: str = "<"
) -> PointCloud2:
    """x, y, z as float32 with 4 bytes behind each point and 12 behind each row of two."""
    rows = len(points) // 2
    padded = np.full((rows, 2, 16), 255, np.uint8)
    padded[..., :12] = points.astype(f"{order}f4").view(np.uint8).reshape(rows, 2, 12)
    content = np.hstack([padded.reshape(rows, 32), np.full((rows, 12), 255, np.uint8)])
    message = PointCloud2(height=rows, width=2, point_step=16, row_step=2 * 16 + 12)
    message.header.frame_id, message.header.stamp = frame, to_time(stamp_ns)
    message.fields = [
        PointField(name=name, offset=4 * place, datatype=PointField.FLOAT32, count=1)
        for place, name in enumerate("xyz")
    ]
    message.is_bigendian = order == ">"
    message.data = content.tobytes()
    return message


class CloudRobot(robots.Robot):
    """Sends a cloud with each cycle.

    Attributes:
        make: of the present time, or None for no cloud.
    """

    def __init__(self, node: Any) -> None:
        self.make: Callable[[int], PointCloud2] | None = None
        self._clouds = node.create_publisher(PointCloud2, TOPIC, 10)
        super().__init__(node)

    def cycle(self) -> None:
        if self.make is not None:
            self._clouds.publish(self.make(time.time_ns()))
        super().cycle()


@pytest.fixture(scope="module")
def driving(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[CloudRobot, Listener, Control]]:
    rig = robots.write_rig(tmp_path_factory.mktemp("rig") / "rig.yaml", robots.rig_content())
    parameters = {"self_check__enabled": True, "self_check__points_topic": TOPIC}
    with ros_node("points_robot") as node:
        listener = Listener(node)
        with CloudRobot(node) as robot, occupancy_node(rig=rig, network=NETWORK, **parameters):
            yield robot, listener, Control(node)


PLACES = np.random.default_rng(0).uniform(-20, 20, (400, 3))
HALF_GONE = np.where(np.arange(400)[:, None] % 4 < 2, PLACES, [[np.nan, np.inf, 1.0]])
BAD = {
    "no transform": (lambda now: cloud(PLACES, now, "nowhere"), "TF has no frame 'nowhere'"),
    "empty": (lambda now: cloud(np.zeros((0, 3)), now), "no point in it has a place"),
    "other time": (lambda now: cloud(PLACES, now + 5_000_000_000), "s ahead of the images: "),
    "unreadable": (lambda now: cut_off(cloud(PLACES, now)), "cannot be read: the cloud holds"),
    "no stamp": (lambda now: cloud(PLACES, 0), "its stamp is zero"),
}


def test_clouds_of_every_kind_are_counted_and_told(
    driving: tuple[CloudRobot, Listener, Control],
) -> None:
    robot, listener, control = driving
    robot.make = None
    listener.wait(listener.says("points", "no messages on /lidar/points (1 publisher)"), "silence")

    def count(value: str) -> int:
        return int(listener.values("points").get(value, 0))

    for make in (
        lambda now: cloud(PLACES, now),
        lambda now: cloud(PLACES, now, order=">"),
        lambda now: cloud(HALF_GONE, now),
    ):
        robot.make, before = make, count("used")
        listener.wait(
            lambda b=before: count("used") > b + 2 and listener.is_ok("points")(),  # type: ignore[misc]
            "clouds that are used",
        )
    for reason, (make, words) in BAD.items():
        robot.make = make
        assert control.trigger("reset").success
        listener.wait(
            lambda r=reason, w=words: count(f"dropped.{r}") and w in listener.message("points"),  # type: ignore[misc]
            f"{reason}: {words}",
        )
    robot.make = lambda now: cloud(PLACES, now)
    listener.wait(listener.is_ok("points"), "clouds that are used again")
    assert listener.is_ok("results")(), listener.message("results")


def cut_off(message: PointCloud2) -> PointCloud2:
    message.data = message.data[: len(message.data) // 2]
    return message


def test_topic_that_cannot_be_is_refused_by_name(
    driving: tuple[CloudRobot, Listener, Control],
) -> None:
    *_, control = driving
    refusal = control.set(self_check__points_topic="a b")
    assert "self_check.points_topic = 'a b' is no name of a topic" in refusal


def test_rig_without_odometry_is_refused(tmp_path: Path) -> None:
    from renderocc_ros.config import load_rig
    from renderocc_ros.node.inputs import rig_in_use
    from renderocc_ros.node.parameters import NodeParameters

    content = {**robots.rig_content(), "odom_frame": None}
    rig = load_rig(robots.write_rig(tmp_path / "rig.yaml", content))
    with pytest.raises(ValueError, match=r"self_check\.points_topic.*has no odom_frame"):
        rig_in_use(rig, NodeParameters(self_check_points_topic="points"))
