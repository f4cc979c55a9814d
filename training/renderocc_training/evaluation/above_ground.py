"""Which voxels are above the ground: the road is most of what there is, and drowns the rest."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from renderocc_ros.class_set import ClassSet


def above_ground(labels: NDArray[np.uint8], class_set: ClassSet) -> NDArray[np.bool_]:
    """(X, Y, Z) voxels whose centre is more than one voxel above the ground below it.

    Ground are the voxels of the true labels that have a ground class, whether or not a sensor sees
    them. A column without one, under a house say, has those of the nearest column with one. A voxel
    is above the ground if there is ground below it, and neither it nor the voxel below it is
    ground. So what passes under a bridge is above the lower road, and what stands on the bridge is
    above the bridge. Without any ground nothing is above it.

    Args:
        labels: (X, Y, Z); any id that is no ground class is not ground.
    """
    is_ground = np.zeros(256, bool)
    is_ground[list(class_set.ground_ids)] = True
    ground = is_ground[labels]
    known = ground.any(axis=2)
    if not known.any():
        return np.zeros(labels.shape, dtype=bool)
    nearest = distance_transform_edt(~known, return_distances=False, return_indices=True)
    ground = ground[tuple(nearest)]
    above = np.logical_or.accumulate(ground, axis=2) & ~ground
    above[:, :, 1:] &= ~ground[:, :, :-1]
    return np.asarray(above)
