"""Construction vehicles."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from renderocc_simulation.assets.cars import wheel
from renderocc_simulation.assets.palettes import MACHINE_KINDS
from renderocc_simulation.assets.studio import Asset, Studio
from renderocc_simulation.mesh import MeshBuilder, standing


def construction_vehicle(studio: Studio) -> Asset:
    """An excavator, a wheel loader, a road roller or a mobile crane."""
    kind = studio.pick(MACHINE_KINDS[studio.split])
    builder = studio.builder("construction_vehicle")
    paint = studio.paint(studio.colour("machine"), 0.2)
    make = {"excavator": _excavator, "loader": _loader, "roller": _roller, "crane": _crane}[kind]
    if studio.variety is not None and studio.chance(0.6):
        make = _any_machine
    make(studio, builder, paint)
    return studio.finished("construction_vehicle", builder.build())


def _cab(studio: Studio, builder: MeshBuilder, x: float, y: float, z: float, paint: int) -> None:
    """A glazed cab, 1.3 m wide, its floor at z."""
    builder.box((x, y, z + 0.8), (1.25, 1.15, 1.6), studio.glass, top=(0.88, 0.92))
    for dx in (-0.6, 0.6):
        for dy in (-0.55, 0.55):
            builder.box((x + dx * 0.96, y + dy, z + 0.8), (0.09, 0.09, 1.62), paint)
    builder.box((x, y, z + 1.66), (1.25, 1.15, 0.12), paint)
    builder.box((x, y, z + 0.12), (1.28, 1.18, 0.26), paint)
    builder.tube((x, y, z + 1.7), (x, y, z + 1.9), 0.08, studio.indicator)


def _arm(builder: MeshBuilder, points: list[tuple[float, float]], y: float, paint: int) -> None:
    """Beams through points of x and z."""
    for (x0, z0), (x1, z1) in pairwise(points):
        builder.tube((x0, y, z0), (x1, y, z1), 0.26, paint, end_radius=0.2, sides=4)


def _excavator(studio: Studio, builder: MeshBuilder, paint: int) -> None:
    for side in (-1, 1):
        outline = [
            (-1.9, 0.45),
            (-1.6, 0.02),
            (1.6, 0.02),
            (1.9, 0.45),
            (1.55, 0.85),
            (-1.55, 0.85),
        ]
        builder.profile(outline, 0.55, studio.rubber, y=side * 1.05)
        for x in np.linspace(-1.4, 1.4, 5):
            builder.tube((x, side * 1.32, 0.4), (x, side * 1.36, 0.4), 0.2, studio.plastic)
    turn = studio.builder("construction_vehicle")
    turn.box((-0.4, 0, 1.15), (3.0, 2.4, 0.35), paint)
    turn.box((-1.35, 0, 1.75), (1.3, 2.4, 0.95), paint, top=(0.9, 0.95))
    turn.box((-1.99, 0, 1.6), (0.05, 1.6, 0.5), studio.plastic)
    _cab(studio, turn, 0.45, 0.6, 1.3, paint)
    reach, lift = studio.uniform(2.6, 3.4), studio.uniform(3.2, 4.3)
    elbow = (0.9 + reach, lift)
    wrist = (elbow[0] + studio.uniform(0.8, 1.5), studio.uniform(0.9, 1.6))
    _arm(turn, [(0.9, 1.5), (0.9 + reach * 0.45, lift + 0.35), elbow, wrist], -0.35, paint)
    turn.tube((1.4, -0.35, 1.6), (2.0, -0.35, 3.0), 0.08, studio.chrome)
    x, z = wrist
    bucket = [
        (x + 0.2, z + 0.2),
        (x - 0.25, z + 0.15),
        (x - 0.75, z - 0.45),
        (x - 0.35, z - 0.8),
        (x + 0.25, z - 0.55),
    ]
    turn.profile(bucket, 1.1, studio.plastic, y=-0.35)
    builder.add(turn.build(), standing(0, 0, 0, studio.uniform(-0.5, 0.5)))


def _loader(studio: Studio, builder: MeshBuilder, paint: int) -> None:
    builder.box((-1.9, 0, 1.5), (2.6, 1.9, 1.0), paint, top=(0.9, 0.9))
    builder.box((0.3, 0, 1.15), (3.2, 1.3, 0.6), paint)
    builder.box((-3.18, 0, 1.5), (0.06, 1.3, 0.7), studio.plastic)
    _cab(studio, builder, -0.3, 0.0, 1.65, paint)
    for x in (-1.9, 1.5):
        for side in (-1, 1):
            wheel(studio, builder, x, side * 1.0, 0.78, 0.55)
    lift = studio.uniform(0.5, 1.4)
    for y in (-0.6, 0.6):
        _arm(builder, [(0.9, 1.9), (2.2, 1.4 + lift * 0.3), (3.1, lift)], y, paint)
    bucket = [
        (3.0, lift + 0.5),
        (3.0, lift - 0.4),
        (3.35, lift - 0.5),
        (4.2, lift - 0.45),
        (3.45, lift - 0.25),
        (3.3, lift + 0.55),
    ]
    builder.profile(bucket, 2.6, studio.plastic)
    for side in (-1, 1):
        builder.box((-3.1, side * 0.8, 2.05), (0.12, 0.2, 0.14), studio.indicator)


def _any_machine(studio: Studio, builder: MeshBuilder, paint: int) -> None:
    """Wheels or rollers, a body of boxes, a cab somewhere, an arm or two that reach anywhere."""
    long, wide = studio.uniform(3.0, 7.0), studio.uniform(1.6, 2.5)
    radius = studio.uniform(0.4, 0.9)
    axles = np.linspace(-long / 2 + radius, long / 2 - radius, int(studio.rng.integers(2, 5)))
    for x in axles:
        if studio.chance(0.3):
            builder.tube((x, -wide / 2, radius), (x, wide / 2, radius), radius, studio.chrome)
            continue
        for side in (-1, 1):
            wheel(studio, builder, x, side * wide / 2, radius, studio.uniform(0.3, 0.6))
    deck = radius + studio.uniform(0.1, 0.6)
    builder.box((0, 0, deck), (long, wide * 0.9, studio.uniform(0.3, 0.7)), paint)
    for _ in range(int(studio.rng.integers(1, 4))):
        size = [studio.uniform(low, up) for low, up in ((0.8, 2.6), (0.8, wide), (0.4, 1.3))]
        place = (studio.uniform(-long / 2, long / 2 - 0.5), 0, deck + size[2] / 2)
        top = (studio.uniform(0.6, 1.0), studio.uniform(0.7, 1.0))
        builder.box(place, size, paint, top=top)
    at = studio.uniform(-long / 2 + 0.7, long / 2 - 0.7)
    _cab(studio, builder, at, studio.uniform(-0.5, 0.5), deck + 0.1, paint)
    for _ in range(int(studio.rng.integers(0, 3))):
        reach = studio.uniform(1.5, 5.0)
        joints = [(reach * share, studio.uniform(0.8, 4.2)) for share in (0.5, 0.8, 1.0)]
        _arm(builder, [(0.0, deck + 0.3), *joints], studio.uniform(-0.6, 0.6), paint)
        if studio.chance(0.7):
            x, z = joints[-1]
            builder.box((x, 0, z - 0.3), (0.7, studio.uniform(0.5, wide), 0.7), studio.plastic)


def _roller(studio: Studio, builder: MeshBuilder, paint: int) -> None:
    for x in (-1.55, 1.55):
        builder.tube((x, -0.85, 0.62), (x, 0.85, 0.62), 0.62, studio.chrome, sides=20)
        for side in (-1, 1):
            builder.box((x * 0.75, side * 0.95, 0.95), (1.9, 0.12, 0.3), paint)
    builder.box((-1.2, 0, 1.45), (2.0, 1.6, 0.7), paint, top=(0.92, 0.9))
    builder.box((0.9, 0, 1.3), (1.8, 1.4, 0.5), paint, top=(0.8, 0.9))
    _cab(studio, builder, 0.0, 0.0, 1.35, paint)


def _crane(studio: Studio, builder: MeshBuilder, paint: int) -> None:
    builder.box((0, 0, 1.25), (7.2, 2.4, 0.55), paint)
    for x in (-2.6, -1.3, 1.4, 2.7):
        for side in (-1, 1):
            wheel(studio, builder, x, side * 1.0, 0.55, 0.38)
    _cab(studio, builder, 2.9, 0.55, 1.45, paint)
    builder.box((-1.3, 0, 2.0), (2.4, 1.9, 1.0), paint, top=(0.9, 0.9))
    tilt = studio.uniform(0.1, 0.35)
    end = np.array([-1.6 + 7.5 * np.cos(tilt), 0, 2.5 + 7.5 * np.sin(tilt)])
    builder.tube((-1.6, 0, 2.5), end, 0.36, paint, end_radius=0.2, sides=4)
    builder.tube(end, end - (0, 0, 1.3), 0.03, studio.plastic, sides=4)
    builder.box(end - (0, 0, 1.4), (0.3, 0.3, 0.4), studio.indicator)
    for leg in (-3.2, 3.4):
        for side in (-1, 1):
            builder.box((leg, side * 1.5, 0.55), (0.25, 0.8, 0.15), paint)
            builder.tube((leg, side * 1.8, 0.0), (leg, side * 1.8, 1.0), 0.1, studio.chrome)
