"""What the node counts and times; written from two threads, read by diagnostics."""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

WINDOW = 200  # the last durations of a stage that its percentiles are taken over
RATE_WINDOW_S = 3.0


@dataclass(frozen=True)
class Percentiles:
    """Of the last durations of one stage, milliseconds."""

    p50: float
    p95: float

    @staticmethod
    def of(durations_ms: Sequence[float]) -> Percentiles:
        """Of some durations, at least one; linear between two of them.

        Not by numpy, whose overhead for such short lists holds up the images that come meanwhile.
        """
        ordered = sorted(durations_ms)

        def at(fraction: float) -> float:
            place = fraction * (len(ordered) - 1)
            before = ordered[int(place)]
            after = ordered[min(int(place) + 1, len(ordered) - 1)]
            return before + (place - int(place)) * (after - before)

        return Percentiles(at(0.5), at(0.95))


class StageTimes:
    """Durations by stage name."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._durations_ms: dict[str, deque[float]] = defaultdict(lambda: deque(maxlen=WINDOW))
        self._running: list[tuple[str, float]] = []  # begun, not ended, of the inference thread

    def add(self, stage: str, milliseconds: float) -> None:
        """Note one duration."""
        with self._lock:
            self._durations_ms[stage].append(milliseconds)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a block; of the inference thread alone."""
        start = time.perf_counter()
        self._running.append((name, start))
        try:
            yield
        finally:
            self._running.pop()
            self.add(name, (time.perf_counter() - start) * 1e3)

    @property
    def running(self) -> tuple[str, float]:
        """The innermost block that is being timed, and for how many seconds; "" for none."""
        name, start = next(reversed([*self._running]), ("", time.perf_counter()))
        return name, time.perf_counter() - start

    def median_ms(self, stage: str) -> float:
        """Of the last durations of one stage; 0 before the first."""
        with self._lock:
            durations_ms = list(self._durations_ms.get(stage, ()))
        return Percentiles.of(durations_ms).p50 if durations_ms else 0.0

    def percentiles(self) -> dict[str, Percentiles]:
        """By stage, in the order in which the stages first came."""
        with self._lock:
            values = {name: list(window) for name, window in self._durations_ms.items()}
        return {name: Percentiles.of(window) for name, window in values.items()}


class Counters:
    """Named counts."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()

    def add(self, name: str, number: int = 1) -> None:
        """Count."""
        with self._lock:
            self._counts[name] += number

    def __getitem__(self, name: str) -> int:
        with self._lock:
            return self._counts[name]

    def snapshot(self) -> Mapping[str, int]:
        """All counts so far."""
        with self._lock:
            return dict(self._counts)


class Arrivals:
    """When messages came, on the monotonic clock: rate and age do not depend on ROS time."""

    def __init__(self) -> None:
        self.count = 0
        self._times: deque[float] = deque(maxlen=512)

    def note(self) -> None:
        """A message came now."""
        self.count += 1
        self._times.append(time.monotonic())

    @property
    def age_s(self) -> float | None:
        """Seconds since the last message; None before the first."""
        return time.monotonic() - self._times[-1] if self._times else None

    @property
    def rate_hz(self) -> float:
        """Messages per second over the last RATE_WINDOW_S seconds."""
        since = time.monotonic() - RATE_WINDOW_S
        recent = [moment for moment in self._times if moment >= since]
        if len(recent) < 2:
            return 0.0
        return (len(recent) - 1) / (recent[-1] - recent[0])
