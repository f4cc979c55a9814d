"""Prediction on this machine: backends, pooling and encoders side by side.

Prints one JSON object a line: the backends of ``renderocc benchmark`` for each network, then the
fast pooling beside the plain one and the encoder from above beside the 3D one, as ratios.

    ./run bench prediction --threads 2
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Annotated, Any

import torch
import typer

from renderocc_ros.network.initialise import ring_of_noise
from renderocc_ros.network.renderocc import RenderOcc
from renderocc_ros.network.view_lifting import pool_fast, pool_plain
from renderocc_ros.network.voxel_encoder import build_encoder
from renderocc_ros.network_config import EncoderConfig
from renderocc_ros.prediction.benchmark import ON_CPU, ON_GPU, Plan, run_benchmark
from renderocc_ros.prediction.models import untrained_model

REPEATS = 10


def main(
    networks: Annotated[str, typer.Option(help="presets, with commas")] = "nano",
    threads: Annotated[int, typer.Option(min=1)] = 2,
    sets: Annotated[int, typer.Option(min=1)] = 30,
) -> None:
    """See the module."""
    torch.set_num_threads(threads)
    backends = ON_GPU if torch.cuda.is_available() else ON_CPU
    for name in networks.split(","):
        for line in run_benchmark(name, backends, Plan(sets=sets, threads=threads)):
            print(json.dumps(line), flush=True)
        network = untrained_model(name, 0).network
        if isinstance(network, RenderOcc):
            print(json.dumps({"network": name, "threads": threads, **pooling(network)}), flush=True)
            print(json.dumps({"network": name, "threads": threads, **encoders(network)}))


@torch.inference_mode()
def pooling(network: RenderOcc) -> dict[str, Any]:
    """The fast pooling beside the plain one, on the same input."""
    cameras = ring_of_noise(network, seed=0)
    table = network.lifting_table(cameras)
    views = network.view_features(cameras)
    plain, fast = alternately(
        lambda: pool_plain(views.depth, views.context, table),
        lambda: pool_fast(views.depth, views.context, table),
    )
    table_ms, _ = alternately(lambda: network.lifting_table(cameras), lambda: None)
    return {
        "compared": "pooling",
        "points": table.inside,
        "plain_ms": round(plain, 3),
        "fast_ms": round(fast, 3),
        "ratio": round(plain / fast, 2),
        "table_ms": round(table_ms, 2),
    }


@torch.inference_mode()
def encoders(network: RenderOcc) -> dict[str, Any]:
    """The same volume through 3D convolutions and through 2D ones from above."""
    x, y, z = network.grid.size
    channels = network.temporal_fusion.channels
    volume = torch.randn(1, channels, x, y, z)
    solid = EncoderConfig(kind="3d", channels=(32, 64, 128), out_channels=16)
    above = EncoderConfig(kind="channel_to_height", channels=(96, 128, 192), out_channels=16)
    in_3d, from_above = (build_encoder(channels, z, z, config).eval() for config in (solid, above))
    slow, quick = alternately(lambda: in_3d(volume), lambda: from_above(volume))
    return {
        "compared": "encoders",
        "3d_ms": round(slow, 1),
        "channel_to_height_ms": round(quick, 1),
        "ratio": round(slow / quick, 2),
    }


def alternately(first: Callable[[], Any], second: Callable[[], Any]) -> tuple[float, float]:
    """Fastest of several runs of each, milliseconds; in turns, so that both meet the same load."""
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(REPEATS + 1):
        for function, own in zip((first, second), times, strict=True):
            start = time.perf_counter()
            function()
            own.append((time.perf_counter() - start) * 1e3)
    return min(times[0][1:]), min(times[1][1:])


if __name__ == "__main__":
    typer.run(main)
