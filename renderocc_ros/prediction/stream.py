"""What a running stream remembers: the volumes of the last frames, and where they were."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import torch
from torch import Tensor

from renderocc_ros.geometry import RigidTransform
from renderocc_ros.network.temporal_fusion import PastVolume


@dataclass(frozen=True, eq=False)
class _Frame:
    stamp_ns: int
    odom_from_ego: RigidTransform
    volume: Tensor


class VolumeStream:
    """Lifted volumes of the last ``past_frames`` sets."""

    def __init__(self, past_frames: int, max_gap_s: float) -> None:
        self._frames: deque[_Frame] = deque(maxlen=max(past_frames, 1))
        self._past_frames = past_frames
        self._max_gap_ns = int(max_gap_s * 1e9)

    def __len__(self) -> int:
        return len(self._frames)

    def reset(self) -> None:
        """Forget every frame."""
        self._frames.clear()

    def past(self, stamp_ns: int, odom_from_ego: RigidTransform | None) -> list[PastVolume]:
        """Earlier frames, newest first, with the motion since.

        Time that does not move forward, or a gap above ``max_gap_s``, starts a new stream. Without
        a pose there is no motion to align by, so nothing is fused (a missing pose is no identity).
        """
        if self._frames and not 0 < stamp_ns - self._frames[0].stamp_ns <= self._max_gap_ns:
            self.reset()
        if odom_from_ego is None:
            return []
        return [
            PastVolume(
                frame.volume,
                torch.from_numpy((frame.odom_from_ego.inverse() @ odom_from_ego).matrix).to(
                    frame.volume.device, torch.float32
                )[None],
            )
            for frame in self._frames
        ]

    def add(self, stamp_ns: int, odom_from_ego: RigidTransform | None, volume: Tensor) -> None:
        """Remember this frame's own lifted volume (B, C, X, Y, Z), without the past in it."""
        if self._past_frames and odom_from_ego is not None:
            self._frames.appendleft(_Frame(stamp_ns, odom_from_ego, volume))
