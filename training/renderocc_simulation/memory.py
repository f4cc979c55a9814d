"""Memory for large arrays that come and go."""

from __future__ import annotations

import ctypes

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h
KEPT_BYTES = 1 << 30
MAX_BYTES = 1 << 25  # the most that every glibc takes


def keep_memory() -> None:
    """Let this process use freed arrays again instead of asking the kernel for zeroed pages.

    Only glibc is told; other systems stay as they are.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)
        mallopt(M_MMAP_THRESHOLD, MAX_BYTES)
