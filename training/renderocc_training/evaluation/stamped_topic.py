"""One topic of a bag, looked up by the stamps of its messages instead of read in order."""

from __future__ import annotations

from bisect import bisect_left
from typing import Any

from renderocc_training.recording.bag_reader import BagReader


class StampedTopic:
    """Messages with a header, by stamp; only the stamps are held in memory.

    A message that is cut off before its stamp ends is none.

    Args:
        reader: an open bag.
        topic: a topic whose messages begin with a header.
    """

    def __init__(self, reader: BagReader, topic: str) -> None:
        self._reader, self._topic = reader, topic
        entries = sorted(
            (stamp_ns, message.log_time_ns)
            for message in reader.messages([topic])
            if (stamp_ns := reader.stamp_ns(message)) is not None
        )
        self.stamps_ns = [stamp for stamp, _ in entries]
        self._logged_ns = [logged for _, logged in entries]

    def nearest(self, stamp_ns: int, tolerance_ns: int) -> Any | None:
        """The decoded message nearest to a stamp; None if none lies within the tolerance."""
        place = bisect_left(self.stamps_ns, stamp_ns)
        near = range(max(place - 1, 0), min(place + 1, len(self.stamps_ns)))
        best = min(near, key=lambda i: abs(self.stamps_ns[i] - stamp_ns), default=None)
        if best is None or abs(self.stamps_ns[best] - stamp_ns) > tolerance_ns:
            return None
        logged = self._logged_ns[best]
        for message in self._reader.messages([self._topic], logged, logged + 1):
            if self._reader.stamp_ns(message) == self.stamps_ns[best]:
                return self._reader.decode(message)
        raise ValueError(f"{self._topic}: the message at {self.stamps_ns[best]} ns is gone")
