"""Which images of N cameras belong to one trigger cycle. Pure: no ROS, no clock, no threads.

A camera c fires at ``cycle + offset_c``. An image with stamp s therefore says that its cycle is at
``s - offset_c``; it joins the open cycle nearest to that time if it lies within the tolerance, and
opens a new one only where that is more than OPEN_PERIODS away from every other cycle. A cycle's
own time is the median of what its images say, so no camera, not even the reference, is needed for
it. Because the tolerance is below half a period, an image can belong to one cycle only.

Offsets and period are configured or learned (``stamp_learning`` says what can be known from
stamps: an offset modulo the period). While they are learned, the first images wait; they are
matched afterwards, so nothing is lost. Learned offsets follow slow drift; a camera whose
images fit nowhere any more is learned anew.

When a set goes out:
- complete: at once. Cycles that are older and still incomplete are closed before it, in order.
- incomplete: when ``timeout_s`` has passed since its first image, or a newer set is complete. Then
  the policy decides: 'mask' gives out what is there, 'reuse' fills up with each camera's last image
  if that is recent enough (both only with at least ``min_cameras`` fresh images), 'skip' drops the
  set, 'wait' knows no time-out and drops the set when a newer one is complete.
- With 'mask' and 'reuse', a camera that has been silent for SILENT_PERIODS is not waited for: a
  dead camera costs no latency. When it returns, its first image can be too late for its set.

The set's stamp is the reference camera's; where that is missing, the cycle's time plus the
reference's offset. Time is what the caller passes in, so a recording gives the same sets each time.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator
from typing import Generic

from renderocc_ros.config import RigConfig
from renderocc_ros.rig.matched_set import (
    DropReason,
    Item,
    MatchCounters,
    MatchedImage,
    MatchedSet,
)
from renderocc_ros.rig.time_line import UNKNOWN_PERIOD_NS, TimeLine, Verdict
from renderocc_ros.rig.trigger_cycle import CycleImage, TriggerCycle
from renderocc_ros.rig.trigger_timing import HISTORY, TriggerTiming

OPEN_PERIODS = 0.6
SILENT_PERIODS, SILENT_NS = 4, 500_000_000


class StampMatcher(Generic[Item]):
    """Images in, one at a time; sets of one cycle each out, in order.

    Not for several threads at once. After each call, for every camera: images received = used +
    dropped (by reason) + ``waiting``.

    Args:
        rig: names, offsets and the ``sync`` section of the rig.
        wait_ns: of a recording, in which nobody waits for a set: how long every set waits for all
            its images, in order, whatever ``sync`` says of time-outs.

    Attributes:
        counters: running totals.
        timing: period, offsets and tolerances; given or learned.
    """

    def __init__(self, rig: RigConfig, wait_ns: int | None = None) -> None:
        self.counters = MatchCounters()
        self._names = rig.names
        self._index = {name: index for index, name in enumerate(rig.names)}
        self._reference = self._index[rig.reference_name]
        self._sync = rig.sync
        self._in_order = wait_ns is not None
        self._timeout_ns = _to_ns(rig.sync.timeout_s) if wait_ns is None else wait_ns
        self._silent_ns = max(SILENT_NS, wait_ns or 0)
        self._reuse_ns = _to_ns(rig.sync.reuse_max_age_s)
        self.timing = TriggerTiming(rig)
        self._now_ns = 0
        self._line = TimeLine(len(rig.names))
        self._held: list[CycleImage[Item]] = []  # on the other side of a possible jump
        self._restart()

    # ------------------------------------------------------------------------------- the calls

    def push(self, camera: str, stamp_ns: int, item: Item, now_ns: int) -> list[MatchedSet[Item]]:
        """Take an image; give out the sets that it completes and those whose time is up.

        Args:
            camera: a name of the rig.
            stamp_ns: acquisition time of the image.
            item: whatever the set is to hold for it.
            now_ns: time of arrival, for time-outs only; any clock, the same in every call.

        Raises:
            ValueError: the rig has no such camera.
        """
        index = self._index.get(camera)
        if index is None:
            raise ValueError(f"no camera '{camera}' in the rig: {', '.join(self._names)}")
        sets = self.tick(now_ns)
        self.counters.received[camera] += 1
        return sets + self._take(CycleImage(index, int(stamp_ns), item))

    def tick(self, now_ns: int) -> list[MatchedSet[Item]]:
        """Give out the sets whose time is up."""
        if now_ns < self._now_ns:  # the clock was set back: what waits has waited no longer
            for cycle in self._cycles:
                cycle.opened_ns = min(cycle.opened_ns, now_ns)
        self._now_ns = now_ns
        deadline_ns = self.next_deadline_ns
        return [] if deadline_ns is None or now_ns < deadline_ns else self._settle()

    @property
    def next_deadline_ns(self) -> int | None:
        """When ``tick`` has something to do, in the clock of ``now_ns``; None if nothing waits."""
        if not self._times_out or not self._cycles:
            return None
        return min(cycle.opened_ns for cycle in self._cycles) + self._timeout_ns

    @property
    def _times_out(self) -> bool:
        return self._sync.missing != "wait" or self._in_order

    def flush(self) -> list[MatchedSet[Item]]:
        """The recording is over: give out what still waits, as if every time-out had passed."""
        sets: list[MatchedSet[Item]] = []
        if self.timing.period_ns is None and any(self._unlearned):
            sets += self._learn()
        self._drop(self._held, DropReason.TIME_JUMP)
        self._held = []
        for queue in self._unlearned:
            self._drop(queue, DropReason.UNLEARNED)
            queue.clear()
        self._line.restart()
        return sets + self._close(len(self._cycles), DropReason.TIMEOUT)

    def clear(self) -> None:
        """Start anew after a jump of the clock: drop what waits, forget what was learned."""
        self._drop(self._held, DropReason.TIME_JUMP)
        self._held = []
        self._line.restart()
        self.counters.time_jumps += 1
        self._abandon()

    @property
    def newest_ns(self) -> int | None:
        """Stamp of the newest image on the time line; None while there is none."""
        return self._line.newest_ns

    @property
    def waiting(self) -> dict[str, int]:
        """Images taken in and neither used nor dropped yet, by camera."""
        images = [*self._held, *(image for queue in self._unlearned for image in queue)]
        images += [image for cycle in self._cycles for image in cycle.images.values()]
        count = Counter(self._names[image.camera] for image in images)
        return {name: count[name] for name in self._names}

    @property
    def offsets_ns(self) -> dict[str, int | None]:
        """Shutter time of each camera relative to the reference; None while it is not known.

        Learned ones are modulo the period, relative to the first known camera if the reference
        itself is not known.
        """
        offsets = self.timing.offsets_ns
        known = (offset for offset in offsets if offset is not None)
        zero = offsets[self._reference]
        zero = next(known, 0) if zero is None else zero
        pairs = zip(self._names, offsets, strict=True)
        return {name: None if offset is None else offset - zero for name, offset in pairs}

    # -------------------------------------------------------------------------------- taking in

    def _restart(self) -> None:
        """Empty all but the time line; what waits must have been dropped."""
        count = len(self._names)
        self._cycles: list[TriggerCycle[Item]] = []  # open, ascending in time
        self._closed_ns: deque[int] = deque(maxlen=HISTORY)  # times of the last closed cycles
        self._unlearned: list[deque[CycleImage[Item]]] = [deque() for _ in range(count)]
        self._last: list[CycleImage[Item] | None] = [None] * count  # for 'reuse'
        self._start_ns: int | None = None
        self.timing.restart()

    def _take(self, image: CycleImage[Item]) -> list[MatchedSet[Item]]:
        newest_ns = self._line.newest_ns
        verdict = self._line.judge(image.camera, image.stamp_ns, self.timing.period_ns)
        if verdict is Verdict.HOLD:
            return self._hold(image)
        if verdict is Verdict.JUMP:
            self.counters.time_jumps += 1
            held, self._held = [*self._held, image], []
            self._line.restart()
            sets: list[MatchedSet[Item]] = []
            if newest_ns is not None and image.stamp_ns > newest_ns:
                # A gap: the old sets will not become more complete, and the rig is the same.
                sets += self._close(len(self._cycles), DropReason.TIME_JUMP)
                self._start_ns = None
            else:
                self.counters.backward_jumps += 1
                self._abandon()
            for survivor in held:
                sets += self._take(survivor)
            return sets
        self._release(image.camera)
        if not self.timing.is_new(image.camera, image.stamp_ns):
            return self._drop([image], DropReason.DUPLICATE)
        if self._start_ns is None:
            self._start_ns = image.stamp_ns
        if not self.timing.knows(image.camera):
            return self._wait_for_offset(image)
        self._place(image)
        return self._settle()

    def _hold(self, image: CycleImage[Item]) -> list[MatchedSet[Item]]:
        own = [held for held in self._held if held.camera == image.camera]
        if len(own) >= self._sync.buffer_size:
            self._held.remove(own[0])
            self._drop(own[:1], DropReason.TIME_JUMP)
        self._held.append(image)
        return []

    def _release(self, camera: int) -> None:
        """An image on the time line shows that this camera's suspect ones were a glitch."""
        if self._held:
            glitches = [image for image in self._held if image.camera == camera]
            self._held = [image for image in self._held if image.camera != camera]
            self._drop(glitches, DropReason.TIME_JUMP)

    def _place(self, image: CycleImage[Item]) -> None:
        """Put an image whose camera's offset is known into its cycle, or drop it."""
        camera, timing = image.camera, self.timing
        time_ns, tolerance_ns = timing.cycle_ns(camera, image.stamp_ns), timing.tolerance_ns[camera]
        cycle = min(self._cycles, key=lambda c: abs(c.time_ns - time_ns), default=None)
        away = float("inf") if cycle is None else abs(cycle.time_ns - time_ns)
        past = time_ns - self._closed_ns[-1] if self._closed_ns else float("inf")
        if past <= tolerance_ns and abs(past) <= away:
            self._last[camera] = image
            self._drop([image], DropReason.LATE)
        elif cycle is not None and away <= tolerance_ns:
            timing.note_matched(camera)
            loser = cycle.put(image, time_ns)
            self._drop([loser] if loser else [], DropReason.UNMATCHED)
        elif min(away, past) >= OPEN_PERIODS * self._period_ns and timing.may_open(
            camera, time_ns, self._newest_cycle_ns
        ):
            timing.note_matched(camera)
            opened = TriggerCycle[Item](self._now_ns)
            opened.put(image, time_ns)
            self._cycles.append(opened)
        else:
            timing.note_outlier(camera)
            self._last[camera] = image
            self._drop([image], DropReason.UNMATCHED)
        self._cycles.sort(key=lambda c: c.time_ns)

    @property
    def _newest_cycle_ns(self) -> int | None:
        if self._cycles:
            return self._cycles[-1].time_ns
        return self._closed_ns[-1] if self._closed_ns else None

    @property
    def _period_ns(self) -> int:
        return self.timing.period_ns or UNKNOWN_PERIOD_NS

    # --------------------------------------------------------------------------------- learning

    def _wait_for_offset(self, image: CycleImage[Item]) -> list[MatchedSet[Item]]:
        queue = self._unlearned[image.camera]
        queue.append(image)
        if self.timing.period_ns is not None:
            return self._learn_one(image.camera)
        counts = [len(images) for images in self._unlearned]
        return self._learn() if self.timing.can_learn(counts) else []

    def _learn(self) -> list[MatchedSet[Item]]:
        """Period and offsets from the images that wait; then match those."""
        self.timing.learn([sorted(i.stamp_ns for i in queue) for queue in self._unlearned])
        cameras = range(len(self._names))
        return self._match_waiting([camera for camera in cameras if self.timing.knows(camera)])

    def _learn_one(self, camera: int) -> list[MatchedSet[Item]]:
        """The offset of one camera beside cycles that are known; then match what waits."""
        stamps = [image.stamp_ns for image in self._unlearned[camera]]
        cycles = [*self._closed_ns, *(cycle.time_ns for cycle in self._cycles)]
        learned = self.timing.learn_one(camera, stamps, cycles)
        return self._match_waiting([camera]) if learned else []

    def _match_waiting(self, cameras: list[int]) -> list[MatchedSet[Item]]:
        waiting = [image for camera in cameras for image in self._unlearned[camera]]
        for camera in cameras:
            self._unlearned[camera].clear()
        sets: list[MatchedSet[Item]] = []
        for image in sorted(waiting, key=lambda i: self.timing.cycle_ns(i.camera, i.stamp_ns)):
            self._place(image)
            sets += self._settle()
        return sets

    # --------------------------------------------------------------------------------- giving out

    def _settle(self) -> list[MatchedSet[Item]]:
        """Close, in order, every cycle up to the newest that is complete or whose time is up."""
        last, reason = -1, DropReason.SUPERSEDED
        for place, cycle in enumerate(self._cycles):
            if self._is_complete(cycle):
                last = place
            elif self._times_out and cycle.opened_ns + self._timeout_ns <= self._now_ns:
                last, reason = place, DropReason.TIMEOUT
            elif self._in_order:
                break
        if not self._in_order and len(self._cycles) - (last + 1) > self._sync.buffer_size:
            last, reason = len(self._cycles) - self._sync.buffer_size - 1, DropReason.BUFFER_FULL
        return self._close(last + 1, reason)

    def _is_complete(self, cycle: TriggerCycle[Item]) -> bool:
        if len(cycle.images) == len(self._names):
            return True
        if self._sync.missing in ("wait", "skip"):
            return False
        if len(cycle.images) < self._sync.min_cameras:
            return False
        heard_ns = cycle.time_ns - max(self._silent_ns, SILENT_PERIODS * self._period_ns)
        last = self._line.last_ns
        return all(
            camera in cycle.images or last.get(camera, self._start_ns or 0) < heard_ns
            for camera in range(len(self._names))
        )

    def _close(self, count: int, reason: DropReason) -> list[MatchedSet[Item]]:
        """Close the oldest cycles: what may go out does, the rest is dropped with a reason."""
        closing, self._cycles = self._cycles[:count], self._cycles[count:]
        sets = []
        for cycle in closing:
            self._closed_ns.append(cycle.time_ns)
            stamps = {camera: image.stamp_ns for camera, image in cycle.images.items()}
            self.timing.follow(cycle.time_ns, stamps)
            whole = len(cycle.images) == len(self._names)
            lenient = self._sync.missing in ("mask", "reuse")
            if whole or (lenient and len(cycle.images) >= self._sync.min_cameras):
                sets.append(self._give_out(cycle))
                continue
            why = DropReason.TOO_FEW if lenient else reason
            self.counters.sets_dropped[why] += 1
            self._drop(list(cycle.images.values()), why)
            for camera, image in cycle.images.items():
                self._last[camera] = image
        return sets

    def _give_out(self, cycle: TriggerCycle[Item]) -> MatchedSet[Item]:
        stamp_ns = self.timing.reference_ns(cycle.time_ns)
        if self._reference in cycle.images:
            stamp_ns = cycle.images[self._reference].stamp_ns
        images: list[MatchedImage[Item] | None] = []
        for camera, name in enumerate(self._names):
            image = cycle.images.get(camera)
            if image is not None:
                self.counters.used[name] += 1
                self._last[camera] = image
                images.append(MatchedImage(image.stamp_ns, image.item))
            else:
                images.append(self._reuse(camera, stamp_ns))
        whole = len(cycle.images) == len(self._names)
        self.counters.sets_complete += whole
        self.counters.sets_partial += not whole
        return MatchedSet(stamp_ns, self._names, tuple(images))

    def _reuse(self, camera: int, stamp_ns: int) -> MatchedImage[Item] | None:
        last = self._last[camera]
        if self._sync.missing != "reuse" or last is None:
            return None
        if abs(stamp_ns - last.stamp_ns) > self._reuse_ns:
            return None
        self.counters.reused[self._names[camera]] += 1
        return MatchedImage(last.stamp_ns, last.item, reused=True)

    def _abandon(self) -> None:
        """Drop all that waits on the time line, and forget it."""
        for cycle in self._cycles:
            self.counters.sets_dropped[DropReason.TIME_JUMP] += 1
            self._drop(list(cycle.images.values()), DropReason.TIME_JUMP)
        for queue in self._unlearned:
            self._drop(list(queue), DropReason.TIME_JUMP)
        self._restart()

    def _drop(
        self, images: Iterable[CycleImage[Item]], reason: DropReason
    ) -> list[MatchedSet[Item]]:
        for image in images:
            self.counters.dropped[self._names[image.camera], reason] += 1
        return []


def match_recording(
    matcher: StampMatcher[Item], messages: Iterable[tuple[str, int, Item, int]]
) -> Iterator[MatchedSet[Item]]:
    """All sets of a recording, through the same class as live.

    Args:
        matcher: a fresh matcher.
        messages: camera, stamp_ns, item and time of recording in nanoseconds, in recorded order.
    """
    for camera, stamp_ns, item, recorded_ns in messages:
        yield from matcher.push(camera, stamp_ns, item, recorded_ns)
    yield from matcher.flush()


def _to_ns(seconds: float) -> int:
    return round(seconds * 1e9)
