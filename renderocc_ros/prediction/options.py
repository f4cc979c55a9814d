"""How a network is run."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import get_args

import torch

from renderocc_ros.config import Backend, Precision

PRECISIONS: dict[str, torch.dtype] = {
    "fp32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
}


@dataclass(frozen=True)
class Options:
    """How a network is run; an exported ONNX file takes ``device`` and ``threads`` alone.

    Attributes:
        device: "auto" takes the GPU if there is one; else as torch names it: "cpu", "cuda:1".
        backend: "eager"; "compile" for torch.compile, whose first set takes long; "cuda_graph".
        precision: of the convolutions; "bf16" and "fp16" by autocast.
        channels_last: memory layout that some CPUs and GPUs are faster with.
        threads: CPU threads of the whole process; the libraries' own choice if not given.
    """

    device: str = "auto"
    backend: Backend = "eager"
    precision: Precision = "fp32"
    channels_last: bool = False
    threads: int | None = None

    def __post_init__(self) -> None:
        for name, value, allowed in (
            ("backend", self.backend, get_args(Backend)),
            ("precision", self.precision, get_args(Precision)),
        ):
            if value not in allowed:
                raise ValueError(f"{name} = '{value}' is not one of: {', '.join(allowed)}")
        if self.threads is not None and self.threads < 1:
            raise ValueError(f"threads = {self.threads} must be at least 1")

    def require_plain(self, what: str) -> None:
        """Refuse options beside device and threads, for what has no use for them.

        Raises:
            ValueError: naming ``what`` and the options.
        """
        given = [
            f"{field.name} = {getattr(self, field.name)!r}"
            for field in fields(self)
            if field.name not in ("device", "threads")
            and getattr(self, field.name) != field.default
        ]
        if given:
            raise ValueError(f"{what} cannot be run with {', '.join(given)}; leave that out")


def choose_device(name: str) -> torch.device:
    """A torch device; "auto" is the GPU if there is one.

    Raises:
        ValueError: torch knows no such device, or cannot reach it.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"device = '{name}' cannot be used: {reason}; try cpu or auto") from error
    return device
