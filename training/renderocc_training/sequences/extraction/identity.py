"""What tells a recording from all others of a data set: its content and its path.

Names are for people: two recordings of one name get different ones. What is taken is kept in small
files, each made by one process alone, so several can extract side by side.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

from renderocc_ros.files import file_name, locked, write_bytes
from renderocc_training.sequences.extraction.records import token
from renderocc_training.sequences.nuscenes import FRAGMENTS

RECORDED = {".bag", ".db3", ".mcap", ".zst", ".zstd"}  # beside them lies what tools write anew
CHUNK_BYTES = 1 << 18
CHUNKS = 256  # of a larger file so many are read, evenly spaced


def content_of(source: Path) -> str:
    """A hash of a bag's files; it stays when they move or its metadata is written again.

    Raises:
        ValueError: it cannot be read.
    """
    files = [source]
    if source.is_dir():
        inside = sorted(file for file in source.iterdir() if file.is_file())
        files = [file for file in inside if file.suffix in RECORDED] or inside
    digest = hashlib.sha256()
    try:
        for file in files:
            for chunk in _chunks(file):
                digest.update(chunk)
    except OSError as error:
        raise ValueError(f"{source} cannot be read: {error}") from error
    return digest.hexdigest()


def _chunks(file: Path) -> Iterator[bytes]:
    size = file.stat().st_size
    yield size.to_bytes(8, "little")
    whole = range(0, size, CHUNK_BYTES)
    places = whole if len(whole) <= CHUNKS else (
        place * (size - CHUNK_BYTES) // (CHUNKS - 1) for place in range(CHUNKS)
    )  # fmt: skip
    with file.open("rb") as content:
        for place in places:
            content.seek(place)
            yield content.read(CHUNK_BYTES)


def claim_key(root: Path, source: Path, *content: object) -> str:
    """What the recording's tokens are made from: its content, so that they are the same wherever it
    lies; a second recording of the same content, from another path, has its own."""
    path = str(source.resolve())
    return _claim(root, "recordings", token(*content), path, lambda owner: not Path(owner).exists())


def claim_name(root: Path, name: str, owner: str) -> str:
    """The name, or with a number behind it if another recording of the data set has it.

    Args:
        owner: key of the scene.

    Raises:
        ValueError: files cannot be called so.
    """
    return _claim(root, "names", file_name(name, "recording"), owner, lambda owner: False)


def _claim(root: Path, kind: str, name: str, owner: str, is_given_up: Callable[[str], bool]) -> str:
    folder = root / FRAGMENTS / "claims" / kind
    with locked(folder / ".lock"):
        for number in count(1):
            candidate = name if number == 1 else f"{name}-{number}"
            file = folder / candidate
            known = file.read_text(encoding="utf-8") if file.exists() else ""
            if known != owner:
                if known and not is_given_up(known):
                    continue
                write_bytes(file, owner.encode(), durable=False)
            return candidate
    raise AssertionError("count() does not end")
