"""Rendering rays for training, forward and backward, beside the official algorithm written plainly.

One JSON object a line for each way: rays per second of CPU (best of several steps; a busy machine
does not blur it), and by how many MB the process grew at its peak above what it held after a step
of a hundred rays, which loads the libraries. Each way runs in a process of its own on one thread,
on the same rays through the same field: six cameras in a street, on the grid of 200 × 200 × 16
cells of 0.4 m with 17 classes, in steps of half a cell. A step is what training pays: from density
and class logits to losses of range, class, opacity and distortion, and back. ``plain`` is the
official algorithm (contraction, composited logits) as its formulas read, ``reference`` our own
without any shortcut: what the tests compare with, and ``skipping`` our own that leaves out cells of
less than 1 % opacity.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import time
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from renderocc_ros.geometry import VoxelGrid
from renderocc_ros.network.occupancy_field import opacity
from renderocc_ros.rendering import (
    Rays,
    RenderedRays,
    ray_densities,
    render_rays,
    render_rays_plain,
)
from renderocc_ros.rendering.ray_sampling import RaySamples, keep_where, sample_uniform
from renderocc_ros.rendering.volume_rendering import Lookup
from renderocc_training import losses
from renderocc_training.recipe import RayConfig
from renderocc_training.rendering.paper_head import PaperScene
from renderocc_training.rendering.paper_head import losses as paper_losses

GRID = VoxelGrid((-40.0, -40.0, -1.0), 0.4, (200, 200, 16))
CLASSES = 17
STEPS = RayConfig()
WAYS = ("ours", "skipping", "reference", "plain")


def street() -> tuple[Tensor, Tensor]:
    """Density (1, X, Y, Z) per metre, and logits (1, X, Y, Z, K): a road between house fronts."""
    generator = torch.Generator().manual_seed(0)
    density = 0.02 * torch.rand((1, *GRID.size), generator=generator)
    density[..., :3] = 8.0
    density[:, :, (65, 66, 134, 135)] = 8.0
    density[:, ::25, 80:85, 3:7] = 8.0
    return density, torch.randn((1, *GRID.size, CLASSES), generator=generator)


def cameras(count: int) -> tuple[Rays, Tensor, Tensor]:
    """Rays of six level cameras, with a range and a class for each."""
    generator = torch.Generator().manual_seed(1)
    yaw = 2 * torch.pi * torch.rand(count, generator=generator)
    slope = torch.rand(count, generator=generator) * 0.9 - 0.55
    way = torch.stack([yaw.cos(), yaw.sin(), slope], dim=1)
    rays = Rays(
        torch.tensor([[1.0, 0.0, 1.6]]).expand(count, 3).contiguous(),
        way / way.norm(dim=1, keepdim=True),
        torch.zeros(count, dtype=torch.int64),
    )
    range_m = 2 + 40 * torch.rand(count, generator=generator)
    return rays, range_m, torch.randint(0, CLASSES, (count,), generator=generator)


def our_step(
    way: str,
    density: Tensor,
    logits: Tensor,
    rays: Rays,
    labels: Tensor,
    lookup: Lookup = "nearest",
) -> Tensor:
    """Loss of our rendering: metric ranges, composited probabilities."""
    render = render_rays_plain if way == "reference" else render_rays
    step_m = STEPS.step_cells * GRID.resolution_m
    samples: RaySamples = sample_uniform(GRID, rays.origin, rays.direction, step_m)
    if way == "skipping":
        with torch.no_grad():
            densities = ray_densities(GRID, density, rays, samples)
        samples = keep_where(samples, opacity(densities, GRID.resolution_m) >= STEPS.empty_below)
    seen: RenderedRays = render(GRID, density, logits.softmax(dim=-1), rays, samples, lookup)
    label_m = labels[None, :, 0]
    all_rays = torch.ones_like(label_m, dtype=torch.bool)
    return (
        losses.scale_invariant_log_loss(seen.range_m[None], label_m, all_rays)
        + losses.semantic_loss(seen.classes[None], labels[None, :, 1].long(), all_rays)
        + losses.opacity_entropy_loss(seen.opacity[None], all_rays)
        + losses.distortion_loss(seen.weights, samples, all_rays)
    )


def official_step(density: Tensor, logits: Tensor, rays: Rays, labels: Tensor) -> Tensor:
    """Loss of the official head."""
    pixels = torch.zeros((len(labels), 2))
    columns = torch.cat([pixels, labels, rays.origin, rays.direction, rays.direction], dim=1)
    scene = PaperScene()
    # The same opacity of a cell in the official terms.
    depth = (density * GRID.resolution_m).clamp(min=1e-6)
    official = depth + torch.log(-torch.expm1(-depth)) - scene.shift
    losses = paper_losses(official, logits, columns[None], torch.eye(3)[None], scene)
    return torch.stack(list(losses.values())).sum()


def measure(way: str, count: int, repeats: int) -> None:
    """Run one way and print its line."""
    torch.set_num_threads(1)
    density, logits = (value.requires_grad_() for value in street())
    rays, range_m, class_id = cameras(count)
    labels = torch.stack([range_m, class_id.float()], dim=1)

    def step(some: int) -> float:
        density.grad = logits.grad = None
        chosen = Rays(rays.origin[:some], rays.direction[:some], rays.volume[:some])
        take = official_step if way == "plain" else partial(our_step, way)
        loss = take(density, logits, chosen, labels[:some])
        loss.backward()
        return float(loss.detach())

    step(100)
    before_mb = _memory_mb("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    seconds = []
    for _ in range(repeats):
        started = time.process_time()
        loss = step(count)
        seconds.append(time.process_time() - started)
    line = {
        "way": way,
        "rays": count,
        "cpu_s": round(min(seconds), 3),
        "rays_per_cpu_s": round(count / min(seconds)),
        "peak_mb": round(_memory_mb("VmHWM") - before_mb),
        "loss": round(loss, 4),
        "load": round(os.getloadavg()[0], 1),
    }
    print(json.dumps(line), flush=True)


def _memory_mb(key: str) -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key):
            return int(line.split()[1]) / 1024
    raise ValueError(f"/proc/self/status has no {key}: this benchmark needs Linux")


def main() -> None:
    """Print one line per way."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rays", type=int, default=38_400, help="per step; the paper's budget")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS)
    options = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    for way in options.ways:
        arguments = (way, options.rays, options.repeats)
        process = context.Process(target=measure, args=arguments)
        process.start()
        process.join()
        if process.exitcode:
            raise SystemExit(f"{way}: stopped with {process.exitcode}")


if __name__ == "__main__":
    main()
