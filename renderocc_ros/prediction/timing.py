"""How long each stage of a prediction takes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn


class StageTimer:
    """Milliseconds per named stage of the prediction under way.

    Attributes:
        milliseconds: stage name to duration of the last prediction, in order of execution.
    """

    def __init__(self, device: torch.device) -> None:
        self.milliseconds: dict[str, float] = {}
        self._device = device
        self._started: dict[str, float] = {}

    def clear(self) -> None:
        """Forget the last prediction."""
        self.milliseconds = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a block; time spent under the same name adds up."""
        start = self._now()
        try:
            yield
        finally:
            spent = (self._now() - start) * 1e3
            self.milliseconds[name] = self.milliseconds.get(name, 0.0) + spent

    def watch(self, network: nn.Module) -> None:
        """Time each direct child of a network as a stage of its own name."""
        for name, child in network.named_children():
            child.register_forward_pre_hook(self._begin(name))
            child.register_forward_hook(self._end(name))

    def _begin(self, name: str) -> Any:
        def hook(*_: Any) -> None:
            self._started[name] = self._now()

        return hook

    def _end(self, name: str) -> Any:
        def hook(*_: Any) -> None:
            spent = (self._now() - self._started.pop(name)) * 1e3
            self.milliseconds[name] = self.milliseconds.get(name, 0.0) + spent

        return hook

    def _now(self) -> float:
        if self._device.type == "cuda":  # kernels are queued: without this only their launch counts
            torch.cuda.synchronize(self._device)
        return time.perf_counter()
