"""Where assets are made: the split's palette, the material table and a source of chance."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from renderocc_ros.class_set import ClassSet
from renderocc_simulation.assets.palettes import PALETTES, Split
from renderocc_simulation.materials import Colour, Material, MaterialTable, Texture
from renderocc_simulation.mesh import Mesh, MeshBuilder

Choice = TypeVar("Choice")
# What people paint or dye as they please; leaves, skin and roads have colours of their own.
PAINTED = frozenset(
    (
        *("paint", "bus", "cab", "cargo", "machine", "cycle", "cloth", "trousers"),
        *("cone", "barrier", "bin", "metal", "sign", "awning"),
    )
)
ANY_TEXTURE = (
    Texture.PAINT,
    Texture.PAINT,
    Texture.CORRUGATED,
    Texture.CLOTH,
    Texture.WOOD,
    Texture.STRIPES,
    Texture.LETTERS,
    Texture.GRAVEL,
)


@dataclass(frozen=True, eq=False)
class Asset:
    """A thing that has a box: an agent, a cone, a barrier.

    Attributes:
        class_name: of the class set.
        mesh: in the asset's frame: x forward, z up, origin under the middle of its box.
        size_m: length, width, height.
        limbs: meshes of a walking cycle in place of ``mesh``, for people on foot.
    """

    class_name: str
    mesh: Mesh
    size_m: tuple[float, float, float]
    limbs: tuple[Mesh, ...] = ()


class Studio:
    """Makes materials and picks from the split's catalogue.

    Args:
        variety: a source of chance of its own, if things are to look like nothing in the catalogue:
            colours, proportions and loads are then drawn from wide ranges about it.
    """

    def __init__(
        self,
        split: Split,
        rng: np.random.Generator,
        table: MaterialTable,
        classes: ClassSet,
        variety: np.random.Generator | None = None,
    ) -> None:
        self.split: Split = split
        self.rng = rng
        self.table = table
        self.classes = classes
        self.variety = variety

    def builder(self, class_name: str) -> MeshBuilder:
        """A builder of shapes of a class."""
        return MeshBuilder(self.classes.id_of(class_name))

    def colour(self, kind: str) -> Colour:
        """One of the palette's colours, slightly varied."""
        entries = PALETTES[self.split][kind]
        base = np.array(entries[self.rng.integers(len(entries))])
        varied = np.clip(base + self.rng.normal(0, 3.0) + self.rng.normal(0, 2.0, 3), 0, 255)
        if self.variety is not None:
            varied = self._other_colour(varied, kind, self.variety)
        red, green, blue = (int(value) for value in varied)
        return (red, green, blue)

    def _other_colour(
        self, colour: NDArray[np.float64], kind: str, chance: np.random.Generator
    ) -> NDArray[np.float64]:
        """Any colour, or one between two of the palette, lighter or darker."""
        if kind in PAINTED and chance.random() < 0.4:
            hsv = (chance.uniform(0, 360), chance.beta(1.2, 1.5), chance.uniform(0.06, 0.96))
            pixel = cv2.cvtColor(np.array([[hsv]], np.float32), cv2.COLOR_HSV2RGB)[0, 0]
            return np.asarray(pixel, np.float64) * 255
        other = PALETTES[self.split][kind][chance.integers(len(PALETTES[self.split][kind]))]
        share = chance.random()
        mixed = share * colour + (1 - share) * np.array(other)
        light = np.exp(chance.normal(0, 0.22))
        return np.asarray(np.clip(mixed * light + chance.normal(0, 5.0, 3), 0, 255))

    def blended(
        self, entry: tuple[float, ...], entries: Collection[tuple[float, ...]]
    ) -> tuple[float, ...]:
        """Proportions from the catalogue; with variety somewhere between all of its entries."""
        if self.variety is None:
            return entry
        table = np.array(list(entries))
        weights = self.variety.dirichlet(np.full(len(table), 0.5))
        spread = np.exp(self.variety.normal(0, 0.06, table.shape[1]))
        return tuple((weights @ table * spread).tolist())

    def stretched(self, mesh: Mesh, limit: float) -> Mesh:
        """A mesh, with variety longer or shorter along each axis by up to a factor of e^limit."""
        return self._stretched([mesh], limit)[0]

    def _stretched(self, meshes: Sequence[Mesh], limit: float) -> list[Mesh]:
        if self.variety is None:
            return list(meshes)
        factors = np.exp(self.variety.uniform(-limit, limit, 3)).astype(np.float32)
        return [replace(mesh, points=mesh.points * factors) for mesh in meshes]

    def finished(self, class_name: str, mesh: Mesh, limbs: tuple[Mesh, ...] = ()) -> Asset:
        """An asset whose origin is moved under the middle of its box."""
        mesh, *rest = self._stretched((mesh, *limbs), 0.12)
        low, high = (corner.astype(np.float64) for corner in mesh.bounds_m)
        shift = np.array([(low[0] + high[0]) / 2, (low[1] + high[1]) / 2, 0.0], dtype=np.float32)
        centred = [replace(part, points=part.points - shift) for part in (mesh, *rest)]
        length, width, height = (high - low).tolist()
        return Asset(class_name, centred[0], (length, width, height), tuple(centred[1:]))

    def pick(self, options: Sequence[Choice]) -> Choice:
        """One of several, all alike likely."""
        return options[int(self.rng.integers(len(options)))]

    def uniform(self, low: float, high: float) -> float:
        """A number between two."""
        return float(self.rng.uniform(low, high))

    def chance(self, probability: float) -> bool:
        """True with this probability."""
        return bool(self.rng.random() < probability)

    def anything(self) -> int:
        """A material of any pattern that does not need texture coordinates, and any colours."""
        texture = self.pick(ANY_TEXTURE)
        first, second = (self.colour(kind) for kind in ("cargo", "cab"))
        return self.material(texture, first, second, self.uniform(0.1, 0.6), self.uniform(0, 0.4))

    def material(
        self,
        texture: Texture,
        colour: Colour,
        second: Colour = (0, 0, 0),
        scale: float = 1.0,
        gloss: float = 0.0,
        emission: float = 0.0,
        options: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0),
    ) -> int:
        """A row of the table; see ``Material``."""
        return self.table.add(Material(texture, colour, second, scale, gloss, emission, options))

    def paint(self, colour: Colour, gloss: float = 0.35) -> int:
        """Sheet metal."""
        return self.material(Texture.PAINT, colour, gloss=gloss)

    @property
    def rubber(self) -> int:
        """Tyres, seals."""
        return self.material(Texture.PAINT, (26, 26, 27))

    @property
    def plastic(self) -> int:
        """Bumpers, dashboards."""
        return self.material(Texture.PAINT, (40, 41, 43), gloss=0.05)

    @property
    def glass(self) -> int:
        """Car windows from outside."""
        return self.material(Texture.PAINT, (16, 20, 23), gloss=0.9)

    @property
    def chrome(self) -> int:
        """Rims, mirrors."""
        return self.material(Texture.PAINT, (150, 152, 155), gloss=0.45)

    @property
    def headlight(self) -> int:
        """White lamps."""
        return self.material(Texture.PAINT, (235, 235, 225), gloss=0.5, emission=0.9)

    @property
    def taillight(self) -> int:
        """Red lamps."""
        return self.material(Texture.PAINT, (170, 14, 16), gloss=0.4, emission=0.25)

    @property
    def indicator(self) -> int:
        """Amber lamps and beacons."""
        return self.material(Texture.PAINT, (240, 140, 20), gloss=0.3, emission=0.3)
