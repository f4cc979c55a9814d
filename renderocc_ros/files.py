"""Files that are there whole or not at all, whatever ends the process that writes them."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


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
