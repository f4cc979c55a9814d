"""Where assets are made: the split's palette, the material table and a source of chance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from renderocc_ros.class_set import ClassSet
from renderocc_simulation.assets.palettes import PALETTES, Split
from renderocc_simulation.materials import Colour, Material, MaterialTable, Texture
from renderocc_simulation.mesh import Mesh, MeshBuilder

Choice = TypeVar("Choice")


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
    """Makes materials and picks from the split's catalogue."""

    def __init__(
        self, split: Split, rng: np.random.Generator, table: MaterialTable, classes: ClassSet
    ) -> None:
        self.split: Split = split
        self.rng = rng
        self.table = table
        self.classes = classes

    def builder(self, class_name: str) -> MeshBuilder:
        """A builder of shapes of a class."""
        return MeshBuilder(self.classes.id_of(class_name))

    def colour(self, kind: str) -> Colour:
        """One of the palette's colours, slightly varied."""
        entries = PALETTES[self.split][kind]
        base = np.array(entries[self.rng.integers(len(entries))])
        varied = np.clip(base + self.rng.normal(0, 3.0) + self.rng.normal(0, 2.0, 3), 0, 255)
        red, green, blue = (int(value) for value in varied)
        return (red, green, blue)

    def pick(self, options: Sequence[Choice]) -> Choice:
        """One of several, all alike likely."""
        return options[int(self.rng.integers(len(options)))]

    def uniform(self, low: float, high: float) -> float:
        """A number between two."""
        return float(self.rng.uniform(low, high))

    def chance(self, probability: float) -> bool:
        """True with this probability."""
        return bool(self.rng.random() < probability)

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


def finished(class_name: str, mesh: Mesh, limbs: tuple[Mesh, ...] = ()) -> Asset:
    """An asset whose origin is moved under the middle of its box."""
    low, high = (corner.astype(np.float64) for corner in mesh.bounds_m)
    shift = np.array([(low[0] + high[0]) / 2, (low[1] + high[1]) / 2, 0.0], dtype=np.float32)
    centred = [replace(part, points=part.points - shift) for part in (mesh, *limbs)]
    length, width, height = (high - low).tolist()
    return Asset(class_name, centred[0], (length, width, height), tuple(centred[1:]))
