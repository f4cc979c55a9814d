"""nav2_msgs/VoxelGrid read as nav2_voxel_grid reads it."""

from __future__ import annotations

from typing import Any

import numpy as np

from renderocc_ros.occupancy.octree import FREE, OCCUPIED, UNKNOWN

STATES = (FREE, UNKNOWN, OCCUPIED)  # by the number of a cell's bits that are set


def read_columns(message: Any) -> np.ndarray:
    """(X, Y, Z) of FREE, UNKNOWN and OCCUPIED."""
    states = np.empty((message.size_x, message.size_y, message.size_z), np.uint8)
    for x, y, z in np.ndindex(*states.shape):
        column = int(message.data[y * message.size_x + x])
        states[x, y, z] = STATES[(column & (1 << 16 + z | 1 << z)).bit_count()]
    return states
