"""Rays of other frames: points on boxes go where the boxes go, and claim nothing on the way."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from box_world import STREET, Box, BoxWorld

from renderocc_ros.class_set import ClassSet
from renderocc_training.recipe import RayConfig
from renderocc_training.samples.sample_labels import SampleLabels
from renderocc_training.sequences.data_sets import open_sequences
from renderocc_training.sequences.model import RecordedSequence
from renderocc_training.supervision.labels.box_semantics import BoxClasses
from renderocc_training.supervision.labels.cache import LabelStore
from renderocc_training.supervision.labels.interface import NoClasses
from renderocc_training.supervision.labels.lidar_depth import LidarLabels
from renderocc_training.supervision.labels.lidar_semantics import PointFileClasses
from renderocc_training.supervision.labels.mapping import BoxMapping, load_numbers
from renderocc_training.supervision.rays.auxiliary import auxiliary_frames, box_states
from renderocc_training.supervision.rays.ray_batch import NO_BOX, STANDS, RayBatch

MAPPING = BoxMapping(
    kind="boxes",
    categories={"vehicle.car": "car", "human": "pedestrian", "static.wall": "manmade"},
    on_road="driveable_surface",
    off_road="other_flat",
)
MOVING_CAR, PARKED_CAR, WALKER = 0, 1, 2


def all_rays(
    sequence: RecordedSequence, occ3d: ClassSet, number: int, offsets: tuple[int, ...]
) -> RayBatch:
    classes = BoxClasses(occ3d, MAPPING) if sequence.tracks else NoClasses()
    store = LabelStore(LidarLabels(occ3d, classes), None, {})
    labels = SampleLabels(store, occ3d, RayConfig(auxiliary_frames=offsets))
    frame = sequence.frames[number]
    return labels.all_rays(sequence, frame, labels.frames(sequence, frame))


def ends(rays: RayBatch) -> np.ndarray:
    return rays.origin + rays.range_m[:, None] * rays.direction


@pytest.fixture(scope="module")
def sequence(tmp_path_factory: pytest.TempPathFactory) -> RecordedSequence:
    return STREET.record(tmp_path_factory.mktemp("street"), frames=7)


def test_frames_outside_the_drive_are_left_out(sequence: RecordedSequence) -> None:
    result = auxiliary_frames(sequence, 1, (-3, -2, -1, 1, 2, 3))
    assert [frame.number for frame in result] == [0, 2, 3, 4]
    assert auxiliary_frames(sequence.part(2, 3), 0, (-1, 1)) == []


def test_static_points_of_all_frames_lie_on_the_same_surfaces(
    sequence: RecordedSequence, occ3d: ClassSet
) -> None:
    rays = all_rays(sequence, occ3d, 3, (-3, -2, -1, 1, 2, 3))
    pose, now_s = sequence.frames[3].world_from_ego, sequence.frames[3].stamp_ns * 1e-9
    static = rays[rays.is_auxiliary & ((rays.instance < 0) | (rays.instance > 2))]
    world = pose.apply(ends(static))
    distance = [np.abs(world[:, 2])]
    for box in STREET.boxes[3:]:
        local = box.world_from_box(now_s).inverse().apply(world)
        distance.append(
            np.linalg.norm(np.maximum(np.abs(local) - np.array(box.size_m) / 2, 0), axis=1)
        )
    assert len(static) > 10_000
    assert (np.min(distance, axis=0) < 0.02).mean() > 0.999


def test_points_on_a_moving_box_coincide_with_where_it_is_now(
    sequence: RecordedSequence, occ3d: ClassSet
) -> None:
    frame = sequence.frames[3]
    rays = all_rays(sequence, occ3d, 3, (-3, -2, -1, 1, 2, 3))
    for number in (MOVING_CAR, WALKER):
        moved = rays[rays.is_auxiliary & (rays.instance == number)]
        assert len(moved) > 20
        box = STREET.boxes[number]
        box_from_ego = box.world_from_box(frame.stamp_ns * 1e-9).inverse() @ frame.world_from_ego
        half = np.array(box.size_m) / 2
        local = np.abs(box_from_ego.apply(ends(moved)))
        assert (local < half + 0.06).all(), "inside the box"
        assert (np.abs(local - half).min(axis=1) < 0.06).all(), "and on its surface"
        starts = moved.origin + moved.start_m[:, None] * moved.direction
        local = np.abs(box_from_ego.apply(starts))
        assert (moved.start_m > 0).all() and (moved.start_m < moved.range_m).all()
        assert (local < half + 0.3).all(), "nothing is claimed before the box"


def test_a_parked_car_keeps_its_whole_rays(sequence: RecordedSequence, occ3d: ClassSet) -> None:
    rays = all_rays(sequence, occ3d, 3, (-1, 1))
    parked = rays[rays.is_auxiliary & (rays.instance == PARKED_CAR)]
    assert len(parked) > 20 and (parked.start_m == 0).mean() > 0.5
    box = STREET.boxes[PARKED_CAR]
    box_from_ego = box.world_from_box(0).inverse() @ sequence.frames[3].world_from_ego
    assert (np.abs(box_from_ego.apply(ends(parked))) < np.array(box.size_m) / 2 + 0.06).all()


def test_no_auxiliary_ray_claims_that_a_moving_box_is_free(
    sequence: RecordedSequence, occ3d: ClassSet
) -> None:
    frame = sequence.frames[3]
    rays = all_rays(sequence, occ3d, 3, (-3, -2, -1, 1, 2, 3))
    auxiliary = rays[rays.is_auxiliary]
    without = replace(auxiliary, start_m=np.zeros_like(auxiliary.start_m))

    def claimed_inside(batch: RayBatch) -> int:
        count = 0
        for number in (MOVING_CAR, WALKER):
            box = STREET.boxes[number]
            pose = box.world_from_box(frame.stamp_ns * 1e-9).inverse() @ frame.world_from_ego
            half = np.array(box.size_m) / 2 - 0.05
            for part in np.linspace(0, 0.995, 80):
                at = batch.start_m + part * (batch.range_m - batch.start_m)
                inside = np.abs(pose.apply(batch.origin + at[:, None] * batch.direction)) < half
                others = batch.instance != number
                count += int((inside.all(axis=1) & others).sum())
        return count

    assert claimed_inside(without) > 100, "the scene must have such rays"
    assert claimed_inside(auxiliary) == 0


def test_without_boxes_what_may_move_is_dropped_from_other_frames(
    tmp_path: Path, occ3d: ClassSet
) -> None:
    sequence = STREET.record(tmp_path, frames=3, tracked=False)

    class HalfCars:
        name = "cars"

        def classes(self, sequence, sweep, points_ego, instance):  # type: ignore[no-untyped-def]
            return np.where(points_ego[:, 1] > 0, 4, 15).astype(np.uint8), instance

    store = LabelStore(LidarLabels(occ3d, HalfCars()), None, {})
    labels = SampleLabels(store, occ3d, RayConfig(auxiliary_frames=(-1, 1)))
    rays = labels.all_rays(
        sequence, sequence.frames[1], labels.frames(sequence, sequence.frames[1])
    )
    assert set(rays.class_id[~rays.is_auxiliary]) == {4, 15}
    assert set(rays.class_id[rays.is_auxiliary]) == {15}


def test_point_labels_that_know_what_stands_keep_parked_cars(
    tmp_path: Path, occ3d: ClassSet
) -> None:
    """SemanticKITTI: number 10 is a car that never moves, 252 one that does."""
    STREET.record_semantickitti(tmp_path, frames=3)
    sequence = open_sequences(tmp_path, "semantickitti")[0]
    classes = PointFileClasses(occ3d, load_numbers("semantickitti"))
    labels = SampleLabels(
        LabelStore(LidarLabels(occ3d, classes), None, {}),
        occ3d,
        RayConfig(auxiliary_frames=(-1, 1)),
    )
    frame = sequence.frames[1]
    rays = labels.all_rays(sequence, frame, labels.frames(sequence, frame))
    cars = rays[rays.class_id == occ3d.id_of("car")]
    own, others = cars[~cars.is_auxiliary], cars[cars.is_auxiliary]
    assert set(own.instance) == {NO_BOX, STANDS} and set(others.instance) == {STANDS}
    box = STREET.boxes[PARKED_CAR]
    box_from_ego = box.world_from_box(0).inverse() @ frame.world_from_ego
    assert (np.abs(box_from_ego.apply(ends(others))) < np.array(box.size_m) / 2 + 0.03).all()


def test_states_of_boxes(tmp_path: Path) -> None:
    slow, fast = (
        Box("vehicle.car", (4.0, 2.0, 1.5), (10.0, y), 0.0, speed)
        for y, speed in ((0.0, 0.1), (9.0, 3.0))
    )
    world = BoxWorld((slow, fast))
    sequence = world.record(tmp_path, frames=4)
    times = [frame.stamp_ns for frame in sequence.frames]
    states = box_states(sequence.tracks, times[0], times[3])
    assert states.standing == {0} and states.moving == {1} and not states.appeared
    track = sequence.tracks[1]
    late = replace(track, stamps_ns=track.stamps_ns[2:], world_from_box=track.world_from_box[2:])
    states = box_states({0: sequence.tracks[0], 1: late}, times[0], times[3])
    assert states.appeared == {1} and states.known == {0}
    assert box_states({1: late}, times[3], times[0]).known == frozenset()
