"""Parts of ``bench gpu`` that are processes of their own: one JSON line each.

python benchmarks/_gpu_parts.py parity NETWORK
python benchmarks/_gpu_parts.py training NETWORK
"""

from __future__ import annotations

import json
import time
from typing import Annotated

import numpy as np
import torch
import typer

from renderocc_ros.class_set import IGNORE_ID
from renderocc_ros.network.camera_tensors import CameraTensors, PastCameras
from renderocc_ros.network_config import NetworkConfig
from renderocc_ros.prediction.benchmark import Plan, ring_drive
from renderocc_ros.prediction.models import load_model
from renderocc_ros.prediction.predictor import Predictor
from renderocc_ros.prediction.runner import camera_tensors
from renderocc_ros.rendering import Rays
from renderocc_ros.rig.image_preprocessing import ImagePreprocessor
from renderocc_training.recipe import load_recipe
from renderocc_training.samples.training_sample import RayTensors, TrainingBatch
from renderocc_training.trainer.objective import Objective, Opaque

app = typer.Typer()
Cameras = Annotated[int, typer.Option()]
TINY_SIZE, SIZE = (128, 64), (1600, 900)
LABELLED = 0.1  # of the voxels
STEPS = 4  # of training; the first warms up


def device() -> torch.device:
    """The GPU if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@app.command()
def parity(network: str, cameras: Cameras = 6, tiny: bool = False) -> None:
    """The same sets on the CPU and on the GPU, in float32."""
    plan = Plan(cameras, TINY_SIZE if tiny else SIZE, sets=2, warm_up=0)
    results = []
    for name in ("cpu", device().type):
        predictor = Predictor.from_name(network, device=name)
        labels = np.stack([predictor.predict(each).labels for each in ring_drive(plan)])
        assert predictor.field is not None
        results.append((labels, predictor.field.density.cpu().double()))
    (labels, density), (others, on_gpu) = results
    line = {
        "network": network,
        "labels_equal": round(float((labels == others).mean()), 6),
        "density_rms_over_std": float((on_gpu - density).square().mean().sqrt() / density.std()),
    }
    print(json.dumps(line))


@app.command()
def training(network: str, cameras: Cameras = 6, tiny: bool = False) -> None:
    """A training step of the ``default`` recipe: forward, losses, backward, optimiser."""
    model, recipe, where = load_model(network), load_recipe("default"), device()
    objective = Objective(model.network.to(where), model.class_set, recipe).train()
    optimiser = torch.optim.AdamW(objective.parameters(), lr=1e-6)
    plan = Plan(cameras, TINY_SIZE if tiny else SIZE, sets=1, warm_up=0)
    rays = 64 if tiny else recipe.rays.budget
    batch = noise_batch(model.network.config, len(model.class_set), plan, rays, where)
    seconds = []
    for step in range(STEPS):
        started = time.perf_counter()
        with torch.autocast(where.type, torch.bfloat16, enabled=where.type == "cuda"):
            terms = objective(Opaque(batch), torch.Generator().manual_seed(step))
        loss = torch.stack(list(terms.values())).sum()
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        assert torch.isfinite(loss), f"the loss is {loss}"
        seconds.append(time.perf_counter() - started)
    line = {
        "network": network,
        "samples": 1,
        "rays": rays,
        "precision": "bf16" if where.type == "cuda" else "fp32",
        "step_ms": round(1e3 * min(seconds[1:]), 1),
        "first_step_ms": round(1e3 * seconds[0], 1),
    }
    if where.type == "cuda":
        line["peak_gpu_memory_mb"] = round(torch.cuda.max_memory_allocated() / 2**20)
    print(json.dumps(line))


def noise_batch(
    config: NetworkConfig, classes: int, plan: Plan, count: int, where: torch.device
) -> TrainingBatch:
    """A sample of noise with ``count`` rays and all labels that the ``default`` recipe needs."""
    camera_set = next(ring_drive(plan))
    inputs = ImagePreprocessor(config.image)(camera_set)
    views: CameraTensors = camera_tensors(inputs, torch.device("cpu"), config.image)
    parts, random = config.architecture, np.random.default_rng(0)
    past = PastCameras(views, torch.eye(4)[None])
    yaw, pitch = random.uniform(-np.pi, np.pi, count), random.uniform(-0.3, 0.1, count)
    direction = np.stack(
        [np.cos(yaw) * np.cos(pitch), np.sin(yaw) * np.cos(pitch), np.sin(pitch)], axis=1
    )
    size = config.grid.build().size
    votes = np.where(
        random.random(size) < LABELLED, random.integers(0, classes + 1, size), IGNORE_ID
    )
    cells = (config.image.height // parts.neck.stride, config.image.width // parts.neck.stride)
    rays = RayTensors(
        Rays(
            torch.tensor([0.0, 0.0, 1.5]).expand(count, 3),
            torch.from_numpy(direction).float(),
            torch.zeros(count, dtype=torch.int64),
        ),
        torch.full((1, count), 0.5),
        torch.from_numpy(random.uniform(1, 40, (1, count))).float(),
        torch.from_numpy(random.integers(0, classes, (1, count))),
        torch.ones(1, count, dtype=torch.bool),
    )
    return TrainingBatch(
        ("noise",),
        views,
        (past,) * parts.past_instants,
        rays,
        torch.from_numpy(random.uniform(1, 40, (1, plan.cameras, *cells))).float(),
        torch.from_numpy(random.integers(0, classes, (1, plan.cameras, *cells))),
        torch.from_numpy(votes)[None],
        None,
    ).to(where)


if __name__ == "__main__":
    app()
