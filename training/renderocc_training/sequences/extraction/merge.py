"""The tables of a data set from what the jobs left, one record at a time."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from renderocc_ros.files import locked, write_image
from renderocc_training.sequences.extraction.job import DONE, FORMAT, finished
from renderocc_training.sequences.extraction.records import (
    SCENE_TABLES,
    SHARED_TABLES,
    Record,
    read_lines,
    token,
)
from renderocc_training.sequences.nuscenes import FRAGMENTS

# nuScenes' map is an image whose lower left corner is the origin, so coordinates must be positive.
MARGIN_M = 100.0
MAP_PIXELS_PER_M = 10
MAX_MAP_PIXELS = 400_000_000
ROAD_WIDTH_M = 4.0
MAX_STEP_M = 20.0  # poses further apart belong to two sequences
MAP_FILE = f"{token('map')}.png"


def merge_tables(root: Path, version: str) -> tuple[float, float]:
    """Write ``root/version/*.json`` and the map from all finished recordings below ``root``.

    Returns:
        (x, y) metres that were added to all positions, because somewhere they came near zero or
        below; (0, 0) if not.

    Raises:
        ValueError: no recording gave a scene.
    """
    with locked(root / FRAGMENTS / ".merging"):
        fragments = finished_fragments(root)
        if not fragments:
            raise ValueError(f"no key frames: nothing below {root / FRAGMENTS} holds a scene")
        low, high = _extent(fragments)
        shift = np.where(low < MARGIN_M, np.ceil((MARGIN_M - low) / 100 - 1e-3) * 100, 0.0)
        scratch = root / FRAGMENTS / ".tables"  # where no reader looks for a version's folder
        shutil.rmtree(scratch, ignore_errors=True)  # a killed process's
        scratch.mkdir()
        try:
            _write_all(scratch, fragments, high + shift, shift)
            _replace(scratch, root, version)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    return float(shift[0]), float(shift[1])


def _write_all(folder: Path, fragments: list[Path], high: Any, shift: Any) -> None:
    """Tables and map of all recordings."""
    for table in (*SHARED_TABLES, *SCENE_TABLES):
        _write(folder / f"{table}.json", _records(fragments, table, shift))
    write_image(folder / MAP_FILE, _map(fragments, high, shift))
    record = {
        "token": token("map"),
        "log_tokens": [record["token"] for record in _records(fragments, "log", shift)],
        "category": "semantic_prior",
        "filename": f"maps/{MAP_FILE}",
    }
    _write(folder / "map.json", iter([record]))


def _replace(scratch: Path, root: Path, version: str) -> None:
    """Put tables and map in the places of former ones.

    The scenes' table goes first and comes last: whoever is killed meanwhile leaves a data set that
    is refused, never tables of two kinds that are taken for one.
    """
    (root / version).mkdir(parents=True, exist_ok=True)
    (root / "maps").mkdir(exist_ok=True)
    last = root / version / "scene.json"
    last.unlink(missing_ok=True)
    (scratch / MAP_FILE).replace(root / "maps" / MAP_FILE)
    for file in sorted(scratch.iterdir(), key=lambda file: file.name == last.name):
        file.replace(root / version / file.name)


def finished_fragments(root: Path) -> list[Path]:
    """Folders of the finished recordings that hold a scene, in the order of their time.

    Raises:
        ValueError: another version wrote them.
    """
    fragments = []
    for file in sorted((root / FRAGMENTS).glob(f"*/{DONE}")):
        done = finished(file.parent)
        if done is not None and done.get("format") != FORMAT:
            raise ValueError(
                f"{root} was extracted by another version, which told recordings apart by their "
                "names: extract into a new folder"
            )
        if done is not None and done["report"]["scenes"]:
            fragments.append((done["start_ns"], file.parent.name, file.parent))
    return [folder for _, _, folder in sorted(fragments)]


def _extent(fragments: list[Path]) -> tuple[Any, Any]:
    """Least and greatest (x, y) of all ego poses."""
    low, high = np.full(2, math.inf), np.full(2, -math.inf)
    for folder in fragments:
        for record in read_lines(folder / "ego_pose.jsonl"):
            low = np.minimum(low, record["translation"][:2])
            high = np.maximum(high, record["translation"][:2])
    return low, high


def _records(fragments: list[Path], table: str, shift: Any) -> Iterator[Record]:
    """A table's records from all recordings; those that recordings share once."""
    seen: set[str] = set()
    for folder in fragments:
        promised = (finished(folder) or {})["promised_samples"]
        for record in read_lines(folder / f"{table}.jsonl"):
            if table in SHARED_TABLES:
                if record["token"] in seen:
                    continue
                seen.add(record["token"])
            if table in ("ego_pose", "sample_annotation"):
                x, y, z = record["translation"]
                record["translation"] = [x + shift[0], y + shift[1], z]
            if table == "sample_data":
                sample = record["sample_token"]
                record["sample_token"] = promised.get(sample, sample)
            yield record


def _write(file: Path, records: Iterator[Record]) -> None:
    """A JSON list, one record a line."""
    with file.open("w", encoding="utf-8") as out:
        separator = "[\n"
        for record in records:
            out.write(separator + json.dumps(record, ensure_ascii=False))
            separator = ",\n"
        out.write("[]\n" if separator == "[\n" else "\n]\n")


def _map(fragments: list[Path], high: Any, shift: Any) -> NDArray[np.uint8]:
    """A map that shows where was driven (white); a single black pixel if that is too large."""
    width, height = (math.ceil((edge + MARGIN_M) * MAP_PIXELS_PER_M) for edge in high)
    image = np.zeros((1, 1), dtype=np.uint8)
    if width * height <= MAX_MAP_PIXELS:
        image = np.zeros((height, width), dtype=np.uint8)
        for folder in fragments:
            before = None
            for record in read_lines(folder / "ego_pose.jsonl"):
                x, y = (np.array(record["translation"][:2]) + shift) * MAP_PIXELS_PER_M
                here = (round(x), height - round(y))
                if before is None or math.dist(before, here) > MAX_STEP_M * MAP_PIXELS_PER_M:
                    before = here
                cv2.line(image, before, here, (255,), round(ROAD_WIDTH_M * MAP_PIXELS_PER_M))
                before = here
    return image
