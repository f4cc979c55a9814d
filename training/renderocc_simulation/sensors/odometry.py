"""Odometry: where the robot believes it is, with or without drift."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from renderocc_ros.geometry import RigidTransform
from renderocc_simulation.world.traffic import upright
from renderocc_training.recording.pose_track import PoseTrack

RATE_HZ = 50.0


@dataclass(frozen=True, eq=False)
class Odometry:
    """The robot's poses over the drive.

    Attributes:
        odom_from_base: what the odometry says.
        map_from_odom: what puts it right: constant without drift.
    """

    odom_from_base: PoseTrack
    map_from_odom: PoseTrack


def odometry(
    world_from_base: Callable[[float], RigidTransform],
    first_s: float,
    last_s: float,
    stamp_of: Callable[[float], int],
    drift: float,
    rng: np.random.Generator,
    planar: bool = False,
) -> Odometry:
    """Poses at ``RATE_HZ``; ``odom`` starts upright at the robot's first pose.

    Args:
        drift: share of the way by which the position goes wrong; the heading goes wrong with it,
            by a tenth of a radian after 100 m at a drift of 1 %.
        planar: without heights, as of wheels with an IMU: tilt is known, z stays 0.
    """
    times = np.arange(first_s, last_s + 1 / RATE_HZ, 1 / RATE_HZ)
    truth = [world_from_base(float(time)) for time in times]
    ahead = truth[0].rotation[:, 0]
    start = upright(truth[0].translation, float(np.arctan2(ahead[1], ahead[0])))
    stamps = [stamp_of(float(time)) for time in times]
    scale = 1.0 + drift * rng.normal()
    bend = drift * 0.1 * rng.normal()
    estimates = [start.inverse() @ truth[0]]
    for before, after in pairwise(truth):
        step = before.inverse() @ after
        way = float(np.linalg.norm(step.translation))
        c, s = np.cos(bend * way), np.sin(bend * way)
        turn = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
        wrong = RigidTransform(step.rotation @ turn, step.translation * scale)
        estimates.append(estimates[-1] @ (wrong if drift else step))
    if planar:
        level = np.diag([1.0, 1.0, 0.0])
        estimates = [RigidTransform(e.rotation, level @ e.translation) for e in estimates]
    corrections = [t @ e.inverse() for t, e in zip(truth, estimates, strict=True)]
    if not (drift or planar):
        corrections = [start] * len(truth)
    return Odometry(PoseTrack(stamps, estimates), PoseTrack(stamps, corrections))
