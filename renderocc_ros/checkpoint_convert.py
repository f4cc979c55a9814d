"""The published checkpoint (``renderocc-7frame-12e.pth``) as one of our files.

Our official network carries the official parameter names, so converting is: read without running
code, strip what training wrapped around the weights, compare names and shapes, save.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from renderocc_ros.checkpoint import ModelHeader, write_weights
from renderocc_ros.config import load_class_set
from renderocc_ros.network.official.preset import build_official
from renderocc_ros.network.official.swin import relative_position_index
from renderocc_ros.network_config import load_network_config

PRESET = "swinb-stereo"
# Put before every name by parallel training, torch.compile and Lightning.
PREFIXES = ("module.", "_orig_mod.", "model.")
STATE_KEYS = ("state_dict", "model_state_dict", "model")
# What says that the weights are averaged; mmengine swaps them with those of the last step.
EMA_KEYS = ("updates", "ema_state_dict")
POSITION_INDEX = ".relative_position_index"  # computed here; must be the same
COUNTER = ".num_batches_tracked"  # of no use in inference; may be missing
SHOWN = 8  # names listed in an error


@dataclass(frozen=True)
class Conversion:
    """What became of every entry of a checkpoint.

    Attributes:
        kind: "EMA" where the file holds averaged weights, else "plain".
        used: names that the network took.
        unused: names that it has no place for: training only, or computed anew.
        missing: names that the file lacks and that inference does not need.
    """

    kind: str
    used: tuple[str, ...]
    unused: tuple[str, ...]
    missing: tuple[str, ...]


def convert(source: str | Path, target: str | Path) -> tuple[Conversion, str]:
    """Reads the official file and writes ours, whole or not at all.

    Returns:
        the report, and the sha256 of the new file in hexadecimal.

    Raises:
        ValueError: the file cannot be read without running code, is damaged, or holds weights of
            another network; names what does not fit. Nothing is written then.
    """
    source, target = Path(source), Path(target)
    if target.suffix != ".safetensors":
        raise ValueError(f"{target}: the converted file must end in .safetensors")
    config = load_network_config(PRESET)
    class_set = load_class_set(config.class_set)
    with torch.device("meta"):
        expected = build_official(config, len(class_set)).state_dict()
    weights, report = select_weights(*read_official(source), expected, str(source))
    return report, write_weights(weights, ModelHeader(config, class_set), target)


def read_official(path: Path) -> tuple[dict[str, Any], str]:
    """The names and tensors of a ``.pth`` file, and its kind; never runs code from the file.

    Takes a bare state dict or one under any of ``STATE_KEYS``, with or without ``PREFIXES``.
    """
    if not path.is_file():
        raise ValueError(f"no checkpoint at {path}; give the path of the official .pth file")
    if path.suffix == ".safetensors":
        raise ValueError(
            f"{path} is a .safetensors file, which the node loads as it is; give the path of the "
            "official .pth file"
        )
    try:
        with torch.serialization.safe_globals(_numpy_numbers()):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(_refusal(path, str(error))) from None
    except Exception as error:  # PyTorch's reader raises errors of many kinds
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(
            f"{path} is truncated or no PyTorch checkpoint ({reason}); download it again and "
            "compare its size"
        ) from error
    kind = "plain"
    while isinstance(content, Mapping) and (key := _state_key(content)) is not None:
        kind = "EMA" if any(each in content for each in EMA_KEYS) else kind
        content = content[key]
    if not isinstance(content, Mapping) or not content:
        raise ValueError(f"{path} holds a {type(content).__name__}, not the weights of a network")
    state: dict[str, Any] = {str(name): value for name, value in content.items()}
    while prefix := next((p for p in PREFIXES if all(n.startswith(p) for n in state)), ""):
        state = {name.removeprefix(prefix): value for name, value in state.items()}
    return state, kind


def _state_key(content: Mapping[Any, Any]) -> str | None:
    return next((key for key in STATE_KEYS if isinstance(content.get(key), Mapping)), None)


def _numpy_numbers() -> list[Any]:
    """What makes single numbers of numpy, which trainings leave among scores; runs no code."""
    scalar = np.float64(0).__reduce__()[0]
    names = ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")
    kinds = [type(np.dtype(kind)) for kind in ("f2", "f4", "f8", "i4", "i8", "u1", "?")]
    return [np.dtype, *kinds, *((scalar, name) for name in names)]


def _refusal(path: Path, error: str) -> str:
    if named := re.search(r"GLOBAL ([\w.]+)", error):
        return (
            f"{path} is refused: reading it would run '{named[1]}', and a file of weights has no "
            "need to; get it from its publisher, or save only its state_dict where you trust it"
        )
    return f"{path} is refused: it is damaged, or holds more than tensors and plain values"


def select_weights(
    state: Mapping[str, Any], kind: str, expected: Mapping[str, Tensor], source: str
) -> tuple[dict[str, Tensor], Conversion]:
    """The tensors that the network takes, as float32, and what became of the others.

    An unknown name below one of the network's own modules means another architecture and is an
    error; elsewhere (losses, rendering head) it is merely unused.

    Raises:
        ValueError: naming every kind of misfit with its first names.
    """
    modules = {name.partition(".")[0] for name in expected}
    extra = [name for name in state if name not in expected]
    ours = [name for name in extra if name.partition(".")[0] in modules]
    unexpected = [name for name in ours if not name.endswith((POSITION_INDEX, ".attn_mask"))]
    missing = [name for name in expected if name not in state]
    shared = [name for name in expected if name in state]
    shapes, values = [], []
    for name in shared:
        shape, needed = tuple(getattr(state[name], "shape", ())), tuple(expected[name].shape)
        if not isinstance(state[name], Tensor):
            values.append(f"{name} is a {type(state[name]).__name__}")
        elif shape != needed:
            shapes.append(f"{name} {shape}, needed {needed}")
        elif state[name].is_floating_point() != expected[name].is_floating_point():
            values.append(f"{name} holds {state[name].dtype}")
        elif not state[name].isfinite().all():
            values.append(f"{name} holds NaN or infinity")
    for name in extra:
        if name.endswith(POSITION_INDEX) and not _same_index(state[name]):
            values.append(f"{name} is of another window size or order")
    wrong = {
        "missing": [name for name in missing if not name.endswith(COUNTER)],
        "unexpected": unexpected,
        "of another shape": shapes,
        "with wrong content": values,
    }
    if any(wrong.values()):
        listed = "; ".join(f"{_listed(names)} {what}" for what, names in wrong.items() if names)
        raise ValueError(
            f"{source} does not fit the network '{PRESET}' (renderocc-7frame): {listed}. Is it "
            "the checkpoint of another configuration?"
        )
    weights = {name: _plain(state[name]) for name in shared}
    weights |= {name: torch.zeros((), dtype=torch.int64) for name in missing}
    return weights, Conversion(kind, tuple(shared), tuple(extra), tuple(missing))


def _plain(value: Tensor) -> Tensor:
    """A contiguous copy of its own storage, float32 where it is a fraction."""
    dtype = torch.float32 if value.is_floating_point() else value.dtype
    return value.detach().to("cpu", dtype).clone(memory_format=torch.contiguous_format)


def _same_index(value: Any) -> bool:
    if not isinstance(value, Tensor) or value.dim() != 2:
        return False
    index = relative_position_index(round(len(value) ** 0.5))
    return index.shape == value.shape and torch.equal(value.long(), index)


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{', '.join(names[:SHOWN])}{more}"
