"""A message filter whose callbacks run with no lock held, in order, by one thread at a time."""

from __future__ import annotations

import threading
from collections import deque
from typing import Any

from message_filters import SimpleFilter


class QueuedFilter(SimpleFilter):
    """Outputs are queued under ``lock`` and passed on outside of it.

    So a callback that raises leaves nothing locked and loses no other output, and a callback may
    feed this filter again.
    """

    def __init__(self) -> None:
        super().__init__()
        self.lock = threading.RLock()
        self.outbox: deque[Any] = deque()
        self._delivering = False

    def deliver(self) -> None:
        """Pass on what is queued. Call it without the lock."""
        while True:
            with self.lock:
                if self._delivering or not self.outbox:
                    return
                self._delivering = True
                output = self.outbox.popleft()
            try:
                self.signalMessage(output)
            finally:
                with self.lock:
                    self._delivering = False
