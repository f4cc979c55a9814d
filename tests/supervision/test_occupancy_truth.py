"""Truth from accumulated LiDAR: scenes with a known answer, and a recorded sequence."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from renderocc_ros.class_set import IGNORE_ID, OCCUPIED_ID, ClassSet
from renderocc_ros.geometry import CameraModel, RigidTransform, VoxelGrid
from renderocc_training.sequences.model import (
    BoxTrack,
    CameraImage,
    Frame,
    LidarSweep,
    Origin,
    RecordedSequence,
)
from renderocc_training.supervision.occupancy_truth import TruthMaker, TruthOptions, label_cells
from renderocc_training.supervision.rays.ray_batch import STANDS

GRID = VoxelGrid((-20.0, -20.0, -2.0), 1.0, (40, 40, 8))
CAR, WALL, FREE = 4, 15, 17
SECOND = 1_000_000_000


class ByHeight:
    """Points in boxes are cars; every other point is wall."""

    name = "height"

    def classes(
        self,
        sequence: RecordedSequence,
        sweep: LidarSweep,
        points: np.ndarray,
        instance: np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray]:
        return np.where(instance >= 0, CAR, WALL).astype(np.uint8), instance


def moved(x: float, y: float = 0.0, z: float = 0.0) -> RigidTransform:
    return RigidTransform(np.eye(3), np.array([x, y, z]))


@pytest.fixture
def sequence(tmp_path: Path) -> RecordedSequence:
    """The robot drives 2 m a frame towards a wall at x = 15.5; a car beside it drives as fast.

    Of the car, each sweep meets another point; of the wall, a column.
    """
    frames, poses, stamps = [], [], []
    for number in range(3):
        ego, stamp = moved(2.0 * number), number * SECOND
        wall = np.array([[15.5, y + 0.5, z + 0.5] for y in range(-3, 3) for z in range(3)])
        car = np.array([[2.0 * number + 4.5 + number, 5.5, 0.5]])
        ends = ego.inverse().apply(np.concatenate([wall, car]))
        file = tmp_path / f"{number}.bin"
        np.hstack([ends, np.zeros((len(ends), 2))]).astype("<f4").tofile(file)
        sweep = LidarSweep("lidar", stamp, file, moved(0, 0, 0), ego, "nuscenes")
        camera = CameraImage(
            "front",
            stamp,
            tmp_path / "none.jpg",
            RigidTransform(np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]]), np.zeros(3)),
            ego,
            CameraModel(100, 100, np.array([[50.0, 0, 49.5], [0, 50, 49.5], [0, 0, 1]])),
        )
        frames.append(Frame(f"t{number}", number, stamp, ego, (camera,), (sweep,)))
        poses.append(moved(2.0 * number + 5.5, 5.5, 0.5))
        stamps.append(stamp)
    track = BoxTrack("vehicle.car", (4.0, 2.0, 2.0), tuple(stamps), tuple(poses))
    return RecordedSequence("toy", tmp_path, ("front",), tuple(frames), {0: track})


def test_what_moves_is_accumulated_in_its_own_frame(
    sequence: RecordedSequence, occ3d: ClassSet
) -> None:
    maker = TruthMaker(sequence, ByHeight(), GRID, occ3d)
    for number, frame in enumerate(sequence.frames):
        labels = maker.truth(frame).labels
        cars = np.argwhere(labels == CAR) - (20, 20, 2)
        # Three points of three sweeps, where the car is now: no trail behind it.
        assert cars.tolist() == [[4, 5, 0], [5, 5, 0], [6, 5, 0]]
        walls = np.argwhere(labels == WALL) - (20, 20, 2)
        assert set(walls[:, 0]) == {15 - 2 * number} and len(walls) == 18
        assert set(np.unique(labels)) == {CAR, WALL, FREE}


def test_of_overlapping_boxes_the_smaller_one_takes_its_points_along(
    sequence: RecordedSequence, occ3d: ClassSet
) -> None:
    stamps = tuple(frame.stamp_ns for frame in sequence.frames)
    lorry = BoxTrack("vehicle.truck", (12.0, 4.0, 4.0), stamps, (moved(7.5, 5.5, 0.5),) * 3)
    for tracks in ({0: sequence.tracks[0], 1: lorry}, {0: lorry, 1: sequence.tracks[0]}):
        maker = TruthMaker(replace(sequence, tracks=tracks), ByHeight(), GRID, occ3d)
        for frame in sequence.frames:
            cars = np.argwhere(maker.truth(frame).labels == CAR) - (20, 20, 2)
            assert cars.tolist() == [[4, 5, 0], [5, 5, 0], [6, 5, 0]]


@pytest.mark.parametrize("window", [0, 1])
def test_more_scans_may_tell_what_is_seen_than_are_accumulated(
    sequence: RecordedSequence, occ3d: ClassSet, window: int
) -> None:
    """Frame n's sweep meets the car's cell 4 + n; two frames on it ends there in the world."""
    maker = TruthMaker(sequence, ByHeight(), GRID, occ3d, TruthOptions(window))
    for number, frame in enumerate(sequence.frames):
        truth = maker.truth(frame)
        cars = np.argwhere(truth.labels == CAR) - (20, 20, 2)
        near = [n for n in range(3) if abs(n - number) <= window]
        assert cars.tolist() == [[4 + n, 5, 0] for n in near]
        for other in range(3):  # where that sweep met the car then
            assert truth.mask_lidar[20 + 4 + other + 2 * (other - number), 25, 2]
    alone = TruthMaker(sequence, ByHeight(), GRID, occ3d, TruthOptions(window, seen_window=0))
    assert not alone.truth(sequence.frames[0]).mask_lidar[20 + 7, 25, 2]


def test_what_moves_without_a_box_leaves_no_trail(
    sequence: RecordedSequence, occ3d: ClassSet
) -> None:
    class CarsBeside(ByHeight):
        """Without boxes: what is 5 m to the left is a car, standing or not."""

        stands = False

        def classes(
            self,
            sequence: RecordedSequence,
            sweep: LidarSweep,
            points: np.ndarray,
            instance: np.ndarray,
        ) -> tuple[np.ndarray, np.ndarray]:
            beside = points[:, 1] > 4
            output = np.where(beside & self.stands, STANDS, instance)
            return np.where(beside, CAR, WALL).astype(np.uint8), output

    unboxed, source = replace(sequence, tracks={}), CarsBeside()
    labels = TruthMaker(unboxed, source, GRID, occ3d).truth(unboxed.frames[1]).labels
    assert (np.argwhere(labels == CAR) - (20, 20, 2)).tolist() == [[5, 5, 0]]
    assert (labels == WALL).sum() == 18
    source.stands = True
    labels = TruthMaker(unboxed, source, GRID, occ3d).truth(unboxed.frames[1]).labels
    assert (labels == CAR).sum() == 3


def test_rays_tell_what_is_seen(sequence: RecordedSequence, occ3d: ClassSet) -> None:
    truth = TruthMaker(sequence, ByHeight(), GRID, occ3d).truth(sequence.frames[0])
    for mask in (truth.mask_lidar, truth.mask_camera):
        assert mask[20 + 8, 20, 2 + 0]  # on the way to the wall
        assert mask[20 + 15, 20, 2 + 1]  # the wall
        assert not mask[20 + 17, 20, 2 + 1]  # behind it
        assert not mask[5, 20, 2]  # behind the robot
    # In the image, above the LiDAR's highest ray: nobody knows that it is free.
    assert not truth.mask_camera[20 + 8, 20, 2 + 5]
    assert truth.mask_camera[truth.labels == WALL].all()
    assert truth.mask_lidar[truth.labels == WALL].all()


def test_cells_take_most_points_then_the_nearest_label(occ3d: ClassSet) -> None:
    points = np.array([[0.1, 0.1, 0.1]] * 3 + [[1.5, 0.5, 0.5], [8.5, 0.5, 0.5], [99, 0, 0]])
    classes = np.array([CAR, CAR, WALL, IGNORE_ID, IGNORE_ID, CAR], np.uint8)
    labels = label_cells(points, classes, GRID, occ3d)
    assert labels[20, 20, 2] == CAR
    assert labels[21, 20, 2] == IGNORE_ID  # 1.5 m from the nearest label
    near = label_cells(
        np.vstack([points, [[2.1, 0.5, 0.5]]]), np.append(classes, WALL), GRID, occ3d
    )
    assert near[21, 20, 2] == WALL
    assert labels[28, 20, 2] == IGNORE_ID
    assert (labels != FREE).sum() == 3


def test_cells_without_class_can_be_given_one(sequence: RecordedSequence, occ3d: ClassSet) -> None:
    unknown = TruthMaker(sequence, None, GRID, occ3d).truth(sequence.frames[0]).labels
    assert set(np.unique(unknown)) == {FREE, OCCUPIED_ID}
    options = TruthOptions(unlabelled=0)
    named = TruthMaker(sequence, None, GRID, occ3d, options).truth(sequence.frames[0]).labels
    assert np.array_equal(named == 0, unknown == OCCUPIED_ID)


@pytest.mark.parametrize(
    ("rig_m", "option_m", "kept"),
    [(None, None, 1), (0.5, None, 3), (2.0, None, 2), (None, 2.0, 2), (0.5, 4.0, 1)],
)
def test_returns_off_the_robot_are_left_out_by_its_size(
    sequence: RecordedSequence,
    occ3d: ClassSet,
    tmp_path: Path,
    rig_m: float | None,
    option_m: float | None,
    kept: int,
) -> None:
    """Posts at 1.5 and 2.5 m before the LiDAR lie in a car's body, a third beside it does not."""
    points = np.array([[1.5, 0.0, 0.5], [2.5, 0.0, 0.5], [0.0, 7.5, 0.5], [0.0, 0.0, 0.0]])
    file = tmp_path / "posts.bin"
    np.hstack([points, np.zeros((4, 2))]).astype("<f4").tofile(file)
    frame = sequence.frames[0]
    assert frame.lidar is not None
    seen = replace(frame, lidars=(replace(frame.lidar, file=file),))
    robot = replace(sequence, frames=(seen,), tracks={}, origin=Origin(ego_radius_m=rig_m))
    maker = TruthMaker(robot, ByHeight(), GRID, occ3d, TruthOptions(ego_radius_m=option_m))
    labels = maker.truth(seen).labels
    assert (labels != FREE).sum() == kept
    assert labels[20, 20, 2] == FREE  # no-returns are no obstacle


def test_a_drive_without_lidar_is_refused(sequence: RecordedSequence, occ3d: ClassSet) -> None:
    blind = RecordedSequence("blind", sequence.root, (), (Frame("t", 0, 0, moved(0), ()),))
    with pytest.raises(ValueError, match="'blind' has no LiDAR"):
        TruthMaker(blind, None, GRID, occ3d)


def test_a_recorded_drive_has_its_ground_where_the_road_is(
    recording: Callable[..., Path], occ3d: ClassSet
) -> None:
    from renderocc_training.sequences.data_sets import open_sequences
    from renderocc_training.supervision.labels.box_semantics import BoxClasses
    from renderocc_training.supervision.labels.mapping import load_boxes

    boston = open_sequences(recording("data", "nuscenes"))[0].part(18, 23)
    grid = VoxelGrid((-40.0, -40.0, -1.0), 0.8, (100, 100, 8))
    maker = TruthMaker(boston, BoxClasses(occ3d, load_boxes("nuscenes_boxes")), grid, occ3d)
    truth = maker.truth(boston.frames[2])
    near = (slice(35, 65), slice(35, 65))
    road = np.argwhere(truth.labels[near] == 11)
    assert len(road) > 400
    assert (road[:, 2] <= 1).mean() > 0.95  # the road lies at z = 0 ± 0.2 m: layers 0 and 1
    assert truth.mask_camera.sum() > 20_000 and truth.mask_lidar.sum() > 10_000
    assert (truth.labels == 9).sum() > 50  # parked trailers
