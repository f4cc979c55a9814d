"""What messages of voxels say, in our own types.

Takes them as ROS gives them, and as a reader of recordings does: only their fields are looked at.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from renderocc_ros.class_set import ClassSet, SemanticClass
from renderocc_ros.geometry import VoxelGrid
from renderocc_ros.occupancy.semantic_occupancy import SemanticOccupancy


def grid_of(message: Any) -> VoxelGrid:
    """Where the cells of a SemanticOccupancy lie in its frame.

    Raises:
        ValueError: a grid that is turned in that frame.
    """
    at, turn = message.origin.position, message.origin.orientation
    if (turn.x, turn.y, turn.z) != (0.0, 0.0, 0.0):
        raise ValueError(f"the grid of a SemanticOccupancy is turned in its frame: {turn}")
    # float32 in the message: 0.4 arrives as 0.4000000059…
    size = (message.size_x, message.size_y, message.size_z)
    return VoxelGrid((at.x, at.y, at.z), round(float(message.resolution), 6), size)


def occupancy_of(message: Any, class_set: ClassSet) -> SemanticOccupancy:
    """The volume of a SemanticOccupancy.

    Raises:
        ValueError: another number of labels than the sizes say, or a turned grid.
    """
    grid, stamp = grid_of(message), message.header.stamp
    volumes = (message.labels, message.confidence, message.observed)
    labels, confidence, observed = (np.asarray(flat, np.uint8) for flat in volumes)
    sure = confidence if confidence.size else np.full(labels.size, 255, np.uint8)
    return SemanticOccupancy(
        int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec),
        grid,
        class_set,
        labels.reshape(grid.size),
        sure.reshape(grid.size),
        observed.reshape(grid.size).astype(bool) if observed.size else None,
    )


def class_set_of(message: Any) -> ClassSet:
    """The table of a SemanticClasses, without its free class."""

    def colour(said: Any) -> tuple[int, int, int]:
        return (round(255 * said.r), round(255 * said.g), round(255 * said.b))

    entries = (
        SemanticClass(entry.id, entry.name, colour(entry.colour), entry.moves)
        for entry in message.classes
        if not entry.free
    )
    return ClassSet(message.class_table, tuple(entries))
