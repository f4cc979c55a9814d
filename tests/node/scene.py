"""A robot, the node that watches with its cameras, and who listens to it."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from renderocc_ros.msg import SemanticOccupancy

from tests.node import robot as robots
from tests.node.live import Control, Listener, occupancy_node, ros_node

NAMED_S = 1.0
DIAGNOSTICS_PERIOD_S = 0.5
ALL = list(robots.NAMES)


@dataclass
class Scene:
    """A robot that drives, the node, and who listens to it."""

    robot: robots.Robot
    listener: Listener
    control: Control
    results: list[Any]
    clock: Any = None  # who sends simulated time, where it is used

    def next_result(self, cameras: list[str]) -> Any:
        """A result that came after now, from exactly these cameras."""
        start = len(self.results)

        def found() -> Any:
            return next((m for m in self.results[start:] if m.cameras_used == cameras), None)

        return self.listener.wait(found, f"result of {cameras}")

    def named(self, part: str, *parts: str) -> str:
        """Wait until the diagnostics of a part hold all these words: within a second from now.

        What this machine is late with its work is granted: measured in the same time.
        """
        started_ns = time.time_ns()
        evaluated, cycles = len(self.listener.evaluated_ns), len(self.robot.sent)
        output = self.told(part, *parts)
        evaluated_ns = self.listener.evaluated_ns[evaluated - 1 :]
        cycles_ns = [round(sent.at_s * 1e9) for sent in self.robot.sent[cycles - 1 :]]
        processing_s = float(self.listener.values("latency").get("total.p95_ms", 0)) * 1e-3
        late = late_s(evaluated_ns, DIAGNOSTICS_PERIOD_S) + late_s(cycles_ns, robots.PERIOD_S)
        took_s = (evaluated_ns[-1] - started_ns) * 1e-9
        assert took_s < NAMED_S + late + processing_s, f"'{output}' after {took_s:.2f} s"
        return output

    def told(self, part: str, *parts: str) -> str:
        """Wait until the diagnostics of a part hold all these words, however long it takes."""

        def holds() -> bool:
            return all(word in self.listener.message(part) for word in parts)

        self.listener.wait(holds, f"'{parts}' in the diagnostics of {part}")
        return self.listener.message(part)

    def recovered(self) -> None:
        """Everything works again, and the node says so."""
        self.robot.heal()
        for name in robots.NAMES:
            self.listener.wait(self.listener.is_ok(f"camera {name}"), f"recovery of {name}")
        self.next_result(ALL)


def late_s(times_ns: list[int], period_s: float) -> float:
    """By how much the longest pause between two times exceeds the period, seconds."""
    pauses_s = [(after - before) * 1e-9 for before, after in itertools.pairwise(times_ns)]
    return max(0.0, max(pauses_s, default=period_s) - period_s)


def scene_of(rig: str, compressed: bool) -> Iterator[Scene]:
    """A scene in which everything works."""
    with ros_node("broken_robot") as node:
        listener = Listener(node)
        results = listener.listen(SemanticOccupancy, "/renderocc/occupancy")
        with robots.Robot(node, compressed=compressed) as robot, occupancy_node(rig=rig):
            scene = Scene(robot, listener, Control(node), results)
            scene.recovered()
            yield scene
