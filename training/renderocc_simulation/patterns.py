"""The colours of surfaces: for each texture kind, reflectance at points of a surface.

Notation: N points; ``at`` (3, N) texture coordinates; ``on`` (2, N) metres on the surface, upwards
second where the surface stands; ``foot`` (N,) metres that a pixel covers; colours (3, N). Lines
thinner than a pixel fade instead of flickering.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from renderocc_simulation import textures
from renderocc_simulation.markings import marking
from renderocc_simulation.materials import Texture

Float32 = NDArray[np.float32]

YELLOWED = np.array([[1.0], [0.62], [0.12]], np.float32)
MORTAR = CURTAIN = np.array([[0.42], [0.40], [0.36]], np.float32)
GLASS = np.array([[0.022], [0.027], [0.032]], np.float32)


@dataclass(frozen=True, eq=False)
class Spots:
    """Points on surfaces of one texture kind."""

    at: Float32
    on: Float32
    foot: Float32
    colour: Float32
    second: Float32
    scale: Float32
    options: Float32


@dataclass(frozen=True, eq=False)
class Look:
    """What a pattern says: reflectance (3, N); gloss and emission (N,) where it changes them."""

    albedo: Float32
    gloss: Float32 | None = None
    emission: Float32 | None = None


def _mix(a: Float32, b: Float32, share: Float32) -> Float32:
    return a + (b - a) * share


def _hash(*numbers: Float32) -> Float32:
    """Chance (N,) in [0, 1) that depends on whole numbers alone."""
    total = np.zeros(len(numbers[0]), np.int64)
    for number, factor in zip(numbers, (374761393, 668265263, 2147483647), strict=False):
        total += number.astype(np.int64) * factor
    total = (total ^ (total >> 13)) * 1274126177
    total ^= total >> 16
    return ((total & 0xFFFF) / 65536.0).astype(np.float32)


def _line(distance: Float32, half_width: float, foot: Float32) -> Float32:
    """Coverage (N,) of a line by a pixel whose middle is ``distance`` from the line's middle."""
    wide = np.maximum(foot, 1e-4)
    low = np.maximum(distance - wide / 2, -half_width)
    high = np.minimum(distance + wide / 2, half_width)
    return np.asarray(np.clip((high - low) / wide, 0, 1), np.float32)


def _to_cell_edge(position: Float32, pitch: Float32 | float) -> Float32:
    """Distance to the nearest multiple of a pitch."""
    phase = np.mod(position, pitch)
    return np.minimum(phase, pitch - phase)


def _stretch(across: float, up: float) -> Float32:
    return np.array([[across], [up]], np.float32)


def paint(s: Spots) -> Look:
    dirt = textures.fractal()(s.on, 2.4, s.foot)
    return Look(s.colour * (0.90 + 0.2 * dirt))


def asphalt(s: Spots) -> Look:
    where = s.at[:2]
    stain = textures.fractal()(where, 23.0, s.foot)
    grit = textures.streaks()(where, 1.7, s.foot)
    tone = (0.68 + 0.5 * stain) * (0.80 + 0.4 * grit)
    patch = _hash(np.floor(where[0] / 6.3), np.floor(where[1] / 2.1), s.at[2])
    tone = np.where(patch > 0.93, tone * 0.72, tone)
    lines = textures.cracks()(where, 17.0, s.foot)
    tone = tone * (0.62 + 0.38 * lines)
    albedo = s.colour * tone
    cover, kind = marking(s.at, s.foot)
    worn = np.clip(1.35 - 0.9 * textures.streaks()(where, 3.1, s.foot), 0.25, 1.0)
    painted = np.where(kind == 2, s.second * YELLOWED, s.second)
    return Look(_mix(albedo, painted, cover * worn))


def paving(s: Spots) -> Look:
    slab = s.on / s.scale
    cell = np.floor(slab)
    tone = 0.86 + 0.24 * _hash(cell[0], cell[1])
    tone = tone * (0.82 + 0.36 * textures.fractal()(s.on, 5.0, s.foot))
    tone = tone * (0.92 + 0.16 * textures.streaks()(s.on, 1.1, s.foot))
    edge = np.minimum(_to_cell_edge(s.on[0], s.scale), _to_cell_edge(s.on[1], s.scale))
    return Look(s.colour * (tone * (1 - 0.5 * _line(edge, 0.011, s.foot))))


def grass(s: Spots) -> Look:
    patchy = textures.fractal()(s.on, 19.0, s.foot)
    blades = textures.streaks()(s.on, 0.9, s.foot)
    bare = np.clip((patchy - 0.66) * 6, 0, 1)
    tone = 0.65 + 0.7 * textures.fractal()(s.on, 3.3, s.foot)
    albedo = _mix(s.colour * tone, s.second, bare)
    return Look(albedo * (0.5 + 1.0 * blades))


def gravel(s: Spots) -> Look:
    stones = textures.pebbles()(s.on, 2.6, s.foot)
    heaps = textures.fractal()(s.on, 11.0, s.foot)
    return Look(s.colour * ((0.5 + 0.75 * stones) * (0.7 + 0.6 * heaps)))


def _brickwork(s: Spots) -> Float32:
    row = np.floor(s.on[1] / 0.075)
    shifted = s.on[0] + 0.12 * np.mod(row, 2)
    column = np.floor(shifted / 0.24)
    tone = 0.78 + 0.44 * _hash(row, column)
    joint = np.maximum(
        _line(_to_cell_edge(s.on[1], 0.075), 0.006, s.foot),
        _line(_to_cell_edge(shifted, 0.24), 0.006, s.foot),
    )
    weather = 0.75 + 0.5 * textures.fractal()(s.on, 6.0, s.foot)
    return _mix(s.colour * (tone * weather), MORTAR, joint * 0.8)


def brick(s: Spots) -> Look:
    return Look(_brickwork(s))


def _rendered_wall(s: Spots) -> Float32:
    stains = textures.fractal()(s.on, 7.0, s.foot)
    runs = textures.fractal()(s.on * _stretch(1.0, 0.12), 2.2, s.foot)
    return np.asarray(s.colour * ((0.78 + 0.32 * stains) * (0.86 + 0.24 * runs)))


def plaster(s: Spots) -> Look:
    return Look(_rendered_wall(s))


def facade(s: Spots) -> Look:
    """Rows of windows; see ``assets.buildings`` for the options."""
    along, up, number = s.at
    shop = s.options[0] > 10
    spacing = s.options[0] - 10 * shop
    wide, sill, high = s.options[1:]
    wall = np.where(s.scale > 0.5, _brickwork(s), _rendered_wall(s))
    level = up - 0.5
    ground = shop & (level < 2.9)
    spacing = np.where(ground, 3.0, spacing)
    wide, sill, high = (
        np.where(ground, value, other) for value, other in ((2.6, wide), (0.35, sill), (2.1, high))
    )
    column, floor = np.floor(along / spacing), np.floor(level / 3.0)
    x = np.mod(along, spacing) - spacing / 2
    y = level - floor * 3.0 - sill
    inside = (np.abs(x) < wide / 2) & (y > 0) & (y < high) & (level > 0)
    rim = np.minimum(np.minimum(wide / 2 - np.abs(x), y), high - y)
    rim = np.minimum(rim, np.abs(x) + np.where(wide > 1.3, 0.0, 1.0))
    frame = inside & (rim < 0.07)
    pane = inside & ~frame
    chance = _hash(column, floor, number)
    curtain = pane & (chance > 0.55) & (y > high * (0.2 + 0.6 * np.mod(chance * 37, 1)))
    lit = pane & (np.mod(chance * 91, 1) > 0.62)
    reveal = inside & (y > high - 0.22)  # the lintel's shadow on the glass
    ledge = (np.abs(x) < wide / 2 + 0.12) & (y < 0.0) & (y > -0.12) & (level > 0)
    plinth = level < 0.35
    albedo = wall * np.where(plinth, 0.55, 1.0).astype(np.float32)
    albedo = np.where(ledge, s.second * 0.8, albedo)
    albedo = np.where(frame, s.second, albedo)
    albedo = np.where(pane, np.where(curtain, CURTAIN, GLASS), albedo)
    albedo = np.where(reveal & ~frame, albedo * 0.45, albedo)
    warm = np.where(lit, 0.16 + 0.12 * np.mod(chance * 17, 1), 0.0).astype(np.float32)
    gloss = np.where(pane & ~curtain, 0.85, np.where(curtain, 0.35, 0.0)).astype(np.float32)
    warm *= np.where(curtain, 0.7, 1.0).astype(np.float32)
    return Look(np.asarray(albedo, dtype=np.float32), gloss, warm)


def bark(s: Spots) -> Look:
    ridges = textures.streaks()(s.on * _stretch(3.0, 0.6), 1.6, s.foot)
    return Look(s.colour * (0.5 + 0.9 * ridges))


def leaves(s: Spots) -> Look:
    shape = textures.foliage()(s.on / s.scale, 3.6, s.foot / s.scale)
    big = textures.fractal()(s.on, 3.0, s.foot)
    return Look(_mix(s.second, s.colour * 1.25, shape) * (0.6 + 0.8 * big))


def stripes(s: Spots) -> Look:
    kind = s.options[0]
    level = np.where(kind == 0, s.at[2], np.where(kind == 1, s.on[0] + s.on[1], s.on[0]))
    odd = np.mod(np.floor(level / s.scale), 2) > 0
    dirt = 0.85 + 0.25 * textures.fractal()(s.on, 1.1, s.foot)
    return Look(np.where(odd, s.second, s.colour) * dirt)


def cloth(s: Spots) -> Look:
    folds = textures.fractal()(s.on * _stretch(1.6, 0.8), 1.3, s.foot)
    return Look(s.colour * (0.6 + 0.8 * folds))


def wood(s: Spots) -> Look:
    across = s.on[1]
    board = np.floor(across / s.scale)
    tone = 0.75 + 0.4 * _hash(board, board * 0)
    grain = textures.streaks()(s.on * _stretch(0.25, 3.0), 1.5, s.foot)
    gap = _line(_to_cell_edge(across, s.scale), 0.006, s.foot)
    return Look(s.colour * (tone * (0.8 + 0.4 * grain) * (1 - 0.6 * gap)))


def corrugated(s: Spots) -> Look:
    wave = np.sin(s.on[0] * (2 * np.pi / s.scale))
    fade = np.clip(1.2 - s.foot * 2.5 / s.scale, 0, 1)
    dirt = textures.fractal()(s.on * _stretch(1.0, 0.4), 5.0, s.foot)
    return Look(s.colour * ((1 + 0.28 * wave * fade) * (0.8 + 0.35 * dirt)))


def sign(s: Spots) -> Look:
    x, y, number = s.at
    triangle = number > 100
    radius = np.where(
        triangle, np.maximum(np.abs(x) * 1.6, np.abs(y)) * 0.95 + 0.25, np.hypot(x, y)
    )
    inverted = np.mod(number, 3) == 0
    glyph_x, glyph_y = np.floor(x * 5 + 0.5), np.floor(y * 4)
    glyph = (_hash(glyph_x, glyph_y, number) > 0.5) & (np.abs(x) < 0.42) & (np.abs(y) < 0.42)
    field = np.where(inverted, s.colour, s.second)
    mark = np.where(inverted, s.second, np.float32(0.02))
    albedo = np.where(glyph, mark, field)
    return Look(np.where(radius > 0.78, s.colour, albedo))


def letters(s: Spots) -> Look:
    size = s.scale
    column, row = np.floor(s.on[0] / (size * 0.7)), np.floor(s.on[1] / (size * 1.5))
    x, y = np.mod(s.on[0] / (size * 0.7), 1), np.mod(s.on[1] / (size * 1.5), 1)
    stroke = _hash(column * 4 + np.floor(x * 4), row * 5 + np.floor(y * 5)) > 0.42
    body = (x > 0.12) & (x < 0.88) & (y > 0.15) & (y < 0.85) & (_hash(column, row) > 0.15)
    ink = (stroke & body).astype(np.float32)
    strength = np.clip(1.3 - s.foot / (size * 0.25), 0.35, 1)
    return Look(_mix(s.colour, s.second, ink * strength), emission=0.1 + 0.9 * ink)


PATTERNS: dict[Texture, Callable[[Spots], Look]] = {
    Texture.PAINT: paint,
    Texture.ASPHALT: asphalt,
    Texture.PAVING: paving,
    Texture.GRASS: grass,
    Texture.BRICK: brick,
    Texture.PLASTER: plaster,
    Texture.FACADE: facade,
    Texture.BARK: bark,
    Texture.LEAVES: leaves,
    Texture.STRIPES: stripes,
    Texture.CLOTH: cloth,
    Texture.GRAVEL: gravel,
    Texture.WOOD: wood,
    Texture.SIGN: sign,
    Texture.CORRUGATED: corrugated,
    Texture.LETTERS: letters,
}
