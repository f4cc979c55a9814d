"""Period and shutter offsets of the cameras, from their stamps alone.

What can be known: a camera that fires with period T, d nanoseconds after the reference, leaves the
same stamps as one that fires d - T after it. An offset is therefore known modulo the period only,
and these functions give its representative nearest to zero, in (-T/2, T/2]. A rig whose
cycles are to be told apart otherwise (a sweep that takes most of a period) must be given its
offsets. All times are integer nanoseconds.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import pairwise


def camera_period_ns(stamps_ns: Sequence[int]) -> int | None:
    """Time between two images of one camera, though some were lost; None if there is no telling.

    A lost image makes a gap of two periods or more, so every gap is divided by the number of
    periods it holds, counted in the lower quartile of the gaps; the median of that is the period.
    """
    ordered = sorted(stamps_ns)
    gaps = sorted(later - earlier for earlier, later in pairwise(ordered) if later > earlier)
    if not gaps:
        return None
    short = gaps[(len(gaps) - 1) // 4]
    single = [gap // round(gap / short) for gap in gaps if round(gap / short) >= 1]
    return median_ns(single)


def rig_period_ns(periods_ns: Iterable[int | None]) -> int | None:
    """Period of the cycles: the (lower) median of the cameras', so one odd camera has no say."""
    known = sorted(period for period in periods_ns if period is not None)
    return known[(len(known) - 1) // 2] if known else None


def offset_ns(stamps_ns: Sequence[int], cycles_ns: Sequence[int], period_ns: int) -> int | None:
    """Median distance of a camera's stamps from the cycles, modulo the period.

    Args:
        stamps_ns: the camera's stamps.
        cycles_ns: times of the cycles, ascending; some may be missing.
        period_ns: time between two cycles.

    Returns:
        the offset in (-period/2, period/2], or None where no stamp lies within two periods of a
        cycle.
    """
    distances = [stamp - nearest(cycles_ns, stamp) for stamp in stamps_ns if cycles_ns]
    distances = [distance for distance in distances if abs(distance) <= 2 * period_ns]
    if not distances:
        return None
    # A median on a circle: unroll all distances around one of them, then take the plain median.
    pivot = distances[0]
    unrolled = [pivot + wrapped_ns(distance - pivot, period_ns) for distance in distances]
    return wrapped_ns(median_ns(unrolled), period_ns)


def wrapped_ns(time_ns: int, period_ns: int) -> int:
    """The representative of a time modulo the period that lies in (-period/2, period/2]."""
    rest = time_ns % period_ns
    return rest - period_ns if 2 * rest > period_ns else rest


def nearest(ordered_ns: Sequence[int], time_ns: int) -> int:
    """The entry of a non-empty ascending sequence that lies nearest to a time."""
    place = bisect_left(ordered_ns, time_ns)
    around = ordered_ns[max(place - 1, 0) : place + 1]
    return min(around, key=lambda entry: abs(entry - time_ns))


def median_ns(times_ns: Iterable[int]) -> int:
    """The median, the mean of the middle two where their number is even."""
    ordered = sorted(times_ns)
    middle = len(ordered) // 2
    return (ordered[middle] + ordered[(len(ordered) - 1) // 2]) // 2
