"""Buses, trucks and trailers."""

from __future__ import annotations

import numpy as np

from renderocc_simulation.assets.cars import body, cabin, lamps, wheel
from renderocc_simulation.assets.palettes import BUS_SHAPES, TRAILER_KINDS, TRUCK_KINDS
from renderocc_simulation.assets.studio import Asset, Studio
from renderocc_simulation.materials import Texture
from renderocc_simulation.mesh import MeshBuilder


def bus(studio: Studio) -> Asset:
    """A town bus: one long box, a band of windows, doors on the right, a lit destination."""
    shapes = BUS_SHAPES[studio.split]
    length, width, height = studio.blended(studio.pick(shapes), shapes)
    length *= studio.uniform(0.96, 1.04)
    builder = studio.builder("bus")
    paint, stripe = studio.paint(studio.colour("bus")), studio.paint(studio.colour("bus"))
    half, front, rear = width / 2, length / 2, -length / 2
    low = 0.32
    section = np.array(
        [
            (-half, low),
            (half, low),
            (half, height - 0.25),
            (half - 0.15, height),
            (-half + 0.15, height),
            (-half, height - 0.25),
        ]
    )
    ends = [(rear, 0.97), (rear + 0.15, 1.0), (front - 0.25, 1.0), (front, 0.93)]
    rings = []
    for x, share in ends:
        middle = (low + height) / 2
        rings.append(
            np.column_stack(
                [np.full(6, x), section[:, 0] * share, middle + (section[:, 1] - middle) * share]
            )
        )
    builder.loft(rings, paint)
    decks = [(1.15, 2.25)] if height < 3.6 else [(1.05, 1.95), (2.6, 3.5)]
    panes = max(int((length - 1.0) / 1.45), 3)
    for z0, z1 in decks:
        for side in (-1, 1):
            for k in range(panes):
                x = rear + 0.7 + (k + 0.5) * (length - 1.2) / panes
                builder.box(
                    (x, side * (half + 0.006), (z0 + z1) / 2),
                    ((length - 1.2) / panes - 0.10, 0.02, z1 - z0),
                    studio.glass,
                )
        builder.box(
            (rear - 0.005, 0, (z0 + z1) / 2 + 0.1),
            (0.02, width * 0.75, (z1 - z0) * 0.7),
            studio.glass,
        )
    for side in (-1, 1):
        builder.box((0, side * (half + 0.004), 0.72), (length * 0.97, 0.012, 0.26), stripe)
    for x in (front - 0.95, 0.4, *((rear + 2.2,) if length > 11 else ())):  # doors, kerb side
        builder.box((x, -half - 0.008, 1.28), (1.15, 0.03, 1.85), studio.glass)
        builder.box((x, -half - 0.012, 1.28), (0.06, 0.03, 1.85), studio.plastic)
    builder.box((front + 0.002, 0, 1.75), (0.03, width * 0.86, 1.25), studio.glass)
    sign = studio.material(Texture.LETTERS, (24, 22, 18), (250, 170, 40), scale=0.14, emission=0.5)
    builder.box((front + 0.012, 0, height - 0.34), (0.03, width * 0.66, 0.26), sign)
    builder.box((front - 1.8, -half - 0.012, 2.48 if height < 3.6 else 2.3), (1.3, 0.02, 0.2), sign)
    for x in (front - 2.5, rear + 2.9):
        for side in (-1, 1):
            wheel(studio, builder, x, side * (half - 0.11), 0.48, 0.28)
    lamps(studio, builder, front, rear, width * 0.93, 0.62, 1.0)
    for side in (-1, 1):
        builder.box((front + 0.12, side * (half + 0.12), 2.1), (0.12, 0.16, 0.42), studio.plastic)
    builder.box((-1.0, 0, height + 0.1), (2.4, width * 0.6, 0.22), studio.plastic)
    return studio.finished("bus", builder.build())


def truck(studio: Studio) -> Asset:
    """A lorry with a load, or a pickup."""
    kind = studio.pick(TRUCK_KINDS[studio.split])
    if kind.startswith("pickup"):
        return _pickup(studio, 5.9 if kind == "pickup_long" else 5.3)
    builder = studio.builder("truck")
    length = studio.uniform(6.8, 9.4)
    width, height = 2.45, studio.uniform(3.2, 3.8)
    front, rear = length / 2, -length / 2
    cab_length = 2.0
    tractor_cab(studio, builder, front, cab_length, width, 2.75)
    builder.box(((rear + front) / 2, 0, 0.85), (length - 0.3, 0.9, 0.28), studio.plastic)
    load(studio, builder, kind, (rear, front - cab_length - 0.35), width, height)
    axles = [front - 1.15, rear + 1.5] + ([rear + 2.75] if length > 8 else [])
    for x in axles:
        for side in (-1, 1):
            wheel(studio, builder, x, side * (width / 2 - 0.13), 0.5, 0.32)
    for side in (-1, 1):
        builder.box((rear, side * 0.9, 0.85), (0.08, 0.4, 0.16), studio.taillight)
    builder.box((rear + 0.1, 0, 0.55), (0.1, width * 0.9, 0.12), studio.plastic)
    return studio.finished("truck", builder.build())


def trailer(studio: Studio) -> Asset:
    """A semi-trailer standing on its legs, or a small one on a drawbar."""
    kind = studio.pick(TRAILER_KINDS[studio.split])
    builder = studio.builder("trailer")
    length, width = studio.uniform(9.0, 13.0), 2.5
    height = studio.uniform(3.5, 4.0)
    front, rear = length / 2, -length / 2
    loads = {"box": "box", "flat": "flatbed", "container": "crate", "tank": "tanker"}
    load(studio, builder, loads[kind], (rear, front), width, height)
    builder.box((0, 0, 1.0), (length * 0.96, 0.9, 0.25), studio.plastic)
    for x in (rear + 1.2, rear + 2.5, rear + 3.8):
        for side in (-1, 1):
            wheel(studio, builder, x, side * (width / 2 - 0.19), 0.5, 0.34)
    for side in (-1, 1):
        builder.box((front - 2.2, side * 0.85, 0.55), (0.16, 0.16, 1.1), studio.plastic)
        builder.box((front - 2.2, side * 0.85, 0.06), (0.4, 0.35, 0.12), studio.plastic)
        builder.box(
            (0.6, side * (width / 2 - 0.08), 0.68),
            (length * 0.38, 0.05, 0.5),
            studio.paint(studio.colour("metal"), 0.1),
        )
        builder.box((rear - 0.02, side * 0.95, 0.95), (0.06, 0.42, 0.16), studio.taillight)
    return studio.finished("trailer", builder.build())


def tractor_cab(
    studio: Studio,
    builder: MeshBuilder,
    front: float,
    length: float,
    width: float,
    height: float,
) -> None:
    """The cab over the engine: upright windscreen, grille, mirrors."""
    paint = studio.paint(studio.colour("cab"))
    half = width / 2 * 0.97
    x0, x1 = front - length, front
    outline = [
        (x0, 0.55),
        (x1, 0.55),
        (x1 + 0.02, 1.35),
        (x1 - 0.22, height - 0.25),
        (x1 - 0.5, height),
        (x0, height),
    ]
    body(builder, outline, width, paint)
    builder.quads(
        [
            (x1 + 0.035, -half * 0.86, 1.5),
            (x1 + 0.035, half * 0.86, 1.5),
            (x1 - 0.18, half * 0.84, height - 0.35),
            (x1 - 0.18, -half * 0.84, height - 0.35),
        ],
        studio.glass,
    )
    for side in (-1, 1):
        builder.box((x1 - 0.75, side * width / 2 * 1.0, 1.85), (0.85, 0.03, 0.65), studio.glass)
        builder.box((x1 - 0.1, side * (width / 2 + 0.16), 1.9), (0.12, 0.2, 0.5), studio.plastic)
    builder.box((x1 + 0.02, 0, 1.12), (0.06, width * 0.7, 0.42), studio.plastic)
    builder.box((x1 + 0.03, 0, 0.55), (0.14, width * 0.98, 0.32), studio.plastic)
    for side in (-1, 1):
        builder.box((x1 + 0.09, side * 0.9, 0.68), (0.05, 0.34, 0.16), studio.headlight)


def load(
    studio: Studio,
    builder: MeshBuilder,
    kind: str,
    span: tuple[float, float],
    width: float,
    height: float,
) -> None:
    """What stands on the frame, from x to x."""
    x0, x1 = span
    middle, length = (x0 + x1) / 2, x1 - x0
    base = 1.05
    if studio.variety is not None and studio.chance(0.6):
        _anything(studio, builder, span, base, width, height)
        return
    colour = studio.colour("cargo")
    if kind in ("box", "curtain", "crate"):
        texture = {"box": Texture.PAINT, "curtain": Texture.CLOTH, "crate": Texture.CORRUGATED}
        skin = studio.material(texture[kind], colour, gloss=0.08, scale=0.28)
        builder.box((middle, 0, (base + height) / 2), (length, width, height - base), skin)
        logo = studio.material(Texture.LETTERS, colour, studio.colour("cab"), scale=0.5)
        for side in (-1, 1):
            builder.box(
                (middle, side * width / 2, (base + height) / 2 + 0.2),
                (length * 0.55, 0.03, 0.8),
                logo,
            )
            builder.box(
                (middle, side * width / 2, base + 0.04), (length, 0.03, 0.1), studio.plastic
            )
        builder.box(
            (x0 - 0.01, 0, (base + height) / 2), (0.03, 0.04, height - base - 0.2), studio.plastic
        )
    elif kind == "tanker":
        skin = studio.material(Texture.PAINT, colour, gloss=0.4)
        radius = min((height - base) / 2, width / 2)
        builder.tube((x0, 0, base + radius), (x1, 0, base + radius), radius, skin, sides=18)
        for x in np.linspace(x0 + 0.6, x1 - 0.6, 4):
            builder.tube(
                (x - 0.05, 0, base + radius),
                (x + 0.05, 0, base + radius),
                radius * 1.02,
                studio.chrome,
                sides=18,
            )
        builder.box((middle, 0, base + 2 * radius), (length * 0.7, 0.6, 0.12), studio.chrome)
    else:
        deck = studio.material(Texture.WOOD, studio.colour("wood"), scale=0.2)
        builder.box((middle, 0, base), (length, width, 0.16), deck)
        rim = studio.paint(colour, 0.15)
        wall = 0.9 if kind == "tipper" else 0.45
        for side in (-1, 1):
            builder.box(
                (middle, side * (width / 2 - 0.03), base + wall / 2), (length, 0.06, wall), rim
            )
        for x in (x0 + 0.03, x1 - 0.03):
            builder.box((x, 0, base + wall / 2 + 0.1), (0.06, width, wall + 0.2), rim)
        _pile(studio, builder, kind, (x0, x1), base + 0.1, width)


def _anything(
    studio: Studio,
    builder: MeshBuilder,
    span: tuple[float, float],
    base: float,
    width: float,
    height: float,
) -> None:
    """Boxes, drums and heaps of any size and look, from end to end."""
    x, end = span
    builder.box(((x + end) / 2, 0, base - 0.1), (end - x, width, 0.2), studio.anything())
    while x < end - 0.4:
        long = min(studio.uniform(0.6, 1.2 * (end - span[0])), end - x)
        wide, high = width * studio.uniform(0.6, 1.0), (height - base) * studio.uniform(0.25, 1.1)
        middle, skin = (x + long / 2, 0, base + high / 2), studio.anything()
        form = studio.pick(("box", "box", "tapered", "drum", "upright", "heap"))
        if form == "drum":
            radius = min(wide, high) / 2
            level = base + radius
            builder.tube((x, 0, level), (x + long, 0, level), radius, skin, sides=14)
        elif form == "upright":
            radius = min(wide, long) / 2
            top = (middle[0], 0, base + high)
            builder.tube((middle[0], 0, base), top, radius, skin, sides=12)
        elif form == "heap":
            builder.blob((middle[0], 0, base), (long / 2, wide / 2, high), skin, studio.rng, 0.1, 2)
        else:
            share = studio.uniform(0.5, 1.0) if form == "tapered" else 1.0
            builder.box(middle, (long, wide, high), skin, top=(share, share))
        x += long + studio.uniform(0, 0.4)


def _pile(
    studio: Studio,
    builder: MeshBuilder,
    kind: str,
    span: tuple[float, float],
    base: float,
    width: float,
) -> None:
    x0, x1 = span
    if kind == "tipper":
        sand = studio.material(Texture.GRAVEL, studio.colour("soil"))
        builder.blob(
            ((x0 + x1) / 2, 0, base + 0.45),
            ((x1 - x0) * 0.48, width * 0.44, 0.85),
            sand,
            studio.rng,
            0.1,
            2,
        )
        return
    x = x0 + 0.7
    while x < x1 - 0.8 and studio.chance(0.85):
        size = studio.uniform(0.8, 1.3)
        wood = studio.material(Texture.WOOD, studio.colour("wood"), scale=0.15)
        builder.box((x + size / 2, 0, base + size / 2), (size, width * 0.75, size), wood)
        x += size + studio.uniform(0.1, 0.9)


def _pickup(studio: Studio, length: float) -> Asset:
    builder = studio.builder("truck")
    width, height, belt = 1.95, 1.85, 1.12
    front, rear = length / 2, -length / 2
    paint = studio.paint(studio.colour("paint"))
    outline = [
        (rear, 0.42),
        (front - 0.1, 0.42),
        (front, 0.65),
        (front - 0.05, 0.98),
        (front - 1.35, belt),
        (rear, belt),
    ]
    body(builder, outline, width, paint)
    foot = (front - 3.05, front - 1.3)
    cabin(studio, builder, foot, (foot[0] + 0.12, foot[1] - 0.6), belt, height, width, paint)
    tub = (rear + 0.08, foot[0] - 0.1)
    builder.box(
        ((tub[0] + tub[1]) / 2, 0, belt + 0.006),
        (tub[1] - tub[0], width * 0.8, 0.02),
        studio.plastic,
    )
    for side in (-1, 1):
        builder.box(
            ((tub[0] + tub[1]) / 2, side * width * 0.45, belt + 0.09),
            (tub[1] - tub[0], 0.14, 0.18),
            paint,
        )
    builder.box((rear + 0.05, 0, belt + 0.09), (0.1, width * 0.9, 0.18), paint)
    for x in (front - 1.0, rear + 1.15):
        for side in (-1, 1):
            wheel(studio, builder, x, side * (width / 2 - 0.10), 0.4, 0.26)
    lamps(studio, builder, front, rear, width, 0.72, 0.9)
    return studio.finished("truck", builder.build())
