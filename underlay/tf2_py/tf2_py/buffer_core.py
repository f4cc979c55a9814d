"""A store of timed transforms that any thread may fill and ask."""

import math
import threading
from typing import Any

from geometry_msgs.msg import TransformStamped
from rclpy.logging import get_logger
from rclpy.time import Time

from tf2_py.exceptions import InvalidArgumentException, LookupException, TransformException
from tf2_py.frame_graph import FrameGraph, Motion, canonical_motion, compose
from tf2_py.rotation import canonical
from tf2_py.transform_cache import StampedPose, seconds

DEFAULT_CACHE_TIME_NS = 10_000_000_000


class BufferCore:
    """Transforms of the last `cache_time` (10 s unless told), interpolated in between.

    Times are ``rclpy.time.Time`` or ``builtin_interfaces.msg.Time``; time 0 asks for the newest
    time that the whole way from frame to frame has in common. A transform of header.frame_id and
    child_frame_id maps points of the child frame into the header's frame.
    """

    def __init__(self, cache_time: Any = None) -> None:
        cache_time_ns = DEFAULT_CACHE_TIME_NS if cache_time is None else _nanoseconds(cache_time)
        self._graph = FrameGraph(cache_time_ns)
        self._authorities: dict[str, str] = {}
        self._lock = threading.RLock()
        self._logger = get_logger("tf2")

    def set_transform(self, transform: TransformStamped, authority: str) -> None:
        """Add a transform that holds at its stamp; an invalid one is logged and ignored."""
        self._set(transform, authority, is_static=False)

    def set_transform_static(self, transform: TransformStamped, authority: str) -> None:
        """Add a transform that holds at all times; an invalid one is logged and ignored."""
        self._set(transform, authority, is_static=True)

    def _set(self, transform: TransformStamped, authority: str, is_static: bool) -> None:
        parent = _without_slash(transform.header.frame_id)
        child = _without_slash(transform.child_frame_id)
        shift, turn = transform.transform.translation, transform.transform.rotation
        pose = StampedPose(
            _nanoseconds(transform.header.stamp),
            parent,
            (shift.x, shift.y, shift.z),
            canonical((turn.x, turn.y, turn.z, turn.w)),
        )
        problem = _problem(pose, child)
        if problem:
            self._logger.error(
                f"{problem}: Ignoring transform from '{parent}' to '{child}' of authority "
                f'"{authority}": {shift}, {turn}'
            )
            return
        with self._lock:
            if self._graph.insert(child, pose, is_static):
                self._authorities[child] = authority
                return
        self._logger.warning(
            f"TF_OLD_DATA ignoring data from the past for frame {child} at time "
            f"{seconds(pose.stamp_ns)} according to authority {authority}",
            throttle_duration_sec=1.0,
        )

    def clear(self) -> None:
        """Forget every timed transform; static ones stay."""
        with self._lock:
            self._graph.clear()

    def lookup_transform_core(
        self, target_frame: str, source_frame: str, time: Any
    ) -> TransformStamped:
        """The transform that maps `source_frame` into `target_frame` at `time`.

        Raises LookupException, ConnectivityException, ExtrapolationException or
        InvalidArgumentException.
        """
        with self._lock:
            motion, stamp_ns = self._lookup(target_frame, source_frame, _nanoseconds(time))
        return _message(motion, stamp_ns, target_frame, source_frame)

    def lookup_transform_full_core(
        self,
        target_frame: str,
        target_time: Any,
        source_frame: str,
        source_time: Any,
        fixed_frame: str,
    ) -> TransformStamped:
        """Maps `source_frame` at `source_time` into `target_frame` at `target_time`.

        `fixed_frame` is the frame that does not move in between. Raises as lookup_transform_core.
        """
        with self._lock:
            for name, frame in (
                ("target_frame", target_frame),
                ("source_frame", source_frame),
                ("fixed_frame", fixed_frame),
            ):
                self._check_frame(f"lookupTransform argument {name}", frame)
            fixed_from_source, _ = self._lookup(
                fixed_frame, source_frame, _nanoseconds(source_time)
            )
            target_from_fixed, stamp_ns = self._lookup(
                target_frame, fixed_frame, _nanoseconds(target_time)
            )
        motion = compose(target_from_fixed, fixed_from_source)
        return _message(motion, stamp_ns, target_frame, source_frame)

    def _lookup(self, target: str, source: str, stamp_ns: int) -> tuple[Motion, int]:
        if target == source:  # also for frames never heard of
            stamp_ns = stamp_ns or self._graph.latest_common_ns(target, source)
        else:
            self._check_frame("lookupTransform argument target_frame", target)
            self._check_frame("lookupTransform argument source_frame", source)
        return self._graph.target_from_source(target, source, stamp_ns)

    def can_transform_core(
        self, target_frame: str, source_frame: str, time: Any
    ) -> tuple[bool, str]:
        """Whether lookup_transform_core would answer, and if not, why not."""
        if target_frame == source_frame:
            return True, ""
        try:
            with self._lock:
                self._check_named("target_frame", target_frame)
                self._check_named("source_frame", source_frame)
                stamp_ns = _nanoseconds(time)
                self._graph.target_from_source(target_frame, source_frame, stamp_ns)
        except TransformException as error:
            return False, str(error)
        return True, ""

    def can_transform_full_core(
        self,
        target_frame: str,
        target_time: Any,
        source_frame: str,
        source_time: Any,
        fixed_frame: str,
    ) -> tuple[bool, str]:
        """Whether lookup_transform_full_core would answer, and if not, why not."""
        try:
            with self._lock:
                self._check_named("target_frame", target_frame)
                self._check_named("source_frame", source_frame)
                self._check_named("fixed_frame", fixed_frame)
        except TransformException as error:
            return False, str(error)
        first = self.can_transform_core(target_frame, fixed_frame, target_time)
        if not first[0]:
            return first
        return self.can_transform_core(fixed_frame, source_frame, source_time)

    def get_latest_common_time(self, target_frame: str, source_frame: str) -> Time:
        """The newest time at which the way between the frames is known, 0 where all is static."""
        with self._lock:
            self._check_frame("get_latest_common_time", target_frame)
            self._check_frame("get_latest_common_time", source_frame)
            try:
                stamp_ns = self._graph.latest_common_ns(target_frame, source_frame)
            except TransformException as error:
                raise TransformException(str(error)) from None
        return Time(nanoseconds=stamp_ns)

    def all_frames_as_string(self) -> str:
        """One line a frame: its name and its parent."""
        with self._lock:
            return self._graph.as_string()

    def all_frames_as_yaml(self) -> str:
        """One YAML mapping a frame: parent, broadcaster, rate in Hz, newest and oldest time."""
        with self._lock:
            if not self._graph.caches:
                return "[]"
            return "".join(
                _yaml_entry(frame, cache, self._authorities.get(frame))
                for frame, cache in self._graph.caches.items()
                if cache is not None and cache.latest_parent() is not None
            )

    def _frameExists(self, frame_id: str) -> bool:
        with self._lock:
            return frame_id in self._graph.caches

    def _getFrameStrings(self) -> list[str]:
        with self._lock:
            return list(self._graph.caches)

    def _check_frame(self, where: str, frame: str) -> None:
        fault = _name_fault(frame)
        if fault:
            raise InvalidArgumentException(
                f'Invalid argument "{frame}" passed to {where} - {fault}'
            )
        if frame not in self._graph.caches:
            raise LookupException(f'"{frame}" passed to {where} does not exist. ')

    def _check_named(self, argument: str, frame: str) -> None:
        fault = _name_fault(frame)
        if fault is None and frame not in self._graph.caches:
            fault = "frame does not exist"
        if fault:
            raise LookupException(
                f'Invalid frame ID "{frame}" passed to canTransform argument {argument} - {fault}'
            )


def _name_fault(frame: str) -> str | None:
    if not frame:
        return "in tf2 frame_ids cannot be empty"
    if frame.startswith("/"):
        return "in tf2 frame_ids cannot start with a '/'"
    return None


def _problem(pose: StampedPose, child: str) -> str | None:
    if child == pose.parent:
        return "TF_SELF_TRANSFORM"
    if not child:
        return "TF_NO_CHILD_FRAME_ID"
    if not pose.parent:
        return "TF_NO_FRAME_ID"
    if any(math.isnan(value) for value in pose.translation + pose.rotation):
        return "TF_NAN_INPUT"
    return None


def _without_slash(frame: str) -> str:
    return frame[1:] if frame.startswith("/") else frame


def _nanoseconds(time: Any) -> int:
    """Nanoseconds of an rclpy Time or Duration, or of such a message."""
    if hasattr(time, "nanoseconds"):
        return int(time.nanoseconds)
    if hasattr(time, "sec") and hasattr(time, "nanosec"):
        return int(time.sec) * 1_000_000_000 + int(time.nanosec)
    raise TypeError(f"time must have sec and nanosec, or nanoseconds; got {time!r}")


def _message(motion: Motion, stamp_ns: int, target: str, source: str) -> TransformStamped:
    message = TransformStamped()
    message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp_ns, 1_000_000_000)
    message.header.frame_id = target
    message.child_frame_id = source
    (x, y, z), (qx, qy, qz, qw) = canonical_motion(motion)
    translation, rotation = message.transform.translation, message.transform.rotation
    translation.x, translation.y, translation.z = x, y, z
    rotation.x, rotation.y, rotation.z, rotation.w = qx, qy, qz, qw
    return message


def _yaml_entry(frame: str, cache: Any, authority: str | None) -> str:
    span_ns = cache.latest_ns - cache.oldest_ns
    rate_hz = len(cache) * 1e9 / max(span_ns, 100_000)
    newest = seconds(cache.latest_ns)
    return (
        f"{frame}: \n"
        f"  parent: '{cache.latest_parent()}'\n"
        f"  broadcaster: '{authority or 'no recorded authority'}'\n"
        f"  rate: {rate_hz:.3f}\n"
        f"  most_recent_transform: {newest}\n"
        f"  oldest_transform: {seconds(cache.oldest_ns)}\n"
        f"  buffer_length: {span_ns * 1e-9:.3f}\n"
    )
