"""Whether a camera's depth fits LiDAR and its neighbours' depth, and by how much it is turned.

The network tells a depth for each cell of its image, from the picture alone; a mounting that is
turned moves the points across it. The turn that brings the two together is the mounting's error,
about all three axes, whether the robot drives or stands.

The network learns the nearest depth in a cell, which on the ground is that of the cell's lower
edge. On a plane the inverse depth is linear in the pixels, and its largest value in a cell is above
that of the centre by half of what it changes by from cell to cell, along rows and along columns.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from renderocc_ros.geometry import CameraModel, RigidTransform
from renderocc_ros.rig.camera_set import CameraSet, PosedImage
from renderocc_ros.rig.neighbour_check import may_share
from renderocc_ros.rig.turn_estimate import Errors, Floats, Look, TurnEstimate, rotations

MIN_M, MAX_M, FAR_M = 1.5, 44.0, 60.0
POINTS_OF_CLOUD, POINTS_OF_LOOK, MIN_POINTS = 20_000, 1500, 100
MIN_STEP_M = 0.5  # from one look of a camera to the next: the same picture has the same errors
SPREAD = 0.3  # logarithm of depth by LiDAR: what is off by more is likely at another surface
ALIKE = 10  # points whose errors are one and the same
DIFFERENCE_RAD, LOOK_SIGMA_RAD = np.deg2rad(1.0), np.deg2rad(1.0)
LOOKS_KEPT, MIN_LOOKS = 8, 6
# What is left with the turn, a median, tells how well the network sees: too badly to judge at all,
# or so that its errors look like a turn, by so many degrees.
MAX_LEFT, ERROR_DEG_OF_LEFT = 0.08, 10.0
AGREES = 0.2  # logarithm of depth by that of a neighbour
# A network is told how its cameras are mounted, and half believes it where that is a tilt: a camera
# that seems turned by so much is shown to it again, as mounted like that.
SEE_AGAIN_RAD = np.deg2rad(0.7)
MIN_SHARED = 8  # cells that a neighbour sees as well


@dataclass(frozen=True, eq=False)
class SeenDepth:
    """What the network says of the depth in one image.

    Attributes:
        log_m: (h, w) float32, logarithm of the depth along the optical axis, metres, at the centres
            of the cells of the network's image.
        model: the projection of the network's image.
    """

    log_m: NDArray[np.float32]
    model: CameraModel

    @staticmethod
    def of(
        distribution: NDArray[np.float32], centres_m: Sequence[float], model: CameraModel
    ) -> SeenDepth:
        """From (D, h, w) probabilities of depth bins with these centres, of the nearest depth."""
        logs = np.log(np.asarray(centres_m, np.float32))
        return SeenDepth.of_nearest(np.exp(np.einsum("dhw,d->hw", distribution, logs)), model)

    @staticmethod
    def of_nearest(nearest_m: NDArray[np.float32], model: CameraModel) -> SeenDepth:
        """From (h, w) the nearest depth in each cell."""
        inverse = 1 / nearest_m
        centre = inverse - (_change(inverse) + _change(inverse.T).T) / 2
        return SeenDepth(-np.log(np.maximum(centre, 1 / FAR_M)), model)

    def points(self) -> Floats:
        """(h·w, 3) where the cells' surfaces are, in the camera's frame, metres."""
        height, width = self.log_m.shape
        cells = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1)
        pixels = (cells + 0.5) * self._stride - 0.5
        rays = self.model.rays(pixels).reshape(-1, 3)
        return np.asarray(rays / rays[:, 2:] * np.exp(self.log_m.reshape(-1, 1)))

    def off(self, points: Floats) -> tuple[Floats, NDArray[np.bool_]]:
        """Logarithm of the depth seen by that of points, and which of them the image shows.

        Args:
            points: (N, 3) in the camera's frame, metres.
        """
        height, width = self.log_m.shape
        z = np.clip(points[:, 2], MIN_M, MAX_M)
        pixels = points @ self.model.intrinsics[:2].T / z[:, None]
        x, y = ((pixels + 0.5) / self._stride - 0.5).T  # cells, from the centre of the first
        shown = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1) & (points[:, 2] == z)
        u, v = (np.clip(each, -1, 1e4).astype(np.float32) for each in (x, y))
        log_m = cv2.remap(self.log_m, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return log_m[:, 0] - np.log(z), shown

    @property
    def _stride(self) -> float:
        return self.model.width / self.log_m.shape[1]


@dataclass(frozen=True, eq=False)
class RangeSources:
    """Where a look has its ranges from.

    Attributes:
        seen: by camera name, what the network says of the set's images.
        see: what it says of one image; None if it does not tell.
        points_near: (N, 3) points in the odometry frame, metres, of about that time in nanoseconds;
            None if there are none.
    """

    seen: Mapping[str, SeenDepth]
    see: Callable[[PosedImage], SeenDepth | None] = lambda image: None
    points_near: Callable[[int], Floats | None] = lambda stamp_ns: None


@dataclass
class RangeState:
    """What is known of one camera.

    Attributes:
        looks: at points.
        errors: of each look, mean of |seen depth − LiDAR's| / LiDAR's, as it is said to be mounted.
        left: of each look, median of |logarithm of their quotient| with the turn of the estimate.
        overlap: of each look, share of what its neighbours see as well where they agree.
        estimate: of its turn.
        looked_at: where the last look was taken, in the odometry frame.
    """

    looks: int = 0
    errors: deque[float] = field(default_factory=lambda: deque(maxlen=LOOKS_KEPT))
    left: deque[float] = field(default_factory=lambda: deque(maxlen=LOOKS_KEPT))
    overlap: deque[float] = field(default_factory=lambda: deque(maxlen=LOOKS_KEPT))
    estimate: TurnEstimate = field(default_factory=TurnEstimate)
    looked_at: Floats | None = None

    @property
    def is_trusted(self) -> bool:
        """Whether the network sees well enough, for long enough, that its word counts."""
        return self.looks >= MIN_LOOKS and float(np.mean(self.left)) < MAX_LEFT

    @property
    def trusted_estimate(self) -> TurnEstimate:
        """The estimate, known to no more than the network's errors allow, however many looks."""
        return self.estimate.with_error(np.deg2rad(ERROR_DEG_OF_LEFT) * float(np.mean(self.left)))


class RangeCheck:
    """Looks at one camera a set, in turn.

    Attributes:
        cameras: what is known, by name.
    """

    def __init__(self) -> None:
        self.cameras: dict[str, RangeState] = {}
        self._last = ""
        self._random = np.random.default_rng(0)

    def look(self, cameras: CameraSet, sources: RangeSources) -> PosedImage | None:
        """Take the next set; returns the image that was looked at."""
        seen = sources.seen
        images = {each.name: each for each in cameras.images if each and each.name in seen}
        if cameras.odom_from_ego is None or not images:
            return None
        names = list(images)
        next_place = names.index(self._last) + 1 if self._last in names else 0
        name = self._last = names[next_place % len(names)]
        state = self.cameras.setdefault(name, RangeState())
        odom_from_camera = cameras.odom_from_ego @ images[name].ego_from_camera
        at = odom_from_camera.translation
        if state.looked_at is not None and np.linalg.norm(at - state.looked_at) < MIN_STEP_M:
            return None
        state.looked_at = at
        if (share := _overlap(name, images, seen)) is not None:
            state.overlap.append(share)
        points = sources.points_near(images[name].stamp_ns)
        if points is not None and len(points):
            before = self._before_camera(points, odom_from_camera.inverse())
            if len(before) >= MIN_POINTS:
                self._compare(state, images[name], before, sources)
        return images[name]

    def _before_camera(self, points: Floats, camera_from_odom: RigidTransform) -> Floats:
        """Points in the camera's frame that it may see if it is turned, not too many."""
        if len(points) > POINTS_OF_CLOUD:
            points = points[self._random.integers(len(points), size=POINTS_OF_CLOUD)]
        points = camera_from_odom.apply(points)
        near = np.abs(points[:, :2]) < 2.0 * points[:, 2:]  # what no turn brings in is no use
        near = near.all(axis=1) & (points[:, 2] > MIN_M) & (points[:, 2] < MAX_M)
        return np.asarray(points[near])

    def _compare(
        self, state: RangeState, image: PosedImage, points: Floats, sources: RangeSources
    ) -> None:
        seen = sources.seen[image.name]
        off, shown = seen.off(points)
        if shown.sum() < MIN_POINTS:
            return
        state.looks += 1
        state.errors.append(float(np.abs(np.expm1(off[shown])).mean()))
        if len(points) > POINTS_OF_LOOK:
            points = points[self._random.integers(len(points), size=POINTS_OF_LOOK)]
        turn = state.estimate.turn
        if np.linalg.norm(turn) > SEE_AGAIN_RAD:
            pose = image.ego_from_camera
            turned = RigidTransform(pose.rotation @ cv2.Rodrigues(turn)[0], pose.translation)
            seen = sources.see(replace(image, ego_from_camera=turned)) or seen
        errors = _errors(seen, points)
        state.estimate.add(Look.at(errors, turn, DIFFERENCE_RAD, LOOK_SIGMA_RAD, ALIKE))
        (off,), (shown,) = errors(state.estimate.turn[None])
        state.left.append(float(np.median(np.abs(off[shown]))) * SPREAD if shown.any() else np.inf)


def _change(inverse: NDArray[np.float32]) -> NDArray[np.float32]:
    """By how much values change from row to row, without sign; at a step and at an extremum not."""
    steps = np.diff(inverse, axis=0, prepend=inverse[:1], append=inverse[-1:])
    before, after = steps[:-1], steps[1:]
    least = np.minimum(np.abs(before), np.abs(after))
    return np.where(before * after > 0, least, np.float32(0))


def _errors(seen: SeenDepth, points: Floats) -> Errors:
    """How far points are from the depth that is seen, for ``Look.at``."""

    def of(turns: Floats) -> tuple[Floats, NDArray[np.bool_]]:
        each = [seen.off(points @ turned) for turned in rotations(turns)]
        off, shown = (np.stack(values) for values in zip(*each, strict=True))
        return off / SPREAD, shown

    return of


def _overlap(
    name: str, images: Mapping[str, PosedImage], seen: Mapping[str, SeenDepth]
) -> float | None:
    """Share of a camera's cells that a neighbour sees as well where both say the same depth."""
    points = images[name].ego_from_camera.apply(seen[name].points())
    agree: list[NDArray[np.bool_]] = []
    for other, image in images.items():
        if other != name and may_share(images[name], image):
            off, shown = seen[other].off(image.ego_from_camera.inverse().apply(points))
            agree.append(np.abs(off[shown]) < AGREES)
    told = np.concatenate(agree) if agree else np.zeros(0, np.bool_)
    return float(told.mean()) if len(told) >= MIN_SHARED else None
