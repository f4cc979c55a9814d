"""Processes that work for this one."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from typing import Any


@contextmanager
def worker_processes(
    count: int, set_up: Callable[..., object] | None = None, arguments: tuple[Any, ...] = ()
) -> Iterator[ProcessPoolExecutor]:
    """A pool that ends with what it has in hand, and drops what waits, however the block ends.

    Each process is a fresh interpreter: a forked one would inherit the threads of OpenCV, Embree
    and the caller, which do not survive it.

    Args:
        set_up: called in every process at first, with ``arguments``.
    """
    pool = ProcessPoolExecutor(count, get_context("spawn"), _begin, (set_up, arguments))
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _begin(set_up: Callable[..., object] | None, arguments: tuple[Any, ...]) -> None:
    # Ctrl-C reaches every process of the terminal; the first one ends the others.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if set_up is not None:
        set_up(*arguments)
