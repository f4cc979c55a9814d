"""What two cameras both see at the same time, and where.

Both images are drawn as a camera between the two would see what is far away, and corners of the one
are looked for in the other, by the correlation of the pixels around them, and back again. Nobody
says how far a corner is: it may be anywhere along its epipolar line, and off it by as much as the
cameras may be turned.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from renderocc_ros.geometry import RigidTransform
from renderocc_ros.rig.camera_set import PosedImage
from renderocc_ros.rig.motion_check import MAX_RETURN_PX, NOISE_PX, Grey, View
from renderocc_ros.rig.turn_estimate import Floats

# The camera between, and the step of the nodes at which lenses are asked where a ray falls.
SPAN_RAD, NODE_PX, MAX_SIDE_PX = np.deg2rad(35.0), 8, 560
MIN_OVERLAP_PX = 16
MAX_CORNERS, CORNERS_KEPT, MIN_QUALITY, MIN_SPACING_PX = 160, 40, 0.003, 4
PATCH_PX = 5  # half its side
MAX_TURN_RAD, NEAREST_M, MAX_PARALLAX_RAD = np.deg2rad(4.0), 3.0, np.deg2rad(12.0)
MIN_BASELINE_M = 0.03
MIN_CONTRAST, MIN_CORRELATION, MIN_LEAD, PEAK_PX = 4.0, 0.8, 0.05, 3


@dataclass(frozen=True, eq=False)
class Matches:
    """Corners that are in both images, in a frame common to the cameras.

    Attributes:
        first, second: (N, 3) unit bearings from the two cameras.
        baseline: (N, 3) from the second camera to the first, metres.
        sigma_rad: (N,) standard deviation of the angle between what belongs together.
    """

    first: Floats
    second: Floats
    baseline: Floats
    sigma_rad: Floats

    @staticmethod
    def none() -> Matches:
        return Matches(np.empty((0, 3)), np.empty((0, 3)), np.empty((0, 3)), np.empty(0))

    def __len__(self) -> int:
        return len(self.first)

    def __add__(self, other: Matches) -> Matches:
        return Matches(
            np.concatenate([self.first, other.first]),
            np.concatenate([self.second, other.second]),
            np.concatenate([self.baseline, other.baseline]),
            np.concatenate([self.sigma_rad, other.sigma_rad]),
        )


def matches_of(first: PosedImage, second: PosedImage) -> Matches:
    """What two images of a set have in common, in the ego frame; none without an overlap."""
    ego = RigidTransform.identity()
    views = View.of(first, ego), View.of(second, ego)
    between = _Between.of(*views)
    drawn = between.drawn(*views) if between.can_see else None
    if drawn is None:
        return Matches.none()
    here, there, corner_px = drawn
    mask = here.whole.astype(np.uint8)
    corners = cv2.goodFeaturesToTrack(
        here.grey, MAX_CORNERS, MIN_QUALITY, MIN_SPACING_PX, mask=mask
    )
    if corners is None:
        return Matches.none()
    starts = np.round(corners[:, 0]).astype(np.int64)
    ways = between.way(starts + corner_px)
    may_be_there = np.any([there.shows(starts + part * ways) for part in (0, 0.5, 1)], axis=0)
    kept = np.flatnonzero(may_be_there)[:CORNERS_KEPT]
    turn_px = MAX_TURN_RAD * between.focal_px
    pairs = []
    for start, way in zip(starts[kept], ways[kept], strict=True):
        end = _found(here, start, there, way, turn_px)
        if end is not None:
            nearest = np.round(end).astype(np.int64)
            back = _found(there, nearest, here, -way, turn_px)
            if back is not None and np.linalg.norm(back - start + end - nearest) < MAX_RETURN_PX:
                pairs.append((start, end))
    if not pairs:
        return Matches.none()
    here_px, there_px = np.moveaxis(np.array(pairs) + corner_px, 1, 0)
    count = len(pairs)
    return Matches(
        between.rays(here_px),
        between.rays(there_px),
        np.tile(between.baseline, (count, 1)),
        np.full(count, NOISE_PX / between.focal_px),
    )


@dataclass(frozen=True, eq=False)
class _Between:
    """A pinhole camera that looks between two others, its rows along the line between them.

    Attributes:
        rotation: (3, 3) of its frame in that of the poses.
        baseline: (3,) from the second to the first.
        focal_px: its focal length; ``side_px`` its image's side, a multiple of ``NODE_PX``.
    """

    rotation: Floats
    baseline: Floats
    focal_px: float
    side_px: int

    @staticmethod
    def of(first: View, second: View) -> _Between:
        a, b = first.odom_from_camera, second.odom_from_camera
        baseline = a.translation - b.translation
        ahead = _unit(a.rotation[:, 2] + b.rotation[:, 2])
        along = baseline - (baseline @ ahead) * ahead
        if np.linalg.norm(along) < MIN_BASELINE_M / 2:
            along = a.rotation[:, 0] - (a.rotation[:, 0] @ ahead) * ahead
        right = _unit(along)
        rotation = np.stack([right, np.cross(ahead, right), ahead], axis=1)
        focal_px = float(np.sqrt(first.model.intrinsics[0, 0] * second.model.intrinsics[0, 0]))
        side = 2 * np.tan(SPAN_RAD) * focal_px
        focal_px *= min(1.0, MAX_SIDE_PX / side)
        nodes = max(1, round(min(side, MAX_SIDE_PX) / NODE_PX))
        return _Between(rotation, baseline, focal_px, nodes * NODE_PX)

    @property
    def can_see(self) -> bool:
        """Whether there is a line between the cameras, and their axes are not opposite."""
        return bool(
            np.linalg.norm(self.baseline) >= MIN_BASELINE_M and np.isfinite(self.rotation).all()
        )

    def rays(self, pixels: Floats) -> Floats:
        """Unit directions (..., 3) in the frame of the poses, through pixels (..., 2)."""
        centred = (np.asarray(pixels, float) - (self.side_px - 1) / 2) / self.focal_px
        ahead = np.concatenate([centred, np.ones_like(centred[..., :1])], axis=-1)
        return _unit(ahead @ self.rotation.T)

    def way(self, pixels: Floats) -> Floats:
        """(N, 2) pixels by which the nearest thing seen at pixels is elsewhere in the second."""
        ahead = self.rays(pixels) @ self.rotation
        baseline = self.baseline @ self.rotation
        there = ahead + baseline / max(NEAREST_M, np.linalg.norm(baseline) / MAX_PARALLAX_RAD)
        return np.asarray(self.focal_px * (there / there[:, 2:] - ahead / ahead[:, 2:])[:, :2])

    def drawn(self, first: View, second: View) -> tuple[_Drawn, _Drawn, NDArray[np.int64]] | None:
        """Both images around what both see, and the place (2,) of their first pixel; None if that
        is too little."""
        nodes = np.arange(self.side_px // NODE_PX) * NODE_PX + (NODE_PX - 1) / 2
        rays = self.rays(np.stack(np.meshgrid(nodes, nodes), axis=-1))
        views = first, second
        places, shown = zip(
            *(each.model.project(rays @ each.odom_from_camera.rotation) for each in views),
            strict=True,
        )
        rows, columns = np.nonzero(shown[0] & shown[1])
        if len(rows) * NODE_PX**2 < MIN_OVERLAP_PX**2:
            return None
        reach = 1 + int(self.focal_px * MAX_PARALLAX_RAD / NODE_PX)
        top, left = max(0, rows.min() - reach), max(0, columns.min() - reach)
        box = np.s_[top : rows.max() + reach + 1, left : columns.max() + reach + 1]
        here, there = (
            _Drawn.of(view, place[box]) for view, place in zip(views, places, strict=True)
        )
        return here, there, np.array([left, top]) * NODE_PX


@dataclass(frozen=True, eq=False)
class _Drawn:
    """A part of an image as the camera between sees it.

    Attributes:
        grey: (h, w) uint8.
        inside: (h, w) whether the image has that pixel; ``whole``, all of the patch around it.
    """

    grey: Grey
    inside: NDArray[np.bool_]
    whole: NDArray[np.bool_]

    @staticmethod
    def of(view: View, places: Floats) -> _Drawn:
        """From where in the image the nodes (h, w, 2) of the part are."""
        size = places.shape[1] * NODE_PX, places.shape[0] * NODE_PX
        places = cv2.resize(places.astype(np.float32), size, interpolation=cv2.INTER_LINEAR)
        inside = view.model.contains(places)
        u, v = np.moveaxis(np.where(inside[..., None], places, np.float32(-1e4)), -1, 0)
        grey = cv2.remap(
            view.grey, np.ascontiguousarray(u), np.ascontiguousarray(v), cv2.INTER_LINEAR
        )
        patch = np.ones((2 * PATCH_PX + 1, 2 * PATCH_PX + 1), np.uint8)
        whole = cv2.erode(inside.astype(np.uint8), patch, borderValue=0) > 0
        return _Drawn(np.asarray(grey, np.uint8), inside, whole)

    def shows(self, pixels: Floats) -> NDArray[np.bool_]:
        """(N,) whether pixels (N, 2) are in it."""
        x, y = np.round(pixels).astype(np.int64).T
        height, width = self.inside.shape
        on_it = (x >= 0) & (x < width) & (y >= 0) & (y < height)
        return np.asarray(on_it & self.inside[y * on_it, x * on_it])


def _found(
    here: _Drawn, start: NDArray[np.int64], there: _Drawn, way: Floats, turn_px: float
) -> Floats | None:
    """Where the patch around a corner is in the other image, (2,); None where that is not sure.

    Args:
        start: (2,) the corner.
        way: (2,) pixels by which it is elsewhere if it is near.
        turn_px: by which it may be elsewhere because a camera is turned.
    """
    last = np.array(there.grey.shape[::-1]) - 1 - PATCH_PX
    low = np.maximum(np.floor(start + np.minimum(0, way) - turn_px), PATCH_PX).astype(np.int64)
    high = np.minimum(np.ceil(start + np.maximum(0, way) + turn_px), last).astype(np.int64)
    patch = _around(here.grey, start, start)
    if (high - low < 2).any() or cv2.meanStdDev(patch)[1] < MIN_CONTRAST:
        return None
    alike = cv2.matchTemplate(_around(there.grey, low, high), patch, cv2.TM_CCOEFF_NORMED)
    alike[~there.whole[low[1] : high[1] + 1, low[0] : high[0] + 1]] = -1
    row, column = np.unravel_index(int(alike.argmax()), alike.shape)
    best = float(alike[row, column])
    peak = alike[max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2].copy()
    if best < MIN_CORRELATION or peak.shape != (3, 3) or peak.min() <= -1:
        return None  # the last two: at the edge of what was searched
    rows, columns = (slice(max(at - PEAK_PX, 0), at + PEAK_PX + 1) for at in (row, column))
    alike[rows, columns] = -1
    if alike.max() > best - MIN_LEAD:
        return None
    return np.asarray(low + np.array([column + _vertex(peak[1]), row + _vertex(peak[:, 1])]))


def _around(grey: Grey, low: NDArray[np.int64], high: NDArray[np.int64]) -> Grey:
    """What patches cover whose centres lie in a box, both its corners included."""
    (left, top), (right, bottom) = low - PATCH_PX, high + PATCH_PX + 1
    return grey[top:bottom, left:right]


def _vertex(values: NDArray[np.float32]) -> float:
    """Where between the neighbours (-1 to 1) a parabola through three values is highest."""
    before, best, after = map(float, values)
    bend = before - 2 * best + after
    return 0.5 * (before - after) / bend if bend < 0 else 0.0


def _unit(vectors: Floats) -> Floats:
    with np.errstate(invalid="ignore"):
        return np.asarray(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True))
