"""Simulated time, and what goes wrong with it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from rosgraph_msgs.msg import Clock

from tests.faults.fault import Fault, of_scene
from tests.node import robot as robots
from tests.node.scene import Scene

PERIOD_S = 0.02


class ClockTalker:
    """Publishes /clock: the robot's own time.

    Attributes:
        stands: nothing is published.
        apart_s: added to the robot's time.
    """

    def __init__(self, node: Any, robot: robots.Robot) -> None:
        self.stands, self.apart_s = False, 0.0
        self._node, self._robot = node, robot
        self._clock = node.create_publisher(Clock, "/clock", 10)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> ClockTalker:
        self._thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._stop.set()
        self._thread.join()
        self._node.destroy_publisher(self._clock)

    def _run(self) -> None:
        while not self._stop.wait(PERIOD_S):
            if not self.stands:
                now_ns = time.time_ns() + self._robot.clock_shift_ns + round(self.apart_s * 1e9)
                self._clock.publish(Clock(clock=robots.to_time(now_ns)))


@contextmanager
def stands(scene: Scene) -> Iterator[None]:
    """The simulator's clock stops, the cameras go on."""
    scene.clock.stands = True
    yield
    scene.clock.stands = False


@contextmanager
def paused(scene: Scene) -> Iterator[None]:
    """The whole simulation stops."""
    scene.clock.stands = True
    scene.robot.sends_odom = False
    for camera in scene.robot.cameras.values():
        camera.alive = False
    yield
    scene.clock.stands = False


@contextmanager
def apart(scene: Scene, seconds: float) -> Iterator[None]:
    """The clock is not that of the images."""
    scene.clock.apart_s = seconds
    yield
    scene.clock.apart_s = 0.0


@contextmanager
def two_clocks(scene: Scene) -> Iterator[None]:
    """A player and a simulator both send the time."""
    with ClockTalker(scene.robot.node, scene.robot) as other:
        other.apart_s = -100.0
        yield


def starts_anew(scene: Scene) -> None:
    """The recording is played again."""
    scene.robot.clock_shift_ns -= 30_000_000_000


CLOCK_FAULTS = (
    Fault(
        "/clock stands",
        stands,
        "clock",
        ("/clock has stood at", "paused"),
        node="clock",
        in_ci=True,
    ),
    Fault("the simulation is paused", paused, "clock", ("/clock has stood at",), (), node="clock"),
    Fault(
        "/clock and all stamps go back by 30 s",
        of_scene(starts_anew),
        least=0.3,
        goes_back=1,
        node="clock",
        in_ci=True,
    ),
    Fault(
        "/clock is 50 s ahead of the images",
        partial(apart, seconds=50.0),
        node="clock",
    ),
    Fault(
        "/clock is 50 s behind the images",
        partial(apart, seconds=-50.0),
        node="clock",
    ),
    Fault(
        "two publishers of /clock, 100 s apart",
        two_clocks,
        "clock",
        ("2 publishers on /clock",),
        least=0.0,
        node="clock",
        in_ci=True,
    ),
)
