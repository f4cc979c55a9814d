"""Predictions as a recording (MCAP), for rviz2 and Foxglove."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from renderocc_ros.class_set import ClassSet
from renderocc_ros.occupancy.messages import to_classes_message, to_message
from renderocc_ros.occupancy.occ3d_files import Occ3dTruth
from renderocc_ros.occupancy.point_cloud import to_points
from renderocc_ros.occupancy.semantic_occupancy import SemanticOccupancy
from renderocc_ros.rig.camera_set import CameraSet
from renderocc_training.recording import messages
from renderocc_training.recording.bag_writer import LATCHED, BagWriter

NODE, TRUTH = "/renderocc", "/ground_truth"


class BagOutput:
    """Writes the topics of the live node: occupancy, points and classes; and truth beside them.

    Args:
        bag: open for writing.
        base_frame, odom_frame: of the rig; with odometry the robot's motion is written to /tf.
    """

    def __init__(
        self, bag: BagWriter, class_set: ClassSet, base_frame: str, odom_frame: str | None
    ) -> None:
        self._bag, self._classes = bag, class_set
        self._base, self._odom = base_frame, odom_frame
        self._begun = False

    def add(
        self, occupancy: SemanticOccupancy, truth: Occ3dTruth | None, camera_set: CameraSet
    ) -> None:
        """Write one frame."""
        stamp_ns = occupancy.stamp_ns
        if not self._begun:
            self._begun = True
            self._bag.add_topic(f"{NODE}/classes", "renderocc_ros/msg/SemanticClasses", LATCHED)
            table = to_classes_message(messages.make, self._classes, stamp_ns)
            self._bag.write(f"{NODE}/classes", table, stamp_ns)
        if self._odom is not None and camera_set.odom_from_ego is not None:
            pose = messages.transform_stamped(
                stamp_ns, self._odom, self._base, camera_set.odom_from_ego
            )
            self._bag.write("/tf", messages.tf([pose]), stamp_ns)
        used = {r.name: r.stamp_ns for r in camera_set.images if r is not None}
        self._write(NODE, occupancy, used, camera_set.missing)
        if truth is not None:
            full = np.full(truth.labels.shape, 255, np.uint8)
            true = SemanticOccupancy(
                stamp_ns, occupancy.grid, self._classes, truth.labels, full, truth.mask_camera
            )
            self._write(TRUTH, true, {}, ())

    def _write(
        self,
        name: str,
        occupancy: SemanticOccupancy,
        used: dict[str, int],
        missing: tuple[str, ...],
    ) -> None:
        stamp_ns = occupancy.stamp_ns
        dense = to_message(messages.make, occupancy, self._base, used, missing)
        self._bag.write(f"{name}/occupancy", dense, stamp_ns)
        whole = replace(occupancy, in_view=None) if name == TRUTH else occupancy
        cloud = messages.point_cloud(stamp_ns, self._base, to_points(whole))
        self._bag.write(f"{name}/points", cloud, stamp_ns)
