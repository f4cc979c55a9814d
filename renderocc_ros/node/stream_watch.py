"""What is odd about images that arrive: their stamps, their frames, or always one picture."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from statistics import median

from renderocc_ros.rig.matched_set import DropReason, MatchCounters

KEPT = 8  # images that the smallest latency is taken over: below a second at 10 Hz
MIN_REPEATS, MIN_REVERSALS, REVERSALS_SEEN = 3, 3, 10
FROZEN_S, FROZEN_IMAGES = 0.85, 5
# Transport of cameras differs by less; a clock that is off by more pairs images of two cycles.
MAX_CLOCK_DIFFERENCE_S = 0.035
PACE_TOLERANCE = 0.1  # of a recording that is not played at its own pace arrivals tell nothing
FINGERPRINT_BYTES = 512
UNUSED_S = 0.9
UNUSED = {
    DropReason.LATE: "they come after their set is out (sync.timeout_s)",
    DropReason.DUPLICATE: "their stamps repeat",
    DropReason.UNMATCHED: "their stamps are of no set's time",
    DropReason.BUFFER_FULL: "more wait than sync.buffer_size",
    DropReason.TIME_JUMP: "their stamps are far from the other cameras'",
}


class StreamWatch:
    """Watches the images of one camera.

    Attributes:
        frame: of the last image's header.
    """

    def __init__(self) -> None:
        self.frame = ""
        self._stamps_s: deque[float] = deque(maxlen=KEPT)
        self._arrivals_s: deque[float] = deque(maxlen=KEPT)
        self._reversals: deque[bool] = deque(maxlen=REVERSALS_SEEN)
        self._repeats = 0
        self._fingerprint = 0
        self._same_images, self._same_since_s = 0, 0.0

    def note(self, stamp_ns: int, frame: str, serialised: bytes, arrived_s: float) -> None:
        """An image came."""
        self.frame, stamp_s = frame, stamp_ns * 1e-9
        if self._stamps_s:
            self._repeats = self._repeats + 1 if stamp_s == self._stamps_s[-1] else 0
            self._reversals.append(stamp_s < self._stamps_s[-1])
        self._stamps_s.append(stamp_s)
        self._arrivals_s.append(arrived_s)
        # Behind the stamp, and bytes from all over: a new picture changes some of them.
        step = max(1, len(serialised) // FINGERPRINT_BYTES)
        fingerprint = hash(serialised[12::step])
        if fingerprint != self._fingerprint:
            self._fingerprint, self._same_images = fingerprint, 0
            self._same_since_s = time.monotonic()
        self._same_images += 1

    @property
    def latency_s(self) -> float | None:
        """Smallest time from stamp to arrival, up to a constant that all cameras share.

        None where nothing has come, or where stamps do not go at the pace of the arrivals.
        """
        if len(self._stamps_s) < KEPT:
            return None
        passed_s = self._arrivals_s[-1] - self._arrivals_s[0]
        stamped_s = self._stamps_s[-1] - self._stamps_s[0]
        if abs(stamped_s - passed_s) > PACE_TOLERANCE * passed_s:
            return None
        pairs = zip(self._arrivals_s, self._stamps_s, strict=True)
        return min(arrived_s - stamp_s for arrived_s, stamp_s in pairs)

    @property
    def frozen_s(self) -> float:
        """How long the same picture has been coming; 0 while pictures change."""
        same_s = time.monotonic() - self._same_since_s
        return same_s if self._same_images >= FROZEN_IMAGES and same_s > FROZEN_S else 0.0

    def stamp_problem(self) -> str:
        """What is wrong with the stamps, if anything is."""
        if self._repeats >= MIN_REPEATS:
            return (
                f"its stamps stand at {self._stamps_s[-1]:.3f} s: the driver is to stamp every "
                "image when it is taken"
            )
        if sum(self._reversals) >= MIN_REVERSALS:
            return (
                f"its stamps go back {sum(self._reversals)} times in {len(self._reversals)} "
                "images: two sources, or a driver that sends out of order"
            )
        return ""


def compared_problem(
    name: str, watches: Mapping[str, StreamWatch], configured: Mapping[str, str | None]
) -> str:
    """What is odd about one camera beside the others, if anything is.

    Args:
        configured: by camera name, the frame that the rig file gives; None if the header's counts.
    """
    own, others = watches[name], {n: each for n, each in watches.items() if n != name}
    latency_s = own.latency_s
    known = [each for watch in others.values() if (each := watch.latency_s) is not None]
    if latency_s is not None and known:
        # Of two nobody can tell which is off; of more the most are right.
        usual_s = known[0] if len(known) == 1 else median([*known, latency_s])
        ahead_s = usual_s - latency_s
        if abs(ahead_s) > MAX_CLOCK_DIFFERENCE_S:
            side = "ahead of" if ahead_s > 0 else "behind"
            far = abs(ahead_s)
            distance = f"{far * 1e3:.0f} ms" if far < 1 else f"{far:.1f} s"
            return (
                f"its stamps are {distance} {side} those of the other cameras, by "
                "when images arrive: another clock (synchronise it), or a slower way here"
            )
    if own.frame and own.frame != configured[name]:
        by_header = configured[name] is None
        frames = {n: each.frame if by_header else configured[n] for n, each in others.items()}
        for other, frame in frames.items():
            if frame == own.frame:
                return f"its images carry the frame '{own.frame}' of {other}: are they swapped?"
    frozen_s = own.frozen_s
    if frozen_s and any(not each.frozen_s and each.frame for each in others.values()):
        return f"the same picture for {frozen_s:.1f} s, while others change: is the camera frozen?"
    return ""


class UsageWatch:
    """Whether the images of one camera go into sets."""

    def __init__(self) -> None:
        self._used = -1
        self._since_s, self._received = 0.0, 0
        self._dropped: Mapping[DropReason, int] = {}

    def problem(self, counters: MatchCounters, name: str) -> str:
        """Why none of the camera's images was used for ``UNUSED_S``; empty if one was.

        To be asked regularly. What other cameras are to blame for is none of its problems.
        """
        now_s, used, received = time.monotonic(), counters.used[name], counters.received[name]
        dropped = {why: counters.dropped[name, why] for why in UNUSED}
        if used != self._used:
            self._used, self._since_s = used, now_s
            self._received, self._dropped = received, dropped
        count = {why: dropped[why] - self._dropped.get(why, 0) for why in UNUSED}
        most = max(count, key=lambda why: count[why])
        if now_s - self._since_s < UNUSED_S or not count[most]:
            return ""
        return (
            f"sends, but none of the {received - self._received} images of the last "
            f"{now_s - self._since_s:.1f} s was used: {UNUSED[most]}"
        )
