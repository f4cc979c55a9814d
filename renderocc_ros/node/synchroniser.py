"""Images of N topics in, sets of one trigger cycle out: a filter in message_filters' own terms.

    inputs = {"left": Subscriber(node, Image, "left/image"), "right": …}
    synchroniser = CameraSynchroniser(rig, inputs, node)
    synchroniser.registerCallback(lambda matched: …)

The matching itself, with its policies and counters, is ``renderocc_ros.rig.stamp_matching``. Unlike
ApproximateTimeSynchronizer, no lock is held while callbacks run, so one that raises, or that feeds
a filter again, harms nothing; and a time jump, of the clock or of the stamps, starts anew.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from message_filters import SimpleFilter
from rclpy.node import Node

from renderocc_ros.config import RigConfig
from renderocc_ros.node.clock_events import DeadlineTimer, on_backward_jump
from renderocc_ros.rig.matched_set import MatchedSet
from renderocc_ros.rig.stamp_matching import StampMatcher

NANOSECONDS = 1_000_000_000


def header_stamp_ns(message: Any) -> int:
    """Stamp of a message with a header, nanoseconds."""
    stamp = message.header.stamp
    return int(stamp.sec) * NANOSECONDS + int(stamp.nanosec)


class QueuedFilter(SimpleFilter):
    """A filter whose callbacks run with no lock held, in order, by one thread at a time.

    Outputs, as tuples of arguments, are queued under ``lock`` and passed on outside of it. So a
    callback that raises leaves nothing locked and loses no other output, and a callback may feed
    this filter again.
    """

    def __init__(self) -> None:
        super().__init__()
        self.lock = threading.RLock()
        self.outbox: deque[tuple[Any, ...]] = deque()
        self._delivering = False

    def deliver(self) -> None:
        """Pass on what is queued. Call it without the lock."""
        while True:
            with self.lock:
                if self._delivering or not self.outbox:
                    return
                self._delivering = True
                output = self.outbox.popleft()
            try:
                self.signalMessage(*output)
            finally:
                with self.lock:
                    self._delivering = False


class CameraSynchroniser(QueuedFilter):
    """Passes on one ``MatchedSet`` of messages for each trigger cycle, in order.

    Time-outs run on the node's clock, hence on simulated time where that is used. Safe with any
    executor: callbacks are never run by two threads at once.

    Args:
        rig: names, offsets and ``sync`` section.
        inputs: one filter per camera name: a Subscriber or any other SimpleFilter.
        node: gives the clock and the timer of the time-outs.
        stamp_ns_of: reads a message's stamp; for messages that are passed on undecoded.

    Attributes:
        matcher: the matching, with its counters; read it with ``lock`` held if another thread
            spins the node.

    Raises:
        ValueError: a camera of the rig has no input, or an input no camera.
    """

    def __init__(
        self,
        rig: RigConfig,
        inputs: Mapping[str, Any],
        node: Node,
        stamp_ns_of: Callable[[Any], int] = header_stamp_ns,
    ) -> None:
        super().__init__()
        if set(inputs) != set(rig.names):
            raise ValueError(
                f"inputs are {', '.join(sorted(inputs))}, but the rig's cameras are "
                f"{', '.join(rig.names)}: give one input for each"
            )
        self.matcher: StampMatcher[Any] = StampMatcher(rig)
        self._stamp_ns_of = stamp_ns_of
        self._closed = False
        self._timer = DeadlineTimer(node, self._on_deadline)
        self._jumps = on_backward_jump(node, self.clear)
        for name in rig.names:
            inputs[name].registerCallback(self.add, name)

    def add(self, message: Any, camera: str) -> None:
        """Take in a camera's message and pass on the sets that it completes."""
        if self._closed:
            return
        stamp_ns, now_ns = self._stamp_ns_of(message), self._timer.now_ns()
        with self.lock:
            self._queue(self.matcher.push(camera, stamp_ns, message, now_ns))
        self.deliver()

    def clear(self) -> None:
        """Start anew: what waits is dropped as 'time jump', what was learned is forgotten."""
        with self.lock:
            self.matcher.clear()

    def close(self) -> None:
        """Stop: no message is taken in any more, and the timer is gone."""
        self._closed = True
        self._jumps.unregister()
        self._timer.destroy()

    def _on_deadline(self, now_ns: int) -> None:
        with self.lock:
            self._queue(self.matcher.tick(now_ns))
        self.deliver()

    def _queue(self, matched: Iterable[MatchedSet[Any]]) -> None:
        self.outbox.extend((each,) for each in matched)
        self._timer.set(self.matcher.next_deadline_ns)
