"""Where each camera was, at its own stamp, seen from the robot at the set's stamp.

``ego_from_camera = base(set stamp) ← odom ← base(camera stamp) ← camera``: odom is the frame that
does not move in between, so the robot's own motion between the two stamps is in it. A rig without
odometry gets ``base ← camera`` alone. A transform that TF does not give is reported with its
reason; nothing ever stands in for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import tf2_ros
from rclpy.time import Time

from renderocc_ros.geometry import RigidTransform

MAX_ANSWERS = 128  # answers kept: those of several sets of many cameras


class TransformMissing(Exception):
    """TF has no answer.

    Attributes:
        may_come: waiting can help: the frame or the time may still arrive.
        awaited: target, source and time, as ``Buffer.wait_for_transform_async`` takes them.
    """

    def __init__(self, reason: str, may_come: bool, awaited: tuple[Any, ...]) -> None:
        super().__init__(reason)
        self.may_come = may_come
        self.awaited = awaited


@dataclass(frozen=True, eq=False)
class SetPoses:
    """The poses of one set.

    Attributes:
        odom_from_ego: ego pose at the set's stamp; None for a rig without odometry, or if missing.
        ego_from_camera: by camera name, those that TF gives.
        missing: why not, by camera name, for the others.
    """

    odom_from_ego: RigidTransform | None
    ego_from_camera: Mapping[str, RigidTransform]
    missing: Mapping[str, TransformMissing]


class TransformReader:
    """Reads a tf2 buffer as RigidTransform, and says in words what it lacks.

    Args:
        buffer: ``tf2_ros.Buffer``. It is asked without time-out: that would sleep in a callback.
        base_frame: the ego frame.
        odom_frame: the frame that does not jump, or None.
        mounts: base_from_camera by optical frame, where the rig file has it; TF is not asked.
    """

    def __init__(
        self,
        buffer: Any,
        base_frame: str,
        odom_frame: str | None,
        mounts: Mapping[str, RigidTransform] = MappingProxyType({}),
    ) -> None:
        self._buffer, self._mounts = buffer, mounts
        self._base = base_frame
        self._odom = odom_frame
        self._answers: dict[tuple[str, str, int], RigidTransform] = {}

    def prefetch(self, frame: str, stamp_ns: int) -> None:
        """Read what ``poses`` will need of an image, if TF has it, while its set is incomplete."""
        with suppress(tf2_ros.TransformException, ValueError, OverflowError):
            if frame and frame not in self._mounts:
                self._read(self._base, frame, stamp_ns)
            if self._odom is not None:
                self._read(self._odom, self._base, stamp_ns)

    def clear(self) -> None:
        """Forget what was read: the time line starts anew."""
        self._answers.clear()

    def poses(self, stamp_ns: int, cameras: Mapping[str, tuple[str, int]]) -> SetPoses:
        """The poses of a set.

        Args:
            stamp_ns: the set's stamp.
            cameras: optical frame and own stamp in nanoseconds, by camera name.
        """
        odom_from_ego = ego_from_odom = None
        try:
            if self._odom is not None:
                odom_from_ego = self.lookup(self._odom, self._base, stamp_ns)
                ego_from_odom = odom_from_ego.inverse()
        except TransformMissing as problem:
            return SetPoses(None, {}, dict.fromkeys(cameras, problem))
        poses, missing = {}, {}
        for name, (frame, camera_ns) in cameras.items():
            try:
                poses[name] = self._base_from_camera(frame, camera_ns)
                if ego_from_odom is not None and camera_ns != stamp_ns:
                    odom_from_base = self.lookup(str(self._odom), self._base, camera_ns)
                    poses[name] = ego_from_odom @ odom_from_base @ poses[name]
            except TransformMissing as problem:
                poses.pop(name, None)
                missing[name] = problem
        return SetPoses(odom_from_ego, poses, missing)

    def _base_from_camera(self, frame: str, camera_ns: int) -> RigidTransform:
        if not frame:
            raise TransformMissing(
                "the image header names no frame_id: set it in the driver, or 'frame' in the rig",
                False,
                (),
            )
        if frame in self._mounts:
            return self._mounts[frame]
        return self.lookup(self._base, frame, camera_ns)

    def lookup(self, target: str, source: str, stamp_ns: int) -> RigidTransform:
        """``target_from_source`` at a time.

        Raises:
            TransformMissing: TF does not know it, with the reason.
        """
        try:
            return self._read(target, source, stamp_ns)
        except tf2_ros.TransformException as error:
            raise self._explained(target, source, stamp_ns, error) from error
        except (ValueError, OverflowError) as error:  # a time, or a rotation, that cannot be
            reason = f"no transform {target} ← {source} at {_seconds(stamp_ns)}: {error}"
            raise TransformMissing(reason, False, ()) from error

    def _read(self, target: str, source: str, stamp_ns: int) -> RigidTransform:
        """From TF, once: the latest answers are kept."""
        asked = target, source, stamp_ns
        if asked not in self._answers:
            message = self._buffer.lookup_transform(target, source, Time(nanoseconds=stamp_ns))
            q, t = message.transform.rotation, message.transform.translation
            transform = RigidTransform.from_quaternion((q.x, q.y, q.z, q.w), (t.x, t.y, t.z))
            self._answers[asked] = transform
            if len(self._answers) > MAX_ANSWERS:
                del self._answers[next(iter(self._answers))]
        return self._answers[asked]

    def _explained(
        self, target: str, source: str, stamp_ns: int, error: Exception
    ) -> TransformMissing:
        wanted = f"no transform {target} ← {source} at {_seconds(stamp_ns)}"
        awaited = (target, source, Time(nanoseconds=max(stamp_ns, 0)))
        if isinstance(error, tf2_ros.InvalidArgumentException):
            return TransformMissing(f"{wanted}: {error}", False, awaited)
        try:
            latest_ns = self._buffer.get_latest_common_time(target, source).nanoseconds
        except tf2_ros.TransformException:
            return TransformMissing(f"{wanted}: {self._unconnected(target, source)}", True, awaited)
        if latest_ns < stamp_ns:
            reason = f"{wanted} (latest {_seconds(latest_ns)})"
            return TransformMissing(reason, True, awaited)
        reason = f"{wanted}: TF no longer, or not yet, reaches that far back"
        return TransformMissing(f"{reason} (latest {_seconds(latest_ns)})", False, awaited)

    def _unconnected(self, target: str, source: str) -> str:
        if not self._buffer.all_frames_as_string():
            return "nothing has come on /tf and /tf_static yet"
        unknown = [name for name in (target, source) if not self._buffer._frameExists(name)]
        if unknown:
            return f"TF has no frame {' and no frame '.join(map(repr, unknown))}"
        return "the two frames are in separate trees"


def _seconds(stamp_ns: int) -> str:
    return f"{stamp_ns / 1e9:.3f}"
