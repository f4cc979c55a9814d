"""The live self-check of the cameras: one camera after another is looked at while the robot moves.

Each looks for what images and odometry alone can tell: a frozen image, cameras that are swapped, a
mounting that is turned, and a part of the image that stays as it is. Two cameras that see the same
tell of turned mountings as well, and where they are at hand, the network's depth and points of a
LiDAR. A robot that stands gives no verdict, and neither does a stream without odometry.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from renderocc_ros.geometry import RigidTransform
from renderocc_ros.rig.camera_set import CameraSet, PosedImage
from renderocc_ros.rig.motion_check import (
    DIFFERENCE_RAD,
    MOTION_SIGMA_RAD,
    NOISE_PX,
    TRACKING,
    Tracks,
    View,
    errors,
    misfit,
    off_plane,
    squares,
    track,
)
from renderocc_ros.rig.neighbour_check import NeighbourCheck
from renderocc_ros.rig.range_check import RangeCheck, RangeSources, RangeState
from renderocc_ros.rig.still_check import StillCheck
from renderocc_ros.rig.turn_estimate import Look, TurnEstimate, together

LOOKS_AT_ONCE, FIRST_LOOKS = 2, 20  # so many cameras a set, until they are known; then one
# Between the two images of a look.
MIN_STEP_M, MAX_STEP_M, MAX_STEP_S = 0.15, 8.0, 1.2
MIN_TRACKS = 20
MIN_LOOKS, LOOKS_KEPT = 4, 6  # before a verdict; that it rests on
# Frozen: what would move at this distance by so much does not move.
STILL_PX, EXPECTED_PX, EXPECTED_AT_M, FROZEN_SHARE = 0.1, 1.5, 20.0, 0.8
FIT_SIGMAS = 2.0
SWAPPED_LOOKS_KEPT = 24  # traffic of a few seconds makes a camera move as another should
MIN_SWAPPED_MISFIT, MAX_OTHER_MISFIT = 2.5, 0.7  # the second as a share of the first
MAX_TURN_DEG, MIN_LOOKS_TURNED, MAX_LEFT = 1.5, 8, 3.0
MAX_MOUNTING_DEG = 15.0  # what is turned by more was hardly mounted badly


@dataclass(frozen=True)
class CameraHealth:
    """What the check knows of one camera.

    Attributes:
        looks: pairs of images that were judged.
        fit: share of what was tracked that moves as mounting and odometry say, 0 to 1; NaN before.
        turn_deg: rotation vector in the ego frame that takes the camera from where its transform
            says to where it is, as far as it is known.
        directions: in how many directions it is known, 0 to 3.
        still_percent: part of the image below the sky that stays as it is; NaN before.
        neighbour_looks: at what a neighbouring camera sees as well.
        range_looks: at points of a LiDAR.
        range_error: mean of |depth that the network sees − LiDAR's| / LiDAR's; NaN before.
        overlap: share of what neighbouring cameras see as well where both say the same depth; NaN
            before.
        suspicion: what is wrong and the cure; empty if nothing is.
    """

    looks: int = 0
    fit: float = float("nan")
    turn_deg: tuple[float, float, float] = (0.0, 0.0, 0.0)
    directions: int = 0
    still_percent: float = float("nan")
    neighbour_looks: int = 0
    range_looks: int = 0
    range_error: float = float("nan")
    overlap: float = float("nan")
    suspicion: str = ""


@dataclass
class _Camera:
    """What is kept of one camera.

    Attributes:
        misfits: of each look, with every camera's mounting; ``mean_misfits``, their means, empty
            before there are enough.
        left: of each look, the misfit that is left with the turn of the estimate.
        estimate: by motion, in the camera's frame.
        rotation: of the camera's frame in the ego frame.
    """

    looks: int = 0
    fits: deque[float] = field(default_factory=lambda: deque(maxlen=LOOKS_KEPT))
    misfits: deque[dict[str, float]] = field(
        default_factory=lambda: deque(maxlen=SWAPPED_LOOKS_KEPT)
    )
    mean_misfits: dict[str, float] = field(default_factory=dict)
    frozen: deque[bool] = field(default_factory=lambda: deque(maxlen=MIN_LOOKS))
    estimate: TurnEstimate = field(default_factory=TurnEstimate)
    left: deque[float] = field(default_factory=lambda: deque(maxlen=LOOKS_KEPT))
    still: StillCheck = field(default_factory=StillCheck)
    rotation: NDArray[np.float64] = field(default_factory=lambda: np.eye(3))

    @property
    def is_frozen(self) -> bool:
        return len(self.frozen) == MIN_LOOKS and all(self.frozen)

    @property
    def fits_its_turn(self) -> bool:
        """Whether most of what was tracked fits the estimate: else it is of chance."""
        return bool(self.left) and float(np.mean(self.left)) < MAX_LEFT


@dataclass(frozen=True, eq=False)
class _Begun:
    """The first images of some looks, and where all cameras were."""

    views: Mapping[str, View]
    odom_from_camera: Mapping[str, RigidTransform]


class SelfCheck:
    """Looks at some cameras a set, in turn; see the module."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget everything: another time line, other cameras, or a mounting put right."""
        self._cameras: dict[str, _Camera] = {}
        self._health: dict[str, CameraHealth] = {}
        self._begun = _Begun({}, {})
        self._last = ""
        self._ranges = RangeCheck()
        self._neighbours = NeighbourCheck()

    @property
    def health(self) -> Mapping[str, CameraHealth]:
        """By name of those cameras that were looked at; a snapshot, for other threads too."""
        return dict(self._health)

    def look(
        self,
        cameras: CameraSet,
        max_still_percent: float,
        ranges: RangeSources | None = None,
    ) -> None:
        """Take the next set, in order of time.

        Args:
            max_still_percent: part of an image that may stay as it is.
            ranges: of this set, where there are any.
        """
        pose = cameras.odom_from_ego
        if pose is None:
            self._begun = _Begun({}, {})
            return
        images = {image.name: image for image in cameras.images if image is not None}
        for name, image in images.items():
            camera = self._cameras.setdefault(name, _Camera())
            camera.still.add(image, pose @ image.ego_from_camera)
            camera.rotation = image.ego_from_camera.rotation
        looked_at = [*self._look_at_motion(images, pose), *self._neighbours.look(images, pose)]
        seen = self._ranges.look(cameras, ranges) if ranges is not None else None
        if seen is not None:
            looked_at.append(seen.name)
        if looked_at:
            self._tell(set(looked_at), max_still_percent)

    def _look_at_motion(
        self, images: Mapping[str, PosedImage], odom_from_ego: RigidTransform
    ) -> list[str]:
        """Names of the cameras whose looks have ended."""
        poses = {name: odom_from_ego @ image.ego_from_camera for name, image in images.items()}
        steps_m = {
            name: _distance_m(view.odom_from_camera, poses[name])
            for name, view in self._begun.views.items()
            if name in images and _goes_on(view, images[name])
        }
        if steps_m and max(steps_m.values()) < MIN_STEP_M:
            return []  # the robot stands, or nearly: wait
        ended = [name for name, step_m in steps_m.items() if MIN_STEP_M <= step_m <= MAX_STEP_M]
        for name in ended:
            self._judge(name, View.of(images[name], odom_from_ego), poses)
        names = list(images)
        first = names.index(self._last) + 1 if self._last in names else 0
        names = [*names[first:], *names[:first]]
        is_known = self._cameras[names[0]].looks >= FIRST_LOOKS
        names = names[: 1 if is_known else LOOKS_AT_ONCE]
        self._last = names[-1]
        views = {name: View.of(images[name], odom_from_ego) for name in names}
        self._begun = _Begun(views, poses)
        return ended

    def _judge(self, name: str, second: View, poses: Mapping[str, RigidTransform]) -> None:
        camera = self._cameras[name]
        tracks = track(self._begun.views[name], second)
        if len(tracks) < MIN_TRACKS:
            return
        camera.looks += 1
        second_from_first = {
            other: poses[other].inverse() @ before
            for other, before in self._begun.odom_from_camera.items()
            if other in poses and _distance_m(before, poses[other]) >= MIN_STEP_M
        }
        frozen = _stands_still(tracks, second_from_first[name])
        camera.frozen.append(frozen)
        if not frozen:
            _add_tracks(camera, name, tracks, second_from_first)

    def _tell(self, names: set[str], max_still_percent: float) -> None:
        """What is known of these cameras now."""
        swapped = {name: self._swapped_with(name) for name in self._cameras}
        turns = self._turns(swapped)
        turned = {name for name in turns if self._is_turned(name, turns[name])}
        for name in names:
            camera, ranges = self._cameras[name], self._ranges.cameras.get(name, RangeState())
            turn_rad, directions = turns[name].known_turn()
            turn_deg = np.rad2deg(turn_rad)
            self._health[name] = CameraHealth(
                camera.looks,
                _mean(camera.fits),
                tuple(turn_deg.tolist()),
                directions,
                camera.still.percent,
                self._neighbours.looks(name),
                ranges.looks,
                _mean(ranges.errors),
                _mean(ranges.overlap),
                self._suspicion(name, swapped[name], turn_deg, turned, max_still_percent),
            )

    def _turns(self, swapped: Mapping[str, str]) -> Mapping[str, TurnEstimate]:
        """Of each camera in the ego frame, by all that can be trusted."""
        single = {}
        for name, camera in self._cameras.items():
            estimate = camera.estimate if camera.fits_its_turn else TurnEstimate()
            if self._is_range_trusted(name):
                estimate = estimate.joined(self._ranges.cameras[name].trusted_estimate)
            single[name] = estimate.seen_from(camera.rotation)
        lost = {name for name, each in self._cameras.items() if each.is_frozen or swapped[name]}
        pairs = {
            pair: state.estimate
            for pair, state in self._neighbours.pairs.items()
            if not lost.intersection(pair)
        }
        return together(single, pairs)

    def _suspicion(
        self,
        name: str,
        swapped_with: str,
        turn_deg: NDArray[np.float64],
        turned: set[str],
        max_still_percent: float,
    ) -> str:
        """The gravest thing that is wrong, and its cure."""
        if self._cameras[name].is_frozen:
            return "the same picture while the robot moves: restart the camera or its driver"
        if swapped_with:
            return (
                f"its images move as those of {swapped_with} should: are the two swapped? Put "
                "their topics right in the rig file or in the drivers"
            )
        if name in turned:
            return self._turned(name, turn_deg, len(turned))
        others = [each.still.percent for key, each in self._cameras.items() if key != name]
        known = [percent for percent in others if np.isfinite(percent)]
        # Where most cameras see nothing change, it is dark, or a fog.
        elsewhere = float(np.median(known)) if known else 0.0
        own = self._cameras[name].still.percent
        if elsewhere <= max_still_percent < own:
            return (
                f"{own:.0f} % of its image stays as it is while the robot moves: "
                "clean the lens; if it is the robot itself that is in view, set "
                f"self_check.still_percent (now {max_still_percent:g}) above that"
            )
        return ""

    def _swapped_with(self, name: str) -> str:
        """The camera whose mounting the images fit, where neither fits its own; else empty.

        Traffic alone makes a camera look like another, but not both of them.
        """
        mean = self._cameras[name].mean_misfits
        best = min(mean, key=lambda other: mean[other], default=name)
        other = self._cameras.get(best)
        other_own = other.mean_misfits.get(best, 0.0) if other else 0.0
        fits = best != name and mean[best] < MAX_OTHER_MISFIT * mean.get(name, 0.0)
        return best if fits and min(mean[name], other_own) > MIN_SWAPPED_MISFIT else ""

    def _is_range_trusted(self, name: str) -> bool:
        ranges = self._ranges.cameras.get(name)
        return ranges is not None and ranges.is_trusted

    def _is_turned(self, name: str, estimate: TurnEstimate) -> bool:
        """Whether a turn is large, and known by more than a few looks."""
        camera = self._cameras[name]
        moves = camera.looks >= MIN_LOOKS_TURNED and len(camera.left) == LOOKS_KEPT
        if not (
            (moves and camera.fits_its_turn)
            or self._neighbours.is_known(name)
            or self._is_range_trusted(name)
        ):
            return False
        turn_rad, _ = estimate.known_turn()
        return bool(np.rad2deg(np.linalg.norm(turn_rad)) > MAX_TURN_DEG)

    def _turned(self, name: str, turn_deg: NDArray[np.float64], turned: int) -> str:
        x, y, z = turn_deg
        by = (
            f"{np.linalg.norm(turn_deg):.1f} degrees (about x {x:+.1f}, y {y:+.1f}, z {z:+.1f} of "
            "the base frame)"
        )
        if turned >= 3 and 2 * turned > len(self._cameras):
            by_range = self._is_range_trusted(name)
            do, source = ("lie", "the LiDAR") if by_range else ("move", "odometry")
            return (
                f"its images {do} otherwise than {source} says, by {by}, as do those of {turned} "
                f"of {len(self._cameras)} cameras: look at {source} and base_frame first"
            )
        cure = "calibrate its mounting, or put /tf_static right; then call ~/reset"
        if np.linalg.norm(turn_deg) > MAX_MOUNTING_DEG:
            cure = f"so far off, is it the topic or the frame of another camera? Else {cure}"
        return f"it looks turned by {by} against its transform: {cure}"


def _add_tracks(
    camera: _Camera,
    name: str,
    tracks: Tracks,
    second_from_first: Mapping[str, RigidTransform],
) -> None:
    off, along = off_plane(tracks, second_from_first[name])
    sigma = tracks.noise_rad
    fits = (np.abs(off) < FIT_SIGMAS * sigma) & (along > -FIT_SIGMAS * sigma)
    camera.fits.append(float(fits.mean()))
    camera.misfits.append(
        {other: misfit(tracks, motion) for other, motion in second_from_first.items()}
    )
    if len(camera.misfits) >= MIN_LOOKS:
        camera.mean_misfits = _means_of_most(camera.misfits)
    look = Look.at(
        errors(tracks, second_from_first[name]),
        camera.estimate.turn,
        DIFFERENCE_RAD,
        MOTION_SIGMA_RAD,
    )
    if squares(look.off * TRACKING).mean() < MAX_LEFT:
        camera.estimate.add(look)
    turn_rad, _ = camera.estimate.known_turn()
    camera.left.append(misfit(tracks, second_from_first[name], turn_rad))


def _goes_on(first: View, image: PosedImage) -> bool:
    """Whether an image may follow; one of another size or calibration, or much later, may not."""
    seconds = (image.stamp_ns - first.stamp_ns) * 1e-9
    same_lens = image.model == first.full_model
    return same_lens and 0 < seconds <= MAX_STEP_S


def _distance_m(first: RigidTransform, second: RigidTransform) -> float:
    return float(np.linalg.norm(second.translation - first.translation))


def _stands_still(tracks: Tracks, second_from_first: RigidTransform) -> bool:
    """Whether nothing moves in the image where much would, were it at ``EXPECTED_AT_M``."""
    there = second_from_first.apply(tracks.first * EXPECTED_AT_M)
    there /= np.linalg.norm(there, axis=1, keepdims=True)
    expected = np.linalg.norm(there - tracks.first, axis=1) / tracks.noise_rad * NOISE_PX
    moves = expected > EXPECTED_PX
    enough = int(moves.sum()) >= MIN_TRACKS
    return enough and float((tracks.shift_px[moves] < STILL_PX).mean()) > FROZEN_SHARE


def _means_of_most(looks: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Of each key that half of the looks know: an image may be missing now and then."""
    values: dict[str, list[float]] = {}
    for look in looks:
        for key, value in look.items():
            values.setdefault(key, []).append(value)
    return {key: _mean(each) for key, each in values.items() if 2 * len(each) >= len(looks)}


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else float("nan")
