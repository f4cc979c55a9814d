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
    child: str
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

    def at(self, stamp_ns: int, longest_gap_ns: int) -> RigidTransform:
        if self.static:
            return self.poses[-1]
        after = bisect_left(self.stamps_ns, stamp_ns)
        if self.stamps_ns[after : after + 1] == [stamp_ns]:
            return self.poses[after]
        if after == 0:
            raise self._unknown(stamp_ns, f"{self._seconds(stamp_ns, 0)} before the first")
        if after == len(self.stamps_ns):
            raise self._unknown(stamp_ns, f"{self._seconds(stamp_ns, -1)} after the last")
        start, end = self.stamps_ns[after - 1], self.stamps_ns[after]
        if end - start > longest_gap_ns:
            raise self._unknown(stamp_ns, f"in a gap of {(end - start) * 1e-9:.3f} s")
        fraction = (stamp_ns - start) / (end - start)
        return interpolate(self.poses[after - 1], self.poses[after], fraction)

    def _seconds(self, stamp_ns: int, place: int) -> str:
        return f"{abs(stamp_ns - self.stamps_ns[place]) * 1e-9:.3f} s"

    def _unknown(self, stamp_ns: int, where: str) -> ValueError:
        return ValueError(
            f"transform '{self.parent}' from '{self.child}' is not known at {stamp_ns} ns, {where} "
            f"of those from {self.stamps_ns[0]} to {self.stamps_ns[-1]} ns"
        )


Chain = list[_Edge]


class TransformTree:
    """Transforms put in as they were recorded, looked up at any time between.

    Frames are named without a leading slash, as in tf2. Where several publishers give a frame
    different parents, each is kept, and followed where it leads to what is asked for.

    Args:
        longest_gap_ns: poses further apart are not interpolated: nobody knows what lies between.
    """

    def __init__(self, longest_gap_ns: int = 1_000_000_000) -> None:
        self._longest_gap_ns = longest_gap_ns
        self._edges: dict[str, dict[str, _Edge]] = {}  # by child, then by parent

    def add(
        self,
        parent: str,
        child: str,
        stamp_ns: int,
        parent_from_child: RigidTransform,
        static: bool,
    ) -> None:
        """Put one transform in; a static one replaces what was known of its child."""
        parent, child = parent.lstrip("/"), child.lstrip("/")
        edges = self._edges.setdefault(child, {})
        if static or any(edge.static for edge in edges.values()):
            edges.clear()
        if parent not in edges:  # the newest parent is tried first
            self._edges[child] = {parent: _Edge(parent, child, static), **edges}
        self._edges[child][parent].insert(stamp_ns, parent_from_child)

    def fixed_at(self, parent: str, child: str) -> RigidTransform | None:
        """``parent_from_child`` where a static transform gives it."""
        edge = self._edges.get(child.lstrip("/"), {}).get(parent.lstrip("/"))
        return edge.poses[-1] if edge is not None and edge.static else None

    def lookup(self, target: str, source: str, stamp_ns: int) -> RigidTransform:
        """``target_from_source`` at a time, interpolated between the recorded transforms.

        Raises:
            ValueError: the frames are not linked, or a link is not known at this time; the message
                names frames and times.
        """
        problem: ValueError | None = None
        for up_target, up_source in self._links(target, source):
            try:
                shared_from_target = self._climb(up_target, stamp_ns)
                return shared_from_target.inverse() @ self._climb(up_source, stamp_ns)
            except ValueError as error:
                problem = problem or error
        assert problem is not None
        raise problem

    def static_root(self, frame: str) -> str:
        """The topmost frame that stands still to this one."""
        frame = frame.lstrip("/")
        while edge := next((e for e in self._edges.get(frame, {}).values() if e.static), None):
            frame = edge.parent
        return frame

    def parents(self, frame: str) -> dict[str, bool]:
        """The frames that carry this one, the newest first, and whether each link is static."""
        edges = self._edges.get(frame.lstrip("/"), {})
        return {parent: edge.static for parent, edge in edges.items()}

    def hangs_below(self, frame: str, ancestor: str) -> bool:
        """Whether a frame is carried by another, or is it."""
        frame, ancestor = frame.lstrip("/"), ancestor.lstrip("/")
        return frame == ancestor or any(
            edge.parent == ancestor for chain in self._ways_up(frame) for edge in chain
        )

    def latest_stamp_ns(self, target: str, source: str) -> int | None:
        """The last time at which all links between two frames are known; None if they are static.

        Raises:
            ValueError: the frames are not linked.
        """
        latest = [
            min((edge.stamps_ns[-1] for edge in (*up, *down) if not edge.static), default=None)
            for up, down in self._links(target, source)
        ]
        return None if None in latest else max(stamp for stamp in latest if stamp is not None)

    def settled(self, target: str, source: str, stamp_ns: int) -> bool:
        """Whether later transforms cannot make the link at this time better known."""
        try:
            latest_ns = self.latest_stamp_ns(target, source)
        except ValueError:
            return False
        return latest_ns is None or latest_ns >= stamp_ns

    def forget_before(self, stamp_ns: int) -> None:
        """Drop what no look-up from this time on needs, so that memory stays bounded."""
        for edge in (edge for edges in self._edges.values() for edge in edges.values()):
            if not edge.static:
                keep = max(bisect_left(edge.stamps_ns, stamp_ns) - 1, 0)
                del edge.stamps_ns[:keep], edge.poses[:keep]

    def clear_moving(self) -> None:
        """Drop all that moves, after time has jumped; static transforms stay."""
        self._edges = {
            child: edges
            for child, edges in self._edges.items()
            if any(edge.static for edge in edges.values())
        }

    @property
    def frames(self) -> list[str]:
        """All frames, in alphabetical order."""
        parents = {parent for edges in self._edges.values() for parent in edges}
        return sorted(self._edges.keys() | parents)

    def _ways_up(self, frame: str, below: tuple[str, ...] = ()) -> Iterator[Chain]:
        """The links from a frame up to a root; one chain for each way."""
        if frame in below:
            raise ValueError(f"the transforms form a loop through '{frame}'")
        edges = self._edges.get(frame)
        if not edges:
            yield []
            return
        for edge in edges.values():
            for chain in self._ways_up(edge.parent, (*below, frame)):
                yield [edge, *chain]

    def _links(self, target: str, source: str) -> list[tuple[Chain, Chain]]:
        """The links from either side up to the nearest shared frame; several if parents differ."""
        target, source = target.lstrip("/"), source.lstrip("/")
        ups = [(up, [target, *(edge.parent for edge in up)]) for up in self._ways_up(target)]
        links, roots = [], (target, source)
        for up_source in self._ways_up(source):
            frames = [source, *(edge.parent for edge in up_source)]
            for up_target, target_frames in ups:
                shared = next((frame for frame in frames if frame in target_frames), None)
                if shared is None:
                    roots = target_frames[-1], frames[-1]
                    continue
                down = up_source[: frames.index(shared)]
                links.append((up_target[: target_frames.index(shared)], down))
        if not links:
            raise ValueError(self._not_linked(target, source, *roots))
        return links

    def _climb(self, chain: Chain, stamp_ns: int) -> RigidTransform:
        total = RigidTransform.identity()
        for edge in chain:
            total = edge.at(stamp_ns, self._longest_gap_ns) @ total
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
