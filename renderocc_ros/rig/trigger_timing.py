"""When the cameras of a rig fire: period, offset and tolerance of each, given or learned."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence

from renderocc_ros.config import RigConfig
from renderocc_ros.rig.stamp_learning import (
    camera_period_ns,
    median_ns,
    offset_ns,
    rig_period_ns,
    wrapped_ns,
)
from renderocc_ros.rig.time_line import UNKNOWN_PERIOD_NS

TOLERANCE_PERIODS = 0.4  # the default, and of a fast camera's own period
MAX_TOLERANCE_PERIODS = 0.45
# Images of every camera that learning waits for; and of any one camera after which it ends anyway.
LEARN_IMAGES, LEARN_LIMIT = 5, 8
LEARN_IMAGES_GIVEN, LEARN_LIMIT_GIVEN = 3, 5  # where only the period is to be learned
FOLLOW_IMAGES = 3  # images after which a learned offset follows their median
MAX_OUTLIERS = 5  # unmatched images in a row after which an offset is learned anew
FAST_PERIODS = 0.75  # a camera with a shorter period brings several images per cycle
WRAP_PERIODS = 0.75  # a drifting offset is wrapped beyond this, not at one half, lest it flutter
HISTORY = 16


class TriggerTiming:
    """Takes a camera's stamp to the time of its cycle: ``stamp - offset``.

    Configured offsets and period stay as they are. Learned ones follow the stream; of an offset's
    representatives modulo the period, the one nearest to the reference's is chosen. Cameras are
    numbered in the rig's order.

    Args:
        rig: names, offsets and the ``sync`` section of the rig.

    Attributes:
        period_ns: time between cycles; None while it is being learned.
        offsets_ns: by camera; None while it is being learned.
        tolerance_ns: by camera: how far from its cycle's time an image may lie.
    """

    def __init__(self, rig: RigConfig) -> None:
        self._count = len(rig.names)
        self._reference = rig.names.index(rig.reference_name)
        self._sync = rig.sync
        given = {
            index: round(camera.offset_ms * 1e6)
            for index, camera in enumerate(rig.cameras)
            if camera.offset_ms is not None
        }
        if given:  # they are relative to the reference, so that one is fixed as well
            zero = given.setdefault(self._reference, 0)
            given = {camera: offset - zero for camera, offset in given.items()}
        self._given = given
        self.restart()

    def restart(self) -> None:
        """Forget all that was learned."""
        cameras = range(self._count)
        self._stamps: list[deque[int]] = [deque(maxlen=HISTORY) for _ in cameras]
        self._residuals: list[deque[int]] = [deque(maxlen=HISTORY) for _ in cameras]
        self._outliers = [0] * self._count
        self._fast = [False] * self._count
        self._cycles_seen = 0
        self._centre = self._reference  # the camera to which representatives are the nearest
        self.offsets_ns: list[int | None] = [self._given.get(camera) for camera in cameras]
        self.tolerance_ns = [0] * self._count
        self.period_ns: int | None = None
        if self._sync.period_s is not None and None not in self.offsets_ns:
            self._set_period(round(self._sync.period_s * 1e9))

    def is_new(self, camera: int, stamp_ns: int) -> bool:
        """Note a stamp; False if this camera brought the same one not long ago."""
        if stamp_ns in self._stamps[camera]:
            return False
        self._stamps[camera].append(stamp_ns)
        return True

    def knows(self, camera: int) -> bool:
        """Whether images of this camera can be matched."""
        return self.period_ns is not None and self.offsets_ns[camera] is not None

    def cycle_ns(self, camera: int, stamp_ns: int) -> int:
        """Time of the cycle that an image says it belongs to."""
        return stamp_ns - (self.offsets_ns[camera] or 0)

    def reference_ns(self, cycle_ns: int) -> int:
        """When the reference camera fires in the cycle of this time."""
        return cycle_ns + (self.offsets_ns[self._reference] or 0)

    def may_open(self, camera: int, time_ns: int, last_ns: int | None) -> bool:
        """Whether a camera's image may open a cycle; a fast camera's only where one is due."""
        if not self._fast[camera]:
            return True
        if last_ns is None or self.period_ns is None:
            return False
        return abs(wrapped_ns(time_ns - last_ns, self.period_ns)) <= self.tolerance_ns[camera]

    # --------------------------------------------------------------------------------- learning

    def can_learn(self, counts: Sequence[int]) -> bool:
        """Whether so many images, by camera, are enough to learn from."""
        given = len(self._given) == self._count
        every = LEARN_IMAGES_GIVEN if given else LEARN_IMAGES
        limit = LEARN_LIMIT_GIVEN if given else LEARN_LIMIT
        return min(counts) >= every or max(counts) >= limit

    def learn(self, stamps: Sequence[Sequence[int]]) -> None:
        """Period, and offsets of the cameras that have any stamps, ascending, by camera."""
        if self._sync.period_s is not None:
            period_ns = round(self._sync.period_s * 1e9)
        else:
            longest = max(map(len, stamps))
            enough = [own for own in stamps if 2 * len(own) > longest]
            period_ns = rig_period_ns(map(camera_period_ns, enough)) or UNKNOWN_PERIOD_NS
        lead = max(range(self._count), key=lambda camera: len(stamps[camera]))
        if 2 * len(stamps[self._reference]) > len(stamps[lead]):
            lead = self._reference
        if self.offsets_ns[lead] is None:
            self.offsets_ns[lead] = 0
        cycles = [self.cycle_ns(lead, stamp) for stamp in stamps[lead]]
        for camera, own in enumerate(stamps):
            if self.offsets_ns[camera] is None:
                self.offsets_ns[camera] = offset_ns(own, cycles, period_ns)
        self._centre = lead if self.offsets_ns[self._reference] is None else self._reference
        centre_ns = self.offsets_ns[self._centre] or 0
        for camera, offset in enumerate(self.offsets_ns):
            if offset is not None and camera not in self._given:
                self.offsets_ns[camera] = centre_ns + wrapped_ns(offset - centre_ns, period_ns)
        self._set_period(period_ns)

    def learn_one(self, camera: int, stamps: Sequence[int], cycles: Sequence[int]) -> bool:
        """One camera's offset beside known cycles, ascending; False if they are too far away.

        A camera that waited long is alone: then it makes the cycles itself, with offset 0.
        """
        learned = offset_ns(stamps, cycles, self.period_ns or UNKNOWN_PERIOD_NS)
        if learned is None and len(stamps) < LEARN_IMAGES:
            return False
        self.offsets_ns[camera] = learned or 0
        return True

    def note_matched(self, camera: int) -> None:
        """An image of this camera has found its cycle."""
        self._outliers[camera] = 0

    def note_outlier(self, camera: int) -> None:
        """An image fits no cycle; after several, its camera's driver may have started anew."""
        self._outliers[camera] += 1
        if self._outliers[camera] < MAX_OUTLIERS or self._fast[camera] or camera in self._given:
            return
        self.offsets_ns[camera] = None
        self._residuals[camera].clear()
        self._outliers[camera] = 0

    def follow(self, cycle_ns: int, stamps: Mapping[int, int]) -> None:
        """Let learned offsets follow the stamps, by camera, of a cycle that is over."""
        for camera, stamp in stamps.items():
            if camera in self._given or self.offsets_ns[camera] is None:
                continue
            residuals = self._residuals[camera]
            residuals.append(stamp - cycle_ns)
            if len(stamps) > 1 and len(residuals) >= FOLLOW_IMAGES:
                self._move(camera, median_ns(residuals))
        self._cycles_seen += 1
        if self._cycles_seen % HISTORY == 0 and self._sync.period_s is None:
            self._set_period(rig_period_ns(self._own_periods()) or self.period_ns)

    def _move(self, camera: int, offset: int) -> None:
        """A new offset, wrapped if it has drifted too far from the reference's."""
        period_ns = self.period_ns or UNKNOWN_PERIOD_NS
        beyond = offset - (self.offsets_ns[self._centre] or 0)
        if camera != self._centre and abs(beyond) > WRAP_PERIODS * period_ns:
            shift = wrapped_ns(beyond, period_ns) - beyond
            offset += shift
            residuals = self._residuals[camera]
            self._residuals[camera] = deque((r + shift for r in residuals), HISTORY)
        self.offsets_ns[camera] = offset

    def _own_periods(self) -> list[int | None]:
        return [
            camera_period_ns(stamps) if len(stamps) >= LEARN_IMAGES else None
            for stamps in self._stamps
        ]

    def _set_period(self, period_ns: int | None) -> None:
        """Set the period and what follows from it."""
        self.period_ns = period_ns
        if period_ns is None:
            return
        largest_ns = TOLERANCE_PERIODS * period_ns
        if self._sync.tolerance_s is not None:
            largest_ns = self._sync.tolerance_s * 1e9
        largest_ns = min(largest_ns, MAX_TOLERANCE_PERIODS * period_ns)
        for camera, own in enumerate(self._own_periods()):
            self._fast[camera] = own is not None and own < FAST_PERIODS * period_ns
            limit_ns = TOLERANCE_PERIODS * own if own and self._fast[camera] else largest_ns
            self.tolerance_ns[camera] = round(min(largest_ns, limit_ns))
