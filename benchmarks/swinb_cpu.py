"""Speed of ``swinb-stereo`` on the CPU beside plain transcriptions of the official code.

Prints one JSON object per measurement: seconds of both sides, their ratio and the aim. The sides
take turns within one run; each side's fastest turn counts, since other load only slows it down.

  cost_volume   matching geometry, cost and softmax of one frame
  pooling       frustum points, sorting and summation of one frame
  three_frame   the whole call; plain is the official code written layer by layer
  streaming     one step of a running stream, beside the plain three-frame call
  …_network     the same two beside our own network with plain cost volume and pooling
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable
from typing import Annotated, Literal

# Large pages for both sides; else a third of the time goes into clearing fresh small ones.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")

import torch
import typer
from _plain_official import (
    PlainMatchingAndPooling,
    plain_geometry,
    plain_layers,
    pool_by_sorting,
)
from torch import Tensor

from renderocc_ros.network.official import (
    StereoFrame,
    SwinBStereo,
    SwinBStereoConfig,
    SwinBStereoStream,
    geometry,
)

YAWS_DEG = (55.0, 0.0, -55.0, -110.0, 180.0, 110.0)
INTERVAL_NS = 500_000_000
Side = Callable[[], object]
Clock = Literal["wall", "cpu"]
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


def drive_frame(config: SwinBStereoConfig, step: int) -> StereoFrame:
    """A frame of a sequence at 8 m/s with six cameras all around; the images are noise."""
    height, width = config.image_size
    scale, generator = width / 1600, torch.Generator().manual_seed(step)
    mounts = torch.eye(4).repeat(1, config.cameras, 1, 1)
    poses = torch.eye(4, dtype=torch.float64).repeat(1, config.cameras, 1, 1)
    for camera, yaw in enumerate(map(math.radians, YAWS_DEG)):
        right, forward = [math.sin(yaw), -math.cos(yaw), 0], [math.cos(yaw), math.sin(yaw), 0]
        mounts[0, camera, :3, :3] = torch.tensor([right, [0, 0, -1], forward]).T
        mounts[0, camera, :3, 3] = torch.tensor([*forward[:2], 1.5])
        poses[0, camera, 0, 3] = 8.0 * (0.5 * step + 0.01 * camera)
    shape = (1, config.cameras, 3, 3)
    k = torch.tensor([[1260.0, 0, 800], [0, 1260.0, 450], [0, 0, 1]])
    return StereoFrame(
        torch.randn(1, config.cameras, 3, height, width, generator=generator),
        k.expand(shape).contiguous(),
        torch.diag(torch.tensor([scale, scale, 1.0])).expand(shape).contiguous(),
        torch.tensor([0.0, height - 900 * scale, 0.0]).expand(shape[:3]).contiguous(),
        mounts,
        poses,
    )


def fastest(sides: dict[str, Side], turns: int, clock: Clock) -> dict[str, float]:
    """Seconds of each side's fastest turn; one more turn of each comes first, to warm up."""
    now = CLOCKS[clock]
    seconds = dict.fromkeys(sides, math.inf)
    for turn in range(turns + 1):
        for name, side in sides.items():
            start = now()
            side()
            if turn:
                seconds[name] = min(seconds[name], now() - start)
    return seconds


def report(
    what: str, plain_s: float, ours_s: float, aim: float, size: tuple[int, int], clock: Clock
) -> None:
    """One line of the result."""
    line = {
        "benchmark": "swinb_cpu",
        "what": what,
        "plain_s": round(plain_s, 4),
        "ours_s": round(ours_s, 4),
        "ratio": round(plain_s / ours_s, 2),
        "aim": aim,
        "image_size": size,
        "clock": clock,
        "threads": torch.get_num_threads(),
        "load_1min": round(os.getloadavg()[0], 2),
        "torch": torch.__version__,
    }
    print(json.dumps(line), flush=True)


def measure_parts(ours: SwinBStereo, plain: SwinBStereo, turns: int, clock: Clock) -> None:
    """Cost volume and pooling on their own."""
    config, bda = ours.sizes, torch.eye(3)[None]
    key, past = drive_frame(config, 1), drive_frame(config, 0)
    height, width = (side // 4 for side in config.image_size)
    features = torch.randn(2, config.cameras, config.swin.channels, height, width)
    last = (
        features.movedim(2, -1).contiguous().movedim(-1, 2)
    )  # channels fastest, as the backbone gives them
    shape = (1, config.cameras, config.depth_bins, height // 4, width // 4)
    depth = torch.randn(shape).softmax(dim=2)
    context = torch.randn(1, config.cameras, config.context_channels, *shape[3:])

    def match(network: SwinBStereo, pair: Tensor) -> Tensor:
        pose = geometry.past_from_current_camera(key, past)
        grid = geometry.stereo_grid(key, pose, config.depths_m(), config.image_size, 4)
        return network.match(pair[0], pair[1], grid.flatten(0, 1))

    def match_plain() -> Tensor:
        with plain_geometry():
            return match(plain, features)

    def points() -> Tensor:
        ego = geometry.key_ego_from_camera(past, key)
        return geometry.frustum_points(past, ego, bda, config.depths_m(), config.image_size, 16)

    sides: dict[str, Side] = {
        "match_plain": match_plain,
        "match": lambda: match(ours, last),
        "pool_plain": lambda: pool_by_sorting(points(), depth, context, config.grid),
        "pool": lambda: ours.pool(points(), depth, context),
    }
    seconds = fastest(sides, turns, clock)
    report("cost_volume", seconds["match_plain"], seconds["match"], 4.0, config.image_size, clock)
    report("pooling", seconds["pool_plain"], seconds["pool"], 4.0, config.image_size, clock)


def measure_whole(ours: SwinBStereo, plain: SwinBStereo, turns: int, clock: Clock) -> None:
    """The three-frame call and a step of a stream."""
    config = ours.sizes
    frames = [drive_frame(config, step) for step in range(turns + 3)]
    newest_first = frames[2::-1]
    stream, steps = SwinBStereoStream(ours), iter(range(turns + 3))
    for _ in range(2):
        step = next(steps)
        stream.step(frames[step], step * INTERVAL_NS)

    def streaming() -> None:
        step = next(steps)
        output = stream.step(frames[step], step * INTERVAL_NS)
        assert output.past_age_s == INTERVAL_NS / 1e9

    def all_plain() -> None:
        with plain_layers():
            plain(newest_first)

    def plain_parts() -> None:
        with plain_geometry():
            plain(newest_first)

    sides: dict[str, Side] = {
        "plain": all_plain,
        "plain_parts": plain_parts,
        "three_frame": lambda: ours(newest_first),
        "streaming": streaming,
    }
    seconds = fastest(sides, turns, clock)
    for what, aim in (("three_frame", 1.5), ("streaming", 2.5)):
        report(what, seconds["plain"], seconds[what], aim, config.image_size, clock)
        report(
            f"{what}_network", seconds["plain_parts"], seconds[what], aim, config.image_size, clock
        )


def main(
    height: Annotated[int, typer.Option(help="image height")] = 256,
    width: Annotated[int, typer.Option(help="image width")] = 704,
    turns: Annotated[int, typer.Option(help="measured turns of each side", min=1)] = 3,
    threads: Annotated[int, typer.Option(help="CPU threads")] = 2,
    clock: Annotated[
        Clock, typer.Option(help="cpu: processor time, for a busy machine, with --threads 1")
    ] = "wall",
) -> None:
    """Speed of swinb-stereo on the CPU beside plain transcriptions of the official code."""
    torch.set_num_threads(threads)
    config = SwinBStereoConfig(image_size=(height, width))
    torch.manual_seed(0)
    ours = SwinBStereo(config).eval()
    plain = PlainMatchingAndPooling(config).eval()
    plain.load_state_dict(ours.state_dict())
    with torch.inference_mode():
        measure_parts(ours, plain, turns, clock)
        measure_whole(ours, plain, turns, clock)


if __name__ == "__main__":
    typer.run(main)
