"""CameraInfo that describes no camera, and what becomes of one that does."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.serialization import serialize_message
from sensor_msgs.msg import CameraInfo

from tests.faults.fault import ALL, Fault, Happening
from tests.node.scene import Scene

LEFT, OTHERS = "camera left", ("front", "rear")
TOPIC = "CameraInfo on /left/camera_info"
LATCHED = QoSProfile(
    depth=1,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
    reliability=ReliabilityPolicy.RELIABLE,
)


def of_info(spoil: Callable[[Any], Any]) -> Happening:
    """What is wrong with each CameraInfo of one camera."""

    @contextmanager
    def happens(scene: Scene) -> Iterator[None]:
        scene.robot.cameras["left"].spoil_info = spoil
        yield

    return happens


def number(index: int, value: float) -> Happening:
    """One number of K."""

    def spoil(info: Any) -> None:
        info.k[index] = value

    return of_info(spoil)


def fields(**values: Any) -> Happening:
    def spoil(info: Any) -> None:
        for name, value in values.items():
            setattr(info, name, value)

    return of_info(spoil)


def region(left: int, top: int, width: int, height: int) -> Happening:
    def spoil(info: Any) -> None:
        info.roi.x_offset, info.roi.y_offset = left, top
        info.roi.width, info.roi.height = width, height

    return of_info(spoil)


def alternates() -> Callable[[Any], None]:
    turn = itertools.count()

    def spoil(info: Any) -> None:
        info.k[0] += 20 * (next(turn) % 2)

    return spoil


@contextmanager
def two_sources(scene: Scene) -> Iterator[None]:
    scene.robot.cameras["left"].spoil_info = alternates()
    yield


@contextmanager
def never_sent(scene: Scene) -> Iterator[None]:
    """A node that starts while no CameraInfo comes; it subscribes anew."""
    scene.robot.cameras["left"].sends_info = False
    assert scene.control.set(image_depth=3) == ""
    yield
    assert scene.control.set(image_depth=2) == ""


@contextmanager
def sent_once(scene: Scene) -> Iterator[None]:
    """As some drivers do: latched, before the node listens."""
    camera, node = scene.robot.cameras["left"], scene.robot.node
    camera.sends_info = False
    publisher = node.create_publisher(CameraInfo, "/left/camera_info", LATCHED)
    publisher.publish(scene.robot.info_of(camera, scene.robot.sent[-1].stamp_ns))
    assert scene.control.set(image_depth=3) == ""
    scene.told("camera left", "no CameraInfo")
    scene.listener.wait(scene.listener.is_ok("camera left"), "the calibration that was asked for")
    yield
    scene.robot.retire(publisher)
    assert scene.control.set(image_depth=2) == ""


def unusable(name: str, happens: Happening, *says: str, in_ci: bool = False) -> Fault:
    """One camera is left out, and told with its topic."""
    return Fault(name, happens, LEFT, (TOPIC, *says), OTHERS, in_ci=in_ci)


CALIBRATION_FAULTS = (
    unusable("calibration: a focal length that is no number", number(0, float("nan")), "finite"),
    unusable("calibration: infinite centre", number(2, float("inf")), "finite"),
    unusable("calibration: all zero", fields(k=[0.0] * 9), "not calibrated", in_ci=True),
    unusable("calibration: fx of 1e300 px", number(0, 1e300), "fx = 1e+300 px", in_ci=True),
    unusable("calibration: fx of 1e-5 px", number(0, 1e-5), "fx = 1e-05 px"),
    unusable("calibration: negative fy", number(4, -80.0), "fy = -80"),
    unusable("calibration: cx of 1e18 px", number(2, 1e18), "cx = 1e+18", in_ci=True),
    unusable("calibration: projection that is none", number(8, 0.0), "[0, 0, 1]", in_ci=True),
    unusable("calibration: skew of 1e12", number(1, 1e12), "skew = 1e+12 px"),
    unusable(
        "calibration: lens that nobody knows",
        fields(distortion_model="kannala", d=[0.1, 0.0]),
        "'kannala'",
    ),
    unusable("calibration: distortion that is no number", fields(d=[float("nan")] * 5), "finite"),
    unusable("calibration: distortion of 1e200", fields(d=[1e200, 0.0, 0.0, 0.0, 0.0]), ""),
    unusable("calibration: seven coefficients", fields(d=[0.1] * 7), "7 coefficients"),
    unusable(
        "calibration: a million coefficients",
        fields(d=[0.1] * 1_000_000),
        "bytes are no calibration",
        in_ci=True,
    ),
    unusable("calibration: image of 0×0", fields(width=0, height=0), "", in_ci=True),
    unusable(
        "calibration: image of 4294967295×4294967295", fields(width=2**32 - 1, height=2**32 - 1), ""
    ),
    unusable(
        "calibration: binning of 4 billion", fields(binning_x=2**32 - 1, binning_y=2**32 - 1), ""
    ),
    unusable(
        "calibration: region outside of the image", region(5000, 5000, 100, 50), "reaches out of"
    ),
    unusable(
        "calibration: message cut in half",
        of_info(lambda info: [serialize_message(info)[:200]]),
        "",
        in_ci=True,
    ),
    Fault(
        "calibration of two sources by turns",
        two_sources,
        LEFT,
        ("the calibration on /left/camera_info keeps changing",),
        ALL,
        own_poses=True,
        in_ci=True,
    ),
    Fault(
        "calibration that is never sent",
        never_sent,
        LEFT,
        ("no CameraInfo on /left/camera_info (1 publisher)",),
        OTHERS,
        in_ci=True,
    ),
    Fault("calibration that was sent once, latched", sent_once, in_ci=True),
)
