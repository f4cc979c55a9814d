"""Names of files, and files that are there whole or not at all, whatever ends their writer."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

LONGEST_NAME = 150  # bytes; file systems take 255, and names of files are made longer here


def file_name(name: str, what: str) -> str:
    """The name, if one file or folder in any folder can be called so.

    Args:
        what: it names, for the message.

    Raises:
        ValueError: it is empty, leads elsewhere, or has characters that file systems refuse.
    """
    plain = name.isprintable() and not {"/", "\\"} & set(name)
    if not plain or name in ("", ".", "..") or len(name.encode()) > LONGEST_NAME:
        raise ValueError(
            f"{what} {name!r:.80} is no file name, and files are called by it: rename it (no / or "
            f"\\, not . or .., 1 to {LONGEST_NAME} bytes)"
        )
    return name


@contextmanager
def write_whole(path: Path) -> Iterator[BinaryIO]:
    """A file opened for writing that takes its place once it is complete.

        with write_whole(folder / "result.npz") as file:
            np.savez_compressed(file, **arrays)

    It is written beside its place (``file.name`` says where), flushed to the disk, then renamed.
    Until then, and if the block raises, what stood there before is still there.

    Raises:
        OSError: the folder, which is made if need be, cannot be written to, or the disk is full.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.part")
    try:
        with scratch.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(path)
    finally:
        scratch.unlink(missing_ok=True)
