"""Which voxels are above the ground: the road is most of what there is, and drowns the rest."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from renderocc_ros.class_set import ClassSet


def above_ground(labels: NDArray[np.uint8], class_set: ClassSet) -> NDArray[np.bool_]:
    """(X, Y, Z) voxels whose centre is more than one voxel above the ground of their column.

    The ground of a column is its highest voxel of a ground class; a column without one, under a
    house say, has that of the nearest column with one. Without any ground nothing is above it.

    Args:
        labels: (X, Y, Z); any id that is no ground class is not ground.
    """
    ground = np.isin(labels, list(class_set.ground_ids))
    known = ground.any(axis=2)
    if not known.any():
        return np.zeros(labels.shape, dtype=bool)
    highest = labels.shape[2] - 1 - ground[:, :, ::-1].argmax(axis=2)
    nearest = distance_transform_edt(~known, return_distances=False, return_indices=True)
    level = highest[tuple(nearest)]
    return np.asarray(np.arange(labels.shape[2]) > level[:, :, None] + 1)
