"""Classes of LiDAR points from annotated boxes, the road map and the height above ground.

What lies in a box has the box's class. What lies near the ground is drivable where the map says
so; elsewhere it is flat ground of a kind that nobody annotated (the mapping file says which class
that is, if any). Everything else is there, but what it is remains unknown.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import generic_filter

from renderocc_ros.class_set import IGNORE_ID, ClassSet
from renderocc_training.sequences.model import LidarSweep, RecordedSequence
from renderocc_training.supervision.labels.interface import PointLabels
from renderocc_training.supervision.labels.mapping import BoxMapping
from renderocc_training.supervision.labels.picture_crop import read_crop

MAP_CELL_M = 0.1  # nuScenes' maps; the lower left corner is the origin of the world
MAP_MARGIN_M = 120.0
GROUND_CELL_M = 2.0
GROUND_BAND_M = 0.25  # points up to this far above the local ground belong to it
LOWEST_PERCENT = 5.0
GROUND_REACH_M = 60.0
FLAT_M, SLOPE = 0.4, 0.05  # height that ground may have: this at the car, and so much per metre


class BoxClasses:
    """Classes from boxes, map and height."""

    name = "boxes"

    def __init__(
        self, class_set: ClassSet, mapping: BoxMapping, road_mask: Path | None = None
    ) -> None:
        """
        Args:
            mapping: from categories of boxes to classes, and what ground is called.
            road_mask: map to use instead of the sequence's own.
        """
        self._mapping = mapping
        self._road_mask = road_mask
        self._of_category = mapping.lookup(class_set)
        self._on_road = mapping.ground_id(class_set, mapping.on_road)
        self._off_road = mapping.ground_id(class_set, mapping.off_road)

    def classes(
        self,
        sequence: RecordedSequence,
        sweep: LidarSweep,
        points_ego: NDArray[np.float64],
        instance: NDArray[np.int32],
    ) -> PointLabels:
        """Classes as the module's text says; instances as they were."""
        if not sequence.tracks:
            raise ValueError(
                f"sequence '{sequence.name}' has no annotated boxes: use another source of "
                "semantics"
            )
        class_id = np.full(len(points_ego), IGNORE_ID, dtype=np.uint8)
        ground = near_ground(points_ego)
        class_id[ground] = self._off_road
        on_road = self._on_road_mask(sequence, sweep.world_from_ego.apply(points_ego[ground]))
        class_id[np.flatnonzero(ground)[on_road]] = self._on_road
        for number in np.unique(instance[instance >= 0]):
            of_box = self._of_category(sequence.tracks[int(number)].category)
            class_id[instance == number] = of_box
        return class_id, instance

    def _on_road_mask(
        self, sequence: RecordedSequence, points: NDArray[np.float64]
    ) -> NDArray[np.bool_]:
        path = self._road_mask or sequence.road_mask
        if path is None:
            return np.zeros(len(points), dtype=bool)
        place = np.array([frame.world_from_ego.translation[:2] for frame in sequence.frames])
        low, high = place.min(axis=0) - MAP_MARGIN_M, place.max(axis=0) + MAP_MARGIN_M
        area = (*np.floor(low).tolist(), *np.ceil(high).tolist())
        return _RoadMap.load(path, area).contains(points)


class _RoadMap:
    """The part of a map around a sequence."""

    def __init__(self, road: NDArray[np.bool_], left: int, bottom: int) -> None:
        self.road, self.left, self.bottom = road, left, bottom

    @staticmethod
    @lru_cache(maxsize=4)
    def load(path: Path, area: tuple[float, ...]) -> _RoadMap:
        """Cut the world's area (x, y of two corners, metres) out of a picture."""
        left, bottom, right, top = (max(round(value / MAP_CELL_M), 0) for value in area)
        return _RoadMap(read_crop(path, left, bottom, right, top) > 127, left, bottom)

    def contains(self, points: NDArray[np.float64]) -> NDArray[np.bool_]:
        """(P,) whether points (P, 2 or 3) of the world lie on the road."""
        column = np.floor(points[:, 0] / MAP_CELL_M).astype(int) - self.left
        row = np.floor(points[:, 1] / MAP_CELL_M).astype(int) - self.bottom
        height, width = self.road.shape
        inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
        on_road = np.zeros(len(points), dtype=bool)
        on_road[inside] = self.road[row[inside], column[inside]]
        return on_road


def near_ground(points_ego: NDArray[np.float64]) -> NDArray[np.bool_]:
    """(P,) whether points (P, 3) in the ego frame belong to the ground around the car.

    The ground's height is that of the lowest points of each cell, where that is a height that
    ground can have at this distance; between such cells it takes their median.
    """
    x, y, z = points_ego.T
    distance = np.hypot(x, y)
    low = (np.abs(z) < FLAT_M + SLOPE * distance) & (distance < GROUND_REACH_M)
    cells = int(2 * GROUND_REACH_M / GROUND_CELL_M)
    column, row = (
        np.clip(((value + GROUND_REACH_M) / GROUND_CELL_M).astype(int), 0, cells - 1)
        for value in (x, y)
    )
    flat = column * cells + row
    heights = np.full(cells * cells, np.nan)
    candidates = np.flatnonzero(low)
    order = candidates[np.lexsort((z[candidates], flat[candidates]))]
    cell, start, count = np.unique(flat[order], return_index=True, return_counts=True)
    heights[cell] = z[order[start + (count * LOWEST_PERCENT / 100).astype(int)]]
    smooth = generic_filter(
        heights.reshape(cells, cells), _median, size=3, mode="constant", cval=np.nan
    )
    ground_z = smooth.ravel()[flat]
    with np.errstate(invalid="ignore"):
        return np.asarray(low & (z - ground_z < GROUND_BAND_M))


def _median(values: NDArray[np.float64]) -> float:
    known = values[~np.isnan(values)]
    return float(np.median(known)) if known.size else float("nan")
