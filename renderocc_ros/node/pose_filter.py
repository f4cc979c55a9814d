"""Sets wait here, a little, until TF has their poses: a filter in message_filters' own terms."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from rclpy.node import Node

from renderocc_ros.config import RigConfig
from renderocc_ros.node.clock_events import DeadlineTimer, on_backward_jump
from renderocc_ros.node.synchroniser import QueuedFilter
from renderocc_ros.node.transforms import SetPoses, TransformMissing, TransformReader
from renderocc_ros.rig.matched_set import MatchedSet


@dataclass(frozen=True, eq=False)
class _Waiting:
    matched: MatchedSet[Any]
    cameras: Mapping[str, tuple[str, int]]
    deadline_ns: int


def header_frame(message: Any) -> str:
    """Frame of a message with a header, without a leading slash."""
    return str(message.header.frame_id).lstrip("/")


class PoseFilter(QueuedFilter):
    """Passes on each ``MatchedSet`` that comes in with its ``SetPoses``, in order.

    A camera whose image is there and whose pose is not stands in ``SetPoses.missing`` with the
    reason: it is to be treated as missing.

    A set whose transforms are all there goes through at once. Else it waits, and is tried again
    when a transform that it lacks arrives, until ``wait_s`` has passed or nothing can come any
    more; then it goes out without the cameras that have no pose, or, with fewer than
    ``sync.min_cameras`` (with 'wait' and 'skip': fewer than all), is dropped. A newer set that is
    ready supersedes older ones that wait.

    Args:
        rig: frames and cameras.
        source: the filter that gives MatchedSets.
        buffer: ``tf2_ros.Buffer``.
        node: gives the clock, and the executor in which sets are tried again.
        wait_s: how long a set waits, on the node's clock.
        capacity: sets that may wait; the oldest goes first.
        frame_of: reads a message's frame, where the rig names none for the camera.

    Attributes:
        dropped: sets that did not go out, by reason.
        problems: the last reason of each camera that has no pose now; for diagnostics.
    """

    def __init__(
        self,
        rig: RigConfig,
        source: Any,
        buffer: Any,
        node: Node,
        wait_s: float = 0.2,
        capacity: int = 8,
        frame_of: Callable[[Any], str] = header_frame,
    ) -> None:
        super().__init__()
        self.dropped: Counter[str] = Counter()
        self.problems: dict[str, str] = {}
        self._reader = TransformReader(buffer, rig.base_frame, rig.odom_frame, rig.mounts)
        self._buffer = buffer
        self._frames = {camera.name: camera.frame for camera in rig.cameras}
        self._needed = rig.images_needed
        self._frame_of = frame_of
        self._wait_ns = round(wait_s * 1e9)
        self._capacity = capacity
        self._waiting: deque[_Waiting] = deque()
        self._future: Any = None
        self._node = node
        self._timer = DeadlineTimer(node, lambda _: self._retry())
        # A transform arrives in whichever thread listens; the set is tried again in ours.
        self._wake = node.create_guard_condition(self._retry)
        self._jumps = on_backward_jump(node, self.clear)
        source.registerCallback(self.add)

    def add(self, matched: MatchedSet[Any]) -> None:
        """Take in a set and pass it on as soon as its poses are known."""
        cameras = {
            name: (self._frames[name] or self._frame_of(image.item), image.stamp_ns)
            for name, image in matched.present.items()
        }
        with self.lock:
            deadline_ns = self._timer.now_ns() + self._wait_ns
            self._waiting.append(_Waiting(matched, cameras, deadline_ns))
            if len(self._waiting) > self._capacity:
                self._waiting.popleft()
                self.dropped["buffer full"] += 1
        self._retry()

    def prefetch(self, frame: str, stamp_ns: int) -> None:
        """Ask TF about an image whose set is not complete yet, so that the set need not wait."""
        with self.lock:
            self._reader.prefetch(frame, stamp_ns)

    def clear(self) -> None:
        """Drop what waits, as 'time jump'."""
        with self.lock:
            self._reader.clear()
            self._drop(self._waiting, "time jump")
            self._await_next()

    def close(self) -> None:
        """Stop: nothing is tried again."""
        self.clear()
        self._jumps.unregister()
        self._timer.destroy()
        self._node.destroy_guard_condition(self._wake)

    @property
    def waiting(self) -> int:
        """Sets that wait for transforms."""
        return len(self._waiting)

    def _retry(self) -> None:
        with self.lock:
            now_ns = self._timer.now_ns()
            still: deque[_Waiting] = deque()
            first: TransformMissing | None = None
            for entry in self._waiting:
                poses = self._reader.poses(entry.matched.stamp_ns, entry.cameras)
                hopeful = [p for p in poses.missing.values() if p.may_come]
                if hopeful and now_ns < entry.deadline_ns:
                    still.append(entry)
                    first = first or hopeful[0]
                elif self._finish(entry.matched, poses) and not poses.missing:
                    self._drop(still, "superseded")
                    first = None
            self._waiting = still
            self._await_next(first)
        self.deliver()

    def _finish(self, matched: MatchedSet[Any], poses: SetPoses) -> bool:
        """Put a set into the outbox, or drop it; note the reasons for the diagnostics."""
        for name in poses.ego_from_camera:
            self.problems.pop(name, None)
        for name, problem in poses.missing.items():
            self.problems[name] = str(problem)
        if len(poses.ego_from_camera) < self._needed:
            self.dropped["no transform"] += 1
            return False
        self.outbox.append((matched, poses))
        return True

    def _await_next(self, missing: TransformMissing | None = None) -> None:
        """Be woken by the transform that the oldest waiting set lacks, or by its deadline."""
        if self._future is not None:
            self._future.cancel()
            self._future = None
        if missing is not None:
            self._future = self._buffer.wait_for_transform_async(*missing.awaited)
            self._future.add_done_callback(self._on_transform)
        self._timer.set(min((entry.deadline_ns for entry in self._waiting), default=None))

    def _drop(self, entries: deque[_Waiting], reason: str) -> None:
        if entries:
            self.dropped[reason] += len(entries)
            entries.clear()

    def _on_transform(self, future: Any) -> None:
        if not future.cancelled():
            self._wake.trigger()
