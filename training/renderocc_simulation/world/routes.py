"""Ways through the street network, on the right-hand side, as lines in the world."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

from renderocc_simulation.world.plan import CAMBER, CORNER_RADIUS_M, Street, TownPlan

Array = NDArray[np.float64]
Node = tuple[int, int]  # the junction of ``plan.across[i]`` and ``plan.along[j]``

LATERAL_M_S2 = 2.2
BRAKING_M_S2 = 1.6


@dataclass(frozen=True, eq=False)
class Path:
    """A line on the ground with about a metre between points.

    Attributes:
        plan_uv: (P, 2) plan coordinates.
        points: (P, 3) world, metres.
    """

    plan_uv: Array
    points: Array

    @cached_property
    def arc_m(self) -> Array:
        """(P,) length along the line up to each point."""
        steps = np.linalg.norm(np.diff(self.points[:, :2], axis=0), axis=1)
        return np.concatenate([[0.0], np.cumsum(steps)])

    @property
    def length_m(self) -> float:
        """Length of the line."""
        return float(self.arc_m[-1])

    def at(self, arc_m: ArrayLike) -> Array:
        """World points (..., 3) so far along the line."""
        arc = np.asarray(arc_m, dtype=np.float64)
        return np.stack([np.interp(arc, self.arc_m, self.points[:, k]) for k in range(3)], axis=-1)

    def speed_limits(self, limit_m_s: float) -> Array:
        """(P,) speed that bends allow, braking in time for them."""
        heading = np.unwrap(np.arctan2(*np.gradient(self.points[:, :2], axis=0).T[::-1]))
        bend = np.abs(np.gradient(heading, self.arc_m))
        bend = np.convolve(bend, np.ones(5) / 5, mode="same")
        limits = np.minimum(limit_m_s, np.sqrt(LATERAL_M_S2 / np.maximum(bend, 1e-4)))
        steps = np.diff(self.arc_m)
        for k in range(len(limits) - 2, -1, -1):
            reachable = np.sqrt(limits[k + 1] ** 2 + 2 * BRAKING_M_S2 * steps[k])
            limits[k] = min(limits[k], reachable)
        return np.asarray(np.maximum(limits, 1.5))


def random_nodes(
    plan: TownPlan, rng: np.random.Generator, length_m: float, start: Sequence[Node] | None = None
) -> list[Node]:
    """A walk from junction to junction that never turns back, at least so long."""
    columns, rows = len(plan.across), len(plan.along)
    if start is None:
        # Begin on an inner street, so that there is town on both sides.
        first = (int(rng.integers(1, columns - 1)), int(rng.integers(1, rows - 1)))
        nodes = [first, _onward(rng, first, None, columns, rows)]
    else:
        nodes = list(start)
    travelled = 0.0
    while travelled < length_m:
        following = _onward(rng, nodes[-1], nodes[-2], columns, rows)
        travelled += float(np.abs(_crossing(plan, following) - _crossing(plan, nodes[-1])).sum())
        nodes.append(following)
    return nodes


def _onward(
    rng: np.random.Generator, node: Node, previous: Node | None, columns: int, rows: int
) -> Node:
    i, j = node
    around = [(i + 1, j), (i - 1, j), (i, j + 1), (i, j - 1)]
    inside = [(a, b) for a, b in around if 0 <= a < columns and 0 <= b < rows]
    options = [candidate for candidate in inside if candidate != previous]
    return options[int(rng.integers(len(options)))]


def path_through(
    plan: TownPlan, nodes: Sequence[Node], lane: int = 0, shift_m: float = 0.0
) -> Path:
    """The line of a lane through junctions; ``lane`` counts from the middle, where there are more.

    Args:
        shift_m: how far right of the lane's middle, for bicycles.
    """
    pieces: list[Array] = []
    legs = [_leg(plan, a, b, lane, shift_m) for a, b in pairwise(nodes)]
    for k, (start, end) in enumerate(legs):
        pieces.append(_line(start, end))
        if k + 1 < len(legs):
            pieces.append(_turn(start, end, *legs[k + 1])[1:-1])
    uv = np.concatenate(pieces)
    return Path(uv, plan.lift(uv, CAMBER * 2.5))


def _street(plan: TownPlan, a: Node, b: Node) -> Street:
    return plan.across[a[0]] if a[0] == b[0] else plan.along[a[1]]


def _crossing(plan: TownPlan, node: Node) -> Array:
    return np.array([plan.across[node[0]].at, plan.along[node[1]].at])


def _leg(plan: TownPlan, a: Node, b: Node, lane: int, shift_m: float) -> tuple[Array, Array]:
    """Plan points where a lane from junction to junction begins and ends."""
    street = _street(plan, a, b)
    axis = 1 if street.axis == "v" else 0
    crossing = plan.along if axis == 1 else plan.across
    index = 1 if axis == 1 else 0
    first, last = crossing[a[index]], crossing[b[index]]
    sign = 1.0 if last.at > first.at else -1.0
    lanes = street.profile.lanes_m
    right = lanes[min(lane, len(lanes) - 1)] + shift_m
    start = first.at + sign * (first.profile.half_m + CORNER_RADIUS_M)
    end = last.at - sign * (last.profile.half_m + CORNER_RADIUS_M)
    points = street.point([start, end], -sign * right)
    return points[0], points[1]


def _line(start: Array, end: Array) -> Array:
    count = max(int(np.linalg.norm(end - start)), 2)
    return start + np.linspace(0, 1, count)[:, None] * (end - start)


def _turn(before: Array, start: Array, end: Array, after: Array) -> Array:
    """A quadratic Bézier curve between two legs, or a line where the way goes straight on."""
    into = (start - before) / np.linalg.norm(start - before)
    out = (after - end) / np.linalg.norm(after - end)
    cross = into[0] * out[1] - into[1] * out[0]
    if abs(cross) < 0.5:
        return _line(start, end)
    gap = end - start
    corner = start + into * ((gap[0] * out[1] - gap[1] * out[0]) / cross)
    t = np.linspace(0, 1, max(int(np.linalg.norm(gap) * 1.2), 6))[:, None]
    return np.asarray((1 - t) ** 2 * start + 2 * t * (1 - t) * corner + t**2 * end)
