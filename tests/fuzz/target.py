"""What is fuzzed: a reader of files from outside, with sound files for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hypothesis import strategies as st


@dataclass(frozen=True)
class Target:
    """A reader and how its file gets damaged.

    Attributes:
        file: name of the file below the folder that ``read`` is given.
        make: writes sound files into a folder.
        damaged: from the sound content of ``file``.
        read: reads everything there as its users do.
        inputs: so many are tried in the tests; `./run bench fuzz` tries more.
    """

    file: str
    make: Callable[[Path], None]
    damaged: Callable[[bytes], st.SearchStrategy[bytes]]
    read: Callable[[Path], object]
    inputs: int = 20


def write(name: str, content: bytes) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes(content) and None
