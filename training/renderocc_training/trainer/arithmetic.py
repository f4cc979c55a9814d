"""In how many bits each part of a network is trained: what a measurement at the start finds faster.

Autocast computes convolutions in bfloat16, in half the time on a CPU or GPU made for it. But not
all of them: for gradients of depthwise convolutions oneDNN falls back to plain loops, several times
slower than in float32. So each part is run forward and backward on its own input of a batch, in
both, and stays in 32 bits where that is clearly faster. Lifting, density, rendering and losses are
float32 in any case.

What a recipe leaves untrained runs without a graph by itself; its batch norms with fixed statistics
are folded into the convolutions before them here.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import asdict, dataclass, is_dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from renderocc_ros.files import write_bytes

FILE = "precision.json"
DEPTHWISE = "depthwise convolutions"
FASTER = 0.9  # of the time in 16 bits: less is not worth the doubled memory
REPEATS = 2  # of which the best counts, after one that warms up

Forward = Callable[..., Any]
Convolution = nn.Conv2d | nn.Conv3d
Part = tuple[nn.Module, ...]


@dataclass(frozen=True)
class PartTimes:
    """Milliseconds that a part takes, forward and backward, of CPU or, on a GPU, of the clock."""

    bf16_ms: float
    fp32_ms: float

    @property
    def single(self) -> bool:
        """Whether the part is better computed in 32 bits."""
        return self.fp32_ms < FASTER * self.bf16_ms


Times = dict[str, PartTimes]


def parts_of(network: nn.Module) -> dict[str, Part]:
    """The parts of a network by name, small before large ones: a large one holds the small.

    They are the depthwise convolutions as a whole, and its modules as they are named.
    """
    depthwise = tuple(
        module
        for module in network.modules()
        if isinstance(module, Convolution) and module.groups == module.in_channels > 1
    )
    parts: dict[str, Part] = {DEPTHWISE: depthwise} if depthwise else {}
    for name, child in network.named_children():
        inner = {f"{name}.{each}": part for each, part in child.named_children()}
        # An image backbone's own and its neck are two.
        split = inner if name == "image_backbone" else {name: child}
        parts |= {each: (part,) for each, part in split.items()}
    return parts


def measure(network: nn.Module, run: Callable[[], object], device: torch.device) -> Times:
    """Time every part in 16 and in 32 bits; the network stays as it is.

    Args:
        network: in training mode.
        run: computes a batch by the network, with autocast.
        device: of the network.

    Returns:
        Times by name; a part that ``run`` never calls has none.
    """
    parts = parts_of(network)
    buffers = {name: value.clone() for name, value in network.named_buffers()}
    times: Times = {}
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        inputs = _inputs(parts, run)
        for name, part in parts.items():
            called = [module for module in part if module in inputs]
            if called:
                single = [each for each, one in times.items() if one.single]
                with in_32_bits(network, single, device.type):
                    times[name] = _part_times(called, inputs, device)
    with torch.no_grad():
        for name, value in network.named_buffers():
            value.copy_(buffers[name])
    return times


@contextmanager
def in_32_bits(network: nn.Module, names: Sequence[str], kind: str) -> Iterator[None]:
    """Compute some ``parts_of`` a network without autocast; others get what they got before.

    Args:
        kind: type of device.
    """
    parts = parts_of(network)
    with _replaced({m: _single(m.forward, kind) for name in names for m in parts[name]}):
        yield


@contextmanager
def folded(network: nn.Module) -> Iterator[None]:
    """Fold batch norms into the convolutions before them, where both stay as they are.

    That is where they ask for no gradient and the statistics are fixed, as in a pretrained backbone
    of rate 0. The network's state does not change.
    """
    forwards: dict[nn.Module, Forward] = {}
    for chain in (each for each in network.modules() if isinstance(each, nn.Sequential)):
        for layer, norm in pairwise(chain):
            if (
                isinstance(layer, Convolution)
                and isinstance(norm, nn.BatchNorm2d | nn.BatchNorm3d)
                and not norm.training
                and not any(weight.requires_grad for weight in chain.parameters())
            ):
                fused = fuse_conv_bn_eval(copy(layer).eval(), norm)
                forwards |= {layer: fused.forward, norm: _same}
    with _replaced(forwards):
        yield


def note(folder: Path, times: Times) -> str:
    """Write the times and what follows from them to a run's folder; returns them in a line."""
    content = {
        name: {"precision": "fp32" if one.single else "bf16"} | asdict(one)
        for name, one in times.items()
    }
    write_bytes(folder / FILE, f"{json.dumps(content, indent=2)}\n".encode())
    return "precision as measured: " + ", ".join(
        f"{name} {each['precision']} ({one.bf16_ms:.0f} ms in bf16, {one.fp32_ms:.0f} in fp32)"
        for (name, each), one in zip(content.items(), times.values(), strict=True)
    )


Inputs = dict[nn.Module, tuple[tuple[Any, ...], dict[str, Any]]]


def _inputs(parts: Mapping[str, Part], run: Callable[[], object]) -> Inputs:
    """What each module of the parts is called with first, cut off from the graph behind it."""
    inputs: Inputs = {}

    def kept(module: nn.Module) -> Forward:
        forward = module.forward

        def keep(*args: Any, **kwargs: Any) -> Any:
            inputs.setdefault(module, (_map(_cut, args), _map(_cut, kwargs)))
            return forward(*args, **kwargs)

        return keep

    with _replaced({module: kept(module) for part in parts.values() for module in part}):
        run()
    return inputs


def _part_times(part: Sequence[nn.Module], inputs: Inputs, device: torch.device) -> PartTimes:
    single = {module: _single(module.forward, device.type) for module in part}
    milliseconds = []
    for forwards in ({}, single):
        with _replaced(forwards):
            each = [_run(part, inputs, device) for _ in range(1 + REPEATS)]
        milliseconds.append(min(each[1:]))
    return PartTimes(*milliseconds)


def _run(part: Sequence[nn.Module], inputs: Inputs, device: torch.device) -> float:
    """Milliseconds of some modules, forward and backward."""
    started_s = _now_s(device)
    for module in part:
        args, kwargs = inputs[module]
        with torch.autocast(device.type, torch.bfloat16):
            result = module(*args, **kwargs)
        outputs = [each for each in _tensors(result) if each.requires_grad]
        given = [*_tensors([args, kwargs]), *module.parameters()]
        if outputs:
            torch.autograd.grad(
                outputs,
                [each for each in given if each.requires_grad],
                [torch.ones_like(each) for each in outputs],
                allow_unused=True,
            )
    return (_now_s(device) - started_s) * 1e3


def _now_s(device: torch.device) -> float:
    if device.type == "cpu":  # which other programs may use as well
        return time.process_time()
    torch.cuda.synchronize(device)
    return time.perf_counter()


def _single(forward: Forward, kind: str) -> Forward:
    """A forward in 32 bits, whose tensors come out as they went in."""

    def run(*args: Any, **kwargs: Any) -> Any:
        given = next((each.dtype for each in _tensors(args) if each.is_floating_point()), None)
        with torch.autocast(kind, enabled=False):
            result = forward(*_map(_to(torch.float32), args), **_map(_to(torch.float32), kwargs))
        return result if given is None else _map(_to(given), result)

    return run


def _same(features: Tensor) -> Tensor:
    return features


def _cut(value: Tensor) -> Tensor:
    return value.detach().requires_grad_(value.requires_grad)


def _to(dtype: torch.dtype) -> Callable[[Tensor], Tensor]:
    return lambda value: value.to(dtype) if value.is_floating_point() else value


def _map(change: Callable[[Tensor], Tensor], value: Any) -> Any:
    """The same with all tensors in tuples, lists and dictionaries changed."""
    if isinstance(value, Tensor):
        return change(value)
    if type(value) in (tuple, list):
        return type(value)(_map(change, each) for each in value)
    if type(value) is dict:
        return {key: _map(change, each) for key, each in value.items()}
    return value


def _tensors(value: Any) -> list[Tensor]:
    """All tensors in what a module takes or gives."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, Mapping):
        value = list(value.values())
    elif is_dataclass(value):
        value = list(vars(value).values())
    return [t for each in value for t in _tensors(each)] if isinstance(value, tuple | list) else []


@contextmanager
def _replaced(forwards: Mapping[nn.Module, Forward]) -> Iterator[None]:
    """Let modules compute something else for a while."""
    before = {module: module.__dict__.get("forward") for module in forwards}
    for module, forward in forwards.items():
        module.__dict__["forward"] = forward
    try:
        yield
    finally:
        for module, own in before.items():
            if own is None:
                del module.__dict__["forward"]
            else:
                module.__dict__["forward"] = own
