"""People on foot, and bicycles and motorcycles with or without a rider."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from renderocc_simulation.assets.studio import Asset, Studio
from renderocc_simulation.materials import Texture
from renderocc_simulation.mesh import Mesh, MeshBuilder

PHASES = 8


def pedestrian(studio: Studio, walking: bool = True) -> Asset:
    """An adult or a child; walkers have a cycle of ``PHASES`` poses."""
    height = studio.uniform(1.55, 1.92) if studio.chance(0.85) else studio.uniform(1.1, 1.4)
    look = _Clothes(studio)
    bag = studio.chance(0.35)
    swings = np.sin(np.arange(PHASES) * 2 * np.pi / PHASES) * 0.5 if walking else [0.06]
    poses = []
    for swing in swings:
        builder = studio.builder("pedestrian")
        _person(builder, look, height, float(swing))
        if bag:
            builder.box((-0.19 * height / 1.75, 0, height * 0.70), (0.16, 0.28, 0.38), look.bag)
        poses.append(builder.build())
    widest = max(poses, key=lambda pose: float(np.ptp(pose.points[:, 0])))
    return studio.finished("pedestrian", widest, tuple(poses) if walking else ())


class _Clothes:
    def __init__(self, studio: Studio) -> None:
        def cloth(kind: str) -> int:
            return studio.material(Texture.CLOTH, studio.colour(kind))

        self.top, self.bottom = cloth("cloth"), cloth("trousers")
        self.bag, self.hair = cloth("cloth"), cloth("hair")
        self.skin = studio.material(Texture.PAINT, studio.colour("skin"))
        self.shoes = studio.plastic
        self.coat = studio.chance(0.35)
        self.girth = studio.uniform(0.9, 1.2)


def _person(builder: MeshBuilder, look: _Clothes, height: float, swing: float) -> None:
    """Standing or in mid-step; ``swing`` is the legs' angle off the vertical, radians."""
    h, wide = height, look.girth * height / 1.75
    hip, shoulder = 0.50 * h, 0.815 * h
    for side in (-1, 1):
        angle = swing * side
        top = np.array([0, side * 0.09 * wide, hip + 0.03])
        knee = top + 0.26 * h * np.array([np.sin(angle), 0, -np.cos(angle)])
        bend = angle - (0.5 if angle < 0 else 0.1) * abs(swing) * 1.6
        foot = knee + np.array([np.sin(bend), 0, -np.cos(bend)]) * (0.23 * h)
        foot[2] = max(foot[2], 0.05)
        builder.tube(top, knee, 0.085 * wide, look.bottom, 0.06 * wide, sides=6, caps=False)
        builder.tube(knee, foot, 0.06 * wide, look.bottom, 0.045 * wide, sides=6, caps=False)
        builder.box(np.add(foot, (0.06, 0, -0.01)), (0.25 * h / 1.75, 0.09, 0.08), look.shoes)
        arm = np.array([0, side * 0.225 * wide, shoulder - 0.03])
        elbow = arm + 0.18 * h * np.array([np.sin(-angle), side * 0.12, -np.cos(angle)])
        hand = elbow + 0.16 * h * np.array([np.sin(-angle + 0.35), 0, -np.cos(angle - 0.35)])
        builder.tube(arm, elbow, 0.052 * wide, look.top, 0.045 * wide, sides=6, caps=False)
        builder.tube(elbow, hand, 0.045 * wide, look.top, 0.035 * wide, sides=6, caps=False)
        builder.box(hand, (0.07, 0.05, 0.09), look.skin)
    low = hip - (0.16 * h if look.coat else 0.02)
    rings = []
    for z, rx, ry in (
        (low, 0.13, 0.17),
        (hip + 0.12 * h, 0.115, 0.15),
        (shoulder - 0.08, 0.13, 0.2),
        (shoulder, 0.09, 0.19),
        (shoulder + 0.04, 0.05, 0.07),
    ):
        angle8 = np.arange(8) * 2 * np.pi / 8
        rings.append(
            np.column_stack([rx * wide * np.cos(angle8), ry * wide * np.sin(angle8), np.full(8, z)])
        )
    builder.loft(rings, look.top)
    builder.tube(
        (0, 0, shoulder), (0.01, 0, shoulder + 0.08), 0.055, look.skin, sides=6, caps=False
    )
    builder.blob((0.015, 0, 0.925 * h), (0.095, 0.078, 0.075 * h / 1.05), look.skin)
    builder.blob((-0.012, 0, 0.942 * h), (0.1, 0.088, 0.07 * h), look.hair)


def bicycle(studio: Studio, ridden: bool) -> Asset:
    """A bicycle: two thin wheels, a frame of tubes, perhaps a rider."""
    builder = studio.builder("bicycle")
    frame = studio.paint(studio.colour("cycle"), 0.3)
    radius, base = studio.uniform(0.31, 0.35), studio.uniform(0.5, 0.55)
    for x in (-base, base):
        _rim(builder, x, radius, 0.022, studio.rubber)
        for k in range(6):
            angle = k * np.pi / 6
            arm = radius * np.array([np.cos(angle), 0, np.sin(angle)])
            hub = np.array([x, 0, radius])
            builder.tube(hub - arm, hub + arm, 0.004, studio.chrome, sides=3)
    crank, seat, head = (-0.08, 0, 0.28), (-0.25, 0, 0.82), (0.36, 0, 0.84)
    pairs = [
        (crank, seat),
        (crank, head),
        (seat, head),
        (crank, (-base, 0, radius)),
        (seat, (-base, 0, radius)),
        ((0.33, 0, 0.95), (base, 0, radius)),
    ]
    for a, b in pairs:
        builder.tube(a, b, 0.02, frame, sides=6, caps=False)
    builder.tube((0.32, -0.28, 1.0), (0.32, 0.28, 1.0), 0.014, studio.plastic, sides=5)
    builder.box((-0.27, 0, 0.90), (0.26, 0.14, 0.06), studio.plastic)
    builder.tube((-0.08, -0.09, 0.28), (-0.08, 0.09, 0.28), 0.09, studio.chrome, sides=9)
    if ridden:
        _rider(builder, _Clothes(studio), (-0.25, 0.95), (0.3, 1.02), (-0.05, 0.2), None)
    return studio.finished("bicycle", builder.build())


def motorcycle(studio: Studio, ridden: bool) -> Asset:
    """A motorcycle or a scooter."""
    builder = studio.builder("motorcycle")
    paint = studio.paint(studio.colour("cycle"))
    scooter = studio.split == "holdout" or studio.chance(0.35)
    radius, base = (0.24, 0.62) if scooter else (0.31, 0.72)
    for x in (-base, base):
        _rim(builder, x, radius, 0.055, studio.rubber)
        builder.tube((x, -0.04, radius), (x, 0.04, radius), radius * 0.6, studio.chrome, sides=12)
    if scooter:
        builder.box((0.05, 0, 0.32), (0.6, 0.36, 0.12), paint)
        builder.box((0.42, 0, 0.65), (0.12, 0.42, 0.7), paint, top=(0.7, 0.6), shift=-0.1)
        builder.box((-0.45, 0, 0.56), (0.75, 0.34, 0.42), paint, top=(0.9, 0.8))
    else:
        builder.blob((0.12, 0, 0.80), (0.32, 0.17, 0.16), paint, level=2)
        builder.box((0.05, 0, 0.48), (0.55, 0.34, 0.36), studio.plastic)
        builder.box((-0.55, 0, 0.72), (0.5, 0.2, 0.16), paint, top=(0.8, 0.7), shift=-0.1)
        builder.tube((-0.1, -0.18, 0.34), (-0.85, -0.2, 0.42), 0.06, studio.chrome)
        builder.box((0.55, 0, 0.92), (0.22, 0.3, 0.3), paint, top=(0.5, 0.8), shift=-0.06)
    builder.box((-0.3, 0, 0.83), (0.68, 0.26, 0.1), studio.plastic)
    for side in (-1, 1):
        builder.tube((0.5, side * 0.09, 0.95), (base, side * 0.09, radius), 0.03, studio.chrome)
    builder.tube((0.42, -0.36, 1.03), (0.42, 0.36, 1.03), 0.02, studio.plastic)
    builder.tube((0.62, 0, 0.86), (0.69, 0, 0.86), 0.09, studio.headlight, sides=10)
    builder.box((-0.86, 0, 0.74), (0.06, 0.16, 0.08), studio.taillight)
    if ridden:
        helmet = studio.paint(studio.colour("paint"), 0.3)
        _rider(builder, _Clothes(studio), (-0.3, 0.88), (0.4, 1.05), (-0.05, 0.3), helmet)
    return studio.finished("motorcycle", builder.build())


def _rim(builder: MeshBuilder, x: float, radius: float, thick: float, material: int) -> None:
    """A tyre as a ring of short tubes."""
    angle = np.arange(13) * 2 * np.pi / 12
    points = np.column_stack(
        [x + (radius - thick) * np.cos(angle), 0 * angle, radius + (radius - thick) * np.sin(angle)]
    )
    for a, b in pairwise(points):
        builder.tube(a, b, thick, material, sides=5, caps=False)


def _rider(
    builder: MeshBuilder,
    look: _Clothes,
    seat: tuple[float, float],
    grip: tuple[float, float],
    pedal: tuple[float, float],
    helmet: int | None,
) -> None:
    """Someone who sits at ``seat`` and holds ``grip`` (x, z)."""
    hip = np.array([seat[0], 0, seat[1] + 0.08])
    shoulder = np.add(hip, (0.22, 0, 0.50))
    builder.tube(hip, shoulder, 0.16, look.top, 0.19, sides=9)
    for side in (-1, 1):
        knee = np.array([hip[0] + 0.40, side * 0.14, hip[2] - 0.16])
        foot = np.array([pedal[0] + 0.06, side * 0.12, pedal[1]])
        builder.tube(np.add(hip, (0, side * 0.09, 0)), knee, 0.085, look.bottom, 0.065)
        builder.tube(knee, foot, 0.065, look.bottom, 0.045)
        builder.box(np.add(foot, (0.06, 0, -0.03)), (0.26, 0.09, 0.08), look.shoes)
        arm = np.add(shoulder, (0, side * 0.19, -0.04))
        elbow = (arm + np.array([grip[0], side * 0.27, grip[1]])) / 2 - (0.05, 0, 0.08)
        builder.tube(arm, elbow, 0.055, look.top, 0.045)
        builder.tube(elbow, (grip[0], side * 0.25, grip[1]), 0.045, look.top, 0.035)
    head = np.add(shoulder, (0.06, 0, 0.21))
    builder.blob(head, (0.1, 0.08, 0.125), look.skin)
    cover = look.hair if helmet is None else helmet
    size = (0.12, 0.10, 0.11) if helmet is None else (0.145, 0.13, 0.15)
    builder.blob(np.add(head, (-0.02, 0, 0.03)), size, cover)


__all__ = ["PHASES", "Mesh", "bicycle", "motorcycle", "pedestrian"]
