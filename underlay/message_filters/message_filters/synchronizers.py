"""Sets of messages of several topics that belong to one time."""

import threading
from collections.abc import Sequence
from itertools import product
from typing import Any

from rclpy.clock import ROSClock
from rclpy.duration import Duration

from message_filters.message_stamp import stamp_of, stamp_or_arrival
from message_filters.simple_filter import SimpleFilter

Queue = dict[int, Any]  # stamp in nanoseconds -> message


class TimeSynchronizer(SimpleFilter):
    """Passes on ``(msg1, … msgN)``, one of each input filter, all of exactly the same stamp.

    Up to `queue_size` messages of each input wait for the others; the oldest go first. A set makes
    older waiting messages pointless: they are forgotten.

    The lock is held while callbacks run, and stays held for ever when one of them raises: from then
    on every further message blocks. Callbacks must neither raise nor feed this synchroniser.
    """

    def __init__(self, fs: Sequence[SimpleFilter], queue_size: int) -> None:
        super().__init__()
        self.queue_size = queue_size
        self.lock = threading.Lock()
        self.connectInput(fs)

    def connectInput(self, fs: Sequence[SimpleFilter]) -> None:
        """Take in the outputs of `fs`."""
        self.queues: list[Queue] = [{} for _ in fs]
        self.input_connections = [
            f.registerCallback(self.add, queue, index)
            for index, (f, queue) in enumerate(zip(fs, self.queues, strict=False))
        ]

    def add(self, msg: Any, my_queue: Queue, my_queue_index: int | None = None) -> None:
        """Take in `msg` of one input, and pass on the set that it completes."""
        stamp_ns = stamp_of(msg).nanoseconds
        self.lock.acquire()
        self._enqueue(my_queue, stamp_ns, msg)
        complete = set.intersection(*(set(queue) for queue in self.queues))
        if complete:
            first_ns = min(complete)
            self._emit([first_ns] * len(self.queues))
            for queue in self.queues:
                for outdated_ns in [ns for ns in queue if ns < first_ns]:
                    del queue[outdated_ns]
        self.lock.release()

    def _enqueue(self, queue: Queue, stamp_ns: int, msg: Any) -> None:
        queue[stamp_ns] = msg
        while len(queue) > self.queue_size:
            del queue[min(queue)]

    def _emit(self, stamps_ns: Sequence[int]) -> None:
        self.signalMessage(*(queue[ns] for queue, ns in zip(self.queues, stamps_ns, strict=False)))
        for queue, ns in zip(self.queues, stamps_ns, strict=False):
            del queue[ns]


class ApproximateTimeSynchronizer(TimeSynchronizer):
    """Passes on ``(msg1, … msgN)`` whose stamps lie less than `slop` seconds apart.

    Of several candidates of an input, the one nearest to the message that came last is preferred.
    `allow_headerless` gives messages without a stamp their time of arrival; `sync_arrival_time`
    uses the time of arrival for all. The lock is as in TimeSynchronizer.
    """

    def __init__(
        self,
        fs: Sequence[SimpleFilter],
        queue_size: int,
        slop: float,
        allow_headerless: bool = False,
        sync_arrival_time: bool = False,
    ) -> None:
        super().__init__(fs, queue_size)
        self.slop = Duration(seconds=slop)
        self.allow_headerless = allow_headerless
        self.sync_arrival_time = sync_arrival_time

    def add(self, msg: Any, my_queue: Queue, my_queue_index: int | None = None) -> None:
        """Take in `msg` of one input, and pass on the set that it completes."""
        if self.sync_arrival_time:
            stamp = ROSClock().now()
        else:
            stamp = stamp_or_arrival(msg, self.allow_headerless, "message_filters_approx")
            if stamp is None:
                return
        self.lock.acquire()
        self._enqueue(my_queue, stamp.nanoseconds, msg)
        match = self._match(stamp.nanoseconds, my_queue_index)
        if match is not None:
            self._emit(match)
        self.lock.release()

    def _match(self, stamp_ns: int, index: int | None) -> Sequence[int] | None:
        """One stamp per queue, all less than slop apart, with `stamp_ns` for the queue `index`."""
        slop_ns = self.slop.nanoseconds
        candidates: list[list[int]] = []
        for queue_index, queue in enumerate(self.queues):
            if queue_index == index:
                near = [stamp_ns] if stamp_ns in queue else []
            else:
                near = [ns for ns in queue if abs(ns - stamp_ns) <= slop_ns]
            if not near:
                return None
            candidates.append(sorted(near, key=lambda ns: abs(ns - stamp_ns)))
        return next((c for c in product(*candidates) if max(c) - min(c) < slop_ns), None)
