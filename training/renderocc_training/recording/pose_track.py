"""Where something was at any time between its recorded poses."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from renderocc_ros.geometry import RigidTransform
from renderocc_ros.geometry.rigid_transform import interpolate

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class PoseTrack:
    """Poses ``frame_from_body`` over time.

    Attributes:
        stamps_ns: ascending, each once, at least one.
        poses: one for each stamp.
    """

    stamps_ns: Sequence[int]
    poses: Sequence[RigidTransform]

    def __post_init__(self) -> None:
        if not self.stamps_ns or len(self.stamps_ns) != len(self.poses):
            raise ValueError(f"{len(self.stamps_ns)} stamps for {len(self.poses)} poses")
        if any(after <= before for before, after in pairwise(self.stamps_ns)):
            raise ValueError("stamps must ascend, each once")

    def covers(self, stamp_ns: int) -> bool:
        """Whether the time lies between the first and the last pose."""
        return self.stamps_ns[0] <= stamp_ns <= self.stamps_ns[-1]

    def at(self, stamp_ns: int) -> RigidTransform:
        """The pose at a time, interpolated between its neighbours.

        Raises:
            ValueError: the time lies before the first or after the last pose.
        """
        if not self.covers(stamp_ns):
            raise ValueError(
                f"no pose at {stamp_ns} ns: the track spans "
                f"{self.stamps_ns[0]} to {self.stamps_ns[-1]}"
            )
        after = bisect_left(self.stamps_ns, stamp_ns)
        if self.stamps_ns[after] == stamp_ns:
            return self.poses[after]
        start, end = self.stamps_ns[after - 1], self.stamps_ns[after]
        fraction = (stamp_ns - start) / (end - start)
        return interpolate(self.poses[after - 1], self.poses[after], fraction)

    def velocity(self, stamp_ns: int, window_ns: int) -> tuple[Array, Array]:
        """Mean velocity over a window around a time, cut at the ends of the track.

        Returns:
            linear (3,) in m/s and angular (3,) in rad/s, both in the body frame at ``stamp_ns``;
            zero where the track has a single pose.
        """
        start = max(stamp_ns - window_ns // 2, self.stamps_ns[0])
        end = min(stamp_ns + window_ns // 2, self.stamps_ns[-1])
        if end <= start:
            return np.zeros(3), np.zeros(3)
        seconds = (end - start) * 1e-9
        first, last = self.at(start), self.at(end)
        moved = self.at(stamp_ns).rotation.T @ (last.translation - first.translation)
        return moved / seconds, rotation_vector(first.rotation.T @ last.rotation) / seconds


def rotation_vector(rotation: Array) -> Array:
    """Axis times angle (rad) of a rotation matrix, angle in [0, π]."""
    x, y, z, w = RigidTransform(rotation, np.zeros(3)).quaternion_xyzw
    axis = np.array([x, y, z])
    length = float(np.linalg.norm(axis))
    return axis * (2.0 if length < 1e-9 else 2.0 * np.arctan2(length, w) / length)
