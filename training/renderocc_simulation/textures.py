"""Noise tiles, each with smaller versions of itself for what is far away."""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

Float32 = NDArray[np.float32]

SIZE = 512
ROW = 1 << 12  # remap takes pictures: long lists of points are folded into rows of this length


class Tile:
    """A picture (SIZE, SIZE) of 0 to 1 that repeats in both directions."""

    def __init__(self, picture: Float32) -> None:
        self._levels = [picture.astype(np.float32)]
        while self._levels[-1].shape[0] > 4:
            level = self._levels[-1]
            self._levels.append(
                (level[::2, ::2] + level[1::2, ::2] + level[::2, 1::2] + level[1::2, 1::2]) / 4
            )

    def __call__(self, points: Float32, size_m: float, footprint_m: Float32) -> Float32:
        """Brightness (N,) at points.

        Args:
            points: (2, N) metres on the surface.
            size_m: metres that one repetition covers.
            footprint_m: (N,) metres that a pixel covers there.
        """
        place = points * (1.0 / size_m)
        place -= np.floor(place)
        blur = np.log2(np.maximum(footprint_m * (SIZE / size_m), 1.0))
        level = np.minimum(np.round(blur), len(self._levels) - 1).astype(np.int8)
        present = np.flatnonzero(np.bincount(level))
        if len(present) == 1:
            return _remap(self._levels[present[0]], place)
        result = np.empty(points.shape[1], np.float32)
        for number in present:
            here = np.flatnonzero(level == number)
            result[here] = _remap(self._levels[number], place.take(here, axis=1))
        return result


def _remap(picture: Float32, place: Float32) -> Float32:
    """Values (N,) of a picture at places (2, N) of 0 to 1."""
    count = place.shape[1]
    width = min(count, ROW)
    folded = np.zeros((2, -(-count // width), width), np.float32)
    folded.reshape(2, -1)[:, :count] = place * picture.shape[0] - 0.5
    x, y = folded
    values = cv2.remap(picture, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
    return np.asarray(values.reshape(-1)[:count], dtype=np.float32)


@cache
def fractal() -> Tile:
    """Clouds and stains: noise whose amplitude falls with frequency."""
    return Tile(_spectral(np.random.default_rng(11), 1.25))


@cache
def streaks() -> Tile:
    """Finer, more even noise: grit, blades, fibres."""
    return Tile(_spectral(np.random.default_rng(12), 0.35))


@cache
def cracks() -> Tile:
    """0 on thin wandering lines, 1 elsewhere."""
    first, second, _ = _cells(np.random.default_rng(13), 60)
    bend = _spectral(np.random.default_rng(14), 1.2) * 0.012
    return Tile(np.clip((second - first + bend - 0.006) * 260, 0, 1))


@cache
def foliage() -> Tile:
    """Leaves: small bright shapes with dark gaps between them."""
    first, second, number = _cells(np.random.default_rng(15), 2600)
    lit = np.random.default_rng(16).uniform(0.35, 1.0, 2600)[number]
    edge = np.clip((second - first) * 170, 0, 1)
    clumps = _spectral(np.random.default_rng(17), 1.0)
    return Tile(np.clip(lit * (0.35 + 0.65 * edge) * (0.45 + 1.0 * clumps), 0, 1))


@cache
def pebbles() -> Tile:
    """Stones of many sizes."""
    first, second, number = _cells(np.random.default_rng(18), 5200)
    lit = np.random.default_rng(19).uniform(0.3, 1.0, 5200)[number]
    return Tile(lit * (0.5 + 0.5 * np.clip((second - first) * 150, 0, 1)))


def make_all() -> None:
    """Make every tile now instead of when it is first looked at."""
    for tile in (fractal, streaks, cracks, foliage, pebbles):
        tile()


def _spectral(rng: np.random.Generator, falloff: float) -> Float32:
    """Periodic Gaussian noise with amplitude ~ frequency^-falloff, scaled to 0..1 about 0.5."""
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(SIZE), np.fft.fftfreq(SIZE)))
    frequency[0, 0] = np.inf
    spectrum = np.fft.fft2(rng.normal(size=(SIZE, SIZE))) * frequency**-falloff
    noise = np.fft.ifft2(spectrum).real
    noise /= noise.std()
    return np.clip(0.5 + 0.22 * noise, 0, 1).astype(np.float32)


def _cells(rng: np.random.Generator, count: int) -> tuple[Float32, Float32, NDArray[np.int64]]:
    """Distance to the nearest and second nearest of ``count`` points, and the nearest's number."""
    tree = cKDTree(rng.random((count, 2)), boxsize=1.0)
    grid = (np.stack(np.meshgrid(np.arange(SIZE), np.arange(SIZE)), -1) + 0.5) / SIZE
    distance, number = tree.query(grid.reshape(-1, 2), k=2)
    shape = (SIZE, SIZE)
    return distance[:, 0].reshape(shape), distance[:, 1].reshape(shape), number[:, 0].reshape(shape)
