"""Files from outside: whatever is wrong with one becomes one error that names it and the cure.

Parsers raise whatever they like on damaged bytes (zlib.error, KeyError, RecursionError, SyntaxError
…), and allocate whatever a header says. Readers here look at sizes before they unpack anything.
"""

from __future__ import annotations

import json
import math
import zipfile
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from numpy.lib import format as npy
from numpy.typing import NDArray
from pydantic import ValidationError

MAX_ARRAY_BYTES = 1 << 30  # unpacked, of one file: four times the largest grid that a network takes
MAX_REASON = 500  # letters of a parser's own message
HEADER_READERS: dict[tuple[int, int], Callable[..., Any]] = {
    (1, 0): npy.read_array_header_1_0,
    (2, 0): npy.read_array_header_2_0,
}


class DamagedFile(ValueError):
    """A file that cannot be read, or holds something else than it should."""


@contextmanager
def parsing(what: object, cure: str) -> Iterator[None]:
    """Around the parsing of a file: every error in there becomes a ``DamagedFile``.

    Args:
        what: names the file in the message.
        cure: what the user can do.
    """
    try:
        yield
    except Exception as error:
        state = "cannot be read" if isinstance(error, OSError) else "is broken"
        raise DamagedFile(f"{what} {state} ({reason_of(error)}): {cure}") from error


def reason_of(error: Exception) -> str:
    """A parser's own message, in one line."""
    text = str(error)
    if isinstance(error, ValidationError):
        problems = (f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
        text = "; ".join(problems)
    if not isinstance(error, ValueError | OSError) or not text:
        text = f"{type(error).__name__} {text}"
    return " ".join(text.split())[:MAX_REASON]


def one_line(text: str) -> str:
    """A text from outside, for a terminal or a comment: no control characters, one line."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def read_json(path: Path, cure: str) -> dict[str, Any]:
    """A JSON object.

    Raises:
        DamagedFile: not there, no JSON, or no object.
    """
    with parsing(path, cure):
        content = json.loads(path.read_bytes())
        if not isinstance(content, dict):
            raise ValueError(f"it holds a {type(content).__name__}, not keys and values")
    return content


def read_arrays(
    path: Path, cure: str, names: Collection[str] | None = None
) -> dict[str, NDArray[Any]]:
    """Arrays of a .npz file by name; Python objects are refused.

    Args:
        names: read these only, as far as they are there; all if not given.

    Raises:
        DamagedFile: not there, damaged, or larger than ``MAX_ARRAY_BYTES``.
    """
    with parsing(path, cure), zipfile.ZipFile(path) as archive:
        members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
        chosen = {name: info for name, info in members.items() if names is None or name in names}
        _require_size(sum(info.file_size for info in chosen.values()))
        arrays = {}
        for name, info in chosen.items():
            with archive.open(info) as member:
                arrays[name] = _read_array(member, info.file_size)
        return arrays


def read_npy(path: Path, cure: str) -> NDArray[Any]:
    """The array of a .npy file; Python objects are refused.

    Raises:
        DamagedFile: not there, damaged, or larger than ``MAX_ARRAY_BYTES``.
    """
    with parsing(path, cure), path.open("rb") as file:
        size = path.stat().st_size
        _require_size(size)
        return _read_array(file, size)


def _require_size(unpacked: int) -> None:
    if unpacked > MAX_ARRAY_BYTES:
        raise ValueError(
            f"it would take {unpacked:,} bytes unpacked, more than {MAX_ARRAY_BYTES:,}"
        )


def _read_array(file: IO[bytes], size: int) -> NDArray[Any]:
    """Compare what an array's header says with the bytes that are there, then read them."""
    version = npy.read_magic(file)  # type: ignore[no-untyped-call]
    if version not in HEADER_READERS:
        raise ValueError(f"an array has the unknown format version {version}")
    shape, _, dtype = HEADER_READERS[version](file)
    declared, remaining = math.prod(shape) * dtype.itemsize, size - file.tell()
    if declared != remaining:
        raise ValueError(f"an array says {dtype} {shape} and holds {remaining:,} bytes")
    file.seek(0)
    return npy.read_array(file, allow_pickle=False)  # type: ignore[no-any-return, no-untyped-call]
