"""Where the robot and its sensors were, from tf or from odometry."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from typing import Any

from renderocc_ros.config import RigConfig
from renderocc_ros.geometry import RigidTransform
from renderocc_training.recording import message_content as content
from renderocc_training.recording.boxes import Box
from renderocc_training.recording.transform_tree import TransformTree
from renderocc_training.sequences.extraction.report import ExtractionReport

JUMP_NS = 1_000_000_000
HISTORY_NS = 15_000_000_000  # longer than anything waits for its poses
TIDY_NS = 5_000_000_000
JUMP_MESSAGES = 3  # that many in a row from the past are a jump of the clock, fewer a glitch


class PoseSource:
    """The transforms of a recording.

    The world is the topmost frame that stands still to the rig's odometry frame: ``odom`` itself,
    or ``map`` where the recording has a static transform between the two.

    Raises:
        ValueError: the rig names no odometry frame.
    """

    def __init__(self, rig: RigConfig, report: ExtractionReport) -> None:
        if rig.odom_frame is None:
            raise ValueError(
                f"rig '{rig.name}': odom_frame is null, so nothing says where the robot was; name "
                "the frame of its odometry"
            )
        self._base, self._odom = rig.base_frame, rig.odom_frame
        self._report = report
        self._tree = TransformTree()
        self._newest_ns: dict[str, int] = {}
        self._backward: dict[str, int] = defaultdict(int)
        self._forgotten_ns = 0

    def jumps(self, message: Any) -> bool:
        """Whether this TFMessage shows that the clock was set back."""
        return any(
            self._backward[entry.child_frame_id] + 1 >= JUMP_MESSAGES and self._is_past(entry)
            for entry in message.transforms
        )

    def add_transforms(self, message: Any, static: bool) -> None:
        """Take a TFMessage."""
        for entry in message.transforms:
            if not static and not self._is_in_time(entry):
                self._report.skip("transforms", "from the past")
                continue
            stamp_ns, pose = content.stamp_ns(entry), content.transform_of(entry)
            self._tree.add(entry.header.frame_id, entry.child_frame_id, stamp_ns, pose, static)

    def add_odometry(self, message: Any) -> None:
        """Take an Odometry; its frames count as the rig's odometry and base frames."""
        pose = content.pose_of(message.pose.pose)
        self._tree.add(self._odom, self._base, content.stamp_ns(message), pose, static=False)
        self._forget(content.stamp_ns(message))

    def known_until(self, stamp_ns: int) -> bool:
        """Whether the ego pose is known up to this time."""
        try:
            latest = self._tree.latest_stamp_ns(self._odom, self._base)
        except ValueError:
            return False
        return latest is None or latest >= stamp_ns

    def ego_from(self, frame: str, stamp_ns: int) -> RigidTransform:
        """Where a sensor is on the robot."""
        return self._tree.lookup(self._base, frame, stamp_ns)

    def world_from_ego(self, stamp_ns: int) -> RigidTransform:
        """Where the robot is."""
        return self._tree.lookup(self._tree.static_root(self._odom), self._base, stamp_ns)

    def boxes_in_world(self, boxes: list[Box], frame: str, stamp_ns: int) -> list[Box]:
        """Boxes of any frame in the world."""
        world = self._tree.static_root(self._odom)
        if frame == world:
            return boxes
        world_from_frame = self._tree.lookup(world, frame, stamp_ns)
        return [replace(box, map_from_box=world_from_frame @ box.map_from_box) for box in boxes]

    def _is_past(self, entry: Any) -> bool:
        newest = self._newest_ns.get(entry.child_frame_id)
        return newest is not None and content.stamp_ns(entry) < newest - JUMP_NS

    def _is_in_time(self, entry: Any) -> bool:
        """Whether a moving transform belongs to the present; follows the clock when it jumps."""
        child, stamp_ns = entry.child_frame_id, content.stamp_ns(entry)
        if self._is_past(entry):
            self._backward[child] += 1
            if self._backward[child] < JUMP_MESSAGES:
                return False
            self._tree.clear_moving()
            self._newest_ns.clear()
        self._backward[child] = 0
        self._newest_ns[child] = max(stamp_ns, self._newest_ns.get(child, stamp_ns))
        self._forget(stamp_ns)
        return True

    def _forget(self, now_ns: int) -> None:
        """Keep memory bounded; not at every message, since it costs a pass over all frames."""
        if abs(now_ns - self._forgotten_ns) > TIDY_NS:
            self._tree.forget_before(now_ns - HISTORY_NS)
            self._forgotten_ns = now_ns
