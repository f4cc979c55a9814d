"""Cameras that send H.264 over DDS: the node sees what they saw, and names what is lost."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="no ROS 2 in this Python")
pytest.importorskip("av", reason="PyAV is not installed")
pytest.importorskip("ffmpeg_image_transport_msgs", reason="its messages are not installed")

from ffmpeg_image_transport_msgs.msg import FFMPEGPacket
from renderocc_ros.msg import SemanticOccupancy

from renderocc_ros.config import load_class_set, load_rig
from renderocc_ros.geometry import CameraModel
from renderocc_ros.occupancy.messages import occupancy_of, stamp_ns_of
from renderocc_ros.occupancy.ros_messages import to_time
from renderocc_ros.prediction import Predictor
from renderocc_ros.rig.camera_set import CameraSet, PosedImage
from renderocc_ros.rig.image_decoding import decode_message
from renderocc_ros.rig.video_stream import VideoStream
from renderocc_ros.tools.demo_watch import DemoWatch
from tests.node import robot as robots
from tests.node.live import NETWORK, Control, Listener, occupancy_node, ros_node
from tests.node.scene import ALL, Scene
from tests.rig.videos import Encoder

pytestmark = pytest.mark.ros
THRESHOLD = 0.13


class VideoRobot(robots.Robot):
    """Sends packets; keeps what they were decoded to, by camera and stamp."""

    def __init__(self, node: Any) -> None:
        size = (robots.WIDTH, robots.HEIGHT)
        self.encoders = {name: Encoder(size=size) for name in robots.NAMES}
        self.decoders = {name: VideoStream() for name in robots.NAMES}
        self.pictures: dict[tuple[str, int], Any] = {}
        super().__init__(node)

    def _transport(self) -> tuple[Any, str]:
        return FFMPEGPacket, "/ffmpeg"

    def _image(self, camera: robots.FakeCamera, stamp_ns: int, number: int) -> Any:
        pixels = robots.test_image(camera.name, number)
        (fields,) = self.encoders[camera.name].encode(pixels)
        message = FFMPEGPacket(**{**fields, "data": array("B", fields["data"].tobytes())})
        message.header.frame_id = f"{camera.name}_optical"
        message.header.stamp = to_time(stamp_ns)
        for picture in self.decoders[camera.name].decode(message):
            self.pictures[camera.name, stamp_ns] = decode_message(picture)
        return message


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> str:
    content = robots.rig_content()
    for camera in content["cameras"]:
        camera["compressed"] = "ffmpeg"
    return robots.write_rig(tmp_path_factory.mktemp("rig") / "rig.yaml", content)


@pytest.fixture(scope="module")
def scene(rig: str) -> Iterator[Scene]:
    with ros_node("video_robot") as node:
        listener = Listener(node)
        results = listener.listen(SemanticOccupancy, "/renderocc/occupancy")
        with VideoRobot(node) as robot, occupancy_node(rig=rig, threshold=THRESHOLD):
            scene = Scene(robot, listener, Control(node), results)
            scene.recovered()
            yield scene


def predicted(robot: VideoRobot, sent: robots.SentSet) -> Any:
    """The result computed in this process, from the pictures that were sent."""
    matrix = [[robots.FOCAL_PX, 0, (robots.WIDTH - 1) / 2]]
    matrix += [[0, robots.FOCAL_PX, (robots.HEIGHT - 1) / 2], [0, 0, 1]]
    model = CameraModel(robots.WIDTH, robots.HEIGHT, np.array(matrix))
    predictor = Predictor.from_preset(NETWORK, threads=1)
    predictor.threshold = THRESHOLD
    odom_from_ego = robots.odom_from_ego(sent.stamp_ns, robot.start_ns)
    images = []
    for name in robots.NAMES:
        stamp_ns = sent.stamps_ns[name]
        moved = odom_from_ego.inverse() @ robots.odom_from_ego(stamp_ns, robot.start_ns)
        pose = moved @ robots.ego_from_camera(name)
        images.append(PosedImage(name, stamp_ns, robot.pictures[name, stamp_ns], model, pose))
    return predictor.predict(CameraSet(sent.stamp_ns, robots.NAMES, tuple(images), odom_from_ego))


def test_the_result_is_that_of_the_pictures_that_were_sent(scene: Scene) -> None:
    message = scene.next_result(ALL)
    sent = next(s for s in scene.robot.sent if s.stamp_ns == stamp_ns_of(message.header.stamp))
    assert [stamp_ns_of(stamp) for stamp in message.camera_stamps] == list(sent.stamps_ns.values())
    assert isinstance(scene.robot, VideoRobot)
    truth = predicted(scene.robot, sent)
    assert 0.01 < truth.occupied.mean() < 0.9
    result = occupancy_of(message, load_class_set("occ3d"))
    assert (result.labels != truth.labels).mean() < 1e-3


def test_an_onlooker_of_the_demo_sees_the_same_pictures(scene: Scene, rig: str) -> None:
    assert isinstance(scene.robot, VideoRobot)
    watch = DemoWatch(scene.listener.node, load_rig(rig), "/renderocc")
    snapshot = scene.listener.wait(
        lambda: watch.snapshot if watch.snapshot and len(watch.snapshot.images) == 3 else None,
        "a result with its pictures",
    )
    stamps = map(stamp_ns_of, snapshot.message.camera_stamps)
    for name, stamp_ns in zip(snapshot.message.cameras_used, stamps, strict=True):
        assert np.array_equal(snapshot.images[name], scene.robot.pictures[name, stamp_ns])


def test_a_lost_packet_is_named_and_the_next_key_frame_heals(scene: Scene) -> None:
    """Packets of one camera are lost again and again: the others go on; then all is well."""
    left = scene.robot.cameras["left"]

    def lose_some(message: Any) -> None:
        if message.pts % 3 == 1:
            message.data = array("B")

    left.spoil = lose_some
    scene.told("camera left", "image on /left/image_raw/ffmpeg", "key frame")
    assert scene.next_result(["front", "rear"]).cameras_missing == ["left"]
    assert int(scene.listener.values("state")["bad_images.left"]) > 0
    scene.recovered()
