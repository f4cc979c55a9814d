"""Everything that is counted of one frame; counts add up to those of a sequence."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from functools import cache

import numpy as np
from numpy.typing import NDArray

from renderocc_ros.class_set import IGNORE_ID
from renderocc_ros.geometry import RigidTransform, VoxelGrid
from renderocc_ros.occupancy.occ3d_files import Occ3dTruth
from renderocc_ros.occupancy.semantic_occupancy import SemanticOccupancy
from renderocc_training.evaluation.above_ground import above_ground
from renderocc_training.evaluation.calibration_scores import BINS, Reliability, reliability
from renderocc_training.evaluation.label_files import Mask
from renderocc_training.evaluation.view_scores import DepthSums
from renderocc_training.evaluation.voxel_counts import VoxelCounts, count_voxels
from renderocc_training.evaluation.voxel_scores import Counts, distance_rings, flicker, no_counts

RING_EDGES_M = (0.0, 10.0, 20.0, 30.0, 40.0, 60.0)


@dataclass(frozen=True, eq=False)
class FrameCounts:
    """What is counted of one frame or of many.

    Attributes:
        rings: voxels by distance ring, along the first axis.
        reliability: of the occupancy probability.
        changed, changeable: voxels whose label differs from that of the frame before, brought into
            the present frame; and voxels that are occupied in either.
        depth: rendered depth against labels.
        view_confusion: (C + 2, C + 1): rendered classes against labels, by pixel.
    """

    rings: VoxelCounts
    reliability: Reliability
    changed: int
    changeable: int
    depth: DepthSums
    view_confusion: Counts

    def __add__(self, other: FrameCounts) -> FrameCounts:
        pairs = ((getattr(self, f.name), getattr(other, f.name)) for f in fields(self))
        return FrameCounts(*(mine + theirs for mine, theirs in pairs))

    @property
    def voxels(self) -> VoxelCounts:
        """Voxels at any distance."""
        return self.rings.total()

    @property
    def scored(self) -> bool:
        """Whether any voxel has been compared with truth."""
        return bool(self.rings.confusion.any())

    @staticmethod
    def none(classes: int) -> FrameCounts:
        """Nothing counted, for a class set of so many classes."""
        bins = (np.zeros(BINS, np.int64), np.zeros(BINS, np.int64), np.zeros(BINS))
        rings = VoxelCounts.stacked([VoxelCounts.none(classes)] * (len(RING_EDGES_M) - 1))
        return FrameCounts(rings, Reliability(*bins), 0, 0, DepthSums(), no_counts(classes))


@dataclass
class FrameCounter:
    """Counts frame after frame of one sequence.

    Attributes:
        mask: which voxels of the truth count.
        previous: the frame before, for flicker.
    """

    mask: Mask
    previous: tuple[SemanticOccupancy, RigidTransform] | None = field(default=None)

    def count(
        self,
        predicted: SemanticOccupancy,
        truth: Occ3dTruth | None,
        odom_from_ego: RigidTransform | None,
        views: tuple[DepthSums, Counts] | None = None,
    ) -> FrameCounts:
        """Count one frame.

        Args:
            odom_from_ego: where the robot is; None for no flicker.
            views: what was counted of rendered views.

        Raises:
            ValueError: truth and prediction have different sizes or classes.
        """
        classes = predicted.class_set
        nothing = FrameCounts.none(len(classes))
        rings, curve = nothing.rings, nothing.reliability
        if truth is not None:
            counted = {"camera": truth.mask_camera, "lidar": truth.mask_lidar}.get(self.mask)
            rings = _by_ring(predicted, truth, counted)
            curve = _reliability(predicted, truth, counted)
        changed, changeable = self._flicker(predicted, truth, odom_from_ego)
        depth, confusion = views or (nothing.depth, nothing.view_confusion)
        return FrameCounts(rings, curve, changed, changeable, depth, confusion)

    def _flicker(
        self,
        predicted: SemanticOccupancy,
        truth: Occ3dTruth | None,
        odom_from_ego: RigidTransform | None,
    ) -> tuple[int, int]:
        before, self.previous = self.previous, None
        if odom_from_ego is None:
            return 0, 0
        self.previous = (predicted, odom_from_ego)
        if before is None or before[0].stamp_ns >= predicted.stamp_ns:
            return 0, 0
        past_from_now = before[1].inverse() @ odom_from_ego
        labels = warped(before[0].labels, predicted.grid, past_from_now)
        static = None
        if truth is not None:
            moving = list(predicted.class_set.moving_ids)
            static = ~np.isin(truth.labels, moving)
        return flicker(predicted.labels, labels, predicted.class_set, static)


def warped(
    labels: NDArray[np.uint8], grid: VoxelGrid, past_from_now: RigidTransform
) -> NDArray[np.uint8]:
    """Labels of an earlier frame in the present one, by the cell that holds each centre.

    Returns:
        (X, Y, Z) uint8; ``IGNORE_ID`` where the earlier frame does not reach.
    """
    cells, inside = grid.index_of(past_from_now.apply(_centres(grid)))
    x, y, z = np.moveaxis(cells, -1, 0)
    return np.where(inside, labels[x, y, z], IGNORE_ID).astype(np.uint8)


def _by_ring(
    predicted: SemanticOccupancy, truth: Occ3dTruth, counted: NDArray[np.bool_] | None
) -> VoxelCounts:
    whole = np.ones(truth.labels.shape, bool) if counted is None else counted
    labels, classes = predicted.labels, predicted.class_set
    above = above_ground(truth.labels, classes)
    return VoxelCounts.stacked(
        [
            count_voxels(truth.labels, labels, classes, whole & ring, above)
            for ring in _rings(predicted.grid)
        ]
    )


def _reliability(
    predicted: SemanticOccupancy, truth: Occ3dTruth, counted: NDArray[np.bool_] | None
) -> Reliability:
    known = truth.labels != IGNORE_ID
    chosen = known if counted is None else known & counted
    occupied = truth.labels[chosen] != predicted.class_set.free_id
    return reliability(predicted.confidence[chosen].astype(np.float32) / 255, occupied)


@cache
def _rings(grid: VoxelGrid) -> list[NDArray[np.bool_]]:
    """The last ring takes in all that lies beyond, so that no voxel is lost."""
    edges = (*RING_EDGES_M[:-1], float("inf"))
    return distance_rings(grid, edges)


@cache
def _centres(grid: VoxelGrid) -> NDArray[np.float64]:
    return grid.centres()
