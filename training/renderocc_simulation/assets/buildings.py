"""Buildings: town houses with shops, blocks of flats, houses with gables, halls.

A wall's texture coordinates are metres along it, metres up from the ground floor, and the
building's number; the pattern ``FACADE`` puts the windows there.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from renderocc_simulation.assets.palettes import FACADE_STYLES
from renderocc_simulation.assets.studio import Studio
from renderocc_simulation.materials import Material, Texture
from renderocc_simulation.mesh import Mesh, MeshBuilder

FOOT_M = -1.6  # walls go down into the slope
SPLIT_M = 6.0  # walls are cut here: what is higher never meets the grid
FLOOR_M = 3.0


def house(studio: Studio, width: float, depth: float) -> Mesh:
    """One or two floors under a gable; its front looks along x, origin at the front's middle."""
    builder = studio.builder("manmade")
    floors = int(studio.rng.integers(1, 3))
    height = 0.4 + floors * FLOOR_M
    roof = studio.material(Texture.CORRUGATED, studio.colour("roof"), scale=0.32)
    _walls(studio, builder, width, depth, height, shop=False)
    ridge = height + depth * studio.uniform(0.28, 0.42)
    over, half, x0, x1 = 0.5, width / 2 + 0.4, 0.0, -depth
    middle = (x0 + x1) / 2
    fall = over * (ridge - height) / (depth / 2)
    for x, sign in ((x0, 1), (x1, -1)):
        edge, low = x + sign * over, height - fall
        builder.quads(
            [(edge, -half, low), (edge, half, low), (middle, half, ridge), (middle, -half, ridge)],
            roof,
        )
    plaster = studio.material(Texture.PLASTER, studio.colour("plaster"))
    for y in (-width / 2, width / 2):
        builder.triangles([(x0, y, height), (x1, y, height), (middle, y, ridge - 0.05)], plaster)
    brick = studio.material(Texture.BRICK, studio.colour("brick"), studio.colour("plaster"))
    builder.box((middle - 0.8, width * 0.22, ridge - 0.1), (0.6, 0.6, 1.6), brick)
    door = studio.material(Texture.WOOD, studio.colour("awning"), scale=0.2)
    builder.box((0.02, width * 0.12, 1.25), (0.06, 1.05, 2.1), door)
    builder.box((0.5, width * 0.12, 0.08), (1.0, 1.5, 0.3), plaster)
    builder.box((0.45, width * 0.12, 2.5), (0.95, 1.6, 0.08), roof)
    return builder.build()


def town_house(studio: Studio, width: float, depth: float) -> Mesh:
    """Three to seven floors with a flat roof, shops, balconies, awnings."""
    builder = studio.builder("manmade")
    floors = int(studio.rng.integers(3, 8))
    height = 0.9 + floors * FLOOR_M
    shop = studio.chance(0.55)
    _walls(studio, builder, width, depth, height, shop)
    roof = studio.material(Texture.GRAVEL, studio.colour("concrete"))
    stone = studio.material(Texture.PLASTER, studio.colour("concrete"))
    builder.box((-depth / 2, 0, height - 0.35), (depth - 0.2, width - 0.2, 0.1), roof)
    builder.box((0.1, 0, height - 0.15), (0.35, width + 0.2, 0.35), stone)
    builder.box((0.06, 0, 3.45), (0.2, width, 0.22), stone)
    if shop:
        _shop_front(studio, builder, width)
    if studio.chance(0.5):
        _balconies(studio, builder, width, floors)
    builder.box((-depth * 0.5, width * 0.2, height + 0.6), (2.2, 2.0, 1.6), stone)
    return builder.build()


def hall(studio: Studio, width: float, depth: float) -> Mesh:
    """A shed or workshop with a gate."""
    builder = studio.builder("manmade")
    height = studio.uniform(5.5, 8.5)
    skin = studio.material(Texture.CORRUGATED, studio.colour("cargo"), scale=0.3)
    builder.box((-depth / 2, 0, (height + FOOT_M) / 2), (depth, width, height - FOOT_M), skin)
    gate = studio.material(Texture.CORRUGATED, studio.colour("metal"), scale=0.5)
    builder.box((0.02, -width * 0.2, 2.0), (0.08, 4.2, 4.2), gate)
    letters = studio.material(
        Texture.LETTERS, studio.colour("cargo"), studio.colour("cab"), scale=0.8
    )
    builder.box((0.03, width * 0.18, height - 1.3), (0.06, width * 0.4, 1.3), letters)
    return builder.build()


def _walls(
    studio: Studio, builder: MeshBuilder, width: float, depth: float, height: float, shop: bool
) -> None:
    """Four facades and a lid. The pattern's options: spacing, width, sill and height of windows;
    a whole number above ten in the spacing's place stands for shops on the ground floor."""
    styles = FACADE_STYLES[studio.split]
    spacing, wide, sill, high = studio.blended(studio.pick(styles), styles)
    spacing *= studio.uniform(0.92, 1.1)
    brick = studio.chance(0.45)
    wall = studio.colour("brick" if brick else "plaster")
    frame = (236, 234, 228) if studio.chance(0.6) else (70, 64, 58)
    style = (spacing + (10.0 if shop else 0.0), wide, sill, high)
    skin = studio.table.add(
        Material(Texture.FACADE, wall, frame, scale=1.0 if brick else 0.0, options=style)
    )
    number = float(studio.rng.integers(1, 4000))
    half = width / 2
    corners = [(0.0, -half), (0.0, half), (-depth, half), (-depth, -half)]
    for k in range(4):
        (xa, ya), (xb, yb) = corners[k], corners[(k + 1) % 4]
        length = float(np.hypot(xb - xa, yb - ya))
        bays = max(round(length / spacing), 1) * spacing
        shift = (bays - length) / 2
        levels = [FOOT_M, min(SPLIT_M, height), *([height] if height > SPLIT_M else [])]
        for low, up in pairwise(levels):
            quad = [(xa, ya, low), (xb, yb, low), (xb, yb, up), (xa, ya, up)]
            ends = (shift, shift + length)
            along = [ends[0], ends[1], ends[1], ends[0]]
            texture = [(s, z, number + k) for s, (_, _, z) in zip(along, quad, strict=True)]
            builder.quads(quad, skin, texture)
    lid = studio.material(Texture.GRAVEL, studio.colour("concrete"))
    builder.quads([(x, y, height - 0.02) for x, y in corners], lid)


def _shop_front(studio: Studio, builder: MeshBuilder, width: float) -> None:
    band = studio.material(
        Texture.LETTERS, studio.colour("awning"), (240, 232, 214), scale=0.4, emission=0.04
    )
    awning = studio.material(
        Texture.STRIPES,
        studio.colour("awning"),
        (232, 226, 214),
        scale=0.35,
        options=(2.0, 0, 0, 0),
    )
    y = -width / 2 + 0.6
    while y < width / 2 - 3.0:
        span = min(studio.uniform(3.0, 5.5), width / 2 - 0.5 - y)
        builder.box((0.12, y + span / 2, 3.0), (0.22, span - 0.3, 0.6), band)
        if studio.chance(0.6):
            out = studio.uniform(0.9, 1.5)
            builder.quads(
                [
                    (0.1, y, 2.75),
                    (0.1, y + span - 0.3, 2.75),
                    (out, y + span - 0.3, 2.3),
                    (out, y, 2.3),
                ],
                awning,
            )
        y += span


def _balconies(studio: Studio, builder: MeshBuilder, width: float, floors: int) -> None:
    slab = studio.material(Texture.PLASTER, studio.colour("concrete"))
    rail = studio.material(Texture.PAINT, studio.colour("metal"), gloss=0.1)
    for column in (-0.28, 0.28):
        for floor in range(1, floors):
            z, y = 0.75 + floor * FLOOR_M, column * width
            builder.box((0.55, y, z), (1.1, 2.6, 0.14), slab)
            builder.box((1.07, y, z + 0.95), (0.05, 2.6, 0.06), rail)
            for dy in np.arange(-1.25, 1.3, 0.25):
                builder.box((1.07, y + dy, z + 0.5), (0.025, 0.03, 0.95), rail)
