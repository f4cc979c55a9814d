"""Names of files, and files that are there whole or not at all, whatever ends their writer."""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, BinaryIO

MAX_NAME_BYTES = 150  # bytes; file systems take 255, and names of files are made longer here


def file_name(name: str, what: str) -> str:
    """The name, if one file or folder in any folder can be called so.

    Args:
        what: it names, for the message.

    Raises:
        ValueError: it is empty, leads elsewhere, or has characters that file systems refuse.
    """
    plain = name.isprintable() and not {"/", "\\"} & set(name)
    if not plain or name in ("", ".", "..") or len(name.encode()) > MAX_NAME_BYTES:
        raise ValueError(
            f"{what} {name!r:.80} is no file name, and files are called by it: rename it (no / or "
            f"\\, not . or .., 1 to {MAX_NAME_BYTES} bytes)"
        )
    return name


def claim(file: Path, refusal: str) -> IO[bytes]:
    """Keep other processes away from what a file stands for, until what is returned is closed.

    The claim goes with its process, however that ends; its children do not inherit it.

    Raises:
        ValueError: another process has it; with the text of ``refusal``.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    lock = file.open("wb")
    try:
        fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        lock.close()
        raise ValueError(refusal) from error
    except OSError:
        pass  # a file system that knows no locks
    return lock


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
