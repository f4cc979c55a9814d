"""The live self-check of the cameras: one camera after another is looked at while the robot moves.

Each looks for what images and odometry alone can tell: a frozen image, cameras that are swapped, a
mounting that is turned, and a part of the image that stays as it is. A robot that stands gives no
verdict, and neither does a stream without odometry. Where the network's depth and points of a LiDAR
are at hand, they tell a mounting that is turned as well.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from renderocc_ros.geometry import RigidTransform
from renderocc_ros.rig.camera_set import CameraSet, PosedImage
from renderocc_ros.rig.motion_check import (
    DIFFERENCE_RAD,
    MOTION_SIGMA_RAD,
    NOISE_PX,
    Tracks,
    View,
    errors,
    misfit,
    off_plane,
    track,
)
from renderocc_ros.rig.range_check import RangeCheck, RangeSources, RangeState
from renderocc_ros.rig.turn_estimate import TurnEstimate

# Between the two images of a look.
MIN_STEP_M, MAX_STEP_M, MAX_STEP_S = 0.15, 8.0, 1.2
MIN_TRACKS = 20
MIN_LOOKS, LOOKS_KEPT = 4, 6  # before a verdict; that it rests on
# Frozen: what would move at this distance by so much does not move.
STILL_PX, EXPECTED_PX, EXPECTED_AT_M, FROZEN_SHARE = 0.1, 1.5, 20.0, 0.8
FIT_SIGMAS = 2.0
MIN_SWAPPED_MISFIT, MAX_OTHER_MISFIT = 2.5, 0.7  # the second as a share of the first
MAX_TURN_DEG, MIN_LOOKS_TURNED, MAX_LEFT = 1.5, 8, 3.0
# Still: a cell of a picture whose pixels hardly change from picture to picture, all far apart.
PICTURE_WIDTH, CELL, STILL_GREY, SKY_DEG = 88, 4, 4.0, 5.0
PICTURES_KEPT, MIN_PICTURE_STEP_M = 10, 3.0


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
    range_looks: int = 0
    range_error: float = float("nan")
    overlap: float = float("nan")
    suspicion: str = ""


@dataclass
class _Camera:
    """What is kept of one camera.

    Attributes:
        misfits: of each look, with every camera's mounting.
        left: of each look, the misfit that is left with the turn of the estimate.
        pictures: its last images, small; ``picture_at`` where the newest was taken.
    """

    looks: int = 0
    fits: deque[float] = field(default_factory=lambda: deque(maxlen=LOOKS_KEPT))
    misfits: deque[dict[str, float]] = field(default_factory=lambda: deque(maxlen=LOOKS_KEPT))
    frozen: deque[bool] = field(default_factory=lambda: deque(maxlen=MIN_LOOKS))
    estimate: TurnEstimate = field(default_factory=TurnEstimate)
    left: deque[float] = field(default_factory=lambda: deque(maxlen=LOOKS_KEPT))
    pictures: deque[NDArray[np.float32]] = field(
        default_factory=lambda: deque(maxlen=PICTURES_KEPT)
    )
    picture_at: RigidTransform | None = None
    still_percent: float = float("nan")


@dataclass(frozen=True, eq=False)
class _Begun:
    """The first image of a look, and where all cameras were."""

    name: str
    view: View
    odom_from_camera: Mapping[str, RigidTransform]


class SelfCheck:
    """Looks at one camera a set, in turn; see the module."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget everything: another time line, other cameras, or a mounting put right."""
        self._cameras: dict[str, _Camera] = {}
        self._health: dict[str, CameraHealth] = {}
        self._begun: _Begun | None = None
        self._last = ""
        self._ranges = RangeCheck()

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
        if cameras.odom_from_ego is None:
            self._begun = None
            return
        self._look_at_motion(cameras, cameras.odom_from_ego, max_still_percent)
        image = self._ranges.look(cameras, ranges) if ranges is not None else None
        if image is not None:
            self._tell(image.name, image.ego_from_camera, max_still_percent)

    def _look_at_motion(
        self, cameras: CameraSet, odom_from_ego: RigidTransform, max_still_percent: float
    ) -> None:
        images = {image.name: image for image in cameras.images if image is not None}
        poses = {name: odom_from_ego @ image.ego_from_camera for name, image in images.items()}
        for name, image in images.items():
            _add_picture(self._cameras.setdefault(name, _Camera()), image, poses[name])
        if self._begun is not None:
            begun, again = self._begun, images.get(self._begun.name)
            if again is not None and _goes_on(begun.view, again):
                step_m = _distance_m(begun.view.odom_from_camera, poses[begun.name])
                if step_m < MIN_STEP_M:
                    return  # the robot stands, or nearly: wait
                if step_m <= MAX_STEP_M:
                    self._judge(begun, View.of(again, odom_from_ego), poses)
                    self._tell(begun.name, again.ego_from_camera, max_still_percent)
        names = list(images)
        self._last = (
            names[(names.index(self._last) + 1) % len(names)] if self._last in names else names[0]
        )
        view = View.of(images[self._last], odom_from_ego)
        self._begun = _Begun(self._last, view, poses)

    def _judge(self, begun: _Begun, second: View, poses: Mapping[str, RigidTransform]) -> None:
        name = begun.name
        camera = self._cameras[name]
        tracks = track(begun.view, second)
        if len(tracks) < MIN_TRACKS:
            return
        camera.looks += 1
        second_from_first = {
            other: poses[other].inverse() @ before
            for other, before in begun.odom_from_camera.items()
            if other in poses and _distance_m(before, poses[other]) >= MIN_STEP_M
        }
        frozen = _stands_still(tracks, second_from_first[name])
        camera.frozen.append(frozen)
        if not frozen:
            self._add_tracks(camera, name, tracks, second_from_first)

    def _tell(self, name: str, ego_from_camera: RigidTransform, max_still_percent: float) -> None:
        """What is known of a camera now."""
        camera, ranges = self._cameras[name], self._ranges.cameras.get(name, RangeState())
        turn_rad, directions = self._estimate(name).known_turn()
        turn_deg = np.rad2deg(ego_from_camera.rotation @ turn_rad)
        self._health[name] = CameraHealth(
            camera.looks,
            _mean(camera.fits),
            tuple(turn_deg.tolist()),
            directions,
            camera.still_percent,
            ranges.looks,
            _mean(ranges.errors),
            _mean(ranges.overlap),
            self._suspicion(name, camera, turn_deg, max_still_percent),
        )

    def _add_tracks(
        self,
        camera: _Camera,
        name: str,
        tracks: Tracks,
        second_from_first: Mapping[str, RigidTransform],
    ) -> None:
        off, along = off_plane(tracks, second_from_first[name])
        sigma = tracks.noise_rad
        fits = (np.abs(off) < FIT_SIGMAS * sigma) & (along > -FIT_SIGMAS * sigma)
        camera.fits.append(float(fits.mean()))
        misfits = {other: misfit(tracks, motion) for other, motion in second_from_first.items()}
        camera.misfits.append(misfits)
        camera.estimate.add(
            errors(tracks, second_from_first[name]), DIFFERENCE_RAD, MOTION_SIGMA_RAD
        )
        turn_rad, _ = camera.estimate.known_turn()
        camera.left.append(misfit(tracks, second_from_first[name], turn_rad))

    def _suspicion(
        self, name: str, camera: _Camera, turn_deg: NDArray[np.float64], max_still_percent: float
    ) -> str:
        """The gravest thing that is wrong, and its cure."""
        if len(camera.frozen) == MIN_LOOKS and all(camera.frozen):
            return "the same picture while the robot moves: restart the camera or its driver"
        if camera.looks >= MIN_LOOKS and (other := self._swapped_with(name)):
            return (
                f"its images move as those of {other} should: are the two swapped? Put their "
                "topics right in the rig file or in the drivers"
            )
        if self._is_turned(name):
            return self._turned(name, turn_deg)
        others = [each.still_percent for key, each in self._cameras.items() if key != name]
        known = [percent for percent in others if np.isfinite(percent)]
        # Where most cameras see nothing change, it is dark, or a fog.
        elsewhere = float(np.median(known)) if known else 0.0
        if elsewhere <= max_still_percent < camera.still_percent:
            return (
                f"{camera.still_percent:.0f} % of its image stays as it is while the robot moves: "
                "clean the lens; if it is the robot itself that is in view, set "
                f"self_check.still_percent (now {max_still_percent:g}) above that"
            )
        return ""

    def _swapped_with(self, name: str) -> str:
        """The camera whose mounting the images fit, where neither fits its own; else empty.

        Traffic alone makes a camera look like another, but not both of them.
        """
        mean = _mean_misfits(self._cameras[name])
        best = min(mean, key=lambda other: mean[other], default=name)
        own, other_own = mean.get(name, 0.0), _mean_misfits(self._cameras.get(best)).get(best, 0.0)
        fits = best != name and mean[best] < MAX_OTHER_MISFIT * own
        return best if fits and min(own, other_own) > MIN_SWAPPED_MISFIT else ""

    def _estimate(self, name: str) -> TurnEstimate:
        """By motion, and by ranges where the network sees well."""
        by_motion = self._cameras[name].estimate
        if not self._is_range_trusted(name):
            return by_motion
        return by_motion.joined(self._ranges.cameras[name].estimate)

    def _is_range_trusted(self, name: str) -> bool:
        ranges = self._ranges.cameras.get(name)
        return ranges is not None and ranges.is_trusted

    def _is_turned(self, name: str) -> bool:
        if self._is_range_trusted(name):
            turn_rad, _ = self._estimate(name).known_turn()
            return self._ranges.cameras[name].is_turned(turn_rad)
        return _moves_turned(self._cameras[name])

    def _turned(self, name: str, turn_deg: NDArray[np.float64]) -> str:
        turned = sum(map(self._is_turned, self._cameras))
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
        return (
            f"it looks turned by {by} against its transform: calibrate its mounting, or put "
            "/tf_static right; then call ~/reset"
        )


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


def _mean_misfits(camera: _Camera | None) -> dict[str, float]:
    """With the mountings that all of the last looks know; empty before there are enough."""
    if camera is None or len(camera.misfits) < MIN_LOOKS:
        return {}
    known = set.intersection(*map(set, camera.misfits))
    return {name: float(np.mean([each[name] for each in camera.misfits])) for name in known}


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else float("nan")


def _moves_turned(camera: _Camera) -> bool:
    """Whether the estimate is large, and most of what was tracked fits it: else it is of chance."""
    if camera.looks < MIN_LOOKS_TURNED or len(camera.left) < LOOKS_KEPT:
        return False
    turn_rad, _ = camera.estimate.known_turn()
    fits = float(np.mean(camera.left)) < MAX_LEFT
    return fits and bool(np.rad2deg(np.linalg.norm(turn_rad)) > MAX_TURN_DEG)


def _add_picture(camera: _Camera, image: PosedImage, odom_from_camera: RigidTransform) -> None:
    """Keep a small picture, and see how much of it below the sky stays as it is."""
    at = camera.picture_at
    if at is not None and _distance_m(at, odom_from_camera) < MIN_PICTURE_STEP_M:
        return
    rows = round(PICTURE_WIDTH * image.model.height / image.model.width / CELL)
    rows = min(max(rows, 1), PICTURE_WIDTH)
    size, cells = (PICTURE_WIDTH, CELL * rows), (PICTURE_WIDTH // CELL, rows)
    small = cv2.resize(image.pixels, size, interpolation=cv2.INTER_AREA)
    picture = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.float32)
    if camera.pictures and camera.pictures[-1].shape != picture.shape:
        camera.pictures.clear()
    camera.pictures.append(picture)
    camera.picture_at, camera.still_percent = odom_from_camera, float("nan")
    if len(camera.pictures) == PICTURES_KEPT:
        change = cv2.resize(np.std(camera.pictures, axis=0), cells, interpolation=cv2.INTER_AREA)
        rays = image.model.resized(*cells).pixel_rays() @ image.ego_from_camera.rotation.T
        below_sky = rays[..., 2] < np.sin(np.deg2rad(SKY_DEG))  # false where the lens has no ray
        if below_sky.any():
            camera.still_percent = float(100 * (change[below_sky] < STILL_GREY).mean())
