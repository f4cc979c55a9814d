"""Compares the network with recorded activations of the official code, stage by stage.

Prints one JSON object per stage (stage, rms_over_std, limit, ok) and a last one with the verdict.
Exit status: 0 if every stage holds, 1 if one does not, 2 if a file is missing or ill-formed.

The limit of a stage is three times the recorded float noise (the official code in float64 against
itself in float32), at least one float32 rounding step, since some stages are free of noise.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

import numpy as np
import torch
import typer
from numpy.typing import NDArray

from renderocc_ros.network.official import StereoFrame, SwinBStereo, SwinBStereoConfig

NOISE_FACTOR = 3.0
SMALLEST_LIMIT = float(np.finfo(np.float32).eps)
NOISE_FILE = "noise_floor_f32_vs_f64.json"
LABELS_EQUAL = 0.999
# README of the reference: another order of operations moves 4 of 371,712 points to the next voxel
MOVED_POINTS = 4 / 371_712


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
        return max(NOISE_FACTOR * self.noise[stage], SMALLEST_LIMIT)

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


# ------------------------------------------------------------------------------- the detector
def detector_frames(reference: Reference) -> list[StereoFrame]:
    """Key, adjacent and reference frame of the file's input."""
    stored = reference.arrays
    shape = tuple(int(n) for n in stored["adj.backbone_stereo.shape"])
    size = (4 * shape[2], 4 * shape[3])
    images = None
    for seed in dict.fromkeys((int(stored["seed"]), reference.weights_seed)):
        images = reference.fill.make_inputs(seed, size)["imgs"]
        if zlib.crc32(images.tobytes()) == int(stored["input.imgs_crc32"]):
            break
    else:
        raise ReferenceError(
            f"{reference.path}: the images of its seed {int(stored['seed'])} have another checksum "
            "than recorded; is fill.py the one that made it?"
        )
    cameras, count = shape[0], stored["input.intrins"].shape[1] // shape[0]
    by_camera = torch.from_numpy(images).view(1, cameras, count, 3, *size)

    def matrices(name: str, frame: int) -> torch.Tensor:
        value = torch.from_numpy(stored[f"input.{name}"])
        return value.view(1, count, cameras, *value.shape[2:])[:, frame]

    names = ("intrins", "post_rots", "post_trans", "sensor2egos", "ego2globals")
    return [
        StereoFrame(by_camera[:, :, f], *(matrices(name, f) for name in names))
        for f in range(count)
    ]


def detector_network(reference: Reference, image_size: tuple[int, int]) -> SwinBStereo:
    """The preset with the weights of the seed."""
    network = SwinBStereo(SwinBStereoConfig(image_size=image_size)).eval()
    reference.fill.fill_state_dict(network.state_dict(), reference.weights_seed)
    return network


def stage_name(observed: str) -> str:
    """The recorded name of an observed stage."""
    frame, _, stage = observed.rpartition("/")
    if stage in ("sensor2keyegos", "curr2adj"):
        return f"prep/{stage}_{frame}"
    return observed


def check_detector(reference: Reference) -> bool:
    """Every stage of the three-frame call, the density volume and the labels."""
    frames = detector_frames(reference)
    network = detector_network(reference, (frames[0].images.shape[3], frames[0].images.shape[4]))
    wanted, verdicts = set(reference.stage_names()), []

    def observe(observed: str, value: torch.Tensor) -> None:
        stage = stage_name(observed)
        if stage in wanted:
            wanted.remove(stage)
            rms = reference.rms_over_std(stage, value)
            verdicts.append(report(stage, rms, reference.limit(stage)))
        if observed.endswith("lidar_coor"):
            verdicts.append(check_points_per_voxel(reference, network, observed, value))

    with torch.inference_mode():
        field = network(frames, torch.from_numpy(reference.arrays["input.bda"]), observe)
    density = reference.arrays["density.full"].astype(np.float64)
    rms = float(np.sqrt(np.mean((field.density[0].numpy() - density) ** 2)) / density.std())
    verdicts.append(report("density", rms, reference.limit("density_prob")))
    for stage in sorted(wanted):
        print(json.dumps({"stage": stage, "rms_over_std": None, "limit": None, "ok": False}))
    equal = float((field.labels()[0].numpy() == reference.arrays["occ.full"]).mean())
    ok = all(verdicts) and not wanted and equal >= LABELS_EQUAL
    print(json.dumps({"labels_equal": equal, "ok": ok}))
    return ok


def check_points_per_voxel(
    reference: Reference, network: SwinBStereo, observed: str, points: torch.Tensor
) -> bool:
    """How many lifted points each voxel gets; a moved point changes two voxels by one."""
    from renderocc_ros.network.official.voxel_pooling import voxel_of_points

    stage = observed.replace("lidar_coor", "points_per_voxel")
    recorded = reference.arrays[stage.replace("/", ".") + ".full"].astype(np.float64)
    voxels = voxel_of_points(points, network.config.grid, truncate=True)
    ours = torch.bincount(voxels[voxels >= 0].flatten(), minlength=recorded.size).numpy()
    rms = np.sqrt(np.mean((ours.reshape(recorded.shape) - recorded) ** 2))
    moved = NOISE_FACTOR * MOVED_POINTS * (points.numel() / 3)
    limit = np.sqrt(2 * moved / recorded.size)
    return report(stage, float(rms / recorded.std()), float(limit / recorded.std()))


# -------------------------------------------------------------------------------- the registry
CHECKS: dict[str, tuple[tuple[str, ...], Callable[[Reference], bool]]] = {
    "detector": (("order", "occ.full", "density.full", "input.intrins", "seed"), check_detector),
}
"""Kind of reference -> arrays that tell it, and its check."""


def kinds_of(arrays: Mapping[str, Any]) -> Iterator[str]:
    """The kinds of reference that a file's arrays make."""
    return (kind for kind, (needed, _) in CHECKS.items() if all(n in arrays for n in needed))


def main(
    reference: Annotated[Path, typer.Argument(help="recorded activations (.npz)")],
    weights_seed: Annotated[
        int | None, typer.Option(help="seed of the weights; the file's own by default")
    ] = None,
    parity: Annotated[
        Path | None, typer.Option(help="folder with fill.py; near the file by default")
    ] = None,
    threads: Annotated[int, typer.Option(help="CPU threads")] = 2,
) -> None:
    """Compares the network with recorded activations of the official code, stage by stage."""
    torch.set_num_threads(threads)
    try:
        loaded = Reference.load(reference, parity, weights_seed)
        kind = next(kinds_of(loaded.arrays), None)
        if kind is None:
            raise ReferenceError(
                f"{reference}: holds {sorted(loaded.arrays)[:8]} …, which is no reference of "
                f"{', '.join(CHECKS)}"
            )
        ok = CHECKS[kind][1](loaded)
    except (ReferenceError, KeyError) as error:
        missing = f"{reference}: lacks the array {error}" if isinstance(error, KeyError) else error
        print(f"parity: {missing}", file=sys.stderr)
        raise typer.Exit(2) from error
    raise typer.Exit(0 if ok else 1)


if __name__ == "__main__":
    typer.run(main)
