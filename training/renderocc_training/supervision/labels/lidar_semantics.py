"""Classes of LiDAR points from files that hold one for every point: lidarseg, SemanticKITTI."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from renderocc_ros.class_set import ClassSet
from renderocc_training.sequences.model import LidarSweep, RecordedSequence
from renderocc_training.sequences.sensor_files import read_point_labels
from renderocc_training.supervision.labels.interface import PointLabels
from renderocc_training.supervision.labels.mapping import NumberClasses, NumberMapping
from renderocc_training.supervision.rays.ray_batch import NO_BOX, STANDS


class PointFileClasses:
    """Classes from label files.

    Args:
        class_set: of the result.
        mapping: from the files' numbers to it.
    """

    name = "points"

    def __init__(self, class_set: ClassSet, mapping: NumberMapping) -> None:
        self._class_ids = NumberClasses(mapping, class_set)
        self._standing = np.array(mapping.standing)

    def classes(
        self,
        sequence: RecordedSequence,
        sweep: LidarSweep,
        points_ego: NDArray[np.float64],
        instance: NDArray[np.int32],
    ) -> PointLabels:
        """Class ids, and what is known to stand among what is in no box."""
        if sweep.labels is None:
            raise ValueError(
                f"{sweep.file} has no labels for its points (lidarseg or SemanticKITTI): use "
                "another source of semantics"
            )
        raw = read_point_labels(sweep.labels, len(points_ego))
        stands = np.isin(raw, self._standing) & (instance == NO_BOX)
        return self._class_ids(raw, sweep.labels), np.where(stands, np.int32(STANDS), instance)
