"""The last messages, to be asked by time."""

from typing import Any

from rclpy.time import Time

from message_filters.message_stamp import stamp_or_arrival
from message_filters.simple_filter import SimpleFilter


class Cache(SimpleFilter):
    """Keeps the last `cache_size` messages in order of arrival, and passes each on."""

    def __init__(
        self, f: SimpleFilter, cache_size: int = 1, allow_headerless: bool = False
    ) -> None:
        super().__init__()
        self.cache_size = cache_size
        self.allow_headerless = allow_headerless
        self.cache_msgs: list[Any] = []
        self.cache_times: list[Time] = []
        self.connectInput(f)

    def connectInput(self, f: SimpleFilter) -> None:
        """Take in the output of `f`."""
        self.incoming_connection = f.registerCallback(self.add)

    def add(self, msg: Any) -> None:
        """Keep `msg`, forget the one that arrived first if there are too many, and pass it on."""
        stamp = stamp_or_arrival(msg, self.allow_headerless, "message_filters_cache")
        if stamp is None:
            return
        self.cache_msgs.append(msg)
        self.cache_times.append(stamp)
        if len(self.cache_msgs) > self.cache_size:
            del self.cache_msgs[0], self.cache_times[0]
        self.signalMessage(msg)

    def getInterval(self, from_stamp: Time, to_stamp: Time) -> list[Any]:
        """The messages between the two times, both included."""
        if to_stamp < from_stamp:
            raise AssertionError(f"from_stamp {from_stamp} is after to_stamp {to_stamp}")
        return [
            m
            for m, t in zip(self.cache_msgs, self.cache_times, strict=False)
            if from_stamp <= t <= to_stamp
        ]

    def getElemAfterTime(self, stamp: Time) -> Any | None:
        """The first kept message at or after `stamp`."""
        return next(
            (m for m, t in zip(self.cache_msgs, self.cache_times, strict=False) if t >= stamp), None
        )

    def getElemBeforeTime(self, stamp: Time) -> Any | None:
        """The last kept message at or before `stamp`."""
        newest_first = zip(reversed(self.cache_msgs), reversed(self.cache_times), strict=False)
        return next((m for m, t in newest_first if t <= stamp), None)

    def getLastestTime(self) -> Time | None:
        """The stamp of the message that arrived last."""
        return self.cache_times[-1] if self.cache_times else None

    def getOldestTime(self) -> Time | None:
        """The stamp of the message that arrived first."""
        return self.cache_times[0] if self.cache_times else None

    def getLast(self) -> Any | None:
        """The first kept message at or after the latest time."""
        latest = self.getLastestTime()
        return None if latest is None else self.getElemAfterTime(latest)
