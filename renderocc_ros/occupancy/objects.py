"""Single objects: connected voxels of one class, and the boxes around them."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from itertools import product

import cv2
import numpy as np
from numpy.typing import NDArray

from renderocc_ros.geometry import VoxelGrid
from renderocc_ros.occupancy.semantic_occupancy import SemanticOccupancy

Ints = NDArray[np.int64]
SQUARE = 1e-3  # sides that differ by less, in voxels, are alike


@dataclass(frozen=True)
class ObjectBox:
    """The upright box around an object, in the frame of its grid.

    Attributes:
        label: id of its class.
        score: mean probability of its voxels, 0 to 1.
        centre_m: (x, y, z).
        yaw_rad: from the x axis to its longer side, −π/2 up to, not including, π/2: which end is
            the front is not known.
        size_m: length, width and height.
    """

    label: int
    score: float
    centre_m: tuple[float, float, float]
    yaw_rad: float
    size_m: tuple[float, float, float]


def object_boxes(
    occupancy: SemanticOccupancy, names: Collection[str], min_voxels: int = 1
) -> list[ObjectBox]:
    """The boxes around the objects of some classes.

    An object is the voxels of one class that touch each other, be it at a corner, and that a camera
    looks into. Its box is the smallest around the voxels' centres, and a voxel's edge larger.

    Args:
        names: the classes.
        min_voxels: objects of fewer are left out.
    """
    wanted = np.zeros(256, np.bool_)
    wanted[[occupancy.class_set.id_of(name) for name in names]] = True
    cells = np.argwhere(occupancy.shown & wanted[occupancy.labels])
    labels = occupancy.labels[tuple(cells.T)]
    scores = occupancy.confidence[tuple(cells.T)] / 255
    components = connected_components(cells, labels)
    order = np.argsort(components, kind="stable")
    ends = np.cumsum(np.bincount(components))
    return [
        _box(occupancy.grid, cells[own], int(labels[own[0]]), float(scores[own].mean()))
        for own in np.split(order, ends)[:-1]
        if len(own) >= min_voxels
    ]


def connected_components(cells: Ints, labels: NDArray[np.uint8]) -> Ints:
    """(N,) number of each cell's component, 0, 1, 2 … in the order of their first cells.

    Cells of one label that are neighbours, of which each has 26, are of one component. Each takes
    part in the lowest-numbered of the trees that touch its own, until none touch (Shiloach and
    Vishkin 1982).

    Args:
        cells: (N, 3) indices, each once.
        labels: (N,).
    """
    parents = np.arange(len(cells))
    if not len(cells):
        return parents
    cells = cells - cells.min(axis=0) + 1
    size = tuple(cells.max(axis=0) + 2)
    flat = np.ravel_multi_index(tuple(cells.T), size)
    numbers = np.full(math.prod(size), -1)
    numbers[flat] = parents
    pairs = []
    for step in list(product((-1, 0, 1), repeat=3))[14:]:  # to one half of the neighbours
        others = numbers[flat + (step[0] * size[1] + step[1]) * size[2] + step[2]]
        touch = (others >= 0) & (labels[others] == labels)
        pairs.append(np.stack([parents[touch], others[touch]]))
    one, other = np.concatenate(pairs, axis=1)
    while len(one):
        np.minimum.at(parents, np.maximum(one, other), np.minimum(one, other))
        while ((above := parents[parents]) != parents).any():
            parents = above
        one, other = parents[one], parents[other]
        apart = one != other
        one, other = one[apart], other[apart]
    return np.asarray(np.unique(parents, return_inverse=True)[1])


def _box(grid: VoxelGrid, cells: Ints, label: int, score: float) -> ObjectBox:
    low, high = cells[:, 2].min(), cells[:, 2].max()
    columns = np.unique(cells[:, 0] * grid.size[1] + cells[:, 1])
    corners = np.stack(np.divmod(columns, grid.size[1]), axis=-1).astype(np.float32)
    (x, y), (length, width), angle_deg = cv2.minAreaRect(corners)
    if abs(length - width) < SQUARE:
        angle_deg = (angle_deg + 45) % 90 - 45
    elif length < width:
        length, width, angle_deg = width, length, angle_deg + 90
    x_m, y_m, z_m = grid.centres((x, y, (low + high) / 2))
    sides = (float(side + 1) * grid.resolution_m for side in (length, width, high - low))
    length_m, width_m, height_m = sides
    return ObjectBox(
        label,
        score,
        (float(x_m), float(y_m), float(z_m)),
        math.radians((angle_deg + 90) % 180 - 90),
        (length_m, width_m, height_m),
    )
