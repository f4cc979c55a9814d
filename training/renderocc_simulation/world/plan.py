"""The plan of a town: streets between blocks, bent and laid over rolling ground.

The plan is drawn in plan coordinates (u, v) in metres, where streets are straight lines; ``xy``
bends them into the world (x, y) and ``lift`` puts them on the ground. Everything else of the town
speaks plan coordinates and never needs to know that streets curve.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from renderocc_ros.geometry import RigidTransform
from renderocc_simulation.mesh import standing

Array = NDArray[np.float64]
Axis = Literal["u", "v"]

CORNER_RADIUS_M = 5.0
KERB_M = 0.14
OUTSKIRTS_M = 220.0
CAMBER = 0.02


class StreetKind(IntEnum):
    """Cross-sections; the number goes to the shader, which paints the markings."""

    STREET = 0  # a lane and parked cars on each side
    AVENUE = 1  # two lanes each way beside a raised island
    LANE = 2  # narrow, a lane each way, nobody parks


@dataclass(frozen=True)
class Profile:
    """Half a cross-section, metres from the middle line."""

    half_m: float
    lanes_m: tuple[float, ...]  # middle of each lane of one direction
    parking_m: float | None  # middle of the parking lane
    island_m: float = 0.0  # half width of the island


PROFILES = {
    StreetKind.STREET: Profile(5.7, (1.75,), 4.6),
    StreetKind.AVENUE: Profile(8.1, (2.8, 6.2), None, 1.1),
    StreetKind.LANE: Profile(3.7, (1.8,), None),
}


@dataclass(frozen=True)
class Street:
    """A straight line of the plan: ``u = at`` (axis "v": it runs along v) or ``v = at``."""

    axis: Axis
    at: float
    kind: StreetKind

    @property
    def profile(self) -> Profile:
        """The cross-section."""
        return PROFILES[self.kind]

    def point(self, along: ArrayLike, left: ArrayLike) -> Array:
        """Plan points (..., 2): ``along`` the street, ``left`` of its middle line, metres."""
        s, t = np.broadcast_arrays(np.asarray(along, float), np.asarray(left, float))
        if self.axis == "u":
            return np.stack([s, self.at + t], axis=-1)
        return np.stack([self.at - t, s], axis=-1)


@dataclass(frozen=True)
class Block:
    """A rectangle of the plan between four kerbs."""

    low: tuple[float, float]
    high: tuple[float, float]
    column: int
    row: int
    outer: bool

    @property
    def size(self) -> tuple[float, float]:
        """Metres along u and v."""
        return self.high[0] - self.low[0], self.high[1] - self.low[1]


class TownPlan:
    """Streets, blocks and the shape of the land, all from a seed.

    Args:
        rng: where the choices come from.
        streets: number of streets along each axis.
    """

    def __init__(self, rng: np.random.Generator, streets: int = 4) -> None:
        self.across = self._streets(rng, "v", streets)  # at constant u
        self.along = self._streets(rng, "u", streets)  # at constant v
        extent = max(self.across[-1].at, self.along[-1].at)
        self._bends = _Waves(rng, count=4, shortest_m=170, longest_m=330, steepness=0.055, out=2)
        self._hills = _Waves(rng, count=5, shortest_m=130, longest_m=400, steepness=0.011, out=1)
        self.extent_m = extent
        self.blocks = tuple(self._blocks())

    @staticmethod
    def _streets(rng: np.random.Generator, axis: Axis, count: int) -> tuple[Street, ...]:
        at = np.cumsum(rng.uniform(64, 96, count))
        at -= at.mean()
        kinds = [StreetKind.STREET] * (count - 2) + [StreetKind.AVENUE, StreetKind.LANE]
        rng.shuffle(kinds)  # type: ignore[arg-type]
        return tuple(Street(axis, float(a), StreetKind(k)) for a, k in zip(at, kinds, strict=True))

    def _blocks(self) -> list[Block]:
        def spans(streets: tuple[Street, ...]) -> list[tuple[float, float]]:
            edges = [(s.at - s.profile.half_m, s.at + s.profile.half_m) for s in streets]
            starts = [edges[0][0] - OUTSKIRTS_M, *(high for _, high in edges)]
            ends = [*(low for low, _ in edges), edges[-1][1] + OUTSKIRTS_M]
            return list(zip(starts, ends, strict=True))

        columns, rows = spans(self.across), spans(self.along)
        return [
            Block(
                (u0, v0),
                (u1, v1),
                i,
                j,
                i in (0, len(columns) - 1) or j in (0, len(rows) - 1),
            )
            for i, (u0, u1) in enumerate(columns)
            for j, (v0, v1) in enumerate(rows)
        ]

    def xy(self, uv: ArrayLike) -> Array:
        """World (..., 2) of plan points (..., 2)."""
        plan = np.asarray(uv, dtype=np.float64)
        return plan + self._bends(plan)

    def height(self, xy: ArrayLike) -> Array:
        """Height (...) of the road surface's edge at world points (..., 2)."""
        return np.asarray(self._hills(np.asarray(xy, dtype=np.float64))[..., 0])

    def lift(self, uv: ArrayLike, up: ArrayLike = 0.0) -> Array:
        """World points (..., 3), ``up`` metres above the road's edge."""
        xy = self.xy(uv)
        return np.concatenate(
            [xy, (self.height(xy) + np.asarray(up, dtype=np.float64))[..., None]], axis=-1
        )

    def heading(self, uv: ArrayLike, direction: ArrayLike) -> float:
        """World yaw, radians, of a plan direction (2,) at a plan point (2,)."""
        step = np.asarray(direction, dtype=np.float64) * 0.5
        point = np.asarray(uv, dtype=np.float64)
        dx, dy = self.xy(point + step) - self.xy(point - step)
        return float(np.arctan2(dy, dx))

    def place(
        self, uv: ArrayLike, direction: ArrayLike, up: float = KERB_M, turn_rad: float = 0.0
    ) -> RigidTransform:
        """``world_from_asset`` of something upright that looks along a plan direction."""
        x, y, z = self.lift(uv, up)
        return standing(float(x), float(y), float(z), self.heading(uv, direction) + turn_rad)


class _Waves:
    """A smooth field: a few plane waves. ``steepness`` is each wave's largest slope."""

    def __init__(
        self,
        rng: np.random.Generator,
        count: int,
        shortest_m: float,
        longest_m: float,
        steepness: float,
        out: int,
    ) -> None:
        lengths = rng.uniform(shortest_m, longest_m, count)
        angles = rng.uniform(0, 2 * np.pi, count)
        number = 2 * np.pi / lengths
        self._vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1) * number[:, None]
        self._phases = rng.uniform(0, 2 * np.pi, count)
        amplitudes = steepness / number
        directions = rng.normal(size=(count, out))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        self._amplitudes = amplitudes[:, None] * directions

    def __call__(self, points: Array) -> Array:
        return np.asarray(np.sin(points @ self._vectors.T + self._phases) @ self._amplitudes)
