"""Parity of what only training needs: the official rendering head, rays and their weights.

No float noise is recorded for these, so a stage's limit is a few float32 rounding steps of its
standard deviation; numbers behind a filter with a threshold may differ by a sample in a thousand.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import torch
from _parity_reference import Reference, ReferenceError, crc32, report
from numpy.typing import ArrayLike, NDArray

from renderocc_training.rendering import paper_head
from renderocc_training.supervision.rays.paper_rays import (
    in_order_of_frames,
    paper_ray_weights,
    paper_rays,
)

ROUNDING = 3e-5  # some hundred steps of float32: sums over hundreds of samples
COUNTS = 1e-3
PARTS = {
    "label": slice(2, 4),
    "origin": slice(4, 7),
    "direction": slice(7, 10),
    "unit_direction": slice(10, 13),
}
CASES = ("identity", "flipx", "flipxy")
PER_RAY = ("samples_kept_per_ray", "samples_inner_per_ray", "samples_final_per_ray")


def compare(reference: Reference, name: str, ours: ArrayLike, limit: float = ROUNDING) -> bool:
    """rms difference of a whole array in its standard deviations; of a number in itself."""
    recorded = np.asarray(reference.arrays[name], dtype=np.float64)
    value = np.asarray(ours, dtype=np.float64)
    if value.shape != recorded.shape:
        raise ReferenceError(f"{name}: {value.shape}, recorded is {recorded.shape}")
    scale = recorded.std() if recorded.size > 1 else abs(float(recorded))
    difference: NDArray[np.float64] = np.where(value == recorded, 0.0, value - recorded)
    return report(name.replace(".", "/"), float(np.sqrt(np.mean(difference**2)) / scale), limit)


def check_nerf_head(reference: Reference) -> bool:
    """Losses, rendered depth and semantics, sampling and gradients, for each augmentation."""
    made = reference.fill.make_nerf(reference.weights_seed)
    for name in ("density", "semantic"):
        if crc32(made[name]) != int(reference.arrays[f"input.{name}_crc32"]):
            raise ReferenceError(f"{reference.path}: {name} of the seed has another checksum")
    rays = torch.from_numpy(reference.arrays["input.rays"])[0]
    counting = (rays[:, 2] > 0) & (rays[:, 2] <= paper_head.MAX_LABEL_RANGE_M)
    verdicts, equal = [], []
    for case in CASES:
        density = torch.from_numpy(made["density"]).requires_grad_()
        semantics = torch.from_numpy(made["semantic"]).requires_grad_()
        bda = torch.from_numpy(reference.arrays[f"{case}.bda"])
        one = rays[counting]
        view = paper_head.render(
            one[:, 4:7], one[:, 7:10], density[0], semantics[0], bda, paper_head.PaperScene()
        )
        losses = paper_head.view_losses(view, one)
        torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]
        verdicts += _compare_view(reference, case, view)
        verdicts += [compare(reference, f"{case}.{k}", v.item()) for k, v in losses.items()]
        for name, volume in (("density", density), ("semantic", semantics)):
            assert volume.grad is not None
            at = reference.arrays[f"{case}.grad_{name}_idx"]
            gradient = volume.grad.flatten().numpy()[at]
            verdicts.append(compare(reference, f"{case}.grad_{name}", gradient))
        for name, ours in (("ray_mask", counting), ("target_semantic", one[:, 3])):
            equal.append(float((ours.numpy() == reference.arrays[f"{case}.{name}"]).mean()))
    return _verdict(verdicts, min(equal))


def _compare_view(reference: Reference, case: str, view: paper_head.PaperRender) -> list[bool]:
    kept, inside = view.samples.kept, view.samples.inside
    counts = (kept, kept & inside, view.used)
    arrays: dict[str, tuple[Any, float]] = {
        "t": (view.samples.t, ROUNDING),
        "ray_pts_first3rays": (view.samples.points[:3], ROUNDING),
        "keep_mask_first3rays": (kept[:3], COUNTS),
        "alphainv_last": (view.transmittance, ROUNDING),
        "weight_sum_per_ray": (view.weights.sum(dim=1), ROUNDING),
        "render_depth": (view.depth_m, ROUNDING),
        "render_semantic": (view.semantics, ROUNDING),
    }
    arrays |= {name: (n.sum(dim=1), COUNTS) for name, n in zip(PER_RAY, counts, strict=True)}
    return [
        compare(reference, f"{case}.{name}", value.detach().numpy(), limit)
        for name, (value, limit) in arrays.items()
    ]


def check_rays(reference: Reference) -> bool:
    """Ray generation, and the weights with data-set counts and with those of the rays at hand."""
    stored = reference.arrays
    names = ("coors", "depths", "segs", "c2w", "intrins")
    images = [
        paper_rays(*arrays)
        for arrays in zip(*(stored[f"input.{name}"] for name in names), strict=True)
    ]
    frames = stored["input.time_ids_keys"].tolist()
    order = dict(zip(frames, stored["input.time_ids"].tolist(), strict=True))
    rays, is_auxiliary = in_order_of_frames(images, order)
    verdicts = [compare(reference, "rays_all", rays)]
    for part, columns in PARTS.items():
        recorded = stored["rays_all"][:, columns].astype(np.float64)
        rms = np.sqrt(np.mean((rays[:, columns] - recorded) ** 2)) / recorded.std()
        verdicts.append(report(f"rays_all/{part}", float(rms), ROUNDING))
    here = np.bincount(rays[:, 3].astype(int), minlength=len(stored["dataset_class_counts"]))
    for kind, counts in (("dataset", stored["dataset_class_counts"]), ("batch", here)):
        moving = stored["dynamic_class"].tolist()
        weights = paper_ray_weights(rays, is_auxiliary, moving, counts)
        verdicts.append(compare(reference, f"weights_{kind}", weights))
        sampled = f"sampled_with_identity_sampler_{kind}"
        verdicts.append(compare(reference, sampled, rays[: len(stored[sampled])]))
    return _verdict(verdicts, float((rays[:, 3] == stored["rays_all"][:, 3]).mean()))


def _verdict(verdicts: list[bool], labels_equal: float) -> bool:
    ok = all(verdicts) and labels_equal == 1.0
    print(json.dumps({"labels_equal": labels_equal, "ok": ok}))
    return ok
