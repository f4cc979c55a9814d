"""Compares the network with recorded activations of the official code, stage by stage.

Prints one JSON object per stage (stage, rms_over_std, limit, ok) and a last one with the verdict.
Exit status: 0 if every stage holds, 1 if one does not, 2 if a file is missing or ill-formed.

The limit of a stage is three times the recorded float noise (the official code in float64 against
itself in float32), at least one float32 rounding step, since some stages are free of noise.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from _parity_reference import NOISE_FACTOR, Reference, ReferenceError, crc32, report

from renderocc_ros.network.official import StereoFrame, SwinBStereo, SwinBStereoConfig
from renderocc_ros.network.official.voxel_pooling import voxel_of_points

LABELS_EQUAL = 0.999
# Without AVX-512 the convolutions of oneDNN round three times as much as PyTorch's own: more than
# the recorded noise, in the neck with its 13,824 products a sum.
ONEDNN = torch.backends.cpu.get_cpu_capability() == "AVX512"
# README of the reference: another order of operations moves 4 of 371,712 points to the next voxel
MOVED_POINTS = 4 / 371_712


def detector_frames(reference: Reference) -> list[StereoFrame]:
    """Key, adjacent and reference frame of the file's input."""
    stored = reference.arrays
    shape = tuple(int(n) for n in stored["adj.backbone_stereo.shape"])
    size = (4 * shape[2], 4 * shape[3])
    images = None
    for seed in dict.fromkeys((int(stored["seed"]), reference.weights_seed)):
        images = reference.fill.make_inputs(seed, size)["imgs"]
        if crc32(images) == int(stored["input.imgs_crc32"]):
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

    with torch.inference_mode(), torch.backends.mkldnn.flags(enabled=ONEDNN):
        field = network(frames, torch.from_numpy(reference.arrays["input.bda"]), observe)
    density = reference.arrays["density.full"].astype(np.float64)
    rms = float(np.sqrt(np.mean((field.density[0].numpy() - density) ** 2)) / density.std())
    verdicts.append(report("density", rms, reference.limit("density_prob")))
    verdicts.append(check_depth_loss(reference, network, field.depth))
    for stage in sorted(wanted):
        print(json.dumps({"stage": stage, "rms_over_std": None, "limit": None, "ok": False}))
    equal = float((field.labels()[0].numpy() == reference.arrays["occ.full"]).mean())
    ok = all(verdicts) and not wanted and equal >= LABELS_EQUAL
    print(json.dumps({"labels_equal": equal, "ok": ok}))
    return ok


def check_depth_loss(reference: Reference, network: SwinBStereo, depth: torch.Tensor) -> bool:
    """The official loss on the key frame's depth distribution, relative to its value."""
    from renderocc_training.losses.paper_depth import paper_depth_loss

    seed = int(reference.arrays["seed"])
    label_m = torch.from_numpy(reference.fill.make_gt_depth(seed, network.sizes.image_size))
    recorded = float(reference.arrays["depth_loss"])
    loss = float(paper_depth_loss(depth, label_m, network.sizes.depth_range_m))
    return report("depth_loss", abs(loss / recorded - 1), reference.limit("key/depth_softmax"))


def check_points_per_voxel(
    reference: Reference, network: SwinBStereo, observed: str, points: torch.Tensor
) -> bool:
    """How many lifted points each voxel gets; a moved point changes two voxels by one."""
    stage = observed.replace("lidar_coor", "points_per_voxel")
    recorded = reference.arrays[stage.replace("/", ".") + ".full"].astype(np.float64)
    voxels = voxel_of_points(points, network.sizes.grid, truncate=True)
    ours = torch.bincount(voxels[voxels >= 0].flatten(), minlength=recorded.size).numpy()
    rms = np.sqrt(np.mean((ours.reshape(recorded.shape) - recorded) ** 2))
    moved = NOISE_FACTOR * MOVED_POINTS * (points.numel() / 3)
    limit = np.sqrt(2 * moved / recorded.size)
    return report(stage, float(rms / recorded.std()), float(limit / recorded.std()))


def check_nerf_head(reference: Reference) -> bool:
    """The official rendering head of the ``paper`` recipe."""
    from _parity_training import check_nerf_head

    return check_nerf_head(reference)


def check_rays(reference: Reference) -> bool:
    """The official rays and their weights."""
    from _parity_training import check_rays

    return check_rays(reference)


CHECKS: dict[str, tuple[tuple[str, ...], Callable[[Reference], bool]]] = {
    "detector": (("order", "occ.full", "density.full", "input.intrins", "seed"), check_detector),
    "nerf_head": (("input.rays", "identity.render_depth", "seed"), check_nerf_head),
    "rays": (("rays_all", "weights_dataset", "input.coors"), check_rays),
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
    except (ReferenceError, KeyError, ModuleNotFoundError) as error:
        lacks = f"{reference}: lacks the array {error}" if isinstance(error, KeyError) else error
        print(f"parity: {lacks}", file=sys.stderr)
        raise typer.Exit(2) from error
    raise typer.Exit(0 if ok else 1)


if __name__ == "__main__":
    typer.run(main)
