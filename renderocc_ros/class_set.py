"""Class sets: ids, names and colours of the semantic classes, which of them move, what is free."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

IGNORE_ID = 255  # a pixel or voxel of which nothing is known; never the id of a class
OCCUPIED_ID = 254  # a voxel that something is in, but nobody knows what; in labels alone


@dataclass(frozen=True)
class SemanticClass:
    """One class.

    Attributes:
        id: its place in the network's output.
        name: unique in its set.
        colour: (r, g, b) of 0 to 255.
        moves: things of this class can move.
        ground: things of this class are surfaces that one drives or walks on.
    """

    id: int
    name: str
    colour: tuple[int, int, int]
    moves: bool = False
    ground: bool = False


@dataclass(frozen=True)
class ClassSet:
    """The classes that a network tells apart, in the order of their ids 0, 1, 2 …

    Attributes:
        name: identifies the table in messages and checkpoints, "occ3d" for example.
        classes: the occupied classes.
    """

    name: str
    classes: tuple[SemanticClass, ...]

    def __post_init__(self) -> None:
        if not 1 <= len(self.classes) < OCCUPIED_ID:
            raise ValueError(
                f"class set '{self.name}': {len(self.classes)} classes; 1 to {OCCUPIED_ID - 1} fit"
            )
        ids = [entry.id for entry in self.classes]
        if ids != list(range(len(ids))):
            raise ValueError(f"class set '{self.name}': ids must be 0, 1, 2 … in order, got {ids}")
        names = [entry.name for entry in self.classes]
        twice = sorted({name for name in names if names.count(name) > 1} | {"free"} & set(names))
        if twice:
            raise ValueError(
                f"class set '{self.name}': names {twice} are taken; every class needs its own"
            )
        for entry in self.classes:
            if len(entry.colour) != 3 or not all(0 <= value <= 255 for value in entry.colour):
                raise ValueError(
                    f"class set '{self.name}': colour {entry.colour} of '{entry.name}' must be "
                    "three numbers from 0 to 255"
                )

    def __len__(self) -> int:
        return len(self.classes)

    @property
    def free_id(self) -> int:
        """Label of a free voxel."""
        return len(self.classes)

    @property
    def names(self) -> tuple[str, ...]:
        """The classes' names in id order, without free."""
        return tuple(entry.name for entry in self.classes)

    @cached_property
    def colours(self) -> NDArray[np.uint8]:
        """(256, 3) uint8 table from label to colour; white for ids that are no class."""
        table = np.full((256, 3), 255, dtype=np.uint8)
        for entry in self.classes:
            table[entry.id] = entry.colour
        return table

    @cached_property
    def moving_ids(self) -> frozenset[int]:
        """Ids of the classes that can move."""
        return frozenset(entry.id for entry in self.classes if entry.moves)

    @cached_property
    def ground_ids(self) -> frozenset[int]:
        """Ids of the classes that are ground."""
        return frozenset(entry.id for entry in self.classes if entry.ground)

    @property
    def moving_names(self) -> tuple[str, ...]:
        """Names of the classes that can move."""
        return tuple(entry.name for entry in self.classes if entry.moves)

    @property
    def obstacle_names(self) -> tuple[str, ...]:
        """Names of the classes that are not ground."""
        return tuple(entry.name for entry in self.classes if not entry.ground)

    def keeping(self, names: Collection[str]) -> NDArray[np.uint8]:
        """(256,) uint8 table from label to label: classes that are not named become unknown."""
        table = np.arange(256, dtype=np.uint8)
        table[[entry.id for entry in self.classes if entry.name not in names]] = IGNORE_ID
        return table

    def id_of(self, name: str) -> int:
        """Id of a class by its name; ``free`` is one.

        Raises:
            ValueError: no class has this name.
        """
        if name == "free":
            return self.free_id
        if name not in self.names:
            raise ValueError(f"class set '{self.name}' has no '{name}': {', '.join(self.names)}")
        return self.names.index(name)
