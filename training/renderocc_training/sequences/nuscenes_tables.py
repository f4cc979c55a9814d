"""nuScenes' tables with errors that name table, record and key, for tables may be damaged."""

from __future__ import annotations

import json
import math
from functools import cache
from pathlib import Path
from typing import Any

from renderocc_ros.geometry import RigidTransform

NEEDED = ("calibrated_sensor", "ego_pose", "log", "sample", "sample_data", "scene", "sensor")
# What boxes lack without a table.
OF_BOXES = {
    "sample_annotation": "there are no boxes",
    "attribute": "boxes have no attributes",
    "visibility": "how well boxes are seen is not known",
}


class Record:
    """One record of a table; values of the wrong kind are refused."""

    __slots__ = ("_table", "_values")

    def __init__(self, table: str, values: Any) -> None:
        self._table, self._values = table, values
        if not isinstance(values, dict):
            raise ValueError(f"{table}.json: {values!r:.60} is no record")

    @property
    def token(self) -> str:
        """Its name in the table."""
        return self.text("token")

    def __str__(self) -> str:
        return f"{self._table}.json, record {self._values.get('token', 'without token')!r}"

    def has(self, key: str) -> bool:
        """Whether there is a value, and not an empty one."""
        return self._values.get(key) not in (None, "", [])

    def text(self, key: str) -> str:
        """A string."""
        value = self._values.get(key)
        return value if isinstance(value, str) else self._refuse(key, "a text")

    def texts(self, key: str) -> list[str]:
        """A list of strings."""
        value = self._values.get(key)
        if not (isinstance(value, list) and all(isinstance(each, str) for each in value)):
            self._refuse(key, "a list of texts")
        return list(value)

    def integer(self, key: str) -> int:
        """A whole number."""
        value = self._values.get(key)
        return value if type(value) is int else self._refuse(key, "a whole number")

    def flag(self, key: str) -> bool:
        """True or false."""
        value = self._values.get(key)
        return value if isinstance(value, bool) else self._refuse(key, "true or false")

    def number(self, key: str) -> float:
        """A finite number."""
        value = self._values.get(key)
        good = type(value) in (int, float) and math.isfinite(value)
        return float(value) if good else self._refuse(key, "a finite number")

    def numbers(self, key: str, count: int | None = None) -> list[float]:
        """So many finite numbers."""
        value = self._values.get(key)
        good = isinstance(value, list) and count in (None, len(value))
        if not (good and all(type(n) in (int, float) and math.isfinite(n) for n in value)):
            self._refuse(key, f"{count or 'a list of'} finite numbers")
        return list(map(float, value))

    def rows(self, key: str) -> list[list[float]]:
        """Three rows of three finite numbers."""
        value = self._values.get(key)
        rows = value if isinstance(value, list) and len(value) == 3 else []
        if not rows:
            self._refuse(key, "three rows of three numbers")
        return [Record(self._table, self._values | {key: row}).numbers(key, 3) for row in rows]

    @property
    def pose(self) -> RigidTransform:
        """Of ``rotation`` (w, x, y, z) and ``translation``."""
        w, x, y, z = self.numbers("rotation", 4)
        try:
            return RigidTransform.from_quaternion((x, y, z, w), self.numbers("translation", 3))
        except ValueError as error:
            raise ValueError(f"{self}: rotation and translation: {error}") from error

    def _refuse(self, key: str, wanted: str) -> Any:
        value = self._values.get(key, "missing")
        raise ValueError(f"{self}: '{key}' is {value!r:.60}, not {wanted}; unpack the tables again")


class Tables:
    """The tables of one folder, read when they are first needed.

    Args:
        root: folder of the data set.
        version: its folder of tables.

    Raises:
        ValueError: a table is missing; those of maps, boxes and point labels may be.

    Attributes:
        problems: what is not known as a table is missing.
    """

    def __init__(self, root: Path, version: str) -> None:
        self.root, self.folder = root, root / version
        missing = [f"{name}.json" for name in NEEDED if not self._file(name).is_file()]
        if missing:
            raise ValueError(f"{self.folder} lacks {', '.join(missing)}: unpack the tables again")
        self.problems = tuple(
            f"no {name}.json: {lack}" for name, lack in OF_BOXES.items() if not self.has(name)
        )
        self.all = cache(self._read)
        self._by_token = cache(self._index)

    def has(self, table: str) -> bool:
        """Whether there is such a table."""
        return self._file(table).is_file()

    def follow(self, record: Record, key: str, table: str) -> Record:
        """The record of another table that a record names."""
        return self.get(record, record.text(key), table)

    def get(self, record: Record, token: str, table: str) -> Record:
        """The record of this token; ``record`` is the one that names it."""
        row = self._by_token(table).get(token)
        if row is None:
            raise ValueError(
                f"{record}: names '{token}', which {table}.json does not have; unpack the tables "
                "again"
            )
        return row

    def _read(self, table: str) -> list[Record]:
        """All records of a table, in its order; none if it may be missing, and is."""
        file = self._file(table)
        if table not in NEEDED and not file.is_file():
            return []
        try:
            content = json.loads(file.read_bytes())
        except (OSError, ValueError, RecursionError) as error:
            raise ValueError(f"{file} cannot be read: {error}") from error
        if not isinstance(content, list):
            raise ValueError(f"{file} holds no list of records; unpack the tables again")
        return [Record(table, values) for values in content]

    def _file(self, table: str) -> Path:
        return self.folder / f"{table}.json"

    def _index(self, table: str) -> dict[str, Record]:
        return {record.token: record for record in self.all(table)}


def find_tables(root: Path, version: str | None) -> tuple[Path, str]:
    """(data root, name of its folder of tables).

    Args:
        root: the data root, or the folder of tables itself.
        version: name of the folder of tables; the only one if not given.

    Raises:
        ValueError: no tables, or several.
    """
    if version is None and (root / "sample_data.json").is_file():
        return root.absolute().parent, root.absolute().name
    versions = sorted(path.parent.name for path in root.glob("*/sample_data.json"))
    if version is not None:
        if (root / version).is_dir():
            return root, version
        hint = f"choose --version {' or '.join(versions)}" if versions else "give nuScenes' folder"
        raise ValueError(f"no tables in {root / version}: {hint}")
    if not versions:
        raise ValueError(
            f"{root} holds no tables of nuScenes (v1.0-…/sample_data.json): give the folder that "
            "has them, or the data set's --format"
        )
    if len(versions) > 1:
        raise ValueError(
            f"{root} has tables of {', '.join(versions)}: give one of these folders, such as "
            f"{root / versions[0]}"
        )
    return root, versions[0]
