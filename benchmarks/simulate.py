"""Synthetic drives: how fast rays are cast and sets are rendered.

One JSON object a line. First the bare caster against the whole caster (standing and moving scene,
normals, faces) on the rays of one image; then, per preset, CPU and wall seconds of preparing a
town and of one set of six cameras, LiDAR and truth in this process, and what a drive of 20 s
(40 sets) comes to. With --drives the drives are also made, with one process and with two.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from renderocc_simulation.caster import Instant, StaticScene
from renderocc_simulation.drive import write_drive
from renderocc_simulation.frames import DriveRenderer
from renderocc_simulation.spec import DriveSpec
from renderocc_simulation.world.town import TownSpec

SETS = (5, 15, 25)
REPEATS = 5


def cpu_and_wall(work: Callable[[], Any]) -> tuple[float, float, Any]:
    """Seconds of this process and of the clock."""
    cpu, wall = time.process_time(), time.perf_counter()
    result = work()
    return time.process_time() - cpu, time.perf_counter() - wall, result


def casting(renderer: DriveRenderer) -> dict[str, Any]:
    """Rays a second of Embree alone and of ``Instant.cast``, side by side."""
    town = renderer.town
    static = StaticScene(town.static)
    instant = Instant(static, town.moving_mesh(1.0))
    camera = renderer.rig.cameras[0]
    pose = town.world_from_ego(1.0) @ camera.base_from_camera
    local = renderer.models[camera.name].pixel_rays().reshape(-1, 3)
    directions = (local @ pose.rotation.T).astype(np.float32)
    origins = np.tile(pose.translation.astype(np.float32), (len(directions), 1))
    assert static.embree is not None
    seconds: dict[str, float] = {}
    for _ in range(REPEATS):
        for name, work in (
            ("bare", lambda: static.embree.run(origins, directions, output=1)),
            ("whole", lambda: instant.cast(pose.translation, directions)),
        ):
            used, _, _ = cpu_and_wall(work)
            seconds[name] = min(seconds.get(name, np.inf), used)
    return {
        "what": "casting",
        "triangles": len(town.static),
        "bare_rays_per_s": round(len(directions) / seconds["bare"]),
        "whole_rays_per_s": round(len(directions) / seconds["whole"]),
        "ratio": round(seconds["whole"] / seconds["bare"], 2),
    }


def rendering(preset: str) -> dict[str, Any]:
    """Seconds of a town and of a set."""
    spec = DriveSpec(TownSpec(0, 20.0), preset=preset)
    town_cpu, town_wall, renderer = cpu_and_wall(lambda: DriveRenderer(spec))
    renderer.render(0)  # makes the noise tiles
    cpu, wall, frames = cpu_and_wall(lambda: [renderer.render(number) for number in SETS])
    rays = sum(frame.rays for frame in frames)
    return {
        "what": "rendering",
        "preset": preset,
        "town_cpu_s": round(town_cpu, 2),
        "set_cpu_s": round(cpu / len(SETS), 2),
        "set_wall_s": round(wall / len(SETS), 2),
        "rays_per_set": rays // len(SETS),
        "rays_per_cpu_s": round(rays / cpu),
        "cpu_s_of_20_s_drive": round(town_cpu + cpu / len(SETS) * spec.sets, 1),
        "town_wall_s": round(town_wall, 2),
    }


def drive(preset: str, processes: int) -> dict[str, Any]:
    """A whole drive of 20 s."""
    with tempfile.TemporaryDirectory() as folder:
        spec = DriveSpec(TownSpec(0, 20.0), preset=preset)
        report = write_drive(spec, Path(folder) / "drive", processes)
        size = sum(file.stat().st_size for file in (Path(folder) / "drive").iterdir())
    return {
        "what": "drive",
        "preset": preset,
        "processes": processes,
        "sets": report.sets,
        "wall_s": round(report.seconds, 1),
        "rays": report.rays,
        "rays_per_s": round(report.rays_per_second),
        "megabytes": round(size / 1e6, 1),
    }


def main() -> None:
    """Print all measurements."""
    print(json.dumps(casting(DriveRenderer(DriveSpec(TownSpec(0, 20.0))))), flush=True)
    for preset in ("tiny", "standard"):
        print(json.dumps(rendering(preset)), flush=True)
    if "--drives" in sys.argv:
        for preset in ("tiny", "standard"):
            for processes in (1, 2):
                print(json.dumps(drive(preset, processes)), flush=True)


if __name__ == "__main__":
    main()
