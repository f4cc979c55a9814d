"""The occupied voxels as points."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from renderocc_ros.class_set import ClassSet
from renderocc_ros.geometry import VoxelGrid
from renderocc_ros.occupancy.semantic_occupancy import SemanticOccupancy

# rgb is the 0x00RRGGBB of PCL and rviz in the bits of a float32. 20 bytes keep the floats aligned.
Unseen = Literal["hide", "grey"]
GREY = (150, 150, 150)

POINT_DTYPE = np.dtype(
    {
        "names": ["x", "y", "z", "rgb", "label", "confidence"],
        "formats": ["<f4", "<f4", "<f4", "<f4", "u1", "u1"],
        "offsets": [0, 4, 8, 12, 16, 17],
        "itemsize": 20,
    }
)
GREY_RGB = np.array(GREY[0] << 16 | GREY[1] << 8 | GREY[2], np.uint32).view(np.float32)


def to_points(
    occupancy: SemanticOccupancy, min_confidence: int = 0, unseen: Unseen = "hide"
) -> NDArray[np.void]:
    """The occupied voxels as a structured array of :data:`POINT_DTYPE`, ascending by cell index.

    Points are voxel centres in metres.

    Args:
        min_confidence: voxels less sure than this (0 to 255) are left out.
        unseen: whether those that no camera looks into are left out, or grey.
    """
    cells = shown_cells(occupancy, min_confidence, unseen)
    labels = occupancy.labels.reshape(-1)[cells]
    points = np.zeros(len(cells), POINT_DTYPE)
    x, y, z = _cell_centres(occupancy.grid)
    points["x"], points["y"], points["z"] = x[cells], y[cells], z[cells]
    points["rgb"] = _packed_colours(occupancy.class_set)[labels]
    if unseen == "grey" and occupancy.in_view is not None:
        points["rgb"][~occupancy.in_view.reshape(-1)[cells]] = GREY_RGB
    points["label"] = labels
    points["confidence"] = occupancy.confidence.reshape(-1)[cells]
    return points


def shown_cells(
    occupancy: SemanticOccupancy, min_confidence: int = 0, unseen: Unseen = "hide"
) -> NDArray[np.int64]:
    """Flat indices, ascending, of the occupied voxels that are shown; see ``to_points``."""
    shown = (occupancy.shown if unseen == "hide" else occupancy.occupied).reshape(-1)
    if min_confidence > 0:
        shown &= occupancy.confidence.reshape(-1) >= min_confidence
    return np.flatnonzero(shown)


@lru_cache(maxsize=4)
def _cell_centres(grid: VoxelGrid) -> tuple[NDArray[np.float32], ...]:
    """x, y and z of all cells, each flat, in cell order."""
    centres = grid.centres().reshape(-1, 3).astype(np.float32)
    return tuple(np.ascontiguousarray(centres[:, axis]) for axis in range(3))


@lru_cache(maxsize=4)
def _packed_colours_of(name: str, colours: bytes) -> NDArray[np.float32]:
    table = np.frombuffer(colours, np.uint8).reshape(256, 3).astype(np.uint32)
    packed = (table[:, 0] << 16 | table[:, 1] << 8 | table[:, 2]).astype(np.uint32)
    return packed.view(np.float32)


def _packed_colours(class_set: ClassSet) -> NDArray[np.float32]:
    """(256,) float32 whose bits are 0x00RRGGBB."""
    return _packed_colours_of(class_set.name, class_set.colours.tobytes())
