"""/tf and /tf_static: numbers, frames and times that cannot be, or contradict each other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from geometry_msgs.msg import TransformStamped
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.serialization import serialize_message
from tf2_msgs.msg import TFMessage

from tests.faults.fault import Fault, Happening, of_robot, of_scene, shifting
from tests.node import robot as robots
from tests.node.scene import Scene

PART = "transforms"
STATIC = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


def odometry(scene: Scene, ahead_s: float = 0.0) -> TransformStamped:
    """What the robot would send now, or by another clock."""
    stamp_ns = scene.robot.sent[-1].stamp_ns
    pose = robots.odom_from_ego(stamp_ns, scene.robot.start_ns)
    return robots.transform("odom", "base_link", pose, stamp_ns + round(ahead_s * 1e9))


def sent_beside(spoil: Callable[[TransformStamped], None]) -> Happening:
    """One more transform among the robot's own, every tenth of a second."""

    @contextmanager
    def happens(scene: Scene) -> Iterator[None]:
        def also(_: TransformStamped) -> None:
            other = odometry(scene)
            spoil(other)
            scene.robot.tf.publish(TFMessage(transforms=[other]))

        scene.robot.spoil_odom = also
        yield

    return happens


def sent_once(ahead_s: float) -> Happening:
    def start(scene: Scene) -> None:
        scene.robot.tf.publish(TFMessage(transforms=[odometry(scene, ahead_s)]))

    return of_scene(start)


def of_odometry(spoil: Callable[[TransformStamped], None]) -> Happening:
    """What is wrong with all of the robot's odometry."""

    def change(robot: robots.Robot) -> None:
        robot.spoil_odom = spoil

    return of_robot(change)


def moved(x: float = 0.0, y: float = 0.0) -> Callable[[TransformStamped], None]:
    def spoil(transform: TransformStamped) -> None:
        transform.transform.translation.x += x
        transform.transform.translation.y += y

    return spoil


def turned(w: float, x: float = 0.0) -> Callable[[TransformStamped], None]:
    def spoil(transform: TransformStamped) -> None:
        q = transform.transform.rotation
        q.w, q.x, q.y, q.z = w, x, 0.0, 0.0

    return spoil


def framed(parent: str, child: str) -> Callable[[TransformStamped], None]:
    def spoil(transform: TransformStamped) -> None:
        transform.header.frame_id, transform.child_frame_id = parent, child

    return spoil


def before_1970(transform: TransformStamped) -> None:
    transform.header.stamp.sec = -5


def odometry_changes(**values: Any) -> Happening:
    def change(robot: robots.Robot) -> None:
        for name, value in values.items():
            setattr(robot, name, value)

    return of_robot(change)


def message_of(content: Callable[[Scene], bytes | TFMessage]) -> Happening:
    """One message, as it is."""

    def start(scene: Scene) -> None:
        scene.robot.tf.publish(content(scene))

    return of_scene(start)


def thousands(scene: Scene) -> TFMessage:
    frames = [odometry(scene) for _ in range(10_000)]
    for number, each in enumerate(frames):
        each.child_frame_id = f"leaf_{number}"
    return TFMessage(transforms=frames)


@contextmanager
def another_mount(scene: Scene) -> Iterator[None]:
    """A second source of /tf_static puts a camera elsewhere."""
    node = scene.robot.node
    other = node.create_publisher(TFMessage, "/tf_static", STATIC)
    pose = robots.ego_from_camera("front")
    wrong = robots.transform("base_link", "left_optical", pose, scene.robot.start_ns)
    other.publish(TFMessage(transforms=[wrong]))
    yield
    scene.robot.retire(other)
    scene.robot.publish_static(robots.NAMES)


@contextmanager
def mount_of_another_parent(scene: Scene) -> Iterator[None]:
    """A second source of /tf_static hangs a camera on another frame."""
    node = scene.robot.node
    other = node.create_publisher(TFMessage, "/tf_static", STATIC)
    pose = robots.ego_from_camera("left")
    other.publish(
        TFMessage(transforms=[robots.transform("mast", "left_optical", pose, scene.robot.start_ns)])
    )
    yield
    scene.robot.retire(other)
    scene.robot.publish_static(robots.NAMES)


@contextmanager
def mount_not_finite(scene: Scene) -> Iterator[None]:
    """/tf_static with a number that is none, from the robot's own publisher."""
    node = scene.robot.node
    other = node.create_publisher(TFMessage, "/tf_static", STATIC)
    wrong = robots.transform(
        "base_link", "left_optical", robots.ego_from_camera("left"), scene.robot.start_ns
    )
    wrong.transform.translation.z = float("nan")
    other.publish(TFMessage(transforms=[wrong]))
    yield
    scene.robot.retire(other)


@contextmanager
def loop(scene: Scene) -> Iterator[None]:
    """odom is said to hang on a camera."""
    node = scene.robot.node
    other = node.create_publisher(TFMessage, "/tf", 10)

    def also(_: TransformStamped) -> None:
        wrong = odometry(scene)
        framed("left_optical", "odom")(wrong)
        other.publish(TFMessage(transforms=[wrong]))

    scene.robot.spoil_odom = also
    yield
    scene.robot.heal()
    scene.robot.retire(other)


def beside(name: str, spoil: Callable[[Any], None], *says: str, in_ci: bool = False) -> Fault:
    """What cannot be is not taken, so results go on and poses stay right."""
    return Fault(name, sent_beside(spoil), PART, ("/tf: ", *says, "not used"), in_ci=in_ci)


TRANSFORM_FAULTS = (
    beside("TF: infinite translation", moved(float("inf")), "not finite: [inf, ", in_ci=True),
    beside("TF: translation that is no number", moved(float("nan")), "not finite: [nan, "),
    beside("TF: translation of 1e300 m", moved(1e300), "a translation of [1e+300"),
    beside("TF: rotation of length 0", turned(0.0), "a rotation of length 0", in_ci=True),
    beside("TF: rotation of length 2", turned(2.0), "a rotation of length 2"),
    beside("TF: rotation that is no number", turned(float("nan")), "not finite"),
    beside("TF: stamp before 1970", before_1970, "a stamp before 1970"),
    beside(
        "TF: frame that is its own parent", framed("base_link", "base_link"), "frames need names"
    ),
    beside("TF: frame without a name", framed("odom", ""), "frames need names"),
    Fault("TF: frame names of YAML", sent_beside(framed("map: {[", 'a"\n- b')), in_ci=True),
    Fault("TF: message of 10,000 frames", message_of(thousands)),
    Fault(
        "TF: message cut in half",
        message_of(lambda scene: serialize_message(TFMessage(transforms=[odometry(scene)]))[:60]),
        PART,
        ("/tf: ", "cannot be read"),
        in_ci=True,
    ),
    Fault(
        "TF: one message 100 s ahead",
        sent_once(100.0),
        PART,
        ("odom ← base_link is 100.", "s ahead of the last one: clocks differ"),
        in_ci=True,
    ),
    Fault("TF: one message 100 s behind", sent_once(-100.0), PART, ("behind the last one",)),
    Fault(
        "TF: odometry whose clock is 100 s ahead",
        of_odometry(shifting(100.0)),
        PART,
        ("s ahead of",),
        used=(),
        own_poses=True,
    ),
    Fault(
        "TF: odometry whose clock is 3 s ahead",
        of_odometry(shifting(3.0)),
        PART,
        ("s ahead of the images",),
        own_poses=True,
        in_ci=True,
    ),
    Fault(
        "TF: odometry whose clock is 3 s behind",
        of_odometry(shifting(-3.0)),
        "camera front",
        ("no transform odom ← base_link", "(latest "),
        used=(),
        own_poses=True,
        in_ci=True,
    ),
    Fault(
        "TF: odometry stops",
        odometry_changes(sends_odom=False),
        "camera front",
        ("no transform odom ← base_link", "(latest "),
        used=(),
        in_ci=True,
    ),
    Fault("TF: odometry 100 ms late", odometry_changes(odom_delay_s=0.1)),
    Fault(
        "TF: odometry 400 ms late",
        odometry_changes(odom_delay_s=0.4),
        "camera front",
        ("no transform odom ← base_link",),
        used=(),
    ),
    Fault(
        "TF: two odometries 2 m apart",
        sent_beside(moved(y=2.0)),
        PART,
        ("odom ← base_link jumps by 2.", "two sources disagree"),
        own_poses=True,
        in_ci=True,
    ),
    Fault(
        "TF: two parents of the robot",
        sent_beside(framed("map", "base_link")),
        PART,
        ("base_link has two parents",),
        own_poses=True,
        least=0.0,
    ),
    Fault(
        "TF: a loop of frames",
        loop,
        PART,
        ("left_optical ← odom closes a loop of frames", "not used"),
        in_ci=True,
    ),
    Fault(
        "TF: a camera at two places",
        another_mount,
        PART,
        ("left_optical is at two places in base_link", "2 publishers, the last one counts"),
        own_poses=True,
        in_ci=True,
    ),
    Fault(
        "TF: a camera with two parents",
        mount_of_another_parent,
        PART,
        ("left_optical has two parents, base_link and mast",),
        used=("front", "rear"),
    ),
    Fault(
        "TF: a mount that is no number",
        mount_not_finite,
        PART,
        ("/tf_static: base_link ← left_optical: not finite", "not used"),
    ),
)
