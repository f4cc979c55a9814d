"""Voxel votes: what the labelled rays of several frames say together about each cell.

A ray that ends in a cell votes for it being occupied, by the class it shows; every cell that it
passes on the way gets a vote for being free.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from renderocc_ros.class_set import IGNORE_ID, OCCUPIED_ID, ClassSet
from renderocc_ros.geometry import VoxelGrid
from renderocc_training.recipe import MIN_HIT_SHARE, MIN_MISSES, OBJECT_WEIGHT
from renderocc_training.supervision.labels.ray_misses import TracedRays, count_misses
from renderocc_training.supervision.rays.ray_batch import RayBatch


@dataclass(frozen=True, eq=False)
class VoxelVotes:
    """Votes of rays.

    Attributes:
        misses: (X, Y, Z) int32, rays that go through the cell.
        hits: (X, Y, Z, C) int32, rays that end in it, by class.
        hits_of_unknown: (X, Y, Z) int32, rays that end in it and whose class is not known.
    """

    misses: NDArray[np.int32]
    hits: NDArray[np.int32]
    hits_of_unknown: NDArray[np.int32]


def count_votes(
    rays: RayBatch, grid: VoxelGrid, class_set: ClassSet, followed: RayBatch | None = None
) -> VoxelVotes:
    """Count hits and misses of valid rays whose range is known; rays of the sky miss every cell.

    ``followed`` are those of the rays whose misses count, all if not given. A part is enough: the
    rays of neighbouring pixels pass the same cells, while far ahead each row of pixels hits ground
    that no other does.

    Far ahead one pixel row covers metres of ground, and its ray skims over cells that hold ground
    themselves. So a ray that ends on a ground class misses only the cells that it leaves at least
    one cell above its own end.
    """
    known = _known(rays)
    followed = known if followed is None else _known(followed)
    misses = count_misses(
        TracedRays(
            followed.origin.astype(np.float64),
            followed.direction.astype(np.float64),
            followed.start_m.astype(np.float64),
            followed.range_m.astype(np.float64),
            _lowest_miss(followed, class_set.ground_ids, grid.resolution_m),
        ),
        grid,
    )
    return VoxelVotes(misses, *_hits(known, grid, class_set))


def voted_labels(
    votes: VoxelVotes,
    class_set: ClassSet,
    min_misses: int = MIN_MISSES,
    min_hit_share: float = MIN_HIT_SHARE,
    object_weight: float = OBJECT_WEIGHT,
) -> NDArray[np.uint8]:
    """(X, Y, Z) uint8 labels: class, free, or ``IGNORE_ID`` where the votes say too little.

    A cell is occupied if hits are at least ``min_hit_share`` of its votes; its class is the one
    with most hits, or ``OCCUPIED_ID`` if no hit has a class. Where something stands, most of what
    is seen of its lowest cells is ground around its foot: so a hit of anything else counts for
    ``object_weight`` hits of the ground.

    A cell is free after ``min_misses`` misses and no such majority, unless it is a gap in the
    ground: far ahead the rows of pixels leave some cells out, over which rays to what stands behind
    skim.
    """
    by_class = votes.hits.sum(axis=-1)
    hits = by_class + votes.hits_of_unknown
    labels = np.full(hits.shape, IGNORE_ID, dtype=np.uint8)
    labels[votes.misses >= min_misses] = class_set.free_id
    occupied = (hits > 0) & (hits >= min_hit_share * (hits + votes.misses))
    labels[occupied] = OCCUPIED_ID
    with_class = occupied & (by_class > 0)
    on_ground = np.isin(np.arange(votes.hits.shape[-1]), list(class_set.ground_ids))
    weight = np.where(on_ground, 1.0, object_weight)
    labels[with_class] = (votes.hits[with_class] * weight).argmax(axis=-1)
    gaps = _gaps(np.isin(labels, list(class_set.ground_ids)))
    labels[gaps & (labels == class_set.free_id) & (hits == 0)] = IGNORE_ID
    return labels


def _gaps(ground: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(X, Y, Z) cells beside at least two of the ground, in their layer, with none right below."""
    x, y, _ = ground.shape
    padded = np.pad(ground, ((1, 1), (1, 1), (0, 0))).astype(np.int8)
    around = sum(padded[i : i + x, j : j + y] for i in range(3) for j in range(3)) - ground
    stands_on = np.zeros_like(ground)
    stands_on[..., 1:] = ground[..., :-1]
    gaps: NDArray[np.bool_] = (around >= 2) & ~stands_on & ~ground
    return gaps


def _known(rays: RayBatch) -> RayBatch:
    return rays[rays.valid & ~np.isnan(rays.range_m)]


def _lowest_miss(
    rays: RayBatch, ground_ids: Collection[int], clearance_m: float
) -> NDArray[np.float64]:
    """(R,) height in metres below which a ray's misses do not count."""
    on_ground = np.isin(rays.class_id, list(ground_ids)) & np.isfinite(rays.range_m)
    length_m = np.where(on_ground, rays.range_m, 0).astype(np.float64)
    ends_m = rays.origin[:, 2] + length_m * rays.direction[:, 2]
    return np.where(on_ground, ends_m + clearance_m, -np.inf)


def _hits(
    rays: RayBatch, grid: VoxelGrid, class_set: ClassSet
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    finite = np.isfinite(rays.range_m)
    ends = rays.origin[finite] + rays.range_m[finite, None] * rays.direction[finite]
    cells, inside = grid.index_of(ends)
    cell, class_id = grid.flat_index(cells[inside]), rays.class_id[finite][inside]
    known = class_id != IGNORE_ID
    classes = len(class_set)
    hits = np.bincount(cell[known] * classes + class_id[known], minlength=grid.cell_count * classes)
    unknown = np.bincount(cell[~known], minlength=grid.cell_count)
    return (
        hits.astype(np.int32).reshape(*grid.size, classes),
        unknown.astype(np.int32).reshape(grid.size),
    )
