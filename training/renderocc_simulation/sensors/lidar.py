"""A spinning LiDAR: each firing at its own time, from where the robot then is."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from renderocc_ros.geometry import RigidTransform
from renderocc_simulation.caster import Instant
from renderocc_simulation.materials import MaterialRows
from renderocc_simulation.rig import SimulatedLidar

FIRST_TURN_DEG = -90.0  # the turn begins on the left: the cameras' offsets count from the front
POINT = np.dtype(
    [
        ("x", "<f4"),
        ("y", "<f4"),
        ("z", "<f4"),
        ("intensity", "<f4"),
        ("ring", "<u2"),
        ("label", "u1"),
        ("time", "<f4"),
    ]
)


def sweep(
    lidar: SimulatedLidar,
    instant_at: Callable[[float], Instant],
    world_from_base: Callable[[float], RigidTransform],
    time_s: float,
    materials: MaterialRows,
    rng: np.random.Generator,
    steps: int,
) -> NDArray[np.void]:
    """One turn, all points in the LiDAR's frame (x forward) at ``time_s``.

    The robot's own motion during the turn is taken out, as drivers do; what else moves is where it
    was when its beam fired. ``time`` says when, in seconds relative to ``time_s``; ``label`` is
    the class, ``intensity`` 0 to 255.
    """
    base_from_lidar = lidar.base_from_body()
    lidar_from_world = (world_from_base(time_s) @ base_from_lidar).inverse()
    clockwise = FIRST_TURN_DEG + np.arange(lidar.columns) * (360.0 / lidar.columns)
    pitches = np.deg2rad(np.linspace(lidar.lowest_deg, lidar.highest_deg, lidar.rings))
    parts = []
    for columns in np.array_split(np.arange(lidar.columns), steps):
        offset = float(clockwise[columns].mean()) / 360.0 * lidar.turn_ms * 1e-3
        yaw = -np.deg2rad(clockwise[columns])[:, None]
        flat = np.cos(pitches)[None]
        beams = np.stack(
            [np.cos(yaw) * flat, np.sin(yaw) * flat, np.sin(pitches) + 0 * yaw], axis=-1
        ).reshape(-1, 3)
        world_from_lidar = world_from_base(time_s + offset) @ base_from_lidar
        instant = instant_at(time_s + offset)
        directions = beams @ world_from_lidar.rotation.T
        hits = instant.cast(world_from_lidar.translation, directions)
        back = hits.met & (hits.range_m < lidar.range_m) & (hits.range_m > 0.5)
        back &= rng.random(len(beams)) >= lidar.dropout
        seen = np.flatnonzero(back)
        reach = hits.range_m[seen] + rng.normal(0, lidar.noise_m, len(seen))
        world = world_from_lidar.translation + directions[seen] * reach[:, None]
        part = np.zeros(len(seen), POINT)
        part["x"], part["y"], part["z"] = lidar_from_world.apply(world).T
        row = instant.gather("material", hits.face[seen]).astype(np.int64)
        facing = np.abs(np.einsum("ij,ij->i", hits.normal[seen], directions[seen]))
        bright = materials.colour[row].mean(axis=1) * (0.3 + 0.7 * facing)
        part["intensity"] = np.clip(255 * bright * rng.normal(1, 0.08, len(seen)), 0, 255)
        part["ring"] = seen % lidar.rings
        part["label"] = instant.class_ids(hits, 255)[seen]
        part["time"] = offset
        parts.append(part)
    return np.concatenate(parts)
