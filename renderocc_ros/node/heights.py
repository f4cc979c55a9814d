"""How high things stand, as an image seen from above."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import Image

from renderocc_ros.node.rendered_views import to_image
from renderocc_ros.occupancy.ros_messages import to_header
from renderocc_ros.occupancy.semantic_occupancy import SemanticOccupancy


def column_heights(occupancy: SemanticOccupancy) -> NDArray[np.float32]:
    """(X, Y) metres in the grid's frame: the top of the highest occupied voxel of each column; NaN
    where none is occupied, or none that a camera looks into."""
    occupied = occupancy.shown
    layers = occupied.shape[2] - occupied[..., ::-1].argmax(axis=2)  # up to the top
    heights_m = occupancy.grid.origin_m[2] + layers * occupancy.grid.resolution_m
    return np.where(occupied.any(axis=2), heights_m, np.nan).astype(np.float32)


def to_heights(occupancy: SemanticOccupancy, frame: str) -> Image:
    """``column_heights`` as a 32FC1 image with x up and y to the left, a pixel for each column.

    Pixel (row r, column c) is the column of index (X − 1 − r, Y − 1 − c), as in grid_map's images.
    """
    message = to_image(np.ascontiguousarray(column_heights(occupancy)[::-1, ::-1]), "32FC1")
    message.header = to_header(occupancy.stamp_ns, frame)
    return message
