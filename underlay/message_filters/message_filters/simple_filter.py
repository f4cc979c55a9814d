"""What every filter has: callbacks, and a way to call them."""

from collections.abc import Callable
from typing import Any


class SimpleFilter:
    """Base of all filters."""

    def __init__(self) -> None:
        self.callbacks: dict[int, tuple[Callable[..., None], tuple[Any, ...]]] = {}

    def registerCallback(self, cb: Callable[..., None], *args: Any) -> int:
        """Call `cb(*messages, *args)` for each output of this filter. Returns a number for it."""
        connection = len(self.callbacks)
        self.callbacks[connection] = (cb, args)
        return connection

    def signalMessage(self, *msg: Any) -> None:
        """Pass an output on to every callback, in order of registration."""
        for callback, args in list(self.callbacks.values()):
            callback(*msg, *args)
