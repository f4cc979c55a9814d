"""The ground of a town: carriageways, junctions, islands, kerbs, sidewalks and what lies inside.

A block is a set of rings around a rounded rectangle, each ring a step further inside: kerb foot,
kerb edge, kerb stone, verge, sidewalk, land. Carriageways reach 5 cm below the kerbs, so that no
ray finds a crack, and are cut out below islands, so that no cell holds a hidden surface.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from renderocc_simulation.mesh import Mesh, MeshBuilder
from renderocc_simulation.world.plan import (
    CAMBER,
    CORNER_RADIUS_M,
    KERB_M,
    Block,
    Street,
    TownPlan,
)

Array = NDArray[np.float64]

OVERLAP_M = 0.05
STEP_M = 5.0
JUNCTION_CODE = 15.0
ISLAND_SETBACK_M = 7.0
ISLAND_RADIUS_M = 0.3


@dataclass(frozen=True)
class GroundMaterials:
    """Rows of the material table for the ground of one block or street."""

    asphalt: int
    kerb: int
    verge: int
    sidewalk: int
    land: int
    island: int
    far: int


@dataclass(frozen=True)
class BlockGround:
    """What a block's ground is: widths in metres, the class of the land inside."""

    verge_m: float
    sidewalk_m: float
    land_class: str
    land_rise_m: float


@dataclass(frozen=True)
class RoundedRectangle:
    """Rings of a rounded rectangle in plan coordinates, all with the same number of points."""

    low: tuple[float, float]
    high: tuple[float, float]
    radius: float = CORNER_RADIUS_M
    corner_points: int = 9

    @cached_property
    def _counts(self) -> tuple[int, int]:
        u, v = (max(h - lo - 2 * self.radius, 1) for lo, h in zip(self.low, self.high, strict=True))
        return max(int(np.ceil(u / STEP_M)), 2), max(int(np.ceil(v / STEP_M)), 2)

    def ring(self, inside_m: float) -> Array:
        """Plan points (N, 2), counter-clockwise, ``inside_m`` metres inside the outline."""
        (u0, v0), (u1, v1) = self.low, self.high
        u0, v0, u1, v1 = u0 + inside_m, v0 + inside_m, u1 - inside_m, v1 - inside_m
        radius = max(self.radius - inside_m, 0.02)
        corners = [(u1, v0, -1, 1), (u1, v1, -1, -1), (u0, v1, 1, -1), (u0, v0, 1, 1)]
        counts = [self._counts[1], self._counts[0]] * 2
        points: list[Array] = []
        for k, (u, v, su, sv) in enumerate(corners):
            angle = np.linspace(k - 1, k, self.corner_points) * (np.pi / 2)
            centre = np.array([u + su * radius, v + sv * radius])
            arc = centre + radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)
            nu, nv, nsu, nsv = corners[(k + 1) % 4]
            start_angle = k * (np.pi / 2)
            following = np.array([nu + nsu * radius, nv + nsv * radius])
            following += radius * np.array([np.cos(start_angle), np.sin(start_angle)])
            fraction = np.linspace(0, 1, counts[k] + 1)[1:-1, None]
            points += [arc, arc[-1] * (1 - fraction) + following * fraction]
        return np.concatenate(points)


def block_mesh(
    plan: TownPlan, block: Block, kind: BlockGround, rows: GroundMaterials, ids: dict[str, int]
) -> Mesh:
    """Kerb, verge, sidewalk and land of one block."""
    outline = RoundedRectangle(block.low, block.high)
    walk = 0.17 + kind.verge_m
    land = walk + kind.sidewalk_m
    steps: list[tuple[float, float, int, str]] = [  # inside, up, material and class up to here
        (0.0, 0.0, rows.kerb, "sidewalk"),
        (0.02, KERB_M, rows.kerb, "sidewalk"),
        (0.17, KERB_M + 0.003, rows.kerb, "sidewalk"),
    ]
    if kind.verge_m:
        steps.append((walk, KERB_M + 0.02, rows.verge, "terrain"))
    steps.append((land, KERB_M + 0.04, rows.sidewalk, "sidewalk"))
    middle = min(block.size) / 2 - 0.5
    depth, stride = land, 1.5
    while depth + stride < middle:
        depth, stride = depth + stride, min(stride * 1.5, 9.0)
        rise = kind.land_rise_m * min((depth - land) / 8.0, 1.0)
        steps.append((depth, KERB_M + 0.04 + rise, rows.land, kind.land_class))
    rings = [outline.ring(inside) for inside, *_ in steps]
    lifted = [plan.lift(ring, step[1]) for ring, step in zip(rings, steps, strict=True)]
    parts = []
    for k, (_, _, material, name) in enumerate(steps):
        builder = MeshBuilder(ids[name])
        if k:
            builder.loft([lifted[k - 1], lifted[k]], material, caps=False)
        if k == len(steps) - 1:
            builder.fan(lifted[k], material)
        parts.append(builder.build())
    return Mesh.joined(parts)


def street_sections(
    streets: Sequence[Street], crossing: Sequence[Street]
) -> list[tuple[Street, float, float]]:
    """Every street between two junctions (and beyond the last): street, from, to."""
    cuts = sorted((c.at, c.profile.half_m + CORNER_RADIUS_M) for c in crossing)
    starts = [cuts[0][0] - OUTER_M, *(at + half for at, half in cuts)]
    ends = [*(at - half for at, half in cuts), cuts[-1][0] + OUTER_M]
    pairs = list(zip(starts, ends, strict=True))
    return [(street, start, end) for street in streets for start, end in pairs]


OUTER_M = 210.0


def section_mesh(
    plan: TownPlan,
    street: Street,
    start: float,
    end: float,
    rows: GroundMaterials,
    ids: dict[str, int],
) -> Mesh:
    """One carriageway between two junctions, with its island."""
    profile = street.profile
    length = end - start
    island = profile.island_m > 0 and length > 3 * ISLAND_SETBACK_M
    along = np.linspace(start, end, max(int(np.ceil(length / STEP_M)), 2) + 1)
    if island:
        gates = [start + ISLAND_SETBACK_M, end - ISLAND_SETBACK_M]
        cut = [gates[0] + ISLAND_RADIUS_M, gates[1] - ISLAND_RADIUS_M]
        along = np.unique(np.concatenate([along, cut]))
    across = _across(profile.half_m, profile.island_m)
    s, t = np.meshgrid(along, across, indexing="ij")
    up = CAMBER * (profile.half_m - np.minimum(np.abs(t), profile.half_m))
    points = plan.lift(street.point(s, t), up)
    code = np.full_like(s, round(length * 10) * 16 + int(street.kind))
    texture = np.stack([s - start, t, code], axis=-1)
    quads, coordinates = _grid_quads(points), _grid_quads(texture)
    keep = np.ones(quads.shape[:2], dtype=bool)
    if island:
        middle_s = (along[:-1] + along[1:]) / 2
        middle_t = (across[:-1] + across[1:]) / 2
        inside = (middle_s > cut[0]) & (middle_s < cut[1])
        keep &= ~(inside[:, None] & (np.abs(middle_t) < profile.island_m - OVERLAP_M)[None])
    builder = MeshBuilder(ids["driveable_surface"])
    builder.quads(quads[keep], rows.asphalt, coordinates[keep])
    parts = [builder.build()]
    if island:
        parts.append(_island_mesh(plan, street, gates[0], gates[1], rows, ids))
    return Mesh.joined(parts)


def _island_mesh(
    plan: TownPlan,
    street: Street,
    start: float,
    end: float,
    rows: GroundMaterials,
    ids: dict[str, int],
) -> Mesh:
    half = street.profile.island_m
    outline = RoundedRectangle((start, -half), (end, half), radius=ISLAND_RADIUS_M)
    base = CAMBER * (street.profile.half_m - half) - 0.01
    steps = [(0.0, 0.0), (0.02, KERB_M), (0.14, KERB_M + 0.005), (half * 0.9, KERB_M + 0.03)]
    lifted = []
    for inside, up in steps:
        s, t = outline.ring(inside).T
        lifted.append(plan.lift(street.point(s, t), base + up))
    builder = MeshBuilder(ids["other_flat"])
    builder.loft(lifted[:3], rows.kerb, caps=False)
    builder.loft(lifted[2:], rows.island, caps=False)
    builder.fan(lifted[-1], rows.island)
    return builder.build()


def junction_mesh(
    plan: TownPlan, across: Street, along: Street, rows: GroundMaterials, ids: dict[str, int]
) -> Mesh:
    """The crossing of two streets, with its rounded corners, fanned out from the middle."""
    a, b = across.profile.half_m, along.profile.half_m  # half widths along u and v
    reach_u, reach_v = a + CORNER_RADIUS_M, b + CORNER_RADIUS_M
    edge: list[tuple[float, float, float]] = []  # u, v from the middle; up
    arms = [(1, 0, b, reach_u, along), (0, 1, a, reach_v, across)]
    arms += [(-1, 0, b, reach_u, along), (0, -1, a, reach_v, across)]
    for k, (du, dv, half, reach, street) in enumerate(arms):
        for t in _across(half, street.profile.island_m):
            up = CAMBER * (half - min(abs(t), half))
            edge.append((du * reach - dv * t, dv * reach + du * t, up))
        angle = np.linspace(1.5, 1.0, 9)[1:-1] * np.pi + k * np.pi / 2
        corner = np.array([(1, 1), (-1, 1), (-1, -1), (1, -1)][k]) * (reach_u, reach_v)
        shrunk = CORNER_RADIUS_M - OVERLAP_M
        for c, s in zip(np.cos(angle), np.sin(angle), strict=True):
            edge.append((corner[0] + shrunk * c, corner[1] + shrunk * s, 0.0))
    ring = np.array(edge)
    middle = np.array([0.0, 0.0, CAMBER * (a + b) / 2])
    builder = MeshBuilder(ids["driveable_surface"])
    shares = (1.0, 0.7, 0.4, 0.12)
    levels = [middle + (ring - middle) * share for share in shares]
    place = np.array([across.at, along.at])
    lifted = [plan.lift(level[:, :2] + place, level[:, 2]) for level in levels]
    textures = [
        np.column_stack([level[:, :2], np.full(len(ring), JUNCTION_CODE)]) for level in levels
    ]
    quads = [_ring_quads(lifted[k], lifted[k + 1]) for k in range(len(shares) - 1)]
    coordinates = [_ring_quads(textures[k], textures[k + 1]) for k in range(len(shares) - 1)]
    builder.quads(np.concatenate(quads), rows.asphalt, np.concatenate(coordinates))
    hub = np.broadcast_to(plan.lift(place, middle[2]), lifted[-1].shape)
    hub_texture = np.broadcast_to(np.array([0, 0, JUNCTION_CODE]), hub.shape)
    last, last_texture = lifted[-1], textures[-1]
    builder.triangles(
        np.stack([last, np.roll(last, -1, axis=0), hub], axis=1),
        rows.asphalt,
        np.stack([last_texture, np.roll(last_texture, -1, axis=0), hub_texture], axis=1),
    )
    return builder.build()


def horizon_mesh(plan: TownPlan, rows: GroundMaterials, ids: dict[str, int]) -> Mesh:
    """Land around the town, up to low hills 1.5 km away."""
    angle = np.linspace(0, 2 * np.pi, 97)[:-1]
    radii = (plan.extent_m + 150, plan.extent_m + 330, 800.0, 1500.0)
    rings = []
    for k, radius in enumerate(radii):
        xy = radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)
        ridge = 12 + 10 * np.sin(3 * angle + 1) + 6 * np.sin(7 * angle) + 3 * np.sin(17 * angle)
        up = (plan.height(xy) - 1.2, plan.height(xy) - 0.4, ridge * 0.4, ridge * 1.6)[k]
        rings.append(np.column_stack([xy, up]))
    builder = MeshBuilder(ids["terrain"])
    builder.loft(rings, rows.far, caps=False)
    return builder.build()


def _across(half: float, island: float) -> Array:
    """Where the cross-section has vertices, metres left of the middle line."""
    inner = [island - OVERLAP_M] if island else [0.0]
    one = np.array([*inner, half * 0.5, half, half + OVERLAP_M])
    return np.asarray(np.unique(np.concatenate([-one, one])))


def _grid_quads(points: Array) -> Array:
    """Quads (S-1, T-1, 4, 3) of a grid of points (S, T, 3)."""
    return np.stack([points[:-1, :-1], points[1:, :-1], points[1:, 1:], points[:-1, 1:]], axis=2)


def _ring_quads(outer: Array, inner: Array) -> Array:
    """Quads (N, 4, 3) between two rings (N, 3)."""
    return np.stack([outer, np.roll(outer, -1, axis=0), np.roll(inner, -1, axis=0), inner], axis=1)
