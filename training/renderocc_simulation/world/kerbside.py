"""What stands on the carriageway: parked vehicles and road works."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from renderocc_simulation.world.blocks import Site
from renderocc_simulation.world.plan import CAMBER, Street

Array = NDArray[np.float64]

ON_ROAD_M = CAMBER * 1.5


def near_range(
    street: Street, start: float, end: float, near: Array, reach: float
) -> tuple[float, float] | None:
    """The stretch of a section within reach of the route's plan points (P, 2)."""
    axis = 1 if street.axis == "v" else 0
    along, across = near[:, axis], np.abs(near[:, 1 - axis] - street.at)
    close = (across < reach) & (along > start - reach) & (along < end + reach)
    if not close.any():
        return None
    low, high = max(start, along[close].min() - reach), min(end, along[close].max() + reach)
    return (low, high) if high - low > 12 else None


def dress_section(site: Site, street: Street, start: float, end: float, near: Array) -> None:
    """Parked vehicles on both sides of a section, a stretch of road works among them."""
    span = near_range(street, start, end, near, 80.0)
    if span is None:
        return
    for side in (-1, 1):  # -1: right of the street's own direction
        low, high = span[0] + 6.0, span[1] - 6.0
        works = site.studio.uniform(low, max(high - 16, low + 1))
        has_works = site.studio.chance(0.55) and high - low > 30
        if street.profile.parking_m is not None:
            _park_row(site, street, side, low, high, (works - 4, works + 18) if has_works else None)
        if has_works:
            _road_works(site, street, side, works)


def _park_row(
    site: Site,
    street: Street,
    side: int,
    low: float,
    high: float,
    closed: tuple[float, float] | None,
) -> None:
    studio, stock = site.studio, site.stock
    middle = street.profile.parking_m or 0.0
    direction = street.point(1, 0) - street.point(0, 0)
    along = low
    while along < high:
        choice = studio.rng.random()
        pool = stock.cars
        if choice > 0.93:
            pool = stock.trucks
        elif choice > 0.85:
            pool = stock.motorcycles
        asset = studio.pick(pool)
        length = asset.size_m[0]
        spot = along + length / 2
        blocked = closed is not None and closed[0] - length < spot < closed[1] + length / 2
        if not blocked and spot + length / 2 < high and studio.chance(0.78):
            away = asset.size_m[1] > 2.4
            left = side * (middle + (0.1 if away else studio.uniform(-0.12, 0.12)))
            turn = studio.rng.normal(0, 0.02) + (0.0 if side < 0 else np.pi)
            site.park(asset, street.point(spot, left), direction, ON_ROAD_M, turn)
        along += length + studio.uniform(0.7, 1.8)


def _road_works(site: Site, street: Street, side: int, start: float) -> None:
    """Barriers across a closed strip at the kerb, cones beside it, perhaps a machine inside."""
    studio, stock = site.studio, site.stock
    half = street.profile.half_m
    wide = 2.0 if street.profile.parking_m is not None else 0.4
    direction = street.point(1, 0) - street.point(0, 0)
    across = street.point(0, 1) - street.point(0, 0)
    length = 14.0
    cone = studio.pick(stock.cones)
    for s in np.arange(start, start + length + 0.1, 2.0):
        site.park(cone, street.point(s, side * (half - wide)), direction, ON_ROAD_M)
    element = studio.pick(stock.barriers)
    if wide > 1.5:
        for s in (start - 0.6, start + length + 0.6):
            site.park(element, street.point(s, side * (half - wide / 2 - 0.1)), across, ON_ROAD_M)
        if studio.chance(0.6):
            site.park(
                studio.pick(stock.machines),
                street.point(start + 7, side * (half - 0.6)),
                direction,
                ON_ROAD_M,
                np.pi if side > 0 else 0.0,
            )
    for s in np.arange(start, start + length, element.size_m[0] + 0.3):
        site.park(element, street.point(s, side * (half + 0.6)), direction)
