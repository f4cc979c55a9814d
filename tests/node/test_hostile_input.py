"""Messages that cannot be: the node goes on, says what is wrong, and recovers by itself."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

pytest.importorskip("rclpy", reason="no ROS 2 in this Python")

from geometry_msgs.msg import TransformStamped
from nav_msgs.msg import OccupancyGrid
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo
from tf2_msgs.msg import TFMessage

from renderocc_ros.occupancy.messages import stamp_ns_of
from tests.node import robot as robots
from tests.node.live import LATCHED, ros_node
from tests.node.scene import ALL, Scene, scene_of

pytestmark = pytest.mark.ros
SECOND_NS = 1_000_000_000
LATCHED_RELIABLE = QoSProfile(
    depth=1,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
    reliability=ReliabilityPolicy.RELIABLE,
)


@pytest.fixture(scope="module")
def shared_scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("rig")
    yield from scene_of(robots.write_rig(folder / "rig.yaml", robots.rig_content()), True)


@pytest.fixture
def scene(shared_scene: Scene) -> Iterator[Scene]:
    yield shared_scene
    shared_scene.recovered()


def odometry(scene: Scene, ahead_ns: int = 0) -> TransformStamped:
    """What the robot would send now, or by another clock."""
    stamp_ns = scene.robot.sent[-1].stamp_ns
    pose = robots.odom_from_ego(stamp_ns, scene.robot.start_ns)
    return robots.transform("odom", "base_link", pose, stamp_ns + ahead_ns)


def infinite(transform: TransformStamped) -> None:
    transform.transform.translation.x = float("inf")


def turned_nowhere(transform: TransformStamped) -> None:
    transform.transform.rotation.w = transform.transform.rotation.z = 0.0


def before_1970(transform: TransformStamped) -> None:
    transform.header.stamp.sec = -5


def its_own_parent(transform: TransformStamped) -> None:
    transform.header.frame_id = "base_link"


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (infinite, "not finite: [inf, "),
        (turned_nowhere, "a rotation of length 0"),
        (before_1970, "a stamp before 1970"),
        (its_own_parent, "frames need names"),
    ],
)
def test_transform_that_cannot_be_is_named_and_not_used(
    scene: Scene, spoil: Callable[[TransformStamped], None], message: str
) -> None:
    transform = odometry(scene)
    spoil(transform)
    scene.robot.tf.publish(TFMessage(transforms=[transform]))
    output = scene.named("transforms", message, "not used")
    assert output.startswith("/tf: ")
    scene.next_result(ALL)
    scene.listener.wait(scene.listener.is_ok("transforms"), "end of the complaint")


def test_one_transform_far_ahead_does_not_make_tf_forget(scene: Scene) -> None:
    scene.robot.tf.publish(TFMessage(transforms=[odometry(scene, 100 * SECOND_NS)]))
    scene.named("transforms", "odom ← base_link is 100.", "s ahead of the last one: clocks differ")
    for _ in range(3):
        scene.next_result(ALL)


def test_frame_names_of_any_letters_end_nothing(scene: Scene) -> None:
    strange = robots.transform(
        "map: {[", 'a"\n- b', robots.ego_from_camera("left"), scene.robot.start_ns
    )
    scene.robot.tf.publish(TFMessage(transforms=[strange]))
    scene.robot.sends_odom = False
    scene.named("camera front", "no transform odom ← base_link")
    scene.robot.heal()
    scene.next_result(ALL)


@pytest.mark.parametrize(
    ("second", "complaint"), [(-1, "its stamp cannot be: -1 s"), (0, "its stamp is zero")]
)
def test_stamps_that_cannot_be_cost_one_camera(scene: Scene, second: int, complaint: str) -> None:
    def spoil(message: Any) -> None:
        message.header.stamp.sec, message.header.stamp.nanosec = second, 0

    scene.robot.cameras["front"].spoil = spoil  # the reference
    scene.named("camera front", "image on /front/image_raw/compressed", complaint)
    scene.next_result(["left", "rear"])
    assert int(scene.listener.values("state")["bad_images.front"]) > 0


@pytest.mark.parametrize(
    ("value", "message"), [(1e300, "fx = 1e+300 px"), (1e-5, "fx = 1e-05 px"), (-80.0, "fx = -80")]
)
def test_focal_lengths_that_no_lens_has_are_named(scene: Scene, value: float, message: str) -> None:
    def spoil(info: Any) -> None:
        info.k[0] = value

    scene.robot.cameras["left"].spoil_info = spoil
    scene.named("camera left", "CameraInfo on /left/camera_info", message)
    scene.next_result(["front", "rear"])


def test_two_static_transforms_that_differ_are_named(scene: Scene) -> None:
    node = scene.robot.node
    qos = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    other = node.create_publisher(TFMessage, "/tf_static", qos)
    moved = robots.transform(
        "base_link", "left_optical", robots.ego_from_camera("front"), scene.robot.start_ns
    )
    other.publish(TFMessage(transforms=[moved]))
    output = scene.named("transforms", "left_optical is at two places in base_link")
    assert "2 publishers, the last one counts" in output
    node.executor.create_task(node.destroy_publisher, other)
    scene.robot.publish_static(robots.NAMES)
    scene.listener.wait(scene.listener.is_ok("transforms"), "end of the contradiction")


def test_two_odometries_that_disagree_are_named(scene: Scene) -> None:
    def both() -> bool:
        other = odometry(scene, 10_000_000)
        other.transform.translation.y += 2.0
        scene.robot.tf.publish(TFMessage(transforms=[other]))
        return "odom ← base_link jumps by 2." in scene.listener.message("transforms")

    scene.listener.wait(both, "two odometries")
    scene.listener.wait(scene.listener.is_ok("transforms"), "end of the contradiction")


def test_home_of_nobody_is_refused_and_ends_nothing(scene: Scene) -> None:
    assert scene.control.set(save_folder="~nobody_of_this_name/here") == ""
    scene.next_result(ALL)
    response = scene.control.trigger("save")
    assert not response.success
    assert "set the parameter 'save_folder'" in response.message
    scene.next_result(ALL)


def test_late_subscriber_gets_the_last_costmap(scene: Scene) -> None:
    """Nav2's static layer subscribes transient local."""
    costmaps = scene.listener.listen(OccupancyGrid, "/renderocc/costmap", LATCHED)
    scene.listener.wait(lambda: costmaps, "a costmap for Nav2")


def stamps_that_stand(scene: Scene) -> None:
    first = robots.to_time(scene.robot.sent[-1].stamp_ns)

    def spoil(message: Any) -> None:
        message.header.stamp = first

    scene.robot.cameras["left"].spoil = spoil


def clock_off_by(seconds: float) -> Callable[[Scene], None]:
    def break_it(scene: Scene) -> None:
        def spoil(message: Any) -> None:
            stamp_ns = stamp_ns_of(message.header.stamp) + round(seconds * 1e9)
            message.header.stamp = robots.to_time(stamp_ns)

        scene.robot.cameras["left"].spoil = spoil

    return break_it


def out_of_order(scene: Scene) -> None:
    number = itertools.count()

    def spoil(message: Any) -> None:
        back_ns = 130_000_000 * (next(number) % 2)
        message.header.stamp = robots.to_time(stamp_ns_of(message.header.stamp) - back_ns)

    scene.robot.cameras["left"].spoil = spoil


def frozen(scene: Scene) -> None:
    picture: list[Any] = []

    def spoil(message: Any) -> None:
        picture.append(message.data)
        message.data = picture[0]

    scene.robot.cameras["left"].spoil = spoil


def another_frame(scene: Scene) -> None:
    def spoil(message: Any) -> None:
        message.header.frame_id = "rear_optical"

    scene.robot.cameras["left"].spoil = spoil


def calibration_of_two(scene: Scene) -> None:
    number = itertools.count()

    def spoil(info: Any) -> None:
        info.k[0] += next(number) % 2

    scene.robot.cameras["left"].spoil_info = spoil


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (stamps_that_stand, "its stamps stand at"),
        (clock_off_by(0.045), "ms ahead of those of the other cameras"),
        (clock_off_by(-0.045), "ms behind those of the other cameras"),
        (clock_off_by(3.0), "3.0 s ahead of those of the other cameras"),
        (
            clock_off_by(-3600.0),
            "their stamps are far from the other cameras'; its stamps are 3600.0 s",
        ),
        (out_of_order, "its stamps go back"),
        (frozen, "the same picture for"),
        (another_frame, "carry the frame 'rear_optical' of rear"),
        (calibration_of_two, "the calibration on /left/camera_info keeps changing"),
    ],
)
def test_stream_that_is_odd_is_named_though_it_arrives(
    scene: Scene, break_it: Callable[[Scene], None], message: str
) -> None:
    before = len(scene.results)
    break_it(scene)
    scene.told("camera left", message)
    assert len(scene.results) > before
    for name in ("front", "rear"):
        assert scene.listener.is_ok(f"camera {name}")(), scene.listener.message(f"camera {name}")


def test_calibration_that_was_sent_once_and_latched_is_asked_for(scene: Scene) -> None:
    camera = scene.robot.cameras["rear"]
    camera.sends_info = False
    node = scene.robot.node
    latched = node.create_publisher(CameraInfo, "/rear/camera_info", LATCHED_RELIABLE)
    latched.publish(scene.robot._info(camera, scene.robot.sent[-1].stamp_ns))
    assert scene.control.set(image_depth=5) == ""  # subscribes anew and forgets the calibration
    scene.next_result(ALL)
    node.executor.create_task(node.destroy_publisher, latched)


def test_storm_of_parameters_does_not_stop_the_results(scene: Scene) -> None:
    stop = threading.Event()

    def storm() -> None:
        for depth in itertools.cycle((2, 3, 4)):
            assert scene.control.set(image_depth=depth) == ""
            if stop.wait(0.1):
                return

    thread = threading.Thread(target=storm)
    thread.start()
    try:
        for _ in range(20):
            scene.next_result(ALL)
    finally:
        stop.set()
        thread.join()


def test_results_that_stop_are_told_with_what_holds_them_up(scene: Scene) -> None:
    scene.robot.sends_odom = False
    output = scene.told("results", "no result for", "transforms, camera front")
    assert "no transform odom ← base_link" in output
    scene.robot.heal()
    scene.listener.wait(scene.listener.is_ok("results"), "end of the complaint")


def test_another_node_of_the_same_name_is_named(scene: Scene) -> None:
    with ros_node("renderocc"):
        scene.told("name", "2 nodes are called /renderocc")
