"""Stamps that are none, or of another clock; rates; time that jumps."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from typing import Any

from tests.faults.fault import (
    Fault,
    Happening,
    of_image,
    of_new_image,
    of_robot,
    of_scene,
    shifted,
    shifting,
)
from tests.node import robot as robots
from tests.node.scene import Scene

LEFT, OTHERS = "camera left", ("front", "rear")
TOPIC = "/left/image_raw/compressed"


def stamped(second: int, nanosecond: int = 0) -> Callable[[Any], None]:
    def spoil(message: Any) -> None:
        message.header.stamp.sec, message.header.stamp.nanosec = second, nanosecond

    return spoil


def standing() -> Callable[[Any], None]:
    """Always the first stamp."""
    first: list[Any] = []

    def spoil(message: Any) -> None:
        first.append(message.header.stamp)
        message.header.stamp = first[0]

    return spoil


def backwards() -> Callable[[Any], None]:
    """Every other stamp lies before the one before it."""
    number = itertools.count()
    return lambda message: shifted(message, -0.13 * (next(number) % 2))


def jittering(seconds: float) -> Callable[[Any], None]:
    draw = random.Random(0)
    return lambda message: shifted(message, draw.uniform(-seconds, seconds))


def drifting(seconds_per_image: float) -> Callable[[Any], None]:
    """A clock that goes wrong and wrong."""
    number = itertools.count()
    return lambda message: shifted(message, seconds_per_image * next(number))


def every(count: int) -> Callable[[Any], list[Any] | None]:
    """Only one image of so many goes out."""
    number = itertools.count()
    return lambda message: None if next(number) % count == 0 else []


def in_bursts(count: int) -> Callable[[Any], list[Any]]:
    """A link that holds images back and lets them go together."""
    held: list[Any] = []

    def spoil(message: Any) -> list[Any]:
        held.append(message)
        if len(held) < count:
            return []
        out, held[:] = list(held), []
        return out

    return spoil


def swapped_in_pairs() -> Callable[[Any], list[Any]]:
    """Of two images the later one comes first."""
    held: list[Any] = []

    def spoil(message: Any) -> list[Any]:
        held.append(message)
        if len(held) < 2:
            return []
        out, held[:] = held[::-1], []
        return out

    return spoil


def of_all(spoil: Callable[[Any], Any]) -> Happening:
    def change(robot: robots.Robot) -> None:
        for camera in robot.cameras.values():
            camera.spoil = spoil

    return of_robot(change)


def of_reference_alone(scene: Scene) -> None:
    """Zero stamps, while the camera that sets would be stamped by is dead."""
    scene.robot.cameras["front"].alive = False
    scene.robot.cameras["left"].spoil = stamped(0)


def time_jumps(seconds: int) -> Happening:
    """For the whole robot: NTP, or a computer that wakes up."""

    def start(scene: Scene) -> None:
        scene.robot.clock_shift_ns += seconds * 1_000_000_000

    return of_scene(start)


def rate(factor: float) -> Happening:
    """All cameras at another rate than the rig file says."""

    def change(robot: robots.Robot) -> None:
        robot.period_s = robots.PERIOD_S * factor

    return of_robot(change)


def refused(name: str, spoil: Callable[[Any], None], says: str, in_ci: bool = False) -> Fault:
    """The stamp cannot be."""
    about = ("image on /left/image_raw/compressed", says)
    return Fault(name, of_image("left", spoil), LEFT, about, OTHERS, in_ci=in_ci)


def clock_off(
    seconds: float,
    *says: str,
    used: tuple[str, ...] = OTHERS,
    in_ci: bool = False,
    own_mixing: bool = False,
) -> Fault:
    """One camera's clock: at most what shows of it is told, the others go on."""
    size = f"{abs(seconds) * 1e3:.0f} ms" if abs(seconds) < 1 else f"{abs(seconds):.0f} s"
    name = f"camera whose clock is {size} {'ahead' if seconds > 0 else 'behind'}"
    happens = of_image("left", shifting(seconds))
    return Fault(name, happens, LEFT, says, used, in_ci=in_ci, own_mixing=own_mixing)


STAMP_FAULTS = (
    refused("negative stamp", stamped(-1), "its stamp cannot be: -1 s", in_ci=True),
    refused("stamp with 4 billion nanoseconds", stamped(1, 4_000_000_000), "its stamp cannot be"),
    refused("zero stamp", stamped(0), "its stamp is zero"),
    Fault(
        "zero stamp of the reference camera",
        of_image("front", stamped(0)),
        "camera front",
        ("its stamp is zero",),
        ("left", "rear"),
    ),
    Fault(
        "zero stamps beside a dead reference camera",
        of_scene(of_reference_alone),
        LEFT,
        ("its stamp is zero",),
        ("rear",),
        in_ci=True,
    ),
    Fault("zero stamps of all cameras", of_all(stamped(0)), LEFT, ("its stamp is zero",), ()),
    Fault(
        "stamps that stand",
        of_new_image("left", standing),
        LEFT,
        ("its stamps stand at",),
        OTHERS,
        own_mixing=True,
        in_ci=True,
    ),
    Fault(
        "stamps of the reference camera that stand",
        of_new_image("front", standing),
        "camera front",
        ("its stamps stand at",),
        ("left", "rear"),
        own_mixing=True,
    ),
    Fault(
        "stamps that go back with every other image",
        of_new_image("left", backwards),
        LEFT,
        ("its stamps go back",),
        OTHERS,
        own_mixing=True,
        in_ci=True,
    ),
    Fault(
        "images that come in another order than they were taken",
        of_new_image("left", swapped_in_pairs),
        LEFT,
        ("its stamps go back",),
        OTHERS,
    ),
    Fault("stamps that jitter by 3 ms", of_image("left", jittering(0.003))),
    clock_off(0.045, "ms ahead of those of the other cameras", in_ci=True),
    clock_off(-0.045, "ms behind those of the other cameras"),
    # Nothing tells a clock that is ahead from two slow ways: of what comes first a set is made.
    clock_off(0.3, "ahead of those of the other cameras", used=("left",), own_mixing=True),
    clock_off(-0.3, "behind those of the other cameras", own_mixing=True),
    clock_off(1.0, "ahead of those", own_mixing=True),
    clock_off(-1.0, "behind those", own_mixing=True),
    clock_off(3.0, "3.0 s ahead of those of the other cameras", in_ci=True),
    clock_off(-3.0, "3.0 s behind those of the other cameras"),
    clock_off(3600.0, "3600.0 s ahead of", in_ci=True),
    clock_off(-3600.0, "3600.0 s behind"),
    Fault(
        "stamp at the end of what 32 bits hold, in 2038",
        of_image("left", stamped(2**31 - 1)),
        LEFT,
        ("its stamps stand at 2147483647.000 s",),
        OTHERS,
    ),
    Fault(
        "clock of a camera that gains 5 ms with every image",
        of_new_image("left", lambda: drifting(0.005)),
        LEFT,
        ("ahead of those of the other cameras",),
        OTHERS,
        shows_after_s=1.0,
        own_mixing=True,
    ),
    Fault(
        "one camera at half the rate",
        of_new_image("left", lambda: every(2)),
        used=OTHERS,
    ),
    Fault(
        "one camera at a fifth of the rate",
        of_new_image("left", lambda: every(5)),
        used=OTHERS,
    ),
    Fault("all cameras at half the rate of the rig file", rate(2.0)),
    Fault("all cameras at four fifths of the rate of the rig file", rate(1.25)),
    Fault("all cameras at twice the rate of the rig file", rate(0.5)),
    Fault(
        "link that lets images through in bursts of eight",
        of_new_image("left", lambda: in_bursts(8)),
        LEFT,
        (f"no messages on {TOPIC}", "last one"),
        OTHERS,
    ),
    Fault("time goes back by 30 s", time_jumps(-30), least=0.3, goes_back=1, in_ci=True),
    Fault("time goes back by 2 s", time_jumps(-2), least=0.3, goes_back=1),
    Fault("time goes on by 2 s", time_jumps(2), least=0.3),
    Fault("time goes on by an hour", time_jumps(3600), least=0.3, in_ci=True),
    Fault("time goes back by a day", time_jumps(-86400), least=0.3, goes_back=1),
)
