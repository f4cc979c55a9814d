"""A robot, the node that watches with its cameras, and who listens to it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from renderocc_ros.msg import SemanticOccupancy

from tests.node import robot as robots
from tests.node.live import Control, Listener, occupancy_node, ros_node

NAMED_S = 20.0  # a cause is named within a second; a busy machine may take longer
ALL = list(robots.NAMES)


@dataclass
class Scene:
    """A robot that drives, the node, and who listens to it."""

    robot: robots.Robot
    listener: Listener
    control: Control
    results: list[Any]

    def next_result(self, cameras: list[str]) -> Any:
        """A result that came after now, from exactly these cameras."""
        start = len(self.results)

        def found() -> Any:
            return next((m for m in self.results[start:] if m.cameras_used == cameras), None)

        return self.listener.wait(found, f"result of {cameras}")

    def named(self, part: str, *words: str) -> str:
        """Wait until the diagnostics of a part hold all these words."""

        def said() -> bool:
            return all(word in self.listener.message(part) for word in words)

        self.listener.wait(said, f"'{words}' in the diagnostics of {part}", NAMED_S)
        return self.listener.message(part)

    def recovered(self) -> None:
        """Everything works again, and the node says so."""
        self.robot.heal()
        for name in robots.NAMES:
            self.listener.wait(self.listener.is_ok(f"camera {name}"), f"recovery of {name}")
        self.next_result(ALL)


def scene_of(rig: str, compressed: bool) -> Iterator[Scene]:
    """A scene in which everything works."""
    with ros_node("broken_robot") as node:
        listener = Listener(node)
        results = listener.listen(SemanticOccupancy, "/renderocc/occupancy")
        with robots.Robot(node, compressed=compressed) as robot, occupancy_node(rig=rig):
            scene = Scene(robot, listener, Control(node), results)
            scene.recovered()
            yield scene
