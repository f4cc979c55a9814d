"""The history of one frame's pose in its parent frame."""

from bisect import bisect_left, bisect_right
from typing import NamedTuple

from tf2_py.exceptions import ExtrapolationException
from tf2_py.rotation import Quaternion, Vector, lerp, slerp


class StampedPose(NamedTuple):
    """Pose of a frame in `parent`: point_parent = rotate(rotation, point) + translation."""

    stamp_ns: int
    parent: str
    translation: Vector
    rotation: Quaternion


class StaticCache:
    """One pose that holds at all times."""

    latest_ns = 0
    oldest_ns = 0

    def __init__(self, pose: StampedPose) -> None:
        self._pose = pose

    def __len__(self) -> int:
        return 1

    def insert(self, pose: StampedPose) -> bool:
        """Replace the pose."""
        self._pose = pose
        return True

    def pose_at(self, stamp_ns: int) -> StampedPose:
        """The pose, whatever the time."""
        return self._pose

    def latest_parent(self) -> str | None:
        """The parent frame."""
        return self._pose.parent

    def clear(self) -> None:
        """Keep the pose: static transforms are sent only once."""


class TimeCache:
    """Poses of the last `cache_time_ns`, oldest first; times in between are interpolated."""

    def __init__(self, cache_time_ns: int) -> None:
        self._cache_time_ns = cache_time_ns
        self._stamps: list[int] = []
        self._poses: list[StampedPose] = []

    def __len__(self) -> int:
        return len(self._stamps)

    @property
    def latest_ns(self) -> int:
        """The newest stamp, 0 where there is none."""
        return self._stamps[-1] if self._stamps else 0

    @property
    def oldest_ns(self) -> int:
        """The oldest stamp, 0 where there is none."""
        return self._stamps[0] if self._stamps else 0

    def latest_parent(self) -> str | None:
        """The parent frame of the newest pose, None where there is no pose."""
        return self._poses[-1].parent if self._poses else None

    def clear(self) -> None:
        """Forget every pose."""
        self._stamps.clear()
        self._poses.clear()

    def insert(self, pose: StampedPose) -> bool:
        """Add `pose` in order of time; False where it is older than the buffer reaches."""
        expired = bisect_left(self._stamps, self.latest_ns - self._cache_time_ns)
        if expired:
            del self._stamps[:expired], self._poses[:expired]
        if self._stamps and pose.stamp_ns < self.latest_ns - self._cache_time_ns:
            return False
        first = bisect_left(self._stamps, pose.stamp_ns)
        last = bisect_right(self._stamps, pose.stamp_ns)
        if pose not in self._poses[first:last]:
            self._stamps.insert(last, pose.stamp_ns)
            self._poses.insert(last, pose)
        return True

    def pose_at(self, stamp_ns: int) -> StampedPose:
        """The pose at `stamp_ns`, the newest where that is 0.

        Raises ExtrapolationException outside the stored times. Where the parent changes between
        two stored poses, the older one holds.
        """
        stamps = self._stamps
        if not stamps:
            raise ExtrapolationException(_single_message(stamp_ns, 0))
        if stamp_ns == 0 or stamp_ns == stamps[-1]:
            return self._poses[-1]
        if len(stamps) == 1:
            raise ExtrapolationException(_single_message(stamp_ns, stamps[0]))
        if stamp_ns == stamps[0]:
            return self._poses[0]
        if stamp_ns > stamps[-1]:
            raise ExtrapolationException(
                "Lookup would require extrapolation into the future.  Requested time "
                f"{seconds(stamp_ns)} but the latest data is at time {seconds(stamps[-1])}"
            )
        if stamp_ns < stamps[0]:
            raise ExtrapolationException(
                "Lookup would require extrapolation into the past.  Requested time "
                f"{seconds(stamp_ns)} but the earliest data is at time {seconds(stamps[0])}"
            )
        newer_index = bisect_right(stamps, stamp_ns)
        older, newer = self._poses[newer_index - 1], self._poses[newer_index]
        if older.parent != newer.parent:
            return older
        fraction = (stamp_ns - older.stamp_ns) / (newer.stamp_ns - older.stamp_ns)
        return StampedPose(
            stamp_ns,
            older.parent,
            lerp(older.translation, newer.translation, fraction),
            slerp(older.rotation, newer.rotation, fraction),
        )


def _single_message(requested_ns: int, only_ns: int) -> str:
    return (
        f"Lookup would require extrapolation at time {seconds(requested_ns)}, "
        f"but only time {seconds(only_ns)} is in the buffer"
    )


def seconds(stamp_ns: int) -> str:
    """A time as tf2 prints it: whole seconds and the rest are added as doubles."""
    rest_ns = stamp_ns % 1_000_000_000
    return f"{(stamp_ns - rest_ns) // 1_000_000_000 + 1e-9 * rest_ns:.6f}"
