"""What stands along a street: lamps, signs, signals, shelters, cones, barriers, bins."""

from __future__ import annotations

import numpy as np

from renderocc_simulation.assets.studio import Asset, Studio
from renderocc_simulation.materials import Texture
from renderocc_simulation.mesh import Mesh


def traffic_cone(studio: Studio) -> Asset:
    """A cone with reflecting bands, or a slim post."""
    builder = studio.builder("traffic_cone")
    height = studio.uniform(0.5, 0.95)
    bands = studio.material(
        Texture.STRIPES, studio.colour("cone"), (238, 238, 232), scale=height * 0.2, emission=0.02
    )
    slim = studio.chance(0.25)
    foot, top = (0.07, 0.06) if slim else (0.17, 0.035)
    builder.box((0, 0, 0.025), (0.42, 0.42, 0.05), studio.rubber)
    builder.tube((0, 0, 0.04), (0, 0, height), foot, bands, top, sides=12)
    return studio.finished("traffic_cone", builder.build())


def barrier(studio: Studio) -> Asset:
    """A concrete element, a plastic one filled with water, or planks on feet."""
    builder = studio.builder("barrier")
    kind = studio.pick(("concrete", "plastic", "planks"))
    if kind == "planks":
        planks = studio.material(
            Texture.STRIPES,
            studio.colour("barrier"),
            (236, 236, 230),
            scale=0.25,
            options=(1.0, 0, 0, 0),
        )
        for z in (0.35, 0.85):
            builder.box((0, 0, z), (2.2, 0.05, 0.22), planks)
        for x in (-0.85, 0.85):
            builder.box((x, 0, 0.5), (0.07, 0.07, 1.0), studio.chrome)
            builder.box((x, 0, 0.06), (0.35, 0.75, 0.12), studio.rubber)
        builder.tube((0.85, 0, 1.0), (0.85, 0, 1.2), 0.08, studio.indicator)
    else:
        skin = (
            studio.material(Texture.PLASTER, studio.colour("concrete"))
            if kind == "concrete"
            else studio.material(Texture.PAINT, studio.colour("barrier"), gloss=0.1)
        )
        length, height = (2.9, 0.85) if kind == "concrete" else (1.6, 0.95)
        half = np.array(
            [
                (-0.3, 0.0),
                (-0.3, 0.08),
                (-0.13, 0.33),
                (-0.09, height),
                (0.09, height),
                (0.13, 0.33),
                (0.3, 0.08),
                (0.3, 0.0),
            ]
        )
        rings = [np.column_stack([np.full(8, x), half]) for x in (-length / 2, length / 2)]
        builder.loft(rings, skin)
        if kind == "concrete":
            band = studio.material(
                Texture.STRIPES,
                studio.colour("barrier"),
                (236, 236, 230),
                scale=0.3,
                options=(1.0, 0, 0, 0),
            )
            builder.box((0, 0, height - 0.12), (length * 0.8, 0.22, 0.1), band)
    return studio.finished("barrier", builder.build())


def clutter(studio: Studio) -> Asset:
    """Class "others": wheelie bins, heaps of boxes and bags, a dog, a rack for bicycles."""
    builder = studio.builder("others")
    kind = studio.pick(("bin", "bin", "boxes", "dog", "rack", "cart"))
    if kind == "bin":
        skin = studio.material(Texture.PAINT, studio.colour("bin"), gloss=0.12)
        builder.box((0, 0, 0.55), (0.58, 0.55, 0.9), skin, top=(1.15, 1.12))
        builder.box((0.02, 0, 1.04), (0.72, 0.66, 0.09), skin)
        builder.tube((-0.32, -0.26, 0.12), (-0.32, 0.26, 0.12), 0.12, studio.rubber, sides=10)
    elif kind == "boxes":
        for _ in range(int(studio.rng.integers(2, 5))):
            size = studio.rng.uniform(0.3, 0.6, 3)
            card = studio.material(Texture.WOOD, (176, 138, 92), scale=0.5)
            builder.box(
                (*studio.rng.uniform(-0.5, 0.5, 2), size[2] / 2),
                size,
                card,
                yaw_rad=studio.uniform(0, 3),
            )
        for _ in range(int(studio.rng.integers(1, 4))):
            sack = studio.material(Texture.PAINT, (30, 31, 34), gloss=0.25)
            x, y = studio.rng.uniform(-0.6, 0.6, 2)
            builder.blob((x, y, 0.28), (0.35, 0.3, 0.3), sack, studio.rng, 0.12, 2)
    elif kind == "dog":
        fur = studio.material(Texture.CLOTH, studio.colour("hair"))
        builder.blob((0, 0, 0.48), (0.36, 0.13, 0.15), fur, studio.rng, 0.05, 2)
        builder.blob((0.42, 0, 0.66), (0.15, 0.09, 0.1), fur, level=2)
        builder.tube((0.28, 0, 0.5), (0.4, 0, 0.66), 0.08, fur)
        builder.tube((-0.34, 0, 0.55), (-0.55, 0, 0.75), 0.03, fur)
        for x in (-0.25, 0.25):
            for y in (-0.08, 0.08):
                builder.tube((x, y, 0.45), (x, y, 0.0), 0.045, fur, 0.03)
    elif kind == "rack":
        for x in np.arange(-1.5, 1.6, 0.75):
            for y in (-0.35, 0.35):
                builder.tube((x, y, 0), (x, y, 0.8), 0.03, studio.chrome)
            builder.tube((x, -0.36, 0.8), (x, 0.36, 0.8), 0.03, studio.chrome)
    else:
        mesh = studio.material(Texture.CORRUGATED, studio.colour("metal"), scale=0.1)
        builder.box((0, 0, 0.72), (0.85, 0.55, 0.5), mesh, top=(1.12, 1.1))
        builder.tube((-0.55, -0.28, 1.05), (-0.55, 0.28, 1.05), 0.03, studio.plastic)
        for x in (-0.35, 0.35):
            for y in (-0.22, 0.22):
                builder.tube((x, y, 0.5), (x, y, 0.08), 0.025, studio.chrome)
                builder.blob((x, y, 0.08), (0.08, 0.04, 0.08), studio.rubber)
    return studio.finished("others", builder.build())


def lamp_post(studio: Studio, height: float) -> Mesh:
    """A street lamp whose arm reaches forward (x)."""
    builder = studio.builder("manmade")
    steel = studio.material(Texture.PAINT, studio.colour("metal"), gloss=0.15)
    lamp = studio.material(Texture.PAINT, (255, 236, 196), emission=1.2)
    builder.tube((0, 0, -0.3), (0, 0, 1.0), 0.11, steel, sides=9)
    builder.tube((0, 0, 1.0), (0, 0, height), 0.075, steel, 0.05, sides=9)
    builder.tube((0, 0, height), (1.6, 0, height + 0.25), 0.045, steel, sides=7)
    builder.box((1.75, 0, height + 0.24), (0.75, 0.26, 0.12), steel)
    builder.box((1.78, 0, height + 0.17), (0.6, 0.2, 0.03), lamp)
    return builder.build()


def sign_post(studio: Studio) -> Mesh:
    """A traffic sign that looks forward (x): a disc, a triangle or a board."""
    builder = studio.builder("manmade")
    steel = studio.material(Texture.PAINT, studio.colour("metal"), gloss=0.2)
    height = studio.uniform(2.3, 2.8)
    builder.tube((0, 0, -0.2), (0, 0, height + 0.3), 0.035, steel, sides=7)
    face = studio.material(Texture.SIGN, studio.colour("sign"), (244, 244, 240))
    sides = studio.pick((16, 3, 4, 8))
    turn = {16: 0.0, 3: np.pi / 2, 4: np.pi / 4, 8: np.pi / 8}[sides]
    angle = np.arange(sides) * 2 * np.pi / sides + turn
    ring = 0.38 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    number = float(studio.rng.integers(1, 64)) + (100.0 if sides == 3 else 0.0)
    corners = np.column_stack([np.full(sides, 0.05), ring[:, 0], height + ring[:, 1]])
    plane = np.column_stack([ring / 0.38, np.full(sides, number)])
    hub, hub_plane = np.array([0.05, 0, height]), np.array([0, 0, number])
    builder.triangles(
        np.stack([corners, np.roll(corners, -1, 0), np.broadcast_to(hub, corners.shape)], 1),
        face,
        np.stack([plane, np.roll(plane, -1, 0), np.broadcast_to(hub_plane, plane.shape)], 1),
    )
    back = corners - (0.02, 0, 0)
    builder.fan(back, steel)
    return builder.build()


def traffic_light(studio: Studio) -> Mesh:
    """A signal on a mast that looks forward (x)."""
    builder = studio.builder("manmade")
    steel = studio.material(Texture.PAINT, studio.colour("metal"), gloss=0.1)
    builder.tube((0, 0, -0.2), (0, 0, 3.5), 0.07, steel, sides=8)
    lit = int(studio.rng.integers(3))
    colours = ((230, 30, 24), (244, 170, 30), (40, 210, 90))
    builder.box((0.1, 0, 2.95), (0.2, 0.32, 0.95), studio.plastic)
    for k, colour in enumerate(colours):
        glow = 0.9 if k == lit else 0.0
        dim = colour if k == lit else tuple(int(c * 0.22) for c in colour)
        lamp = studio.material(Texture.PAINT, (dim[0], dim[1], dim[2]), emission=glow)
        z = 3.24 - 0.29 * k
        builder.tube((0.2, 0, z), (0.225, 0, z), 0.105, lamp, sides=12)
        builder.box((0.28, 0, z + 0.12), (0.16, 0.24, 0.02), studio.plastic)
    return builder.build()


def shelter(studio: Studio) -> Mesh:
    """A bus stop with a bench, open to the front (x)."""
    builder = studio.builder("manmade")
    steel = studio.material(Texture.PAINT, studio.colour("metal"), gloss=0.2)
    pane = studio.material(Texture.PAINT, (150, 166, 164), gloss=0.6)
    wood = studio.material(Texture.WOOD, studio.colour("wood"), scale=0.12)
    for y in (-1.8, 1.8):
        for x in (-0.6, 0.5):
            builder.tube((x, y, 0), (x, y, 2.4), 0.04, steel)
        builder.box((-0.05, y, 1.3), (1.0, 0.02, 1.8), pane)
    builder.box((-0.62, 0, 1.3), (0.02, 3.5, 1.8), pane)
    builder.box((0.0, 0, 2.45), (1.6, 4.0, 0.1), steel)
    builder.box((-0.35, 0, 0.45), (0.4, 2.4, 0.06), wood)
    for y in (-1.0, 1.0):
        builder.box((-0.35, y, 0.22), (0.3, 0.06, 0.44), steel)
    poster = studio.material(Texture.LETTERS, studio.colour("awning"), (236, 230, 214), scale=0.25)
    builder.box((-0.05, 1.82, 1.35), (0.9, 0.05, 1.5), poster)
    return builder.build()


def bench(studio: Studio) -> Mesh:
    """A bench along y."""
    builder = studio.builder("manmade")
    wood = studio.material(Texture.WOOD, studio.colour("wood"), scale=0.1)
    builder.box((0, 0, 0.45), (0.45, 1.7, 0.05), wood)
    builder.box((-0.22, 0, 0.72), (0.05, 1.7, 0.3), wood)
    for y in (-0.7, 0.7):
        builder.box((0, y, 0.22), (0.4, 0.07, 0.44), studio.plastic)
    return builder.build()


def bollard(studio: Studio) -> Mesh:
    """A short post."""
    builder = studio.builder("manmade")
    steel = studio.material(Texture.PAINT, studio.colour("metal"), gloss=0.1)
    builder.tube((0, 0, -0.1), (0, 0, 0.9), 0.07, steel, sides=9)
    builder.tube((0, 0, 0.72), (0, 0, 0.8), 0.073, studio.chrome, sides=9)
    return builder.build()


def fence(studio: Studio, length: float) -> Mesh:
    """Along x from the origin: pickets, rails or a garden wall."""
    builder = studio.builder("manmade")
    kind = studio.pick(("pickets", "wall", "rails"))
    if kind == "wall":
        brick = studio.material(Texture.BRICK, studio.colour("brick"), studio.colour("plaster"))
        height = studio.uniform(0.7, 1.5)
        builder.box((length / 2, 0, height / 2 - 0.2), (length, 0.24, height + 0.4), brick)
        cap = studio.material(Texture.PLASTER, studio.colour("concrete"))
        builder.box((length / 2, 0, height + 0.03), (length, 0.3, 0.07), cap)
        return builder.build()
    steel = (
        studio.material(Texture.WOOD, studio.colour("wood"), scale=0.1)
        if kind == "pickets"
        else studio.material(Texture.PAINT, studio.colour("metal"), gloss=0.1)
    )
    height, gap = (1.0, 0.16) if kind == "pickets" else (1.2, 0.13)
    for z in (0.3, height - 0.15):
        builder.box((length / 2, 0, z), (length, 0.04, 0.06), steel)
    for x in np.arange(gap / 2, length, gap):
        wide = 0.09 if kind == "pickets" else 0.025
        builder.box((x, 0.02, height / 2), (wide, 0.025, height), steel)
    return builder.build()
