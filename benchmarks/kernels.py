"""The Triton kernels beside PyTorch's operators, on a CUDA device.

One JSON object a line: milliseconds of both (the fastest of several runs), their ratio, and by how
many MB memory grew at its peak above what was held before. Pooling and rendering go forward and
back, as in training: pooling with the cameras, grid and channels of ``r50``, rendering as in
``bench rendering`` (38,400 rays through 200 × 200 × 16 cells, 17 classes), looked up both ways.
Matching has the sizes of ``swinb-stereo``.

``--trial`` takes tiny sizes. With TRITON_INTERPRET=1 it runs where there is no GPU, to see whether
everything works; its times mean nothing.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, Any

import torch
import typer
from rendering import cameras, our_step, street
from swinb_cpu import drive_frame

from renderocc_ros.geometry import VoxelGrid
from renderocc_ros.kernels import VARIABLE
from renderocc_ros.network.official import SwinBStereoConfig, geometry
from renderocc_ros.network.official.stereo_cost import stereo_cost
from renderocc_ros.network.renderocc import lifting_geometry
from renderocc_ros.network.view_lifting import pool_fast
from renderocc_ros.network_config import LiftedConfig, load_network_config
from renderocc_ros.rendering.volume_rendering import Lookup

Step = Callable[[], Any]


def pooling(device: torch.device, trial: bool) -> Step:
    """One set of cameras into voxels, and the gradient of a sum of squares."""
    config = load_network_config("r50")
    assert isinstance(config.architecture, LiftedConfig)
    lifting, channels = lifting_geometry(config), config.architecture.depth.context_channels
    if trial:
        few = VoxelGrid((-20.0, -20.0, -1.0), 4.0, (10, 10, 2))
        lifting = replace(lifting, depths_m=(5.0, 10.0), image_size=(32, 64), grid=few)
    height, width = lifting.image_size
    frame, generator = drive_frame(SwinBStereoConfig(), 0), torch.Generator().manual_seed(0)
    scale = torch.tensor([width / 1600, height / 900, 1.0])[:, None]
    views = frame.intrinsics.shape[:2]
    valid = torch.ones(views, dtype=torch.bool)
    table = lifting.table(scale * frame.intrinsics, frame.ego_from_camera, valid).to(device)
    cells = (height // lifting.stride, width // lifting.stride)
    depth = torch.randn((*views, len(lifting.depths_m), *cells), generator=generator).softmax(dim=2)
    context = torch.randn((*views, channels, *cells), generator=generator)
    depth, context = (part.to(device).requires_grad_() for part in (depth, context))
    return lambda: pool_fast(depth, context, table).square().sum().backward()


def matching(device: torch.device, trial: bool) -> Step:
    """One frame's cameras; forward alone, as the network uses it."""
    config = SwinBStereoConfig(image_size=(32, 64)) if trial else SwinBStereoConfig()
    now, past = drive_frame(config, 1), drive_frame(config, 0)
    depths_m = config.depths_m()[:2] if trial else config.depths_m()
    pose = geometry.past_from_current_camera(now, past)
    grid = geometry.stereo_grid(now, pose, depths_m, config.image_size, 4).flatten(0, 1).to(device)
    shape = (2, config.cameras, config.swin.channels, *grid.shape[2:4])
    pair = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(device)
    features = [part.contiguous(memory_format=torch.channels_last) for part in pair]
    return lambda: stereo_cost(features[0], features[1], grid, config.invalid_cost)


def rendering(device: torch.device, trial: bool, lookup: Lookup) -> Step:
    """A training step of the renderer, with all losses."""
    density, logits = street()
    rays, range_m, class_id = cameras(4 if trial else 38_400)
    labels = torch.stack([range_m, class_id.float()], dim=1).to(device)
    density, logits = (field.to(device).requires_grad_() for field in (density, logits))
    rays = type(rays)(*(part.to(device) for part in vars(rays).values()))
    return lambda: our_step("ours", density, logits, rays, labels, lookup).backward()


def measure(step: Step, device: torch.device, repeats: int) -> tuple[float, float | None]:
    """Milliseconds of the fastest run, and peak MB; compiling comes before."""
    if device.type != "cuda":
        start = time.perf_counter()
        step()
        return 1e3 * (time.perf_counter() - start), None
    for _ in range(2):
        step()
    torch.cuda.synchronize()
    held, fastest = torch.cuda.memory_allocated(), math.inf
    torch.cuda.reset_peak_memory_stats()
    for _ in range(repeats):
        start = time.perf_counter()
        step()
        torch.cuda.synchronize()
        fastest = min(fastest, time.perf_counter() - start)
    return 1e3 * fastest, (torch.cuda.max_memory_allocated() - held) / 1e6


def main(
    repeats: Annotated[int, typer.Option(min=1)] = 10,
    trial: Annotated[bool, typer.Option(help="tiny sizes")] = False,
) -> None:
    """See the module."""
    if not torch.cuda.is_available() and not trial:
        raise SystemExit("bench kernels: no CUDA device; TRITON_INTERPRET=1 and --trial try it out")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    steps: dict[str, Callable[[torch.device, bool], Step]] = {
        "pooling": pooling,
        "matching": matching,
        "rendering, nearest": lambda *where: rendering(*where, "nearest"),
        "rendering, trilinear": lambda *where: rendering(*where, "trilinear"),
    }
    for name, make in steps.items():
        step = make(device, trial)
        results = {}
        for version in ("torch", "triton"):
            os.environ[VARIABLE] = version
            results[version] = measure(step, device, repeats)
        line = {"compared": name, "trial": trial}
        line["device"] = torch.cuda.get_device_name() if device.type == "cuda" else "interpreter"
        for version, (ms, peak_mb) in results.items():
            line |= {f"{version}_ms": round(ms, 2), f"{version}_peak_mb": peak_mb}
        line["ratio"] = round(results["torch"][0] / results["triton"][0], 2)
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    typer.run(main)
