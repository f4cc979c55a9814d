"""Range and class of pixels from LiDAR, whose points go where they were when the camera fired.

Each sweep has the ego pose of its own stamp, and so has each image; between the two the car moves,
and so do the boxes that points lie in. A z-buffer drops what the camera cannot see.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from renderocc_ros.class_set import ClassSet
from renderocc_training.sequences.model import (
    CameraImage,
    Frame,
    LidarSweep,
    RecordedSequence,
    inside_box,
)
from renderocc_training.sequences.sensor_files import read_points
from renderocc_training.supervision.labels.interface import PointClasses, no_labels
from renderocc_training.supervision.labels.occlusion import visible_points
from renderocc_training.supervision.rays.ray_batch import NO_BOX, PixelLabels

CLOSEST_M = 0.5  # to a camera: nearer is the car itself
BOX_MARGIN_M = 0.05
# The car's ends are farther from its LiDAR than its roof. They are out of its own cameras' sight,
# but seen from where the car is later they would stand in the road.
OTHER_SCANS = 2.5
CAR_RADIUS_M = 1.0


@dataclass(frozen=True, eq=False)
class LabelledSweep:
    """Points of one sweep that are not on the car itself.

    Attributes:
        stamp_ns: their time.
        points: (P, 3) in the world.
        class_id: (P,) uint8.
        instance: (P,) int32 number of the box that holds each, ``NO_BOX`` or ``STANDS``.
    """

    stamp_ns: int
    points: NDArray[np.float64]
    class_id: NDArray[np.uint8]
    instance: NDArray[np.int32]


class LidarLabels:
    """Pixels that show a LiDAR point.

    Args:
        class_set: says which classes move.
        classes: gives points their classes.
        sweeps: further sweeps, those nearest in time, whose points are added to the frame's own;
            what moves without a box to follow is taken from the own sweep alone.
        ego_radius_m: points this near to the LiDAR, seen from above, are returns off the robot;
            that of the rig if not given.
        gap_deg: largest angles between neighbouring points on one surface, across and down.
    """

    def __init__(
        self,
        class_set: ClassSet,
        classes: PointClasses,
        sweeps: int = 0,
        ego_radius_m: float | None = None,
        gap_deg: tuple[float, float] = (1.0, 1.6),
    ) -> None:
        self.name = f"lidar+{classes.name}"
        self._class_set, self._classes = class_set, classes
        self._sweeps, self._ego_radius_m, self._gap_deg = sweeps, ego_radius_m, gap_deg
        self.reach = sweeps
        self._last: tuple[str, list[LabelledSweep]] = ("", [])

    def label(self, sequence: RecordedSequence, frame: Frame, camera: CameraImage) -> PixelLabels:
        """Ranges from the camera, at its own stamp, of the points that it sees."""
        parts = [
            self._at(sweep, sequence, camera.stamp_ns, own=place == 0)
            for place, sweep in enumerate(self._labelled(sequence, frame))
        ]
        points, class_id, instance = (np.concatenate(column) for column in zip(*parts, strict=True))
        in_camera = camera.world_from_sensor.inverse().apply(points)
        pixels, inside = camera.model.project(in_camera)
        range_m = np.linalg.norm(in_camera, axis=1)
        seen = np.flatnonzero(inside & (range_m > CLOSEST_M))
        if not seen.size:
            return no_labels()
        seen = seen[visible_points(pixels[seen], range_m[seen], camera.model, self._gap_deg)]
        return PixelLabels(
            pixels[seen].astype(np.float32),
            range_m[seen].astype(np.float32),
            class_id[seen],
            instance[seen],
        )

    def _labelled(self, sequence: RecordedSequence, frame: Frame) -> list[LabelledSweep]:
        """The frame's own sweep, then the others; kept for the frame's next camera."""
        near_m = self._ego_radius_m
        if near_m is None:
            near_m = sequence.origin.ego_radius_m
        near_m = CAR_RADIUS_M if near_m is None else near_m
        key = f"{frame.fingerprint} {sequence.tracks_fingerprint} {len(sequence)} {near_m}"
        if self._last[0] != key:
            sweeps = _nearest_sweeps(sequence, frame, self._sweeps)
            own = self.labelled_sweep(sequence, sweeps[0], near_m)
            far_m = OTHER_SCANS * near_m
            self._last = (
                key,
                [own, *(self.labelled_sweep(sequence, s, far_m) for s in sweeps[1:])],
            )
        return self._last[1]

    def labelled_sweep(
        self, sequence: RecordedSequence, sweep: LidarSweep, ego_radius_m: float
    ) -> LabelledSweep:
        """Read a sweep, give its points instances and classes, drop returns off the car."""
        points = read_points(sweep)
        points_ego = sweep.ego_from_sensor.apply(points)
        world = sweep.world_from_ego.apply(points_ego)
        instance = instances_of(world, sequence, sweep.stamp_ns)
        class_id, instance = self._classes.classes(sequence, sweep, points_ego, instance)
        kept = np.hypot(points[:, 0], points[:, 1]) > ego_radius_m
        kept &= np.isfinite(points).all(axis=1)
        return LabelledSweep(sweep.stamp_ns, world[kept], class_id[kept], instance[kept])

    def _at(
        self, sweep: LabelledSweep, sequence: RecordedSequence, stamp_ns: int, own: bool
    ) -> tuple[NDArray[np.float64], NDArray[np.uint8], NDArray[np.int32]]:
        """Points of a sweep where they are at another time."""
        points = sweep.points.copy()
        kept = np.ones(len(points), dtype=bool)
        if not own:  # half a second later what moves is elsewhere
            moving = np.isin(sweep.class_id, list(self._class_set.moving_ids))
            kept &= ~(moving & (sweep.instance == NO_BOX))
        for number in np.unique(sweep.instance[sweep.instance >= 0]):
            track, of_box = sequence.tracks[int(number)], sweep.instance == number
            then, now = track.at(sweep.stamp_ns), track.at(stamp_ns)
            if then is not None and now is not None:
                points[of_box] = (now @ then.inverse()).apply(points[of_box])
            else:
                kept &= ~of_box | own
        return points[kept], sweep.class_id[kept], sweep.instance[kept]


def instances_of(
    world: NDArray[np.float64],
    sequence: RecordedSequence,
    stamp_ns: int,
    margin_m: float = BOX_MARGIN_M,
) -> NDArray[np.int32]:
    """(P,) number of the box that holds each point (P, 3) of the world, ``NO_BOX`` for none.

    Boxes are grown by the margin on every side. Of boxes that overlap the smaller one counts: a
    rider sits on a motorcycle, cargo on a truck.
    """
    instance = np.full(len(world), NO_BOX, dtype=np.int32)
    by_size = sorted(sequence.tracks.items(), key=lambda entry: -np.prod(entry[1].size_m))
    for number, track in by_size:
        pose = track.at(stamp_ns)
        if pose is not None:
            inside = inside_box(world, pose.inverse(), track.size_m, margin_m)
            instance[inside] = number
    return instance


def _nearest_sweeps(sequence: RecordedSequence, frame: Frame, more: int) -> list[LidarSweep]:
    """The frame's sweep and the ``more`` nearest in time."""
    if frame.lidar is None:
        raise ValueError(
            f"frame {frame.token} of sequence '{sequence.name}' has no LiDAR sweep: use another "
            "source of depth"
        )
    if not more:
        return [frame.lidar]
    near: Iterable[Frame] = sequence.near(frame.number, more)
    others = [sweep for each in near for sweep in (each.lidar, *each.sweeps) if sweep is not None]
    others = [sweep for sweep in others if sweep is not frame.lidar]
    others.sort(key=lambda sweep: abs(sweep.stamp_ns - frame.stamp_ns))
    return [frame.lidar, *others[:more]]
