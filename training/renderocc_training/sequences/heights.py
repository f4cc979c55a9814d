"""Heights for poses that have tilt, but none: those of nuScenes, and of wheels with an IMU.

Where the robot climbs, such poses put the ground of other frames too high or too low, by more than
a metre over 40 frames. On ground with the normal n a step moves along the ground:
n · (dx, dy, dz) = 0, so dz = −(n_x dx + n_y dy) / n_z. The robot's own up axis is not that normal:
it leans by a part of a degree on its wheels, which comes to half a metre over 40 m of level road.
How it leans is read from the LiDAR: the plane of the ground around it, in its own frame, as the
median of several frames of the rig.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from renderocc_ros.geometry import RigidTransform
from renderocc_training.sequences.model import (
    Frame,
    LidarSweep,
    RecordedSequence,
    SensorFile,
    tracks_of,
)
from renderocc_training.sequences.sensor_files import read_points

Array = NDArray[np.float64]
Measured = TypeVar("Measured", bound=SensorFile)

LEVEL_M = 0.005  # poses whose heights differ by less have none
TILT = 0.002  # of the up axis against the vertical; with less there is nothing to integrate
FRAMES = 24  # of a rig, whose ground is looked at
GROUND_M = (3.0, 15.0)  # distance of the ground that is looked at
GROUND_BAND_M = 0.5  # its height in the ego frame
RESIDUAL_M = 0.05  # of points off the ground that count half (Cauchy's weights)
MIN_POINTS = 200
MAX_POINTS = 5000
SAID_M = 0.1


def with_heights(sequences: Sequence[RecordedSequence]) -> list[RecordedSequence]:
    """The sequences; those whose poses have tilt but no heights get them, and say so."""
    flat: dict[tuple[str, str], list[RecordedSequence]] = defaultdict(list)
    for sequence in sequences:
        if _is_flat(sequence):
            flat[_rig(sequence)].append(sequence)
    normals = {rig: ground_normal(members) for rig, members in flat.items()}
    flat_ones = {id(each) for members in flat.values() for each in members}
    return [
        _mended(each, normals[_rig(each)]) if id(each) in flat_ones else each for each in sequences
    ]


def _is_flat(sequence: RecordedSequence) -> bool:
    poses = [frame.world_from_ego for frame in sequence.frames]
    heights = [pose.translation[2] for pose in poses]
    tilts = [np.hypot(*pose.rotation[:2, 2]) for pose in poses]
    return len(poses) > 1 and np.ptp(heights) < LEVEL_M and max(tilts) > TILT


def _rig(sequence: RecordedSequence) -> tuple[str, str]:
    """Vehicle and LiDAR: how the robot leans is the same for all of one."""
    sweep = next((frame.lidar for frame in sequence.frames if frame.lidar), None)
    mount = np.round(sweep.ego_from_sensor.matrix, 4).tobytes().hex() if sweep else ""
    return sequence.origin.vehicle, mount


def ground_normal(sequences: Sequence[RecordedSequence]) -> Array | None:
    """(3,) unit normal of the ground in the ego frame, median of frames; None if none tells it."""
    sweeps = [frame.lidar for each in sequences for frame in each.frames if frame.lidar]
    step = len(sweeps) // (FRAMES + 1) + 1
    estimates = [_slope(sweep) for sweep in sweeps[step // 2 :: step] if sweep.file.is_file()]
    slopes = [slope for slope in estimates if slope is not None]
    if not slopes:
        return None
    normal = np.array([*-np.median(slopes, axis=0), 1.0])
    return np.asarray(normal / np.linalg.norm(normal))


def _slope(sweep: LidarSweep) -> Array | None:
    """(2,) dz/dx and dz/dy of the ground in the ego frame, by reweighted least squares."""
    points = sweep.ego_from_sensor.apply(read_points(sweep))
    distance = np.hypot(points[:, 0], points[:, 1])
    near = (distance > GROUND_M[0]) & (distance < GROUND_M[1])
    points = points[near & (np.abs(points[:, 2]) < GROUND_BAND_M)]
    points = points[:: len(points) // MAX_POINTS + 1]
    if len(points) < MIN_POINTS:
        return None
    design = np.column_stack([points[:, :2], np.ones(len(points))])
    plane = np.array([0.0, 0.0, np.median(points[:, 2])])
    for _ in range(10):
        weight = 1 / np.sqrt(1 + ((points[:, 2] - design @ plane) / RESIDUAL_M) ** 2)
        plane = np.linalg.lstsq(design * weight[:, None], points[:, 2] * weight, rcond=None)[0]
    return plane[:2]


@dataclass(frozen=True, eq=False)
class _Heights:
    """What is added to heights over a sequence."""

    stamps_ns: Array
    lift_m: Array

    @staticmethod
    def of(sequence: RecordedSequence, normal: Array) -> _Heights:
        poses = {each.stamp_ns: each.world_from_ego for each in sequence.measurements()}
        poses |= {frame.stamp_ns: frame.world_from_ego for frame in sequence.frames}
        stamps = sorted(poses)
        lifts = [0.0]
        for before, after in pairwise(poses[stamp] for stamp in stamps):
            n_x, n_y, n_z = (before.rotation + after.rotation) @ normal
            dx, dy, _ = after.translation - before.translation
            lifts.append(lifts[-1] - (n_x * dx + n_y * dy) / n_z)
        return _Heights(np.array(stamps, float), np.array(lifts))

    def lifted(self, pose: RigidTransform, stamp_ns: int) -> RigidTransform:
        lift_m = float(np.interp(stamp_ns, self.stamps_ns, self.lift_m))
        return RigidTransform(pose.rotation, pose.translation + np.array([0.0, 0.0, lift_m]))

    def measured(self, measured: Measured) -> Measured:
        pose = self.lifted(measured.world_from_ego, measured.stamp_ns)
        return replace(measured, world_from_ego=pose)

    def frame(self, frame: Frame) -> Frame:
        """Boxes go along: they were annotated on this frame's points."""
        boxes = (
            replace(box, map_from_box=self.lifted(box.map_from_box, frame.stamp_ns))
            for box in frame.boxes
        )
        return replace(
            frame,
            world_from_ego=self.lifted(frame.world_from_ego, frame.stamp_ns),
            cameras=tuple(each and self.measured(each) for each in frame.cameras),
            lidars=tuple(map(self.measured, frame.lidars)),
            between=tuple(map(self.measured, frame.between)),
            boxes=tuple(boxes),
        )


def _mended(sequence: RecordedSequence, normal: Array | None) -> RecordedSequence:
    if normal is None:
        problem = (
            "the poses have tilt but no heights, and no LiDAR sees the ground, so hills stay flat: "
            "ground of other frames may lie too high or too low"
        )
        return replace(sequence, problems=(*sequence.problems, problem))
    heights = _Heights.of(sequence, normal)
    frames = tuple(map(heights.frame, sequence.frames))
    problems = sequence.problems
    if np.ptp(heights.lift_m) > SAID_M:
        low, high = heights.lift_m.min(), heights.lift_m.max()
        problems += (
            f"the poses have tilt but no heights: integrated, from {low:.1f} to {high:.1f} m",
        )
    return replace(
        sequence,
        frames=frames,
        tracks=tracks_of(frames),
        after=tuple(map(heights.measured, sequence.after)),
        problems=problems,
    )
