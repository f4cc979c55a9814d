"""Names of files, and files that are there whole or not at all, whatever ends their writer."""

from __future__ import annotations

import fcntl
import io
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, BinaryIO

import cv2
import numpy as np
from numpy.typing import NDArray

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
    try:
        return _opened_alone(file, lambda lock: fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB))
    except BlockingIOError as error:
        raise ValueError(refusal) from error


def locked(file: Path, wait: bool = True) -> BinaryIO:
    """Wait until no other process or thread has the file locked, and lock it until it is closed.

    Raises:
        BlockingIOError: another has it, and ``wait`` is False.
    """
    how = fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB
    return _opened_alone(file, lambda lock: fcntl.flock(lock, how))


def _opened_alone(path: Path, lock: Callable[[IO[bytes]], None]) -> BinaryIO:
    """A file opened for writing as it is, made if need be, and locked."""
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        file = open(path, "wb", opener=_untruncated)  # noqa: SIM115
        try:
            lock(file)
        except BlockingIOError:
            file.close()
            raise
        except OSError:
            return file  # a file system that knows no locks
        try:
            if os.path.samestat(os.fstat(file.fileno()), os.stat(path)):
                return file
        except FileNotFoundError:
            pass
        file.close()  # who had it before removed or renamed it: its name is another file's now


def between_marks(page: str, name: str, text: str) -> str:
    """A page with other text between its marks ``<!-- NAME: begin -->`` and ``<!-- NAME: end -->``.

    Raises:
        ValueError: the page lacks the marks.
    """
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    before, has_begin, rest = page.partition(begin)
    _, has_end, after = rest.partition(end)
    if not has_begin or not has_end:
        raise ValueError(f"the page has no {begin} and {end}: put them where the text is to stand")
    return f"{before}{begin}\n\n{text}\n\n{end}{after}"


def _untruncated(path: str, flags: int) -> int:
    return os.open(path, flags & ~os.O_TRUNC, 0o666)


@contextmanager
def write_whole(path: Path, durable: bool = True) -> Iterator[BinaryIO]:
    """A file opened for writing that takes its place once it is complete.

        with write_whole(folder / "result.npz") as file:
            file.write(content)

    It is written beside its place (``file.name`` says where), then renamed. Until then, and if the
    block raises, what stood there before is still there. What a killed process leaves beside the
    place is taken by the next that writes the file.

    Args:
        durable: wait for the disk before the renaming, so that it is whole after a power cut, too.

    Raises:
        OSError: the folder, which is made if need be, cannot be written to, or the disk is full.
    """
    scratch = path.with_name(f".{path.name}.part")
    with locked(scratch) as file:
        try:
            file.truncate(0)
            yield file
            file.flush()
            if durable:
                os.fsync(file.fileno())
            scratch.replace(path)
        except BaseException as error:
            scratch.unlink(missing_ok=True)
            if isinstance(error, OSError) and error.errno and error.filename is None:
                error.filename = str(path)
            raise


def write_bytes(path: Path, content: bytes | memoryview, durable: bool = True) -> None:
    """Write a file by :func:`write_whole`."""
    with write_whole(path, durable) as file:
        file.write(content)


def write_arrays(path: Path, arrays: Mapping[str, Any], compress: bool = True) -> None:
    """Write a .npz file by :func:`write_whole`."""
    # In memory at first: on a full disk numpy's zip file would go on to write, and complain.
    buffer = io.BytesIO()
    (np.savez_compressed if compress else np.savez)(buffer, **arrays)  # type: ignore[arg-type]
    write_bytes(path, buffer.getbuffer())


def write_image(
    path: Path, bgr: NDArray[Any], settings: Sequence[int] = (), durable: bool = True
) -> None:
    """Write an image in the format of its suffix by :func:`write_whole`.

    Args:
        bgr: as OpenCV has it.
        settings: of ``cv2.imwrite``.
        durable: as of :func:`write_whole`.

    Raises:
        OSError: it cannot be written.
        ValueError: OpenCV knows no such image or format.
    """
    try:
        good, content = cv2.imencode(path.suffix, bgr, settings)
    except cv2.error as error:
        raise ValueError(f"{path} cannot be made: {' '.join(str(error).split())}") from error
    if not good:
        raise ValueError(f"{path} cannot be made of {bgr.dtype} {bgr.shape}")
    write_bytes(path, content.tobytes(), durable)
