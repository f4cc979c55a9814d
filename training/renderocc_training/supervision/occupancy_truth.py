"""Occupancy truth from a sequence's LiDAR: what stands and what moves are accumulated apart.

1. Every sweep's points are split: those inside a tracked box go to that object, in the box's own
   frame; the others to the static world (Tian et al. 2023, section 3.2). Points of a class that
   moves, which are in no box and not known to stand, count at their own instant alone.
2. Around a key frame, the static world is brought into the ego frame, and every object to where
   its box is at that time.
3. A cell that holds a point is occupied. Its class is that of most of its points; a cell whose
   points have none takes the class of the nearest point that has one.
4. What is seen: rays from the LiDAR to its points, and rays of the cameras' pixels to the first
   occupied cell, mark the cells that they pass as observed (section 3.3). A free cell counts for
   cameras only if the LiDAR saw it, too: what lies above its highest ray is not known to be free.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from renderocc_ros.class_set import IGNORE_ID, OCCUPIED_ID, ClassSet
from renderocc_ros.geometry import RigidTransform, VoxelGrid
from renderocc_ros.geometry.voxel_traversal import traverse
from renderocc_ros.occupancy.occ3d_files import Occ3dTruth
from renderocc_training.sequences.model import CameraImage, Frame, LidarSweep, RecordedSequence
from renderocc_training.sequences.sensor_files import read_points
from renderocc_training.supervision.labels.interface import PointClasses
from renderocc_training.supervision.labels.lidar_depth import instances_of
from renderocc_training.supervision.rays.ray_batch import NO_BOX

Points = NDArray[np.float64]
Classes = NDArray[np.uint8]
Flags = NDArray[np.bool_]

CAR_BODY_M = ((-1.5, 4.5), (-1.3, 1.3))  # ego x and y of returns off a car itself
NO_RETURN_M = 0.01  # drivers send (0, 0, 0) for pulses that did not come back
BOX_MARGIN_M = 0.1
MAX_LABEL_DISTANCE_M = 1.0
CAMERA_COLUMNS = 220  # rays across an image: finer than a cell at 40 m in a 70° view
ABOVE_HIT_CELLS = 1.0  # a ray that grazes the ground is free only while so high above its hit


@dataclass(frozen=True)
class TruthOptions:
    """How truth is made.

    Attributes:
        window: key frames before and after one whose sweeps are accumulated.
        seen_window: those whose LiDAR rays tell what is observed.
        unlabelled: class of occupied cells of which nobody knows the class; None makes them
            ``OCCUPIED_ID``, and they are scored by their geometry alone.
        ego_radius_m: points nearer to the LiDAR, seen from above, are returns off the robot; None
            takes what the sequence says of its robot.
    """

    window: int = 20
    seen_window: int = 2
    unlabelled: int | None = None
    ego_radius_m: float | None = None


@dataclass(frozen=True, eq=False)
class _Cloud:
    """Points with a class each, ``IGNORE_ID`` where unknown."""

    points: Points
    classes: Classes


@dataclass(frozen=True, eq=False)
class _Sweep:
    """One sweep, split: the static world, and objects in their boxes' frames."""

    static: _Cloud  # world
    objects: dict[int, _Cloud]  # by track, box frame
    loose: _Cloud  # world; of classes that move, in no box: true at this instant alone
    origin: Points  # (3,) of the LiDAR, world
    ends: Points  # world


class TruthMaker:
    """Makes the truth of a sequence's key frames.

    Args:
        sequence: with LiDAR; boxes if anything moves.
        classes: gives points their classes; None for geometry alone.
        grid: around the ego frame.

    Raises:
        ValueError: no LiDAR.
    """

    def __init__(
        self,
        sequence: RecordedSequence,
        classes: PointClasses | None,
        grid: VoxelGrid,
        class_set: ClassSet,
        options: TruthOptions | None = None,
    ) -> None:
        if not any(frame.lidar for frame in sequence.frames):
            raise ValueError(f"sequence '{sequence.name}' has no LiDAR: nothing to accumulate")
        self._sequence, self._classes = sequence, classes
        self._grid, self._class_set = grid, class_set
        self._options = options or TruthOptions()
        self._sweeps: dict[int, list[_Sweep]] = {}

    def truth(self, frame: Frame) -> Occ3dTruth:
        """The truth in the ego frame of a key frame; call in order, old sweeps are forgotten."""
        options = self._options
        needed = self._sequence.near(frame.number, max(options.window, options.seen_window))
        for number in list(self._sweeps):
            if number < needed[0].number:
                del self._sweeps[number]
        for each in needed:
            if each.number not in self._sweeps:
                self._sweeps[each.number] = list(self._read(each))
        sweeps = self._around(frame, options.window)
        ego_from_world = frame.world_from_ego.inverse()
        cloud = self._gather(frame, sweeps, ego_from_world)
        labels = label_cells(cloud.points, cloud.classes, self._grid, self._class_set)
        unlabelled = OCCUPIED_ID if options.unlabelled is None else options.unlabelled
        labels[labels == IGNORE_ID] = unlabelled
        occupied = labels != self._class_set.free_id
        seen_by = self._around(frame, options.seen_window)
        by_lidar = lidar_sees(seen_by, occupied, self._grid, ego_from_world)
        by_camera = cameras_see(frame.cameras, occupied, self._grid, ego_from_world)
        return Occ3dTruth(labels, by_camera & (by_lidar | occupied), by_lidar)

    def _around(self, frame: Frame, window: int) -> list[_Sweep]:
        near = self._sequence.near(frame.number, window)
        return [sweep for each in near for sweep in self._sweeps[each.number]]

    def _read(self, frame: Frame) -> Iterable[_Sweep]:
        for sweep in filter(None, (frame.lidar, *frame.sweeps)):
            yield self._split(sweep)

    def _split(self, sweep: LidarSweep) -> _Sweep:
        points = read_points(sweep)
        raw = sweep.ego_from_sensor.apply(points)
        kept = np.isfinite(raw).all(axis=1) & (np.linalg.norm(points, axis=1) > NO_RETURN_M)
        kept &= ~self._off_the_robot(points, raw)
        world = sweep.world_from_ego.apply(raw)
        instance = instances_of(world, self._sequence, sweep.stamp_ns, BOX_MARGIN_M)
        classes, labelled_instance = np.full(len(raw), IGNORE_ID, np.uint8), instance
        if self._classes is not None:
            classes, labelled_instance = self._classes.classes(self._sequence, sweep, raw, instance)
        moves = np.isin(classes, list(self._class_set.moving_ids))
        loose = kept & (instance < 0) & moves & (labelled_instance == NO_BOX)
        static = kept & (instance < 0) & ~loose
        objects: dict[int, _Cloud] = {}
        for number in np.unique(instance[kept & (instance >= 0)]).tolist():
            world_from_box = self._sequence.tracks[number].at(sweep.stamp_ns)
            assert world_from_box is not None  # or its box would hold no point
            inside = kept & (instance == number)
            objects[number] = _Cloud(world_from_box.inverse().apply(world[inside]), classes[inside])
        origin = sweep.world_from_sensor.translation
        return _Sweep(
            _Cloud(world[static], classes[static]),
            objects,
            _Cloud(world[loose], classes[loose]),
            origin,
            world[kept],
        )

    def _off_the_robot(self, points: Points, raw: Points) -> Flags:
        """(P,) returns off the robot itself, of points in the LiDAR's and in the ego frame."""
        radius_m = self._options.ego_radius_m
        if radius_m is None:
            radius_m = self._sequence.origin.ego_radius_m
        if radius_m is not None:
            return np.asarray(np.hypot(points[:, 0], points[:, 1]) <= radius_m)
        (x0, x1), (y0, y1) = CAR_BODY_M
        x, y = raw[:, 0], raw[:, 1]
        return np.asarray((x > x0) & (x < x1) & (y > y0) & (y < y1))

    def _gather(
        self, frame: Frame, sweeps: Sequence[_Sweep], ego_from_world: RigidTransform
    ) -> _Cloud:
        """Static world and objects in the ego frame."""
        points = [ego_from_world.apply(sweep.static.points) for sweep in sweeps]
        classes = [sweep.static.classes for sweep in sweeps]
        for sweep in self._sweeps[frame.number]:
            points.append(ego_from_world.apply(sweep.loose.points))
            classes.append(sweep.loose.classes)
        objects: dict[int, list[_Cloud]] = defaultdict(list)
        for sweep in sweeps:
            for number, cloud in sweep.objects.items():
                objects[number].append(cloud)
        for number, clouds in objects.items():
            world_from_box = self._sequence.tracks[number].at(frame.stamp_ns)
            if world_from_box is None:
                continue
            for cloud in clouds:
                points.append((ego_from_world @ world_from_box).apply(cloud.points))
                classes.append(cloud.classes)
        return _Cloud(np.concatenate(points), np.concatenate(classes))


def label_cells(
    points: Points, classes: Classes, grid: VoxelGrid, class_set: ClassSet
) -> NDArray[np.uint8]:
    """(X, Y, Z) labels of the cells that hold points.

    Args:
        points: (P, 3) metres in the grid's frame; those outside do not count.
        classes: (P,) class ids, ``IGNORE_ID`` where unknown.

    Returns:
        class of most labelled points in the cell; of the nearest labelled point within 1 m of the
        cell's centre where its own have none; else ``IGNORE_ID``. Free where there is no point.
    """
    cells, inside = grid.index_of(points)
    flat, classes, points = grid.flat_index(cells[inside]), classes[inside], points[inside]
    labels = np.full(grid.cell_count, class_set.free_id, np.uint8)
    labels[flat] = IGNORE_ID
    known = classes < class_set.free_id
    side = len(class_set)
    votes = np.bincount(flat[known] * side + classes[known], minlength=grid.cell_count * side)
    votes = votes.reshape(grid.cell_count, side)
    voted = votes.any(axis=1)
    labels[voted] = votes[voted].argmax(axis=1)
    unknown = np.flatnonzero(labels == IGNORE_ID)
    if unknown.size and known.any():
        centres = grid.centres(np.stack(np.unravel_index(unknown, grid.size), axis=1))
        distance, nearest = cKDTree(points[known]).query(
            centres, distance_upper_bound=MAX_LABEL_DISTANCE_M
        )
        close = np.isfinite(distance)
        labels[unknown[close]] = classes[known][nearest[close]]
    return labels.reshape(grid.size)


def lidar_sees(
    sweeps: Sequence[_Sweep], occupied: Flags, grid: VoxelGrid, ego_from_world: RigidTransform
) -> Flags:
    """(X, Y, Z) bool: cells that a ray passed or ended in.

    One ray of a sweep to each cell of its ends is cast; a cell that a grazing ray passes closer
    above its end than a cell's height is left out unless it is occupied.
    """
    seen = np.zeros(grid.size, bool)
    for sweep in sweeps:
        origin, ends = ego_from_world.apply(sweep.origin), ego_from_world.apply(sweep.ends)
        cells = np.floor((ends - grid.origin_m) / grid.resolution_m).astype(np.int64)
        _, first = np.unique(cells, axis=0, return_index=True)
        ends = ends[first]
        path = ends - origin
        length = np.linalg.norm(path, axis=1)
        origins = np.broadcast_to(origin, ends.shape)
        for crossing in traverse(grid, origins, path / length[:, None]):
            x, y, z = crossing.cells.T
            reached = crossing.enter_m <= length[crossing.rays]
            low = grid.origin_m[2] + z * grid.resolution_m
            lift = ABOVE_HIT_CELLS * grid.resolution_m
            clear = (low >= ends[crossing.rays, 2] + lift) | (path[crossing.rays, 2] > 0)
            passed = reached & (clear | occupied[x, y, z])
            seen[x[passed], y[passed], z[passed]] = True
            if not reached.any():
                break
    return seen


def cameras_see(
    cameras: Sequence[CameraImage | None],
    occupied: Flags,
    grid: VoxelGrid,
    ego_from_world: RigidTransform,
) -> Flags:
    """(X, Y, Z) bool: what pixel rays pass up to the first occupied cell; and each occupied cell
    of which some face's centre is in the image with nothing before it."""
    seen = np.zeros(grid.size, bool)
    for camera in filter(None, cameras):
        model = camera.model
        stride = max(1, model.width // CAMERA_COLUMNS)
        u, v = np.meshgrid(np.arange(0, model.width, stride), np.arange(0, model.height, stride))
        rays = model.rays(np.stack([u, v], axis=-1).reshape(-1, 2).astype(np.float64))
        ego_from_camera = ego_from_world @ camera.world_from_sensor
        rays = rays[np.isfinite(rays).all(axis=1)] @ ego_from_camera.rotation.T
        _mark(seen, occupied, grid, ego_from_camera.translation, rays)
        ends = _facing(occupied, grid, ego_from_camera.translation)
        pixels, ahead = model.project(ego_from_camera.inverse().apply(ends))
        path = ends[ahead & model.contains(pixels)] - ego_from_camera.translation
        rays = path / np.linalg.norm(path, axis=1)[:, None]
        _mark(seen, occupied, grid, ego_from_camera.translation, rays)
    return seen


def _facing(occupied: Flags, grid: VoxelGrid, eye: Points) -> Points:
    """Centres of the three faces of every occupied cell that look towards the eye."""
    centres = grid.centres(np.argwhere(occupied))
    towards = np.sign(eye - centres) * 0.499 * grid.resolution_m
    return np.concatenate([centres + towards * axis for axis in np.eye(3)])


def _mark(seen: Flags, occupied: Flags, grid: VoxelGrid, eye: Points, rays: Points) -> None:
    """Mark the cells that rays from one place pass, up to and with the first occupied one."""
    going = np.ones(len(rays), bool)
    for crossing in traverse(grid, np.broadcast_to(eye, rays.shape), rays):
        on = going[crossing.rays]
        x, y, z = crossing.cells[on].T
        seen[x, y, z] = True
        going[crossing.rays[on]] = ~occupied[x, y, z]
        if not going.any():
            break
