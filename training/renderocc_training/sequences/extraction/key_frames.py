"""Which matched sets become key frames."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

import numpy as np
from numpy.typing import NDArray

RECENT_SETS = 16
OVERDUE = 1.5  # intervals after which a key frame may lack a camera


@dataclass
class KeyFrameRule:
    """Key frames by time or by distance; whole sets first.

    A set is due when the interval has passed, less half a period of the cameras, so that an
    interval of 0.5 s takes every sixth set at 12 Hz and every set at 2 Hz. A set that lacks a
    camera or the LiDAR is taken only when half an interval has gone by without a whole one.

    Attributes:
        interval_s: seconds between key frames; 0 takes every set.
        interval_m: metres between them; replaces the seconds if given.
    """

    interval_s: float
    interval_m: float | None = None

    def __post_init__(self) -> None:
        self._last_ns: int | None = None
        self._last_m: NDArray[np.float64] | None = None
        self._stamps_ns: deque[int] = deque(maxlen=RECENT_SETS)

    def restart(self) -> None:
        """A new scene begins."""
        self._last_ns = self._last_m = None
        self._stamps_ns.clear()

    def takes(
        self,
        stamp_ns: int,
        place_m: NDArray[np.float64],
        whole: bool,
        enough: bool,
    ) -> bool:
        """Whether this set becomes a key frame; if so, the next interval begins.

        Args:
            stamp_ns: time of the set.
            place_m: (3,) where the ego frame is in the world.
            whole: no camera and no LiDAR scan is missing.
            enough: as many cameras as the rig needs.
        """
        self._stamps_ns.append(stamp_ns)
        progress = self._progress(stamp_ns, place_m)
        if not enough or progress < (1.0 if whole else OVERDUE):
            return False
        self._last_ns, self._last_m = stamp_ns, place_m
        return True

    def _progress(self, stamp_ns: int, place_m: NDArray[np.float64]) -> float:
        """Intervals since the last key frame."""
        if self._last_ns is None or self._last_m is None:
            return float("inf")
        if self.interval_m is not None:
            return float(np.linalg.norm(place_m - self._last_m)) / self.interval_m
        period_ns = median(b - a for a, b in pairwise(self._stamps_ns))
        interval_ns = self.interval_s * 1e9 - period_ns / 2
        if interval_ns <= 0:
            return float("inf")
        return (stamp_ns - self._last_ns) / interval_ns
