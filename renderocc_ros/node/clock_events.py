"""Deadlines and jumps of a node's clock, real or simulated, as callbacks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.clock import JumpThreshold, TimeJump
from rclpy.duration import Duration
from rclpy.node import Node


class DeadlineTimer:
    """Calls back once when a deadline is reached; until then it costs nothing.

    Args:
        node: gives the clock and runs the callback.
        callback: called with the time on the node's clock, nanoseconds.
    """

    def __init__(self, node: Node, callback: Callable[[int], None]) -> None:
        self._node = node
        self._clock = node.get_clock()
        self._callback = callback
        self._deadline_ns: int | None = None
        self._timer = node.create_timer(3600.0, self._run, autostart=False, clock=self._clock)

    def now_ns(self) -> int:
        """Time on the node's clock, nanoseconds."""
        return int(self._clock.now().nanoseconds)

    def set(self, deadline_ns: int | None) -> None:
        """Call at this time of the node's clock, or not at all."""
        if deadline_ns == self._deadline_ns:
            return
        self._deadline_ns = deadline_ns
        if deadline_ns is None:
            self._timer.cancel()
        else:
            self._timer.timer_period_ns = max(deadline_ns - self.now_ns(), 1)
            self._timer.reset()

    def destroy(self) -> None:
        """Never call again."""
        self._node.destroy_timer(self._timer)

    def _run(self) -> None:
        self._timer.cancel()
        self._deadline_ns = None
        self._callback(self.now_ns())


def on_backward_jump(node: Node, callback: Callable[[], None]) -> Any:
    """Call when the node's clock goes back or changes its source.

    Returns:
        a handle to keep; its ``unregister()`` ends the calls.
    """
    threshold = JumpThreshold(
        min_forward=None, min_backward=Duration(nanoseconds=-1), on_clock_change=True
    )

    def jumped(_: TimeJump) -> None:
        callback()

    return node.get_clock().create_jump_callback(threshold, post_callback=jumped)
