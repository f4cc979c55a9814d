"""The light of a drive: sun, sky, haze."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
LightName = Literal["day", "overcast", "dusk"]
LIGHTS: tuple[LightName, ...] = get_args(LightName)


@dataclass(frozen=True, eq=False)
class Light:
    """Radiances are relative to a white wall in full sun at noon.

    Attributes:
        name: day, overcast or dusk.
        towards_sun: (3,) unit vector, world frame.
        sun: (3,) irradiance of a surface that faces the sun.
        zenith, horizon: (3,) radiance of the sky above and at the horizon.
        clouds: 0 blue to 1 closed.
        haze_m: distance at which haze hides about two thirds.
        lamps: how strongly lamps and lit windows count against daylight.
        softness_rad: angular radius of the sun's disc, larger behind thin cloud.
    """

    name: LightName
    towards_sun: Array
    sun: Array
    zenith: Array
    horizon: Array
    clouds: float
    haze_m: float
    lamps: float
    softness_rad: float


def draw_light(rng: np.random.Generator, name: LightName | None = None) -> Light:
    """A light of the named kind, or of any; no two are alike."""
    drawn = LIGHTS[int(rng.choice(len(LIGHTS), p=[0.5, 0.25, 0.25]))]
    chosen = drawn if name is None else name
    azimuth = rng.uniform(0, 2 * np.pi)
    if chosen == "day":
        elevation = rng.uniform(0.45, 1.05)
        warm = (1.05 - elevation) * 0.35
        sun, zenith = np.array([1.0, 0.95 - warm * 0.4, 0.88 - warm]), np.array([0.16, 0.27, 0.52])
        horizon, clouds = np.array([0.52, 0.60, 0.70]), rng.uniform(0.0, 0.5)
        haze, lamps, softness = rng.uniform(500, 1400), 0.5, 0.004
        sun *= rng.uniform(0.8, 1.0)
    elif chosen == "overcast":
        elevation = rng.uniform(0.5, 1.1)
        sun, zenith = np.array([0.06, 0.06, 0.06]), np.array([0.52, 0.54, 0.58])
        horizon, clouds = np.array([0.50, 0.52, 0.55]), rng.uniform(0.85, 1.0)
        haze, lamps, softness = rng.uniform(220, 600), 0.6, 0.2
    else:
        elevation = rng.uniform(0.06, 0.20)
        sun = np.array([0.34, 0.19, 0.09]) * rng.uniform(0.5, 1.2)
        zenith, horizon = np.array([0.075, 0.10, 0.16]), np.array([0.30, 0.22, 0.15])
        clouds, haze, lamps, softness = rng.uniform(0.1, 0.7), rng.uniform(350, 900), 1.0, 0.015
    direction = np.array(
        [
            np.cos(azimuth) * np.cos(elevation),
            np.sin(azimuth) * np.cos(elevation),
            np.sin(elevation),
        ]
    )
    tint = rng.normal(1.0, 0.02, 3)
    return Light(
        chosen,
        direction.astype(np.float32),
        (sun * tint).astype(np.float32),
        (zenith * tint).astype(np.float32),
        (horizon * tint).astype(np.float32),
        float(clouds),
        float(haze),
        lamps,
        softness,
    )
