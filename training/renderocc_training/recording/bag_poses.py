"""Where the robot and its sensors were, from the transforms of a recording or its odometry."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from renderocc_ros.geometry import RigidTransform
from renderocc_training.recording import message_content as content
from renderocc_training.recording.bag_layout import BagLayout
from renderocc_training.recording.boxes import Box
from renderocc_training.recording.left_out import LeftOut
from renderocc_training.recording.transform_tree import TransformTree

HISTORY_NS = 15_000_000_000  # longer than anything waits for its poses
SAME_TURN_RAD, SAME_PLACE_M = 0.001, 0.001
TIDY_NS = 5_000_000_000  # forgetting costs a pass over all frames


def put_transforms(tree: TransformTree, message: Any, static: bool, left_out: LeftOut) -> None:
    """Put a TFMessage into a tree; an entry that is no transform is counted."""
    for entry in message.transforms:
        parent, child = entry.header.frame_id, entry.child_frame_id
        try:
            stamp_ns, pose = content.stamp_ns(entry), content.transform_of(entry)
        except ValueError as error:
            left_out.note("transforms", f"'{parent}' from '{child}': {error}")
            continue
        earlier = tree.fixed_at(parent, child)
        if earlier is not None and not earlier.is_close(pose, SAME_TURN_RAD, SAME_PLACE_M):
            apart_m = np.linalg.norm(earlier.translation - pose.translation)
            left_out.note(
                "transforms",
                f"'{child}' is at two places in '{parent}', {apart_m:.3f} m apart or turned: the "
                "later counts",
            )
        tree.add(parent, child, stamp_ns, pose, static)


class BagPoses:
    """Transforms, put in as they come.

    The world is the topmost frame that stands still to the rig's odometry frame: ``odom`` itself,
    or ``map`` where the recording has a static transform between the two.

    Args:
        layout: if it has an odometry topic, the ego pose is what ``add_odometry`` says, whatever
            the transforms say of it.
        left_out: where transforms that say nothing are counted.
    """

    def __init__(self, layout: BagLayout, left_out: LeftOut) -> None:
        self._base, self._odom = layout.rig.base_frame, layout.rig.odom_frame
        self._mounts = layout.rig.mounts
        self._left_out = left_out
        self._tree = TransformTree()
        self._ego = TransformTree() if layout.odometry else self._tree
        self._odometry_frame: str | None = None
        self._at_zero = False
        self._tidied_ns = 0

    def add_transforms(self, message: Any, static: bool) -> None:
        """Take a TFMessage; an entry that is no transform is counted, the others are taken."""
        put_transforms(self._tree, message, static, self._left_out)

    def add_odometry(self, message: Any) -> None:
        """Take an Odometry or a pose; its own frame counts as the rig's odometry frame.

        Raises:
            ValueError: no transform links the body that it is of with the rig's base frame, or it
                holds no pose.
        """
        if self._odom is None:
            return
        at_zero, self._at_zero = self._at_zero, content.moves_at_zero(message)
        if at_zero and self._at_zero:
            raise ValueError(
                "it moves and stays at zero: it holds speeds alone; choose an odometry with poses"
            )
        stamp_ns, (child, pose) = content.stamp_ns(message), content.body_pose(message)
        if not child:
            self._left_out.note("odometry", f"no child_frame_id: taken as of '{self._base}'")
            child = self._base
        try:
            odom_from_base = pose @ self._tree.lookup(child, self._base, stamp_ns)
        except ValueError as error:
            raise ValueError(
                f"the odometry is of '{child}': {error}; record where that is on the robot, or "
                f"name it as the rig's base_frame"
            ) from error
        self._odometry_frame = message.header.frame_id.lstrip("/")
        self._ego.add(self._odom, self._base, stamp_ns, odom_from_base, static=False)

    def clear(self) -> None:
        """Forget all that moves: the time line was set back."""
        self._tree.clear_moving()
        self._ego.clear_moving()

    def forget_before(self, stamp_ns: int) -> None:
        """Keep memory bounded: nothing is asked any more about times long before this one."""
        if abs(stamp_ns - self._tidied_ns) > TIDY_NS:
            for tree in (self._tree, self._ego):
                tree.forget_before(stamp_ns - HISTORY_NS)
            self._tidied_ns = stamp_ns

    def base_from(self, frame: str, stamp_ns: int) -> RigidTransform:
        """Where a sensor is on the robot.

        Raises:
            ValueError: not known, or not yet; so do all look-ups.
        """
        if not frame:
            raise ValueError(
                "the header names no frame_id: set it in the driver, or 'frame' in the rig"
            )
        if frame in self._mounts:
            return self._mounts[frame]
        return self._tree.lookup(self._base, frame, stamp_ns)

    def odom_from_ego(self, stamp_ns: int) -> RigidTransform | None:
        """The ego pose in the frame that does not jump; None for a rig without one."""
        return None if self._odom is None else self._ego.lookup(self._odom, self._base, stamp_ns)

    def ego_from(self, frame: str, stamp_ns: int, set_ns: int) -> RigidTransform:
        """From a sensor at its own stamp to the ego frame at a set's stamp.

        The node's rule: without the ego pose at the set's stamp there is none.
        """
        at_set, base_from_sensor = self.odom_from_ego(set_ns), self.base_from(frame, stamp_ns)
        if at_set is None or stamp_ns == set_ns:
            return base_from_sensor
        at_stamp = self.odom_from_ego(stamp_ns)
        assert at_stamp is not None
        return at_set.inverse() @ at_stamp @ base_from_sensor

    def world_from_ego(self, stamp_ns: int) -> RigidTransform:
        """Where the robot is; the rig must have an odometry frame."""
        odom, world = self._world()
        if self._ego is self._tree:
            return self._tree.lookup(world, self._base, stamp_ns)
        world_from_odom = self._tree.lookup(world, odom, stamp_ns) if world != odom else None
        odom_from_ego = self._ego.lookup(odom, self._base, stamp_ns)
        return odom_from_ego if world_from_odom is None else world_from_odom @ odom_from_ego

    def boxes_in_world(self, boxes: list[Box], frame: str, stamp_ns: int) -> list[Box]:
        """Boxes of any frame in the world."""
        odom, world = self._world()
        frame = frame.lstrip("/")
        if frame == world or (frame == self._odometry_frame and world == odom):
            return boxes
        if self._ego is not self._tree and self._tree.hangs_below(frame, self._base):
            base_from_frame = self._tree.lookup(self._base, frame, stamp_ns)
            world_from_frame = self.world_from_ego(stamp_ns) @ base_from_frame
        else:
            world_from_frame = self._tree.lookup(world, frame, stamp_ns)
        return [replace(box, map_from_box=world_from_frame @ box.map_from_box) for box in boxes]

    def settled(self, frame: str, stamp_ns: int) -> bool:
        """Whether waiting cannot make a sensor's pose better known."""
        mounted = frame in self._mounts or self._tree.settled(self._base, frame, stamp_ns)
        return mounted and self.ego_settled(stamp_ns)

    def ego_settled(self, stamp_ns: int) -> bool:
        """Whether waiting cannot make the ego pose better known."""
        return self._odom is None or self._ego.settled(self._odom, self._base, stamp_ns)

    def _world(self) -> tuple[str, str]:
        """The odometry frame and the world."""
        assert self._odom is not None
        if self._odometry_frame not in (None, self._odom):
            return self._odom, self._odom  # it is another frame, of which transforms say nothing
        return self._odom, self._tree.static_root(self._odom)
