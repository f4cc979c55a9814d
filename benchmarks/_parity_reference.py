"""Recorded activations of the official code, and what reproduces them."""

from __future__ import annotations

import importlib.util
import json
import os
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

NOISE_FACTOR = 3.0
MIN_LIMIT = float(np.finfo(np.float32).eps)
NOISE_FILE = "noise_floor_f32_vs_f64.json"


class ReferenceError(ValueError):
    """A file is missing or does not hold what it should."""


@dataclass(frozen=True)
class Reference:
    """One file of recorded activations and what is needed to reproduce it."""

    path: Path
    arrays: Mapping[str, NDArray[Any]]
    noise: Mapping[str, float]
    fill: ModuleType
    weights_seed: int

    @classmethod
    def load(cls, path: Path, parity: Path | None, weights_seed: int | None) -> Reference:
        """Reads the file, its noise floor and the weight filler; ReferenceError where they fail."""
        if not path.is_file():
            raise ReferenceError(
                f"{path}: no such file; give a reference .npz of the official code"
            )
        try:
            with np.load(path, allow_pickle=False) as archive:
                arrays = {name: archive[name] for name in archive.files}
        except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise ReferenceError(f"{path}: not a readable .npz file ({error})") from error
        folder = find_parity(path, parity)
        if weights_seed is None:
            if "seed" not in arrays:
                raise ReferenceError(f"{path}: holds no seed; give one with --weights-seed")
            weights_seed = int(arrays["seed"])
        return cls(path, arrays, load_noise(path, folder), load_fill(folder), weights_seed)

    def stage_names(self) -> list[str]:
        """The recorded stages, in the order in which the official code computed them."""
        return [str(name) for name in self.arrays["order"]]

    def limit(self, stage: str) -> float:
        """Largest rms difference in units of the stage's standard deviation."""
        if stage not in self.noise:
            raise ReferenceError(f"stage '{stage}' of {self.path} has no noise in {NOISE_FILE}")
        return max(NOISE_FACTOR * self.noise[stage], MIN_LIMIT)

    def rms_over_std(self, stage: str, value: torch.Tensor) -> float:
        """rms difference of the stored samples, in standard deviations of the whole stage."""
        key = stage.replace("/", ".")
        shape = tuple(int(n) for n in self.arrays[f"{key}.shape"])
        if tuple(value.shape) != shape:
            raise ReferenceError(f"stage '{stage}': {tuple(value.shape)}, recorded is {shape}")
        step = int(self.arrays[f"{key}.stride"])
        ours = value.detach().reshape(-1)[::step].double().cpu().numpy()
        difference: NDArray[np.float64] = ours - self.arrays[f"{key}.sub"].astype(np.float64)
        deviation = float(self.arrays[f"{key}.stats"][1]) + 1e-12
        return float(np.sqrt(np.mean(difference**2)) / deviation)


def find_parity(reference: Path, given: Path | None) -> Path:
    """The folder with fill.py: the given one, else near the reference, else the shared one."""
    checkout = Path(__file__).resolve().parents[1]
    shared = Path(os.environ.get("RENDEROCC_SHARED", checkout.parent / "shared"))
    near = reference.resolve().parent
    candidates = [given] if given else [near.parent, near, shared / "parity"]
    for folder in candidates:
        if folder is not None and (folder / "fill.py").is_file():
            return folder
    tried = ", ".join(str(folder) for folder in candidates)
    raise ReferenceError(f"no fill.py in {tried}; say where it is with --parity DIR")


def load_fill(folder: Path) -> ModuleType:
    """The module that makes weights and inputs from a seed."""
    spec = importlib.util.spec_from_file_location("parity_fill", folder / "fill.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def load_noise(reference: Path, folder: Path) -> dict[str, float]:
    """rms noise per stage; the reference's own file where there is one, else the first found."""
    candidates = [reference.resolve().parent / NOISE_FILE, *sorted(folder.glob(f"*/{NOISE_FILE}"))]
    for path in candidates:
        if path.is_file():
            stages = json.loads(path.read_text())["per_stage"]
            return {name: float(entry["rms_over_std"]) for name, entry in stages.items()}
    raise ReferenceError(f"no {NOISE_FILE} beside {reference} or in a folder of {folder}")


def report(stage: str, rms: float, limit: float) -> bool:
    """Prints a stage's line; whether it holds."""
    ok = bool(np.isfinite(rms) and rms <= limit)
    line = {"stage": stage, "rms_over_std": rms, "limit": limit, "ok": ok}
    print(json.dumps(line), flush=True)
    return ok


def crc32(array: NDArray[Any]) -> int:
    """Checksum of an array's bytes, as the references record it of their inputs."""
    return zlib.crc32(np.ascontiguousarray(array).tobytes())
