"""How a network is run."""

from __future__ import annotations

import time
from dataclasses import dataclass, fields
from typing import get_args

import torch

from renderocc_ros.config import Backend, Precision

PRECISIONS: dict[str, torch.dtype] = {
    "fp32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
}
FASTER = 0.8  # of the time that 32 bits take: less is not worth the rounding


@dataclass(frozen=True)
class Options:
    """How a network is run.

    Attributes:
        device: "auto" takes the GPU if there is one; else as torch names it: "cpu", "cuda:1".
        backend: "eager"; "compile" for torch.compile, whose first set takes long; "cuda_graph".
            An exported file is run by onnxruntime, or with "openvino" by that.
        precision: of the convolutions; "bf16" and "fp16" by autocast; "auto" is "bf16" on a CPU
            that computes it faster, see ``quickest_precision``, else "fp32". Of an exported file
            TensorRT and OpenVINO alone choose it.
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
            and getattr(self, field.name) not in (field.default, "auto")
        ]
        if given:
            raise ValueError(f"{what} cannot be run with {', '.join(given)}; leave that out")


def quickest_precision(device: torch.device) -> Precision:
    """Of a CPU that has the instructions for it "bf16", if a measurement says that it is faster so;
    else "fp32". With "bf16" the channels should come last in memory.

    A CPU without the instructions emulates them ten times slower, and a virtual machine may name
    instructions that it does not run well.
    """
    known = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    if device.type != "cpu" or not known:
        return "fp32"
    single, half = (_convolution_s(dtype) for dtype in (torch.float32, torch.bfloat16))
    return "bf16" if half < FASTER * single else "fp32"


def _convolution_s(dtype: torch.dtype) -> float:
    """Seconds that a convolution like those of the smallest network takes, the best of some."""
    layer = torch.nn.Conv2d(64, 64, 3, padding=1, device="cpu", dtype=dtype)
    layer.weight.data = layer.weight.data.contiguous(memory_format=torch.channels_last)
    image = torch.zeros(1, 64, 64, 64, dtype=dtype).to(memory_format=torch.channels_last)
    seconds = []
    with torch.inference_mode():
        for _ in range(5):
            start = time.perf_counter()
            layer(image)
            seconds.append(time.perf_counter() - start)
    return min(seconds)


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
