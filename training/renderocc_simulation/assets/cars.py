"""Cars: a lower body from its side profile, a glazed cabin, wheels, lamps, mirrors."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from renderocc_simulation.assets.palettes import CAR_SHAPES
from renderocc_simulation.assets.studio import Asset, Studio
from renderocc_simulation.materials import Texture
from renderocc_simulation.mesh import MeshBuilder


def car(studio: Studio) -> Asset:
    """A car of one of the split's shapes."""
    shapes = CAR_SHAPES[studio.split]
    kind = studio.pick(tuple(shapes))
    proportions = studio.blended(shapes[kind], shapes.values())
    length, width, height, bonnet, boot, roof_share = proportions
    length *= studio.uniform(0.95, 1.05)
    height *= studio.uniform(0.97, 1.03)
    builder = studio.builder("car")
    paint = studio.paint(studio.colour("paint"), gloss=studio.uniform(0.25, 0.45))
    belt = height * (0.60 if height < 1.6 else 0.56)
    clearance = 0.20 if height < 1.6 else 0.26
    radius = 0.31 if height < 1.6 else 0.36
    front, rear = length / 2, -length / 2
    nose = belt * studio.uniform(0.74, 0.84)
    scuttle = front - bonnet * length  # foot of the windscreen
    deck = rear + boot * length  # foot of the rear window
    outline = [
        (rear + 0.05, clearance),
        (front - 0.08, clearance),
        (front, clearance + 0.18),
        (front - 0.04, nose),
        (scuttle, belt),
        (deck, belt),
        (rear, belt * (0.96 if boot else 1)),
        (rear - 0.02, clearance + 0.25),
    ]
    body(builder, outline, width, paint)
    cabin_length = scuttle - deck
    slope = (1 - roof_share) * cabin_length
    lean = 0.62 if boot else 0.78
    roof = (deck + slope * (1 - lean), scuttle - slope * lean)
    cabin(studio, builder, (deck, scuttle), roof, belt, height, width, paint)
    for x in (front - 0.19 * length, rear + 0.18 * length):
        for side in (-1, 1):
            wheel(studio, builder, x, side * (width / 2 - 0.08), radius, 0.22)
    lamps(studio, builder, front, rear, width, (nose + clearance) / 2 + 0.1, belt * 0.8)
    builder.box((0, 0, clearance + 0.02), (length * 0.96, width * 1.004, 0.10), studio.plastic)
    for side in (-1, 1):
        builder.box(
            (scuttle - 0.35, side * (width / 2 + 0.06), belt + 0.04), (0.12, 0.2, 0.13), paint
        )
        for x in (scuttle - 0.25 - cabin_length * 0.42,):  # the gap between the doors
            builder.box(
                (x, side * width / 2, belt * 0.65), (0.02, 0.012, belt * 0.5), studio.plastic
            )
            builder.box(
                (x - 0.12, side * (width / 2), belt * 0.84), (0.16, 0.03, 0.03), studio.chrome
            )
    if kind in ("suv", "estate", "offroad") and studio.chance(0.6):
        for side in (-1, 1):
            x0, x1 = roof
            builder.box(
                ((x0 + x1) / 2, side * width * 0.33, height + 0.03),
                ((x1 - x0) * 0.9, 0.04, 0.04),
                studio.chrome,
            )
    return studio.finished("car", builder.build())


def body(
    builder: MeshBuilder, outline: list[tuple[float, float]], width: float, paint: int
) -> None:
    """A side profile with bevelled edges."""
    points = np.array(outline)
    middle = points.mean(axis=0)
    tucked = middle + (points - middle) * (0.985, 0.93)
    half = width / 2
    rings = [
        np.column_stack([ring[:, 0], np.full(len(ring), y), ring[:, 1]])
        for ring, y in (
            (tucked, -half),
            (points, -half * 0.93),
            (points, half * 0.93),
            (tucked, half),
        )
    ]
    builder.loft(rings, paint)


def cabin(
    studio: Studio,
    builder: MeshBuilder,
    foot: tuple[float, float],
    roof: tuple[float, float],
    belt: float,
    height: float,
    width: float,
    paint: int,
) -> None:
    """The part with the windows: painted frame, panes a little proud of it."""
    low, high = width / 2 * 0.95, width / 2 * 0.78
    base = _corners(foot, low, belt)
    top = _corners(roof, high, height - 0.05)
    builder.loft([base, top], paint, caps=False)
    crown = _corners((roof[0] + 0.06, roof[1] - 0.10), high * 0.94, height)
    builder.loft([top, crown], paint)
    rear_foot, front_foot = foot
    for a, b, splits in ((0, 1, 1), (1, 2, 2), (2, 3, 1), (3, 0, 2)):
        for part in range(splits):
            s0, s1 = (part + 0.06) / splits, (part + 0.94) / splits
            if splits == 1:
                s0, s1 = 0.07, 0.93
            edge = [base[a] * (1 - s) + base[b] * s for s in (s0, s1)]
            upper = [top[a] * (1 - s) + top[b] * s for s in (s1, s0)]
            pane = np.array([*edge, *upper])
            middle = pane.mean(axis=0)
            pane = middle + (pane - middle) * (1.0, 1.0, 0.84)
            normal = np.cross(pane[1] - pane[0], pane[3] - pane[0])
            normal /= np.linalg.norm(normal)
            centre = np.array([(rear_foot + front_foot) / 2, 0, (belt + height) / 2])
            if normal @ (middle - centre) < 0:
                normal = -normal
            builder.quads(pane + normal * 0.015, studio.glass)


def _corners(span: tuple[float, float], half: float, z: float) -> NDArray[np.float64]:
    x0, x1 = span
    return np.array([(x0, -half, z), (x1, -half, z), (x1, half, z), (x0, half, z)])


def wheel(
    studio: Studio, builder: MeshBuilder, x: float, y: float, radius: float, width: float
) -> None:
    """Tyre, rim and, behind them, the dark of the arch."""
    outward = np.sign(y) if y else 1.0
    inner, outer = y - outward * width / 2, y + outward * width / 2
    arch = outer - 0.04 * outward
    builder.tube(
        (x, inner, radius * 1.1),
        (x, arch + 0.035 * outward, radius * 1.1),
        radius * 1.2,
        studio.plastic,
        sides=14,
    )
    builder.tube((x, inner, radius), (x, outer, radius), radius, studio.rubber, sides=14)
    builder.tube(
        (x, outer - 0.02 * outward, radius),
        (x, outer + 0.012 * outward, radius),
        radius * 0.66,
        studio.chrome,
        sides=10,
    )
    builder.tube(
        (x, outer, radius),
        (x, outer + 0.02 * outward, radius),
        radius * 0.2,
        studio.plastic,
        sides=6,
    )


def lamps(
    studio: Studio,
    builder: MeshBuilder,
    front: float,
    rear: float,
    width: float,
    front_up: float,
    rear_up: float,
) -> None:
    """Head and tail lamps, grille and number plates."""
    plate = studio.material(Texture.LETTERS, (232, 230, 220), (30, 30, 40), scale=0.08)
    for side in (-1, 1):
        y = side * (width / 2 - 0.24)
        builder.box((front - 0.02, y, front_up + 0.08), (0.08, 0.36, 0.13), studio.headlight)
        builder.box(
            (rear + 0.01, side * (width / 2 - 0.17), rear_up), (0.08, 0.24, 0.24), studio.taillight
        )
    builder.box((front - 0.005, 0, front_up), (0.06, width * 0.42, 0.20), studio.plastic)
    builder.box((front + 0.02, 0, front_up - 0.12), (0.03, 0.5, 0.11), plate)
    builder.box((rear - 0.02, 0, rear_up - 0.18), (0.03, 0.5, 0.11), plate)
