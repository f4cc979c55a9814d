"""Cameras that die, publishers and subscribers that come, go, or ask for what does not fit."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from nav_msgs.msg import OccupancyGrid
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CompressedImage, Image, PointCloud2
from std_msgs.msg import UInt8MultiArray

from tests.faults.fault import Fault, Happening, of_robot
from tests.node import robot as robots
from tests.node.live import ros_node
from tests.node.scene import Scene

TOPIC = "/left/image_raw/compressed"
GREEDY = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
DISCOVERED_S = 3.0  # a participant that is new may be found only with its next announcement
LOSSY = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)


def in_executor(scene: Scene, work: Callable[..., Any], *arguments: Any) -> None:
    """In the robot's own thread: another one would take it from under its wait."""
    scene.robot.node.executor.create_task(work, *arguments)


def dead(*names: str) -> Happening:
    def change(robot: robots.Robot) -> None:
        for name in names:
            robot.cameras[name].alive = False

    return of_robot(change)


@contextmanager
def publisher_gone(scene: Scene) -> Iterator[None]:
    """The driver ends, and another one starts."""
    camera, node = scene.robot.cameras["left"], scene.robot.node
    camera.alive = False
    scene.robot.retire(camera.images)
    yield
    camera.images = node.create_publisher(CompressedImage, TOPIC, 10)


@contextmanager
def publisher_beside(scene: Scene, kind: Any = CompressedImage) -> Iterator[None]:
    with ros_node("second_driver") as node:
        node.create_publisher(kind, TOPIC, 1)
        yield


@contextmanager
def two_drivers(scene: Scene) -> Iterator[None]:
    """A second driver of the same camera sends an old picture with the stamps of now."""
    node, camera = scene.robot.node, scene.robot.cameras["left"]
    other = node.create_publisher(CompressedImage, TOPIC, 10)
    first: list[Any] = []

    def spoil(message: Any) -> None:
        first.append(message.data)
        twin = CompressedImage(header=message.header, format="jpeg", data=first[0])
        other.publish(twin)

    camera.spoil = spoil
    yield
    scene.robot.heal()
    scene.robot.retire(other)


@contextmanager
def reliable_node(scene: Scene) -> Iterator[None]:
    """The node asks for reliable images, the driver is a lossy one."""
    camera, node = scene.robot.cameras["left"], scene.robot.node
    first, camera.images = camera.images, node.create_publisher(CompressedImage, TOPIC, LOSSY)
    scene.robot.retire(first)
    assert scene.control.set(image_reliability="reliable") == ""
    yield
    lossy, camera.images = camera.images, node.create_publisher(CompressedImage, TOPIC, 10)
    scene.robot.retire(lossy)
    assert scene.control.set(image_reliability="best_effort") == ""


@contextmanager
def subscriber(scene: Scene, kind: Any, topic: str, qos: Any) -> Iterator[None]:
    node = scene.robot.node
    other = node.create_subscription(kind, topic, lambda _: None, qos)
    yield
    in_executor(scene, node.destroy_subscription, other)


@contextmanager
def subscribers_that_come_and_go(scene: Scene) -> Iterator[None]:
    """Ten of them a second."""
    stop = threading.Event()
    with ros_node("passers_by") as node:

        def storm() -> None:
            while not stop.wait(0.1):
                other = node.create_subscription(
                    PointCloud2, "/renderocc/points", lambda _: None, 1
                )
                node.executor.create_task(node.destroy_subscription, other)

        thread = threading.Thread(target=storm)
        thread.start()
        yield
        stop.set()
        thread.join()


@contextmanager
def nodes_that_come_and_go(scene: Scene) -> Iterator[None]:
    """A participant that joins and leaves, again and again."""
    stop = threading.Event()

    def storm() -> None:
        for number in itertools.count():
            with ros_node(f"passer_by_{number}"):
                if stop.wait(0.1):
                    return

    thread = threading.Thread(target=storm)
    thread.start()
    yield
    stop.set()
    thread.join()


@contextmanager
def thirty_subscribers(scene: Scene) -> Iterator[None]:
    node = scene.robot.node
    others = [
        node.create_subscription(PointCloud2, "/renderocc/points", lambda _: None, LOSSY, raw=True)
        for _ in range(30)
    ]
    yield
    for other in others:
        in_executor(scene, node.destroy_subscription, other)


@contextmanager
def slow_subscriber(scene: Scene) -> Iterator[None]:
    """Reliable, keeps all, and takes a second for each."""
    stop = threading.Event()
    with ros_node("slow_subscriber") as node:
        node.create_subscription(
            PointCloud2, "/renderocc/points", lambda _: stop.wait(1.0), QoSProfile(depth=100)
        )
        yield
        stop.set()


@contextmanager
def twin(scene: Scene) -> Iterator[None]:
    with ros_node("renderocc"):
        yield


@contextmanager
def liar_on_an_output(scene: Scene) -> Iterator[None]:
    """Somebody else publishes on the node's own topic."""
    node = scene.robot.node
    other = node.create_publisher(PointCloud2, "/renderocc/points", 1)
    other.publish(PointCloud2())
    yield
    scene.robot.retire(other)


@contextmanager
def flood(scene: Scene) -> Iterator[None]:
    """Other traffic: 50 MB a second on a topic of somebody else's."""
    stop = threading.Event()
    with ros_node("flood") as node:
        talker = node.create_publisher(UInt8MultiArray, "/flood", LOSSY)
        node.create_subscription(UInt8MultiArray, "/flood", lambda _: None, LOSSY, raw=True)
        message = UInt8MultiArray(data=bytes(2_500_000))

        def talk() -> None:
            while not stop.wait(0.05):
                talker.publish(message)

        thread = threading.Thread(target=talk)
        thread.start()
        yield
        stop.set()
        thread.join()


NETWORK_FAULTS = (
    Fault(
        "a camera dies and returns",
        dead("left"),
        "camera left",
        (f"no messages on {TOPIC} (1 publisher), last one", "ago"),
        ("front", "rear"),
        in_ci=True,
    ),
    Fault(
        "the reference camera dies and returns",
        dead("front"),
        "camera front",
        ("no messages on /front/image_raw/compressed",),
        ("left", "rear"),
        in_ci=True,
    ),
    Fault(
        "all cameras but one die and return",
        dead("front", "rear"),
        "camera rear",
        ("no messages on /rear/image_raw/compressed",),
        ("left",),
    ),
    Fault(
        "all cameras die and return",
        dead(*robots.NAMES),
        "camera left",
        (f"no messages on {TOPIC}",),
        (),
        in_ci=True,
    ),
    Fault(
        "a driver ends and is started again",
        publisher_gone,
        "camera left",
        (f"no messages on {TOPIC} (0 publishers)",),
        ("front", "rear"),
        in_ci=True,
    ),
    Fault(
        "a second publisher on an image topic",
        publisher_beside,
        "camera left",
        (f"2 publishers on {TOPIC}",),
        shows_after_s=DISCOVERED_S,
        in_ci=True,
    ),
    Fault(
        "a second publisher sends other pictures with the same stamps",
        two_drivers,
        "camera left",
        (f"2 publishers on {TOPIC}",),
        own_poses=True,
    ),
    Fault(
        "a publisher of another type on an image topic",
        partial(publisher_beside, kind=Image),
        "camera left",
        (f"2 publishers on {TOPIC}",),
        shows_after_s=DISCOVERED_S,
    ),
    Fault(
        "images offered best effort, asked for reliable",
        reliable_node,
        "camera left",
        ("incompatible QoS", "set image_reliability: best_effort"),
        ("front", "rear"),
        least=0.3,
        in_ci=True,
    ),
    Fault(
        "a subscriber asks for more than is offered",
        partial(subscriber, kind=PointCloud2, topic="/renderocc/points", qos=GREEDY),
        "outputs",
        ("broken_robot gets nothing from /renderocc/points", "transient_local"),
        in_ci=True,
    ),
    Fault(
        "a subscriber takes the costmap latched, as Nav2 does",
        partial(subscriber, kind=OccupancyGrid, topic="/renderocc/costmap", qos=GREEDY),
    ),
    Fault("subscribers come and go", subscribers_that_come_and_go, in_ci=True),
    Fault("participants join and leave", nodes_that_come_and_go),
    Fault("thirty subscribers", thirty_subscribers),
    Fault("a subscriber that takes a second for each message", slow_subscriber),
    Fault(
        "a second node of the same name",
        twin,
        "name",
        ("2 nodes are called /renderocc",),
        shows_after_s=DISCOVERED_S,
        in_ci=True,
    ),
    Fault("somebody else publishes on an output", liar_on_an_output),
    Fault("50 MB a second of other traffic", flood),
)
