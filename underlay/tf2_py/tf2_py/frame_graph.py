"""Frames, who is whose parent at what time, and the way from one to another."""

from collections.abc import Callable, Iterable

from tf2_py.exceptions import ConnectivityException, ExtrapolationException, LookupException
from tf2_py.rotation import Quaternion, Vector, canonical, conjugate, multiply, rotate
from tf2_py.transform_cache import StampedPose, StaticCache, TimeCache

Cache = StaticCache | TimeCache
Motion = tuple[Vector, Quaternion]

MAX_GRAPH_DEPTH = 1000
IDENTITY: Motion = ((0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 1.0))


def compose(a_from_b: Motion, b_from_c: Motion) -> Motion:
    """a_from_c. A motion is (translation, unit quaternion)."""
    x, y, z = rotate(a_from_b[1], b_from_c[0])
    translation = (x + a_from_b[0][0], y + a_from_b[0][1], z + a_from_b[0][2])
    return (translation, multiply(a_from_b[1], b_from_c[1]))


def invert(a_from_b: Motion) -> Motion:
    """b_from_a."""
    back = conjugate(a_from_b[1])
    x, y, z = rotate(back, a_from_b[0])
    return ((-x, -y, -z), back)


class FrameGraph:
    """The history of every frame. Not locked: the buffer that owns it does that."""

    def __init__(self, cache_time_ns: int) -> None:
        self._cache_time_ns = cache_time_ns
        # In order of first mention. A frame that is nobody's child has no cache.
        self.caches: dict[str, Cache | None] = {}

    def insert(self, child: str, pose: StampedPose, is_static: bool) -> bool:
        """Add the pose of `child`; False where it is too old. The newest kind of cache wins."""
        cache = self.caches.get(child)
        if cache is None or isinstance(cache, StaticCache) != is_static:
            cache = StaticCache(pose) if is_static else TimeCache(self._cache_time_ns)
            self.caches[child] = cache
        self.caches.setdefault(pose.parent, None)
        return cache.insert(pose)

    def clear(self) -> None:
        """Forget every timed transform; frames and static transforms stay."""
        for cache in self.caches.values():
            if cache is not None:
                cache.clear()

    def target_from_source(self, target: str, source: str, stamp_ns: int) -> tuple[Motion, int]:
        """The motion that maps `source` into `target`, and the time it holds for.

        Raises ConnectivityException, ExtrapolationException, or LookupException for a loop.
        """
        if source == target:
            return IDENTITY, stamp_ns
        if stamp_ns == 0:
            stamp_ns = self.latest_common_ns(target, source)
        top_from_source, top, missing = self._climb(source, target, stamp_ns)
        if top == target:
            return top_from_source, stamp_ns
        top_from_target, end, missing_target = self._climb(target, source, stamp_ns, stop=top)
        if end == source:
            return invert(top_from_target), stamp_ns
        if end != top:
            cause = missing_target or missing
            if cause is None:
                raise ConnectivityException(_unconnected(target, source))
            raise ExtrapolationException(
                f"{cause}, when looking up transform from frame [{source}] to frame [{target}]"
            )
        return compose(invert(top_from_target), top_from_source), stamp_ns

    def _climb(
        self, start: str, goal: str, stamp_ns: int, stop: str | None = None
    ) -> tuple[Motion, str, ExtrapolationException | None]:
        """Walk from `start` towards the root until `goal`, `stop` or the end of what is known.

        Returns end_from_start, the end, and the reason where it ends for want of data in time.
        """
        frame, end_from_start = start, IDENTITY
        for _ in range(MAX_GRAPH_DEPTH + 1):
            cache = self.caches.get(frame)
            if frame in (goal, stop) or cache is None:
                return end_from_start, frame, None
            try:
                pose = cache.pose_at(stamp_ns)
            except ExtrapolationException as error:
                return end_from_start, frame, error
            end_from_start = compose((pose.translation, pose.rotation), end_from_start)
            frame = pose.parent
        raise LookupException(self._loop_message())

    def latest_common_ns(self, target: str, source: str) -> int:
        """The newest time at which the whole way is known; 0 where every part of it is static."""
        if source == target:
            cache = self.caches.get(source)
            return cache.latest_ns if cache else 0
        above_source = self._ancestors(source, lambda parent: parent == target)
        parents = [parent for parent, _ in above_source]
        if target in parents:
            return _earliest(stamp for _, stamp in above_source)
        above_target = self._ancestors(target, lambda parent: parent == source or parent in parents)
        meeting = above_target[-1][0] if above_target else None
        if meeting == source:
            return _earliest(stamp for _, stamp in above_target)
        if meeting not in parents:
            raise ConnectivityException(_unconnected(target, source))
        shared = above_source[: parents.index(meeting) + 1]
        return _earliest(stamp for _, stamp in above_target + shared)

    def _ancestors(self, frame: str, is_end: Callable[[str], bool]) -> list[tuple[str, int]]:
        """(parent, newest stamp of the link to it) from `frame` upwards, as of now."""
        links: list[tuple[str, int]] = []
        for _ in range(MAX_GRAPH_DEPTH + 1):
            cache = self.caches.get(frame)
            parent = cache.latest_parent() if cache else None
            if cache is None or parent is None:
                return links
            links.append((parent, cache.latest_ns))
            if is_end(parent):
                return links
            frame = parent
        raise LookupException(self._loop_message())

    def as_string(self) -> str:
        """One line for each frame that has a parent."""
        return "".join(
            f"Frame {frame} exists with parent {cache.latest_parent() or 'NO_PARENT'}.\n"
            for frame, cache in self.caches.items()
            if cache is not None
        )

    def _loop_message(self) -> str:
        return f"The tf tree is invalid because it contains a loop.\n{self.as_string()}\n"


def _earliest(stamps_ns: Iterable[int]) -> int:
    """The earliest of the stamps that are not 0 (static), 0 where all are."""
    return min((stamp for stamp in stamps_ns if stamp != 0), default=0)


def _unconnected(target: str, source: str) -> str:
    return (
        f"Could not find a connection between '{target}' and '{source}' because they are not "
        "part of the same tree.Tf has two or more unconnected trees."
    )


def canonical_motion(motion: Motion) -> Motion:
    """The same motion with the quaternion at unit length and in its canonical sign."""
    return (motion[0], canonical(motion[1]))
