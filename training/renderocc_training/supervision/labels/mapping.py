"""Mapping files: from the words of a data set or a model to the names of a class set."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from renderocc_ros.class_set import IGNORE_ID, ClassSet
from renderocc_ros.config import StrictModel, config_path, load_yaml

IGNORE, SKY = "ignore", "sky"


class NameMapping(StrictModel):
    """Names of a model's classes to names of a class set; for segmentation models."""

    kind: Literal["names"]
    class_set: str = Field("occ3d", description="class set that the right-hand names belong to")
    classes: dict[str, tuple[str, ...]] = Field(
        description="class name, 'sky' or 'ignore' to the model's names for it"
    )

    @model_validator(mode="after")
    def _names_once(self) -> NameMapping:
        targets: dict[str, str] = {}
        for target, name in self.pairs():
            if targets.setdefault(_plain(name), target) != target:
                raise ValueError(
                    f"'{name}' stands under '{targets[_plain(name)]}' and under '{target}'"
                )
        return self

    def pairs(self) -> list[tuple[str, str]]:
        """(class name, model's name) of every entry."""
        return [(target, name) for target, names in self.classes.items() for name in names]

    def table(self, names: Mapping[int, str], class_set: ClassSet, where: str) -> NDArray[np.uint8]:
        """(256,) or more: model's class number to class id; sky becomes the free id.

        Args:
            names: of the model's classes by their number.
            where: names the model in messages.

        Raises:
            ValueError: the model has a class that the mapping does not know.
        """
        known = {_plain(name): target for target, name in self.pairs()}
        missing = sorted(name for name in names.values() if _plain(name) not in known)
        if missing:
            near = get_close_matches(_plain(missing[0]), known, n=1)
            hint = f"; is '{missing[0]}' meant by '{near[0]}'?" if near else ""
            raise ValueError(
                f"{where} has {len(missing)} classes that the mapping file lacks: "
                f"{', '.join(missing[:8])}{hint}; add them (to 'ignore' if nothing fits)"
            )
        table = np.full(max(256, max(names) + 1), IGNORE_ID, dtype=np.uint8)
        for number, name in names.items():
            table[number] = class_id(known[_plain(name)], class_set)
        return table


class NumberMapping(StrictModel):
    """Raw numbers of point labels to names of a class set; for SemanticKITTI and lidarseg."""

    kind: Literal["numbers"]
    class_set: str = "occ3d"
    classes: dict[int, str] = Field(description="raw number to class name, 'sky', or 'ignore'")
    standing: tuple[int, ...] = Field(
        (), description="raw numbers of things that are known to stand, whatever their class"
    )

    def table(self, class_set: ClassSet) -> NDArray[np.uint8]:
        """(65536,) raw number to class id; ``IGNORE_ID`` for numbers that are not listed."""
        table = np.full(1 << 16, IGNORE_ID, dtype=np.uint8)
        for number, name in self.classes.items():
            table[number] = class_id(name, class_set)
        return table


class NumberClasses:
    """Class ids of raw numbers; numbers that the mapping does not list are told once.

    Args:
        class_set: of the result.
    """

    def __init__(self, mapping: NumberMapping, class_set: ClassSet) -> None:
        self._table = mapping.table(class_set)
        self._listed = np.zeros(len(self._table), dtype=bool)
        self._listed[[*mapping.classes, IGNORE_ID]] = True

    def __call__(self, raw: NDArray[Any], file: Path) -> NDArray[np.uint8]:
        """Ids of raw numbers of any shape, read from a file."""
        unknown = ~self._listed[raw]
        if unknown.any():
            numbers, counts = np.unique(raw[unknown], return_counts=True)
            self._listed[numbers] = True
            listing = ", ".join(f"{n} ({c})" for n, c in zip(numbers, counts, strict=True))
            warnings.warn(
                f"{file}: numbers that the mapping file does not list: {listing} of {raw.size}; "
                "they have no class: add them to its 'classes' (as 'ignore' if none fits)",
                stacklevel=2,
            )
        return np.asarray(self._table[raw], dtype=np.uint8)


class BoxMapping(StrictModel):
    """Categories of boxes to names of a class set, and what ground is called."""

    kind: Literal["boxes"]
    class_set: str = "occ3d"
    categories: dict[str, str] = Field(
        description="category, or its beginning up to a dot, to class name or 'ignore'"
    )
    on_road: str = Field(description="class of ground that the map calls road, or 'ignore'")
    off_road: str = Field(description="class of all other ground, or 'ignore'")

    def lookup(self, class_set: ClassSet) -> Callable[[str], int]:
        """A function from category to class id: the longest listed beginning counts."""
        ids = {name: class_id(target, class_set) for name, target in self.categories.items()}

        def find(category: str) -> int:
            parts = category.split(".")
            for length in range(len(parts), 0, -1):
                beginning = ".".join(parts[:length])
                if beginning in ids:
                    return ids[beginning]
            raise ValueError(
                f"boxes of category '{category}' are not in the mapping file; add it to "
                "'categories' (as 'ignore' if no class fits)"
            )

        return find

    def ground_id(self, class_set: ClassSet, name: str) -> int:
        """Class id of a kind of ground."""
        return class_id(name, class_set)


def class_id(name: str, class_set: ClassSet) -> int:
    """Id of a class; of sky, the free id; of 'ignore', ``IGNORE_ID``."""
    if name == IGNORE:
        return IGNORE_ID
    return class_set.free_id if name == SKY else class_set.id_of(name)


def mapping_path(name: str) -> Path:
    """A mapping file by path, or by the name of a shipped one.

    Raises:
        ValueError: neither exists; the message lists the shipped names.
    """
    return config_path("class_mappings", name)


def load_names(name: str) -> NameMapping:
    """The mapping of a segmentation model's names."""
    return load_yaml(mapping_path(name), NameMapping)


def load_numbers(name: str) -> NumberMapping:
    """The mapping of raw point labels."""
    return load_yaml(mapping_path(name), NumberMapping)


def load_boxes(name: str) -> BoxMapping:
    """The mapping of box categories."""
    return load_yaml(mapping_path(name), BoxMapping)


def _plain(name: str) -> str:
    """Without what does not matter: synonyms after a comma, case, what stands between words."""
    first = name.partition(",")[0].casefold()
    return "".join(letter for letter in first if letter.isalnum())
