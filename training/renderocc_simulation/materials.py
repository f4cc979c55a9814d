"""Materials: how a surface looks. The shader reads them as rows of one table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

Colour = tuple[int, int, int]


class Texture(IntEnum):
    """The pattern that mixes a material's two colours; see ``shading``."""

    PAINT = 0  # nearly plain: faint dirt
    ASPHALT = 1  # grain, patches, cracks, lane markings; texture: (along, across, road kind)
    PAVING = 2  # slabs with joints; scale: slab edge in metres
    GRASS = 3  # blades, bare spots
    BRICK = 4  # courses of bricks with mortar
    PLASTER = 5  # stains, runs from the top
    FACADE = 6  # windows in a wall; texture: (along, up, wall number)
    BARK = 7
    LEAVES = 8
    STRIPES = 9  # diagonal or level bands of both colours; scale: width in metres
    CLOTH = 10
    GRAVEL = 11
    WOOD = 12  # boards; scale: board width in metres
    SIGN = 13  # a disc or board with a rim; texture: (-1..1, -1..1, sign number)
    CORRUGATED = 14  # ribs; scale: rib spacing in metres
    LETTERS = 15  # a band of blocks like writing; texture: (along, up, number)


@dataclass(frozen=True)
class Material:
    """One way to look.

    Attributes:
        texture: the pattern.
        colour, second: sRGB, 0 to 255; what they are used for is the pattern's.
        scale: size of the pattern, metres.
        gloss: 0 matt to 1 mirror-like; glass and new paint reflect the sky.
        emission: light given off, in units of a white wall in full sun; seen above all at dusk.
        options: four further numbers of the pattern.
    """

    texture: Texture
    colour: Colour
    second: Colour = (0, 0, 0)
    scale: float = 1.0
    gloss: float = 0.0
    emission: float = 0.0
    options: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)


def linear(colour: Sequence[float]) -> NDArray[np.float32]:
    """Linear reflectance (3,) of an sRGB colour of 0 to 255 (IEC 61966-2-1)."""
    c = np.asarray(colour, dtype=np.float64) / 255
    low, high = c / 12.92, ((c + 0.055) / 1.055) ** 2.4
    return np.where(c <= 0.04045, low, high).astype(np.float32)


@dataclass(frozen=True, eq=False)
class MaterialRows:
    """The table as arrays, one row a material."""

    texture: NDArray[np.uint8]
    colour: NDArray[np.float32]
    second: NDArray[np.float32]
    scale: NDArray[np.float32]
    gloss: NDArray[np.float32]
    emission: NDArray[np.float32]
    options: NDArray[np.float32]


class MaterialTable:
    """Gives each distinct material a row number."""

    def __init__(self) -> None:
        self._rows: dict[Material, int] = {}

    def add(self, material: Material) -> int:
        """The row of this material."""
        return self._rows.setdefault(material, len(self._rows))

    def __len__(self) -> int:
        return len(self._rows)

    def rows(self) -> MaterialRows:
        """All materials as arrays."""
        table = list(self._rows)
        return MaterialRows(
            np.array([entry.texture for entry in table], np.uint8),
            np.stack([linear(entry.colour) for entry in table]),
            np.stack([linear(entry.second) for entry in table]),
            np.array([entry.scale for entry in table], np.float32),
            np.array([entry.gloss for entry in table], np.float32),
            np.array([entry.emission for entry in table], np.float32),
            np.array([entry.options for entry in table], np.float32),
        )
