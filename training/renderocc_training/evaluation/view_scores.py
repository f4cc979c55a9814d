"""Scores of rendered views against 2D labels; they need no 3D truth.

Depths are ranges along the ray, in metres; a label that is not above 0 and finite does not count.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32] | NDArray[np.float64]

# Inlier bounds of Eigen et al. 2014: max(d/d*, d*/d) < 1.25, 1.25², 1.25³.
DELTA_BOUNDS = (1.25, 1.25**2, 1.25**3)


@dataclass(frozen=True)
class DepthSums:
    """Sums over pixels, so that depth scores of a data set add up frame by frame."""

    pixels: int = 0
    relative: float = 0.0
    squared: float = 0.0
    squared_log: float = 0.0
    inliers: tuple[int, int, int] = (0, 0, 0)

    def __add__(self, other: DepthSums) -> DepthSums:
        a, b, c = (x + y for x, y in zip(self.inliers, other.inliers, strict=True))
        return DepthSums(
            self.pixels + other.pixels,
            self.relative + other.relative,
            self.squared + other.squared,
            self.squared_log + other.squared_log,
            (a, b, c),
        )


@dataclass(frozen=True)
class DepthScores:
    """Depth scores (Eigen et al. 2014, section 4.1); NaN where no pixel counts.

    Attributes:
        abs_rel: mean of |d − d*| / d*.
        rmse_m: root of the mean of (d − d*)², metres.
        rmse_log: root of the mean of (ln d − ln d*)².
        delta: parts of the pixels with max(d/d*, d*/d) below 1.25, 1.25² and 1.25³.
        pixels: number of pixels.
    """

    abs_rel: float
    rmse_m: float
    rmse_log: float
    delta: tuple[float, float, float]
    pixels: int


def depth_sums(rendered_m: Floats, label_m: Floats) -> DepthSums:
    """Compare depths of the same shape, metres.

    Raises:
        ValueError: shapes differ, or a rendered depth is NaN or not above 0 where a label is.
    """
    if rendered_m.shape != label_m.shape:
        raise ValueError(f"rendered depth is {rendered_m.shape}, its label {label_m.shape}")
    counted = np.isfinite(label_m) & (label_m > 0)
    depth, truth = rendered_m[counted].astype(np.float64), label_m[counted].astype(np.float64)
    bad = ~(np.isfinite(depth) & (depth > 0))
    if bad.any():
        raise ValueError(
            f"{bad.sum()} of {depth.size} rendered depths at labelled pixels are not above 0 "
            f"(first: {depth[bad][0]}); a ray that meets nothing must get the far bound"
        )
    ratio = np.maximum(depth / truth, truth / depth)
    a, b, c = (int((ratio < bound).sum()) for bound in DELTA_BOUNDS)
    return DepthSums(
        pixels=depth.size,
        relative=float((np.abs(depth - truth) / truth).sum()),
        squared=float(((depth - truth) ** 2).sum()),
        squared_log=float((np.log(depth / truth) ** 2).sum()),
        inliers=(a, b, c),
    )


def depth_scores(sums: DepthSums) -> DepthScores:
    """Scores of summed pixels."""
    if not sums.pixels:
        nan = float("nan")
        return DepthScores(nan, nan, nan, (nan, nan, nan), 0)
    a, b, c = (count / sums.pixels for count in sums.inliers)
    return DepthScores(
        abs_rel=sums.relative / sums.pixels,
        rmse_m=float(np.sqrt(sums.squared / sums.pixels)),
        rmse_log=float(np.sqrt(sums.squared_log / sums.pixels)),
        delta=(a, b, c),
        pixels=sums.pixels,
    )
