"""Who moves: vehicles that follow each other through the streets, people who walk round blocks.

Car following is the intelligent driver model (Treiber, Hennecke, Helbing 2000, eq. 3), with the
nearest body in a vehicle's own future way as its leader.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from renderocc_ros.geometry import RigidTransform
from renderocc_simulation.assets.studio import Asset
from renderocc_simulation.mesh import Mesh, cross
from renderocc_simulation.world.plan import TownPlan
from renderocc_simulation.world.routes import Path

Array = NDArray[np.float64]

STEP_S = 0.1
LOOK_AHEAD_M = np.arange(2.0, 27.0, 2.0)
CORRIDOR_M = 1.7
TOUCHING_M = 2.1  # between the middle lines of two bodies
ACCELERATION_M_S2 = 1.6
BRAKING_M_S2 = 2.5
HEADWAY_S = 1.3
STANDSTILL_M = 2.5
STRIDE_M = 1.5


@dataclass(frozen=True, eq=False)
class Driver:
    """A vehicle's way: where it starts and how fast it would go."""

    path: Path
    start_m: float
    limit_m_s: float
    length_m: float


@dataclass(frozen=True, eq=False)
class Motion:
    """Arc length along a path over time; ``arc_m`` (S,) at steps of ``STEP_S`` seconds."""

    path: Path
    arc_m: Array

    def arc_at(self, time_s: float) -> float:
        """Metres along the path."""
        return float(np.interp(time_s, np.arange(len(self.arc_m)) * STEP_S, self.arc_m))

    def speed_at(self, time_s: float) -> float:
        """Metres a second."""
        return (self.arc_at(time_s + 0.05) - self.arc_at(max(time_s - 0.05, 0.0))) / (
            0.05 + min(time_s, 0.05)
        )

    def heading_at(self, arc_m: float, base_m: float) -> float:
        """Yaw, radians, of a body of this wheelbase whose middle is at ``arc_m``."""
        back, front = self.path.at([arc_m - base_m / 2, arc_m + base_m / 2])
        return float(np.arctan2(front[1] - back[1], front[0] - back[0]))


@dataclass(frozen=True, eq=False)
class Agent:
    """Something with a box that may move.

    Attributes:
        asset: its look and size.
        motion: its way, or None if it stands at ``world_from_asset``.
        up_m: height above the path (the kerb, for walkers).
    """

    name: str
    asset: Asset
    plan: TownPlan | None = None
    motion: Motion | None = None
    world_from_asset: RigidTransform | None = None
    up_m: float = 0.0

    def pose(self, time_s: float) -> RigidTransform:
        """``world_from_asset`` at a time: on the ground, pitched and rolled with it."""
        if self.motion is None or self.plan is None:
            assert self.world_from_asset is not None
            return self.world_from_asset
        base = max(self.asset.size_m[0] * 0.6, 0.5)
        yaw = self.motion.heading_at(self.motion.arc_at(time_s), base)
        point = self.position(time_s)
        if self.asset.class_name == "pedestrian":
            return upright(point, yaw)
        return on_slope(self.plan, point, yaw)

    def position(self, time_s: float) -> Array:
        """(3,) metres: where its pose has its origin."""
        if self.motion is None:
            return self.pose(time_s).translation
        ground = self.motion.path.at(self.motion.arc_at(time_s))
        return np.add(ground, (0.0, 0.0, self.up_m))

    def speed(self, time_s: float) -> float:
        """Metres a second along its heading."""
        return 0.0 if self.motion is None else self.motion.speed_at(time_s)

    def mesh(self, time_s: float) -> Mesh:
        """The asset's mesh, in the pose of its walking cycle, in the world."""
        if self.motion is None or not self.asset.limbs:
            return self.asset.mesh.placed(self.pose(time_s))
        cycle = len(self.asset.limbs)
        phase = int(self.motion.arc_at(time_s) / STRIDE_M * cycle) % cycle
        return self.asset.limbs[phase].placed(self.pose(time_s))


def upright(point: Array, yaw_rad: float) -> RigidTransform:
    """``world_from_asset`` of something that stands straight."""
    c, s = np.cos(yaw_rad), np.sin(yaw_rad)
    return RigidTransform(np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]), point)


def on_slope(plan: TownPlan, point: Array, yaw_rad: float) -> RigidTransform:
    """``world_from_asset`` of something whose wheels follow the land's slope."""
    reach = 1.2

    def along_ground(direction: Array) -> Array:
        step = reach * direction
        rise = plan.height(point[:2] + step) - plan.height(point[:2] - step)
        return np.array([*direction, float(rise) / (2 * reach)])

    c, s = np.cos(yaw_rad), np.sin(yaw_rad)
    x, y = along_ground(np.array([c, s])), along_ground(np.array([-s, c]))
    x /= np.linalg.norm(x)
    z = cross(x, y)
    z /= np.linalg.norm(z)
    return RigidTransform(np.stack([x, cross(z, x), z], axis=1), point)


def drive_all(drivers: Sequence[Driver], seconds: float) -> list[Motion]:
    """Simulate all drivers together; the first (the recording robot) goes first in a deadlock."""
    steps = int(np.ceil(seconds / STEP_S)) + 3
    limits = [driver.path.speed_limits(driver.limit_m_s) for driver in drivers]
    arc = np.array([driver.start_m for driver in drivers])
    lengths = np.array([driver.length_m for driver in drivers])
    speed = np.array(
        [
            np.interp(a, d.path.arc_m, limit) * 0.8
            for a, d, limit in zip(arc, drivers, limits, strict=True)
        ]
    )
    history = np.zeros((steps, len(drivers)))
    for step in range(steps):
        history[step] = arc
        gaps, leader_speed = _leaders(drivers, arc, speed, lengths)
        for k, driver in enumerate(drivers):
            wanted = float(np.interp(arc[k], driver.path.arc_m, limits[k]))
            remaining = driver.path.length_m - arc[k] - 3.0
            gap, other = min((gaps[k], leader_speed[k]), (remaining, 0.0))
            closing = speed[k] * (speed[k] - other)
            safe = STANDSTILL_M + speed[k] * HEADWAY_S
            safe += max(closing, 0.0) / (2 * np.sqrt(ACCELERATION_M_S2 * BRAKING_M_S2))
            push = 1 - (speed[k] / wanted) ** 4 - (safe / max(gap, 0.3)) ** 2
            speed[k] = max(speed[k] + STEP_S * max(ACCELERATION_M_S2 * push, -7.0), 0.0)
        arc = arc + speed * STEP_S
    return [Motion(driver.path, history[:, k]) for k, driver in enumerate(drivers)]


def _leaders(
    drivers: Sequence[Driver], arc: Array, speed: Array, lengths: Array
) -> tuple[Array, Array]:
    """Free way ahead of each driver, metres, and the speed of who ends it."""
    count = len(drivers)
    body = np.stack(
        [
            d.path.at(a + n * np.array([-0.4, 0.0, 0.4]))[:, :2]
            for d, a, n in zip(drivers, arc, lengths, strict=True)
        ]
    )
    gaps = np.full(count, 200.0)
    blocker = np.full(count, -1)
    for k, driver in enumerate(drivers):
        near = np.linalg.norm(body[:, 1] - body[k, 1], axis=1) < LOOK_AHEAD_M[-1] + 14
        near[k] = False
        others = np.flatnonzero(near)
        if not len(others):
            continue
        ahead = driver.path.at(arc[k] + lengths[k] / 2 + LOOK_AHEAD_M - 1.0)[:, :2]
        distance = np.linalg.norm(ahead[:, None, None] - body[None, others], axis=-1).min(axis=2)
        hit = distance < CORRIDOR_M
        if hit.any():
            steps = np.where(hit.any(axis=0), hit.argmax(axis=0), 999)
            gaps[k] = max(LOOK_AHEAD_M[steps.min()] - 2.0, 0.1)
            blocker[k] = others[steps.argmin()]
    for k in range(count):  # two that wait for each other: the lower number goes
        other = blocker[k]
        if other > k and blocker[other] == k:
            gaps[k] = 200.0
    pace = np.array(
        [_pace_along(body, speed, k, b) if b >= 0 else 0.0 for k, b in enumerate(blocker)]
    )
    return gaps, pace


def _pace_along(body: Array, speed: Array, k: int, other: int) -> float:
    """Speed of ``other`` in the direction of driver k."""

    def direction(number: int) -> Array:
        forward = body[number, 2] - body[number, 0]
        return np.asarray(forward / max(float(np.linalg.norm(forward)), 1e-6))

    return float(max(speed[other] * (direction(k) @ direction(other)), 0.0))


def touch(first: Driver, first_motion: Motion, other: Driver, motion: Motion) -> bool:
    """Whether two simulated bodies, seen as rows of discs, ever come close to touching."""
    bodies = []
    for driver, moved in ((first, first_motion), (other, motion)):
        along = driver.length_m * np.linspace(-0.45, 0.45, 7)
        bodies.append(moved.path.at(moved.arc_m[::2, None] + along)[..., :2])
    gaps = np.linalg.norm(bodies[0][:, :, None] - bodies[1][:, None], axis=-1)
    return bool(gaps.min() < TOUCHING_M)


def walk(path: Path, start_m: float, speed_m_s: float, seconds: float) -> Motion:
    """At one pace along a path."""
    times = np.arange(int(np.ceil(seconds / STEP_S)) + 3) * STEP_S
    return Motion(path, start_m + speed_m_s * times)
