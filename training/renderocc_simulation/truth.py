"""Dense truth: which cells hold surface of which class, and which of them the sensors can see.

A cell is occupied when it contains surface, and has the class of most of the surface in it. As in
Occ3D only surfaces count: the inside of a wall or a car is free and seen by nobody, which the
visibility masks say (Tian et al. 2023, sections 3.2 and 3.3, for masks by ray casting).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from renderocc_ros.class_set import ClassSet
from renderocc_ros.geometry import RigidTransform, VoxelGrid
from renderocc_simulation.caster import Instant
from renderocc_simulation.mesh import Mesh

Float32 = NDArray[np.float32]
SAMPLES_PER_CELL = 4.0  # along each edge of a cell
LOOKS = 4  # points of each occupied cell that a sensor may see it by
NEAR_M = 0.05

InView = Callable[[NDArray[np.float64]], NDArray[np.bool_]]


@dataclass(frozen=True, eq=False)
class SurfaceCells:
    """Occupied cells.

    Attributes:
        flat: (C,) ascending positions in the flattened (X, Y, Z) volume.
        labels: (C,) uint8 class ids.
        points: (C, LOOKS, 3) float32: places on the surface inside each cell, ego frame.
    """

    flat: NDArray[np.int64]
    labels: NDArray[np.uint8]
    points: Float32

    def volume(self, grid: VoxelGrid, classes: ClassSet) -> NDArray[np.uint8]:
        """(X, Y, Z) labels, free elsewhere."""
        labels = np.full(grid.cell_count, classes.free_id, np.uint8)
        labels[self.flat] = self.labels
        return labels.reshape(grid.size)


class Voxeliser:
    """Finds the occupied cells of a town around the robot."""

    def __init__(self, static: Mesh, grid: VoxelGrid) -> None:
        self._static = static
        # (3, F): one axis after the other, which numpy compares many times faster.
        a, b, c = (static.points.T[:, corner] for corner in static.faces.T)
        self._low = np.minimum(np.minimum(a, b), c)
        self._high = np.maximum(np.maximum(a, b), c)
        self._grid = grid

    def surface(self, moving: Mesh, world_from_ego: RigidTransform) -> SurfaceCells:
        """Occupied cells of the town and of what moves, both in world coordinates."""
        grid = self._grid
        corners = np.array(np.meshgrid(*zip(grid.origin_m, grid.upper_m, strict=True)))
        box = world_from_ego.apply(corners.reshape(3, -1).T)
        touched = np.ones(len(self._static), bool)
        for low, high, near, far in zip(
            self._low, self._high, box.min(axis=0), box.max(axis=0), strict=True
        ):
            touched &= (high >= near) & (low <= far)
        static = self._static.points[self._static.faces[touched]]
        vertices = np.concatenate([static, moving.vertices])
        class_id = np.concatenate([self._static.class_id[touched], moving.class_id])
        ego_from_world = world_from_ego.inverse()
        rotation = ego_from_world.rotation.astype(np.float32)
        local = vertices.reshape(-1, 3) @ rotation.T + ego_from_world.translation.astype(np.float32)
        local = local.reshape(vertices.shape)
        inside = np.ones(len(local), bool)
        for axis, (low, high) in enumerate(zip(grid.origin_m, grid.upper_m, strict=True)):
            a, b, c = local[:, :, axis].T
            inside &= np.maximum(np.maximum(a, b), c) >= low
            inside &= np.minimum(np.minimum(a, b), c) <= high
        spacing = grid.resolution_m / SAMPLES_PER_CELL
        points, owner = sample_triangles(local[inside], spacing)
        return _cells(grid, points, class_id[inside][owner])


def sample_triangles(triangles: Float32, spacing: float) -> tuple[Float32, NDArray[np.int64]]:
    """Points all over triangles (F, 3, 3), at most ``spacing`` apart along both shorter edges.

    Returns:
        points (M, 3), and (M,) the triangle of each.
    """
    edges = np.roll(triangles, -1, axis=1) - triangles
    lengths = np.linalg.norm(edges, axis=2)
    # The corner opposite the longest edge: its two edges span the triangle.
    corner = (lengths.argmax(axis=1) + 2) % 3
    rows = np.arange(len(triangles))
    origin = triangles[rows, corner]
    first = triangles[rows, (corner + 1) % 3] - origin
    second = triangles[rows, (corner + 2) % 3] - origin
    counts = [
        np.maximum(np.ceil(np.linalg.norm(edge, axis=1) / spacing).astype(np.int32), 1)
        for edge in (first, second)
    ]
    total = counts[0] * counts[1]
    owner = np.repeat(rows, total)
    number = np.arange(len(owner), dtype=np.int32)
    number -= np.repeat((np.cumsum(total) - total).astype(np.int32), total)
    tall, wide = (np.repeat(count, total) for count in counts)
    row = number // wide
    u = ((row + 0.5) / tall).astype(np.float32)
    v = ((number - row * wide + 0.5) / wide).astype(np.float32)
    # Patches that the third edge cuts are sampled on that edge, moved across their longer side.
    keep = np.flatnonzero(u + v - 0.5 / tall - 0.5 / wide < 1.0)
    owner, u, v = owner[keep], u[keep], v[keep]
    flat = (tall < wide)[keep]
    u, v = np.where(flat, np.minimum(u, 1 - v), u), np.where(flat, v, np.minimum(v, 1 - u))
    # Axis by axis: numpy is slow where its inner loop has three turns.
    points = np.empty((3, len(owner)), np.float32)
    for axis, (start, along, across) in enumerate(zip(origin.T, first.T, second.T, strict=True)):
        points[axis] = start.take(owner) + u * along.take(owner) + v * across.take(owner)
    return points.T, owner


def _cells(grid: VoxelGrid, points: Float32, class_id: NDArray[np.uint8]) -> SurfaceCells:
    index, within = grid.index_of(points)
    inside = np.flatnonzero(within)
    flat = grid.flat_index(index)[inside]
    order = stable_order(flat)
    ordered = flat[order]
    start = np.flatnonzero(np.diff(ordered, prepend=-1))
    cells, count = ordered[start], np.diff(start, append=len(ordered))
    position = np.repeat(np.arange(len(cells)), count)
    classes = int(class_id.max(initial=0)) + 1
    ballots = position * classes + class_id[inside[order]]
    votes = np.bincount(ballots, minlength=len(cells) * classes)
    labels = votes.reshape(-1, classes).argmax(axis=1).astype(np.uint8)
    shares = (np.arange(LOOKS) + 0.5) / LOOKS
    picks = inside[order[start[:, None] + (count[:, None] * shares).astype(np.int64)]]
    return SurfaceCells(cells, labels, points[picks])


def stable_order(numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    """``argsort(numbers, kind="stable")`` of numbers below 2³², twice as fast.

    numpy sorts 16 bits by counting, more by comparing.
    """
    order = np.argsort(numbers.astype(np.uint16), kind="stable")
    return order[np.argsort((numbers >> 16).astype(np.uint16)[order], kind="stable")]


def seen_cells(
    grid: VoxelGrid,
    surface: SurfaceCells,
    instant: Instant,
    world_from_ego: RigidTransform,
    eye: NDArray[np.float64],
    in_view: InView,
) -> NDArray[np.bool_]:
    """(X, Y, Z) cells that a sensor sees, by rays to each of them.

    A free cell is seen when nothing hides its centre; an occupied one when nothing hides one of its
    surface points.

    Args:
        eye: (3,) the sensor in the ego frame.
        in_view: of points (M, 3) in the ego frame, whether the sensor looks there.
    """
    seen = np.zeros(grid.cell_count, bool)
    free = np.ones(grid.cell_count, bool)
    free[surface.flat] = False
    empty = np.flatnonzero(free)
    centres = grid.centres().reshape(-1, 3)[empty]
    looked = np.flatnonzero(in_view(centres))
    clear = _unhidden(instant, world_from_ego, eye, centres[looked])
    seen[empty[looked[clear]]] = True
    spots = surface.points.reshape(-1, 3).astype(np.float64)
    looked = np.flatnonzero(in_view(spots))
    clear = _unhidden(instant, world_from_ego, eye, spots[looked])
    seen[surface.flat[looked[clear] // LOOKS]] = True
    return seen.reshape(grid.size)


def _unhidden(
    instant: Instant,
    world_from_ego: RigidTransform,
    eye: NDArray[np.float64],
    targets: NDArray[np.float64],
) -> NDArray[np.bool_]:
    way = (targets - eye) @ world_from_ego.rotation.T
    distance = np.linalg.norm(way, axis=1)
    directions = (way / np.maximum(distance, 1e-6)[:, None]).astype(np.float32)
    origin = world_from_ego.apply(eye).astype(np.float32)
    reach = np.maximum(distance - NEAR_M, 1e-3).astype(np.float32)
    return ~instant.blocked(origin, directions, reach)
