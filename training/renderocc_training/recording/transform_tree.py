"""The TF frames of a recording: who is mounted on whom, and where at which time."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, field

from renderocc_ros.geometry import RigidTransform
from renderocc_ros.geometry.rigid_transform import interpolate


@dataclass(eq=False)
class _Edge:
    """parent_from_child over time; a static edge has one pose for all times."""

    parent: str
    static: bool
    stamps_ns: list[int] = field(default_factory=list)
    poses: list[RigidTransform] = field(default_factory=list)

    def insert(self, stamp_ns: int, pose: RigidTransform) -> None:
        if self.static:
            self.stamps_ns.clear()
            self.poses.clear()
        place = bisect_left(self.stamps_ns, stamp_ns)
        again = self.stamps_ns[place : place + 1] == [stamp_ns]  # the later message counts
        self.stamps_ns[place : place + again] = [stamp_ns]
        self.poses[place : place + again] = [pose]

    def at(self, stamp_ns: int, longest_gap_ns: int) -> RigidTransform | None:
        if self.static:
            return self.poses[-1]
        after = bisect_left(self.stamps_ns, stamp_ns)
        if after == len(self.stamps_ns):
            return None
        if self.stamps_ns[after] == stamp_ns:
            return self.poses[after]
        if after == 0:
            return None
        start, end = self.stamps_ns[after - 1], self.stamps_ns[after]
        if end - start > longest_gap_ns:
            return None
        fraction = (stamp_ns - start) / (end - start)
        return interpolate(self.poses[after - 1], self.poses[after], fraction)


class TransformTree:
    """Transforms put in as they were recorded, looked up at any time between.

    Frames are named without a leading slash, as in tf2.

    Args:
        longest_gap_ns: poses further apart are not interpolated: nobody knows what lies between.
    """

    def __init__(self, longest_gap_ns: int = 1_000_000_000) -> None:
        self._longest_gap_ns = longest_gap_ns
        self._edges: dict[str, _Edge] = {}

    def add(
        self,
        parent: str,
        child: str,
        stamp_ns: int,
        parent_from_child: RigidTransform,
        static: bool,
    ) -> None:
        """Put one transform in; a child that changes its parent starts anew."""
        parent, child = parent.lstrip("/"), child.lstrip("/")
        edge = self._edges.get(child)
        if edge is None or edge.parent != parent or edge.static != static:
            edge = self._edges[child] = _Edge(parent, static)
        edge.insert(stamp_ns, parent_from_child)

    def lookup(self, target: str, source: str, stamp_ns: int) -> RigidTransform:
        """``target_from_source`` at a time, interpolated between the recorded transforms.

        Raises:
            ValueError: the frames are not linked, or a link is not known at this time; the message
                names frames and times.
        """
        target_chain, source_chain = self._chains(target, source)
        shared_from_target = self._climb(target_chain, stamp_ns)
        return shared_from_target.inverse() @ self._climb(source_chain, stamp_ns)

    def static_root(self, frame: str) -> str:
        """The topmost frame that stands still to this one."""
        frame = frame.lstrip("/")
        while frame in self._edges and self._edges[frame].static:
            frame = self._edges[frame].parent
        return frame

    def latest_stamp_ns(self, target: str, source: str) -> int | None:
        """The last time at which all links between two frames are known; None if they are static.

        Raises:
            ValueError: the frames are not linked.
        """
        edges = [self._edges[frame] for chain in self._chains(target, source) for frame in chain]
        return min((edge.stamps_ns[-1] for edge in edges if not edge.static), default=None)

    def forget_before(self, stamp_ns: int) -> None:
        """Drop what no look-up from this time on needs, so that memory stays bounded."""
        for edge in self._edges.values():
            if not edge.static:
                keep = max(bisect_left(edge.stamps_ns, stamp_ns) - 1, 0)
                del edge.stamps_ns[:keep], edge.poses[:keep]

    def clear_moving(self) -> None:
        """Drop all that moves, after time has jumped; static transforms stay."""
        self._edges = {child: edge for child, edge in self._edges.items() if edge.static}

    @property
    def frames(self) -> list[str]:
        """All frames, in alphabetical order."""
        return sorted(self._edges.keys() | {edge.parent for edge in self._edges.values()})

    def _ancestors(self, frame: str) -> Iterator[str]:
        seen = set()
        while frame not in seen:
            seen.add(frame)
            yield frame
            if frame not in self._edges:
                return
            frame = self._edges[frame].parent
        raise ValueError(f"the transforms form a loop through '{frame}'")

    def _chains(self, target: str, source: str) -> tuple[list[str], list[str]]:
        """The frames below the nearest shared ancestor on either side."""
        target, source = target.lstrip("/"), source.lstrip("/")
        up_target, up_source = list(self._ancestors(target)), list(self._ancestors(source))
        shared = next((frame for frame in up_source if frame in up_target), None)
        if shared is None:
            raise ValueError(self._not_linked(target, source, up_target[-1], up_source[-1]))
        return up_target[: up_target.index(shared)], up_source[: up_source.index(shared)]

    def _climb(self, chain: list[str], stamp_ns: int) -> RigidTransform:
        total = RigidTransform.identity()
        for frame in chain:
            edge = self._edges[frame]
            pose = edge.at(stamp_ns, self._longest_gap_ns)
            if pose is None:
                where = "in a gap"
                if not edge.stamps_ns[0] <= stamp_ns <= edge.stamps_ns[-1]:
                    where = "before the first" if stamp_ns < edge.stamps_ns[0] else "after the last"
                raise ValueError(
                    f"transform '{edge.parent}' from '{frame}' is not known at {stamp_ns} ns, "
                    f"{where} of those from {edge.stamps_ns[0]} to {edge.stamps_ns[-1]} ns"
                )
            total = pose @ total
        return total

    def _not_linked(self, target: str, source: str, target_root: str, source_root: str) -> str:
        known = self.frames
        absent = [frame for frame in (target, source) if frame not in known]
        if absent:
            return (
                f"no transform names the frame '{absent[0]}'; known: {', '.join(known) or 'none'}"
            )
        return (
            f"no transform links '{target}' and '{source}': they hang below "
            f"'{target_root}' and '{source_root}'"
        )
