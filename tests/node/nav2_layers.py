"""What Nav2's layers do with a cloud or a map, as their sources say (nav2_costmap_2d, 2026-08).

Places are in the costmap's own frame, metres. Only the rules that a cloud can fall foul of are
here: heights, ranges, cells, the line that clears, and how bits of a voxel column become a cost.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

FREE_SPACE, INSCRIBED, LETHAL, NO_INFORMATION = 0, 253, 254, 255
Floats = NDArray[np.float64]


@dataclass
class Source:
    """One of a layer's observation_sources."""

    min_obstacle_height: float = 0.0
    max_obstacle_height: float = 0.0
    obstacle_max_range: float = 2.5
    raytrace_max_range: float = 3.0
    raytrace_min_range: float = 0.0

    def buffered(self, points: Floats) -> Floats:
        """What of a cloud is kept: heights are looked at in the costmap's frame."""
        z = points[:, 2]
        return points[(z >= self.min_obstacle_height) & (z <= self.max_obstacle_height)]


@dataclass
class ObstacleLayer:
    """A rolling window of square cells, all unknown at first."""

    origin_m: tuple[float, float]
    cells: int
    resolution: float
    min_obstacle_height: float = 0.0
    max_obstacle_height: float = 2.0
    costs: NDArray[np.uint8] = field(init=False)

    def __post_init__(self) -> None:
        self.costs = np.full((self.cells, self.cells), NO_INFORMATION, np.uint8)

    def update(
        self, sensor_m: Floats, marking: tuple[Source, Floats], clearing: tuple[Source, Floats]
    ) -> None:
        """One cycle: all clearing first, then all marking."""
        source, ends = clearing
        self.clear(sensor_m, source.buffered(ends), source)
        source, points = marking
        self.mark(sensor_m, source.buffered(points), source)

    def mark(self, sensor_m: Floats, points: Floats, source: Source) -> None:
        heights = (points[:, 2] >= self.min_obstacle_height) & (
            points[:, 2] <= self.max_obstacle_height
        )
        near = np.hypot(*(points[:, :2] - sensor_m[:2]).T) <= source.obstacle_max_range
        at, inside = self.cells_of(points)
        x, y = at[heights & near & inside].T
        self.costs[x, y] = LETHAL

    def clear(self, sensor_m: Floats, ends: Floats, source: Source) -> None:
        (start,), (inside,) = self.cells_of(sensor_m[None])
        assert inside, "the sensor's origin is outside of the window: nothing would be cleared"
        at, inside = self.cells_of(ends)
        assert inside.all(), "the tests keep the ends inside of the window"
        farthest = int(source.raytrace_max_range / self.resolution)
        nearest = int(source.raytrace_min_range / self.resolution)
        for end in at:
            line = _line(start, end, farthest, nearest)
            self.costs[line[:, 0], line[:, 1]] = FREE_SPACE

    def cells_of(self, points: Floats) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        at = np.floor((points[:, :2] - self.origin_m) / self.resolution).astype(np.int64)
        return at, ((at >= 0) & (at < self.cells)).all(axis=1)


@dataclass
class VoxelLayer(ObstacleLayer):
    """The same with a column of bits in each cell; a line clears the bits that it crosses alone."""

    origin_z: float = 0.0
    z_resolution: float = 0.2
    z_voxels: int = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        self.marked = np.zeros((self.cells, self.cells, self.z_voxels), bool)

    def mark(self, sensor_m: Floats, points: Floats, source: Source) -> None:
        z_m = points[:, 2]
        heights = (z_m >= self.min_obstacle_height) & (z_m <= self.max_obstacle_height)
        near = np.linalg.norm(points - sensor_m, axis=1) < source.obstacle_max_range
        at, inside = self.cells_of(points)
        level = np.floor((np.maximum(z_m, self.origin_z) - self.origin_z) / self.z_resolution)
        kept = heights & near & inside & (level < self.z_voxels)
        x, y = at[kept].T
        self.marked[x, y, level[kept].astype(int)] = True
        self.costs[x, y] = LETHAL

    def clear(self, sensor_m: Floats, ends: Floats, source: Source) -> None:
        top_m = self.origin_z + self.z_voxels * self.z_resolution
        assert self.origin_z <= sensor_m[2] < top_m, "the sensor's origin is outside: no clearing"
        away = ends - sensor_m
        distance_m = np.linalg.norm(away, axis=1, keepdims=True)
        kept = np.maximum(1 - 2 * self.resolution / distance_m, 0)
        for end in sensor_m + kept * away:
            steps = max(2, math.ceil(np.linalg.norm(end - sensor_m) / (self.resolution / 8)))
            points = np.linspace(sensor_m, end, steps)
            # Lengths are counted in cells, upwards in levels.
            counted = (points - sensor_m) / (self.resolution, self.resolution, self.z_resolution)
            far = np.linalg.norm(counted, axis=1) * self.resolution
            points = points[(far >= source.raytrace_min_range) & (far <= source.raytrace_max_range)]
            (x, y), level = self.cells_of(points)[0].T, (points[:, 2] - self.origin_z)
            self.marked[x, y, (level / self.z_resolution).astype(int)] = False
            gone = ~self.marked[x, y].any(axis=1)
            self.costs[x[gone], y[gone]] = FREE_SPACE


def _line(
    start: NDArray[np.int64], end: NDArray[np.int64], farthest: int, nearest: int
) -> NDArray[np.int64]:
    """Cells (N, 2) of Bresenham's line: one a step of the longer axis, from ``nearest`` on."""
    length = math.hypot(*(end - start))
    if length < nearest:
        return np.empty((0, 2), np.int64)
    first = (start + (end - start) / max(length, 1e-9) * nearest).astype(np.int64)
    change = end - first
    longer = int(np.argmax(np.abs(change)))
    steps = abs(int(change[longer]))
    kept = np.arange(int(min(1.0, farthest / max(length, 1e-9)) * steps) + 1)
    cells = np.empty((len(kept), 2), np.int64)
    cells[:, longer] = first[longer] + np.sign(change[longer]) * kept
    across = abs(int(change[1 - longer]))
    aside = (kept * across + steps // 2) // max(steps, 1)
    cells[:, 1 - longer] = first[1 - longer] + np.sign(change[1 - longer]) * aside
    return cells


@dataclass
class StaticLayer:
    """A StaticLayer in a rolling window: nav_msgs/OccupancyGrid in, costs around the robot out."""

    track_unknown_space: bool = True
    lethal_cost_threshold: int = 100
    trinary_costmap: bool = True

    def take(self, message: Any) -> None:
        """Keep a map; one that is malformed would be refused."""
        info, turn = message.info, message.info.origin.orientation
        assert message.header.frame_id and info.resolution > 0
        assert len(message.data) == info.width * info.height
        assert (turn.x, turn.y, turn.z, turn.w) == (0, 0, 0, 1), "it is not looked at"
        values = np.array(message.data, np.int8).view(np.uint8)
        costs = np.array([self._interpreted(int(value)) for value in range(256)], np.uint8)[values]
        self.costs = costs.reshape(info.height, info.width).T
        self.origin_m = np.array([info.origin.position.x, info.origin.position.y])
        self.resolution = float(info.resolution)

    def costs_at(self, places_m: Floats) -> NDArray[np.uint8]:
        """(N,) costs of cells of the window, by their centres (N, 2) in the map's frame.

        Where the map ends, the window keeps what it has: here NO_INFORMATION.
        """
        at = np.floor((places_m - self.origin_m) / self.resolution).astype(np.int64)
        inside = ((at >= 0) & (at < self.costs.shape)).all(axis=1)
        x, y = np.where(inside[:, None], at, 0).T
        return np.where(inside, self.costs[x, y], np.uint8(NO_INFORMATION))

    def _interpreted(self, value: int) -> int:
        if value == 255:  # unknown_cost_value, −1
            return NO_INFORMATION if self.track_unknown_space else FREE_SPACE
        if value == 99:  # inscribed_obstacle_cost_value
            return INSCRIBED
        if value >= self.lethal_cost_threshold:
            return LETHAL
        if self.trinary_costmap:
            return FREE_SPACE
        return int(value / self.lethal_cost_threshold * LETHAL)
