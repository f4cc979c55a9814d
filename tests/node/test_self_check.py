"""The live self-check: a real node, and a robot that drives through a painted street."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy", reason="no ROS 2 in this Python")

from sensor_msgs.msg import CameraInfo, CompressedImage

from renderocc_ros.geometry import RigidTransform
from renderocc_ros.occupancy.ros_messages import to_time
from tests.node import robot as robots
from tests.node.live import NETWORK, Control, Listener, occupancy_node, ros_node
from tests.rig import street

pytestmark = pytest.mark.ros

NAMES = ("front", "left")
HASTE = 2.0  # times the usual speed


class StreetRobot(robots.Robot):
    """Sends what its cameras would see.

    Attributes:
        shown: by camera, the one whose picture it sends.
        standing: cameras that send their last picture, each time with other noise.
    """

    def __init__(self, node: Any, names: tuple[str, ...] = NAMES) -> None:
        self.shown = {name: name for name in names}
        self.standing: set[str] = set()
        self._last: dict[str, np.ndarray] = {}
        super().__init__(node, names)
        self.spoil_odom = _hurry

    def _image(self, camera: robots.FakeCamera, stamp_ns: int, number: int) -> Any:
        if camera.name not in self.standing:
            usual = robots.odom_from_ego(stamp_ns, self.start_ns)
            pose = RigidTransform(usual.rotation, HASTE * usual.translation)
            seen_from = pose @ robots.ego_from_camera(self.shown[camera.name])
            self._last[camera.name] = street.picture(seen_from)
        pixels = self._last[camera.name].astype(int)
        noise = np.random.default_rng(number).integers(-1, 2, pixels.shape[:2])
        grey = np.clip(pixels + noise[..., None], 0, 255).astype(np.uint8)
        message = CompressedImage(format="jpeg")
        message.data = array("B", cv2.imencode(".jpg", grey)[1].tobytes())
        message.header.frame_id = f"{camera.name}_optical"
        message.header.stamp = to_time(stamp_ns)
        return message

    def info_of(self, camera: robots.FakeCamera, stamp_ns: int) -> CameraInfo:
        info = super().info_of(camera, stamp_ns)
        info.width, info.height = street.WIDTH, street.HEIGHT
        info.k = street.MODEL.intrinsics.ravel().tolist()
        info.p = np.hstack([street.MODEL.intrinsics, np.zeros((3, 1))]).ravel().tolist()
        return info


def _hurry(message: Any) -> None:
    message.transform.translation.x *= HASTE


@pytest.fixture(scope="module")
def driving(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[StreetRobot, Listener, Control]]:
    folder = tmp_path_factory.mktemp("street")
    rig = robots.write_rig(folder / "rig.yaml", robots.rig_content(NAMES))
    network = folder / "network.yaml"
    small, large = "{width: 96, height: 32}", "{width: 192, height: 96}"
    content = Path(NETWORK).read_text("utf-8")
    assert small in content
    network.write_text(content.replace(small, large))
    with ros_node("street_robot") as node:
        listener = Listener(node)
        parameters: dict[str, Any] = {"network": str(network), "self_check__enabled": True}
        with StreetRobot(node) as robot, occupancy_node(rig=rig, **parameters):
            yield robot, listener, Control(node)


def looks(listener: Listener, name: str) -> int:
    return int(listener.values(f"camera {name}").get("self_check.looks", 0))


def test_healthy_frozen_and_swapped_cameras(
    driving: tuple[StreetRobot, Listener, Control],
) -> None:
    robot, listener, control = driving
    for name in NAMES:
        listener.wait(lambda n=name: looks(listener, n) >= 10, f"looks at {name}")  # type: ignore[misc]
        assert listener.is_ok(f"camera {name}")(), listener.message(f"camera {name}")
        assert float(listener.values(f"camera {name}")["self_check.fit_percent"]) > 80
    robot.standing.add("left")
    frozen = "camera left: the same picture while the robot moves: restart the camera"
    listener.wait(listener.says("camera left", frozen), "frozen image")
    assert listener.is_ok("camera front")()
    robot.standing.clear()
    listener.wait(listener.is_ok("camera left"), "end of the complaint")
    robot.shown = {"front": "left", "left": "front"}
    assert control.trigger("reset").success
    for name, other in robot.shown.items():
        swapped = f"camera {name}: its images move as those of {other} should: are the two swapped?"
        listener.wait(listener.says(f"camera {name}", swapped), "swapped cameras")
    assert control.set(self_check__enabled=False) == ""
    for name in NAMES:
        listener.wait(listener.is_ok(f"camera {name}"), "end of the check")
    listener.wait(lambda: looks(listener, "left") == 0, "nothing known any more")


def test_bounds_of_its_parameters_are_refused_by_name(
    driving: tuple[StreetRobot, Listener, Control],
) -> None:
    *_, control = driving
    assert "self_check.still_percent" in control.set(self_check__still_percent=101.0)
