"""What a running stream remembers: the volumes of the last frames, and where they were."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import torch
from torch import Tensor

from renderocc_ros.geometry import RigidTransform
from renderocc_ros.network.stereo_matching import PastViews
from renderocc_ros.network.temporal_fusion import PastVolume
from renderocc_ros.network_config import TemporalConfig

KEPT_PER_INTERVAL = 4  # volumes are large: a faster stream keeps no more of them than this


@dataclass(frozen=True, eq=False)
class _Frame:
    stamp_ns: int
    odom_from_ego: RigidTransform
    volume: Tensor
    views: PastViews | None


class VolumeStream:
    """Lifted volumes of the recent past, and which of them to fuse with the present.

    The network was trained on frames ``interval_s`` apart; a stream may run at any rate.
    """

    def __init__(self, config: TemporalConfig, *, stereo: bool = False) -> None:
        self._slots = max(config.past_frames, int(stereo))
        self._interval_ns = round(config.interval_s * 1e9)
        self._max_gap_ns = round(config.max_gap_s * 1e9)
        self._frames: deque[_Frame] = deque()
        self._last_ns: int | None = None

    def __len__(self) -> int:
        return len(self._frames)

    def reset(self) -> None:
        """Forget every frame."""
        self._frames.clear()
        self._last_ns = None

    def past(self, stamp_ns: int, odom_from_ego: RigidTransform | None) -> list[PastVolume]:
        """Earlier frames, newest first, with the motion since.

        Time that does not move forward, or a gap above ``max_gap_s``, starts a new stream. Without
        a pose there is no motion to align by, so nothing is fused (a missing pose is no identity).
        """
        if self._last_ns is not None and not 0 < stamp_ns - self._last_ns <= self._max_gap_ns:
            self.reset()
        self._last_ns = stamp_ns
        if odom_from_ego is None:
            return []
        return [
            PastVolume(
                frame.volume,
                torch.from_numpy((frame.odom_from_ego.inverse() @ odom_from_ego).matrix).to(
                    frame.volume.device, torch.float32
                )[None],
                frame.views,
            )
            for frame in self._chosen(stamp_ns)
        ]

    def add(
        self,
        stamp_ns: int,
        odom_from_ego: RigidTransform | None,
        volume: Tensor,
        views: PastViews | None = None,
    ) -> None:
        """Remember this frame's own lifted volume (B, C, X, Y, Z), without the past in it.

        With stereo also its views, for later frames to be matched with.
        """
        if not self._slots or odom_from_ego is None:
            return
        # Never closer than a quarter of the interval; the newest one may stand in for now.
        spacing_ns = self._interval_ns // KEPT_PER_INTERVAL
        if (
            len(self._frames) > 1
            and self._frames[0].stamp_ns - self._frames[1].stamp_ns < spacing_ns
        ):
            self._frames.popleft()
        self._frames.appendleft(_Frame(stamp_ns, odom_from_ego, volume, views))
        oldest_ns = stamp_ns - (self._slots + 1) * max(self._interval_ns, self._max_gap_ns)
        while self._frames[-1].stamp_ns < oldest_ns:
            self._frames.pop()
        while len(self._frames) > self._slots * KEPT_PER_INTERVAL + 1:
            self._frames.pop()

    def _chosen(self, stamp_ns: int) -> list[_Frame]:
        """For each slot k the frame whose age is nearest to k·interval, each frame once."""
        chosen: list[_Frame] = []
        for slot in range(1, self._slots + 1):
            wanted_ns = stamp_ns - slot * self._interval_ns
            rest = [f for f in self._frames if not chosen or f.stamp_ns < chosen[-1].stamp_ns]
            if rest:
                chosen.append(min(rest, key=lambda frame: abs(frame.stamp_ns - wanted_ns)))
        return chosen
