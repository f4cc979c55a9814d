"""One fault: how it is made, what is expected of the node, and what came of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

from tests.node import robot as robots
from tests.node.scene import Scene

ALL = robots.NAMES
ANSWER = "answer"
Node = Literal["jpeg", "raw", "clock"]
Happening = Callable[[Scene], AbstractContextManager[str | None]]


@dataclass(frozen=True)
class Fault:
    """One thing that goes wrong.

    Attributes:
        name: what it is, for the table of docs/RELIABILITY.md.
        happens: makes it in a scene and, when it is left, unmakes what ``Robot.heal`` does not;
            gives the answer of the node where it was asked something.
        part: of the diagnostics that names it; ANSWER for a request's; "" where nothing is wrong.
        says: words in what is said.
        used: cameras whose images the results are made of meanwhile; none: no results are expected.
        least: of the cycles meanwhile, the share that is to be published.
        shows_after_s: nobody can see it earlier.
        own_poses: the fault itself gives poses or pixels that nobody can tell from true ones.
        own_mixing: the fault itself gives stamps by which images of two cycles belong together.
        goes_back: how often the stamps of results may go back: time itself does.
        in_ci: whether it is tried with every change.
        node: which node it is tried on.
    """

    name: str
    happens: Happening
    part: str = ""
    says: tuple[str, ...] = ()
    used: tuple[str, ...] = ALL
    least: float = 0.5
    shows_after_s: float = 0.0
    own_poses: bool = False
    own_mixing: bool = False
    goes_back: int = 0
    in_ci: bool = False
    node: Node = "jpeg"


@dataclass
class Outcome:
    """What a fault came to, one line of the campaign.

    Attributes:
        named_s: from the first moment of the fault until it is named; None if it never is.
        no_result_s: until it is told that no results come, where none do.
        published, expected: results stamped while it lasted, and cycles.
        wrong: results that are not the network's for the images, poses and calibration sent.
        mixed: results of images of two cycles.
        wrong_after: results that are not right although the fault is over.
        stale: results whose stamp is no newer than that of one before.
        recovered_s: from its end to the next result of all cameras.
        cleared_s: from its end until the diagnostics are all well.
        died: the node's process has ended.
        peak_mb, grown_mb: most resident memory, and by how much it is above that before.
        false_alarms: what is said besides.
        late_s: by how much this machine was late with its own regular work meanwhile.
        problems: what is not as it is to be.
    """

    fault: str
    expected_finding: str
    named_s: float | None = None
    no_result_s: float | None = None
    published: int = 0
    expected: int = 0
    wrong: int = 0
    mixed: int = 0
    wrong_after: int = 0
    stale: int = 0
    recovered_s: float | None = None
    cleared_s: float | None = None
    died: bool = False
    peak_mb: float = 0.0
    grown_mb: float = 0.0
    late_s: float = 0.0
    said: str = ""
    false_alarms: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def verdict(self) -> str:
        return "; ".join(self.problems) or "ok"


def of_image(camera: str, spoil: Callable[[Any], Any]) -> Happening:
    """What is wrong with each image of one camera."""

    @contextmanager
    def happens(scene: Scene) -> Iterator[None]:
        scene.robot.cameras[camera].spoil = spoil
        yield

    return happens


def of_new_image(camera: str, spoiler: Callable[[], Callable[[Any], Any]]) -> Happening:
    """The same where what is done to an image depends on those before."""

    @contextmanager
    def happens(scene: Scene) -> Iterator[None]:
        scene.robot.cameras[camera].spoil = spoiler()
        yield

    return happens


def of_robot(change: Callable[[robots.Robot], None]) -> Happening:
    """What is changed of the robot once; ``Robot.heal`` mends it."""

    @contextmanager
    def happens(scene: Scene) -> Iterator[None]:
        change(scene.robot)
        yield

    return happens


def of_scene(start: Callable[[Scene], str | None]) -> Happening:
    """What is done once and needs no mending."""

    @contextmanager
    def happens(scene: Scene) -> Iterator[str | None]:
        yield start(scene)

    return happens


def shifted(message: Any, seconds: float) -> None:
    """Move a message's stamp."""
    stamp_ns = robots.stamp_ns_of(message.header.stamp) + round(seconds * 1e9)
    message.header.stamp = robots.to_time(stamp_ns)


def shifting(seconds: float) -> Callable[[Any], None]:
    """A function that moves stamps."""
    return partial(shifted, seconds=seconds)
