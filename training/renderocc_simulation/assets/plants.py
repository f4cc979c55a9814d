"""Trees, bushes and hedges: a closed lumpy crown with a fringe of single leaves close to it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from renderocc_simulation.assets.palettes import TREE_KINDS
from renderocc_simulation.assets.studio import Studio
from renderocc_simulation.materials import Texture
from renderocc_simulation.mesh import Mesh, MeshBuilder

CONIFERS = ("conifer", "pine")
FRINGE_M = 0.10  # how far a leaf strays from the crown's surface


def tree(studio: Studio, conifer: bool) -> Mesh:
    """A tree of one of the split's kinds, 4 to 12 m high."""
    kinds = [kind for kind in TREE_KINDS[studio.split] if (kind in CONIFERS) == conifer]
    kind = studio.pick(kinds)
    builder = studio.builder("vegetation")
    bark = studio.material(Texture.BARK, studio.colour("bark"))
    if conifer:
        return _conifer(studio, builder, bark, bare=0.9 if kind == "conifer" else 2.6)
    green = studio.colour("leaves")
    leaf = studio.material(Texture.LEAVES, green, _darker(green), scale=studio.uniform(0.5, 0.9))
    shapes = {  # stem, crown radius, crown half height, lumps
        "round": (2.3, 1.9, 1.9, 5),
        "tall": (3.0, 1.7, 3.0, 6),
        "spreading": (2.6, 2.7, 1.5, 7),
        "columnar": (1.4, 1.0, 3.2, 5),
    }
    stem, wide, high, lumps = shapes[kind]
    size = studio.uniform(0.8, 1.3)
    stem, wide, high = stem * size, wide * size, high * size
    lean = studio.rng.normal(0, 0.12, 2)
    thick = 0.11 + 0.06 * size * wide / 2
    top = np.array([*lean, stem + high * 0.7])
    builder.tube((0, 0, -0.3), (0, 0, 0.25), thick * 1.5, bark, thick, sides=9, caps=False)
    builder.tube((0, 0, 0.25), top, thick, bark, thick * 0.45, sides=9)
    middle = np.array([*lean, stem + high])
    for k in range(lumps):
        angle = 2 * np.pi * k / lumps + studio.uniform(0, 0.8)
        out = wide * 0.5 if k else 0.0
        up = studio.uniform(-0.45, 0.45) * high if k else 0.1 * high
        centre = np.add(middle, (out * np.cos(angle), out * np.sin(angle), up))
        radii = np.array([wide * 0.62, wide * 0.62, high * 0.62]) * studio.uniform(0.85, 1.15)
        _foliage(studio, builder, centre, radii, leaf, 240)
        if k:
            builder.tube((*lean * 0.7, stem * 0.95), centre, thick * 0.4, bark, 0.03, sides=5)
    return builder.build()


def _foliage(
    studio: Studio,
    builder: MeshBuilder,
    centre: NDArray[np.float64],
    radii: NDArray[np.float64],
    leaf: int,
    count: int,
) -> None:
    builder.blob(centre, radii, leaf, studio.rng, 0.16, 2)
    direction = studio.rng.normal(size=(count, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    spots = centre + direction * (radii * 1.03 + studio.rng.uniform(-0.1, FRINGE_M, (count, 1)))
    builder.leaves(spots, 0.20, leaf, studio.rng)


def _conifer(studio: Studio, builder: MeshBuilder, bark: int, bare: float) -> Mesh:
    green = studio.colour("needles")
    leaf = studio.material(Texture.LEAVES, green, _darker(green), scale=0.4)
    height, wide = studio.uniform(6, 11), studio.uniform(1.4, 2.1)
    builder.tube((0, 0, -0.3), (0, 0, height * 0.9), 0.17, bark, 0.05, sides=8)
    tiers = 7
    for k in range(tiers):
        low = bare + (height - bare) * k / tiers
        high = bare + (height - bare) * min((k + 1.9) / tiers, 1.0)
        radius = wide * (1 - k / tiers) + 0.15
        angle = np.arange(18) * 2 * np.pi / 18
        jag = radius * (1 + 0.16 * np.where(np.arange(18) % 2, 1, -1) * studio.uniform(0.7, 1.2))
        sag = low - 0.25 * (np.arange(18) % 2)
        ring = np.column_stack([jag * np.cos(angle), jag * np.sin(angle), sag])
        tip = np.column_stack([0.04 * np.cos(angle), 0.04 * np.sin(angle), np.full(18, high)])
        builder.loft([ring, tip], leaf)
    return builder.build()


def bush(studio: Studio) -> Mesh:
    """A shrub, about a metre high."""
    builder = studio.builder("vegetation")
    green = studio.colour("leaves")
    leaf = studio.material(Texture.LEAVES, green, _darker(green), scale=0.35)
    for _ in range(int(studio.rng.integers(2, 4))):
        radii = np.array([0.55, 0.55, 0.5]) * studio.uniform(0.7, 1.3)
        spot = np.array([*studio.rng.uniform(-0.4, 0.4, 2), radii[2] * 0.8])
        _foliage(studio, builder, spot, radii, leaf, 110)
    return builder.build()


def hedge(studio: Studio, length: float) -> Mesh:
    """Along x from the origin."""
    builder = studio.builder("vegetation")
    green = studio.colour("leaves")
    leaf = studio.material(Texture.LEAVES, green, _darker(green), scale=0.4)
    height = studio.uniform(0.9, 1.7)
    builder.box((length / 2, 0, height / 2 - 0.1), (length, 0.7, height + 0.2), leaf, (1, 0.88))
    count = int(length * 50)
    spots = studio.rng.uniform((0, -0.38, 0.1), (length, 0.38, height), (count, 3))
    side = studio.rng.random(count)
    spots[side < 0.4, 1] = -0.37
    spots[side > 0.6, 1] = 0.37
    spots[(side > 0.4) & (side < 0.6), 2] = height
    builder.leaves(spots, 0.15, leaf, studio.rng)
    return builder.build()


def _darker(colour: tuple[int, int, int]) -> tuple[int, int, int]:
    red, green, blue = (int(value * 0.45) for value in colour)
    return red, green, blue
