"""The visible faces of voxels as one mesh."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from renderocc_ros.occupancy.semantic_occupancy import SemanticOccupancy

# Corners of each face in units of a cell, counter-clockwise seen from outside, by (axis, side).
FACE_CORNERS = {
    (0, 0): [(0, 0, 0), (0, 0, 1), (0, 1, 1), (0, 1, 0)],
    (0, 1): [(1, 0, 0), (1, 1, 0), (1, 1, 1), (1, 0, 1)],
    (1, 0): [(0, 0, 0), (1, 0, 0), (1, 0, 1), (0, 0, 1)],
    (1, 1): [(0, 1, 0), (0, 1, 1), (1, 1, 1), (1, 1, 0)],
    (2, 0): [(0, 0, 0), (0, 1, 0), (1, 1, 0), (1, 0, 0)],
    (2, 1): [(0, 0, 1), (1, 0, 1), (1, 1, 1), (0, 1, 1)],
}


@dataclass(frozen=True, eq=False)
class VoxelSurface:
    """Faces between a voxel that is shown and one that is not, in the grid's frame.

    Attributes:
        vertices_m: (4·F, 3) float64, metres; face f has the vertices 4·f … 4·f+3.
        colours: (F, 3) uint8, the class's colour.
        normals: (F, 3) float64, pointing out of the voxel.
    """

    vertices_m: NDArray[np.float64]
    colours: NDArray[np.uint8]
    normals: NDArray[np.float64]


def voxel_surface(occupancy: SemanticOccupancy) -> VoxelSurface:
    """The outer faces of all voxels that are shown; faces between two of them are left out."""
    occupied = np.pad(occupancy.shown, 1)
    centre = (slice(1, -1),) * 3
    palette = occupancy.class_set.colours
    vertices, colours, normals = [], [], []
    for (axis, side), corners in FACE_CORNERS.items():
        neighbour = np.roll(occupied, 1 - 2 * side, axis)[centre]
        cells = np.argwhere(occupied[centre] & ~neighbour)
        vertices.append((cells[:, None, :] + np.array(corners)).reshape(-1, 3))
        colours.append(palette[occupancy.labels[tuple(cells.T)]])
        normal = np.zeros(3)
        normal[axis] = 2 * side - 1
        normals.append(np.tile(normal, (len(cells), 1)))
    grid = occupancy.grid
    return VoxelSurface(
        vertices_m=np.concatenate(vertices) * grid.resolution_m + grid.origin_m,
        colours=np.concatenate(colours),
        normals=np.concatenate(normals),
    )


def visible_cells(occupancy: SemanticOccupancy) -> NDArray[np.int64]:
    """(N, 3) indices of the cells that are shown and not buried among others."""
    occupied = np.pad(occupancy.shown, 1)
    buried = occupied.copy()
    for axis in range(3):
        for step in (-1, 1):
            buried &= np.roll(occupied, step, axis)
    return np.argwhere((occupied & ~buried)[1:-1, 1:-1, 1:-1])
