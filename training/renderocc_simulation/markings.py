"""What is painted on a carriageway."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from renderocc_simulation.world.plan import PROFILES, StreetKind

Float32 = NDArray[np.float32]

WHITE, YELLOW = 1, 2
LINE_M = 0.07  # half width
ZEBRA_M = (0.6, 3.6)
STOP_M = (4.6, 5.0)


def marking(at: Float32, foot: Float32) -> tuple[Float32, NDArray[np.uint8]]:
    """Paint at points of carriageways.

    Args:
        at: (3, N) along the section, left of its middle (metres), and 16 times its length in
            decimetres plus its kind; 15 stands for a junction.
        foot: (N,) metres that a pixel covers.

    Returns:
        coverage (N,) 0 to 1, and colour (N,): ``WHITE`` or ``YELLOW``.
    """
    along, left, code = at
    code = np.round(code)
    kind, length = np.mod(code, 16), np.floor(code / 16) / 10
    cover = np.zeros(len(along), np.float32)
    colour = np.full(len(along), WHITE, np.uint8)
    from_end = np.minimum(along, length - along)
    before_end = along > length / 2
    for number in StreetKind:
        here = np.flatnonzero(kind == number)
        if not len(here):
            continue
        painted, yellow = _section(
            number, along[here], left[here], from_end[here], before_end[here], foot[here]
        )
        cover[here] = painted
        colour[here[yellow]] = YELLOW
    return cover, colour


def _section(
    kind: StreetKind,
    along: Float32,
    left: Float32,
    from_end: Float32,
    before_end: NDArray[np.bool_],
    foot: Float32,
) -> tuple[Float32, NDArray[np.bool_]]:
    profile = PROFILES[kind]
    clear = from_end > STOP_M[1] + 0.3
    dash = np.mod(along, 6.0) < 3.0
    yellow = np.zeros(len(along), bool)
    if kind == StreetKind.STREET:
        middle = _stripe(left, 0.0, foot) * dash
        edge = _stripe(np.abs(left), 3.45, foot) * (np.mod(along, 1.6) < 0.8)
        stroke = np.maximum(middle, edge)
    elif kind == StreetKind.AVENUE:
        lane = _stripe(np.abs(left), 4.5, foot) * dash
        edge = np.maximum(_stripe(np.abs(left), 1.4, foot), _stripe(np.abs(left), 7.75, foot))
        stroke = np.maximum(lane, edge)
    else:
        stroke = np.maximum(_stripe(left, 0.14, foot), _stripe(left, -0.14, foot))
        yellow = stroke > 0
    stroke = stroke * clear
    zebra = (from_end > ZEBRA_M[0]) & (from_end < ZEBRA_M[1]) & (np.mod(left + 50, 1.1) < 0.55)
    zebra &= np.abs(left) < profile.half_m - 0.25
    approach = np.where(before_end, left < -0.1, left > 0.1)  # who drives on the right stops here
    stop = (from_end > STOP_M[0]) & (from_end < STOP_M[1]) & approach
    stop &= np.abs(left) < profile.half_m - 0.4
    flat = zebra | stop
    yellow &= ~flat
    return np.where(flat, 1.0, stroke).astype(np.float32), yellow


def _stripe(position: Float32, middle: float, foot: Float32) -> Float32:
    """Coverage of a line; a pixel far away is wide along the road, but not so much across it."""
    wide = np.maximum(foot * 0.35, 0.02)
    distance = np.abs(position - middle)
    cover = np.clip((LINE_M + wide / 2 - distance) / wide, 0, 1)
    return np.asarray(cover * np.minimum(2 * LINE_M / wide, 1), np.float32)
