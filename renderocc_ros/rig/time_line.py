"""Jumps of the time line: a looped recording, a clock that was set, or one broken camera clock.

One camera whose stamps leap must not clear the buffers of the others, and a leap of all of them
must not leave the rig waiting for a time that never comes. So an image far off the time line is
only *suspect*; the line moves once more cameras stand on the new side than still speak for the old
one. Pure; times are integer nanoseconds.
"""

from __future__ import annotations

from collections import Counter
from enum import Enum

# Distance from the newest image that no delay explains: this time, or periods if that is more.
JUMP_NS = 1_000_000_000
JUMP_PERIODS = 8
# One camera's stamps going back by more than this is a jump, not two messages out of order.
BACKWARD_PERIODS = 2
# What stands for the period while it is not known yet.
UNKNOWN_PERIOD_NS = 500_000_000


class Verdict(Enum):
    """What to do with an image."""

    ACCEPT = "it lies on the time line"
    HOLD = "it is suspect: keep it until more is known"
    JUMP = "the time line has moved to where the suspects are"


class TimeLine:
    """Where the stamps of a rig's cameras are, and whether they have jumped.

    Args:
        camera_count: cameras of the rig.
    """

    def __init__(self, camera_count: int) -> None:
        self._count = camera_count
        self.restart()

    def restart(self) -> None:
        """Forget all stamps."""
        self.newest_ns: int | None = None
        self.last_ns: dict[int, int] = {}
        self._suspects: Counter[int] = Counter()
        self._loyal: set[int] = set()

    def judge(self, camera: int, stamp_ns: int, period_ns: int | None) -> Verdict:
        """Take note of an image and say what to do with it.

        A held image stays suspect until its camera brings an accepted one (then it was a glitch)
        or the line jumps (then ``restart`` and judge the held ones again).
        """
        if self._is_off(camera, stamp_ns, period_ns or UNKNOWN_PERIOD_NS):
            return self._suspect(camera)
        del self._suspects[camera]
        if self._suspects:
            self._loyal.add(camera)
        else:
            self._loyal.clear()
        self.last_ns[camera] = stamp_ns
        self.newest_ns = max(stamp_ns, self.newest_ns or stamp_ns)
        return Verdict.ACCEPT

    def _is_off(self, camera: int, stamp_ns: int, period_ns: int) -> bool:
        if self.newest_ns is None:
            return False
        if abs(stamp_ns - self.newest_ns) > max(JUMP_NS, JUMP_PERIODS * period_ns):
            return True
        return self.last_ns.get(camera, stamp_ns) - stamp_ns > BACKWARD_PERIODS * period_ns

    def _suspect(self, camera: int) -> Verdict:
        self._suspects[camera] += 1
        self._loyal.discard(camera)
        confirmed = 2 * len(self._suspects) > self._count or self._suspects[camera] >= 2
        return (
            Verdict.JUMP if confirmed and len(self._suspects) > len(self._loyal) else Verdict.HOLD
        )
