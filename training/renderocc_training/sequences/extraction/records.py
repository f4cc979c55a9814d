"""Records of the nuScenes schema, and how they are kept while a scene is being written.

Schema: https://github.com/nutonomy/nuscenes-devkit/blob/master/docs/schema_nuscenes.md
Tokens are hashes of what they stand for, so the same recording always gives the same tables.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from renderocc_ros.geometry import RigidTransform

Record = dict[str, Any]

SHARED_TABLES = ("attribute", "category", "log", "sensor", "visibility")
SCENE_TABLES = (
    "calibrated_sensor",
    "ego_pose",
    "instance",
    "sample",
    "sample_annotation",
    "sample_data",
    "scene",
)
VISIBILITY_TOKENS = {"v0-40": "1", "v40-60": "2", "v60-80": "3", "v80-100": "4"}


def token(*parts: object) -> str:
    """32 hexadecimal digits that stand for these words and numbers."""
    return hashlib.md5("\0".join(map(str, parts)).encode(), usedforsecurity=False).hexdigest()


def pose_fields(target_from_source: RigidTransform) -> Record:
    """``translation`` in metres and ``rotation`` (w, x, y, z)."""
    x, y, z, w = target_from_source.quaternion_xyzw.tolist()
    return {"translation": target_from_source.translation.tolist(), "rotation": [w, x, y, z]}


class SceneTables:
    """The records of one scene as JSON lines, one file a table, so memory does not grow.

    Args:
        folder: where the files go; it must exist.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[str, IO[str]] = {}
        self._seen: set[tuple[str, str]] = set()

    def __enter__(self) -> SceneTables:
        for table in (*SHARED_TABLES, *SCENE_TABLES):
            self._files[table] = (self._folder / f"{table}.jsonl").open("w", encoding="utf-8")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for file in self._files.values():
            file.close()

    def add(self, table: str, record: Record) -> None:
        """Append a record."""
        self._files[table].write(json.dumps(record, ensure_ascii=False) + "\n")

    def add_once(self, table: str, record: Record) -> str:
        """Append a record of a small table unless it is there already; gives its token."""
        key = (table, record["token"])
        if key not in self._seen:
            self._seen.add(key)
            self.add(table, record)
        return str(record["token"])


class Chain:
    """Records that name their neighbours in ``prev`` and ``next``; one is held back.

    Records of several chains go to the same table, each when its successor is known.
    """

    def __init__(self, tables: SceneTables, table: str) -> None:
        self._tables, self._table = tables, table
        self._last: dict[str, Record] = {}

    def add(self, key: str, record: Record) -> None:
        """Append a record to the chain of this key."""
        last = self._last.get(key)
        record = record | {"prev": last["token"] if last else "", "next": ""}
        if last is not None:
            self._tables.add(self._table, last | {"next": record["token"]})
        self._last[key] = record

    def close(self) -> None:
        """Write what is held back."""
        for key in sorted(self._last):
            self._tables.add(self._table, self._last[key])
        self._last.clear()


def read_lines(file: Path) -> Iterator[Record]:
    """The records of a JSON lines file, one at a time."""
    with file.open(encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)
