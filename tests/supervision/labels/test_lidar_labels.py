"""LiDAR labels in a world of boxes: every range is the one that the camera's own ray has."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from box_world import GROUND, LENS, STREET, BoxWorld

from renderocc_ros.class_set import IGNORE_ID, ClassSet
from renderocc_ros.geometry import CameraModel
from renderocc_training.sequences.model import CameraImage, RecordedSequence
from renderocc_training.supervision.labels.box_semantics import BoxClasses, near_ground
from renderocc_training.supervision.labels.interface import NoClasses
from renderocc_training.supervision.labels.lidar_depth import LidarLabels
from renderocc_training.supervision.labels.mapping import BoxMapping
from renderocc_training.supervision.labels.occlusion import visible_points
from renderocc_training.supervision.rays.ray_batch import PixelLabels

CAR, PERSON, WALL = 4, 7, 15
MAPPING = BoxMapping(
    kind="boxes",
    categories={
        "vehicle.car": "car", "human": "pedestrian", "static.wall": "manmade",
    },
    on_road="driveable_surface",
    off_road="other_flat",
)  # fmt: skip


@pytest.fixture(scope="module")
def sequence(tmp_path_factory: pytest.TempPathFactory) -> RecordedSequence:
    return STREET.record(tmp_path_factory.mktemp("street"), frames=4)


def true_range(
    world: BoxWorld, place: int, camera: CameraImage, labels: PixelLabels
) -> tuple[np.ndarray, np.ndarray]:
    pose = camera.world_from_sensor
    directions = camera.model.rays(labels.pixels) @ pose.rotation.T
    return world.cast(pose.translation, directions, camera.stamp_ns * 1e-9)


def cameras(sequence: RecordedSequence) -> list[tuple[int, int, CameraImage]]:
    return [
        (frame.number, place, camera)
        for frame in sequence.frames
        for place, camera in enumerate(frame.cameras)
        if camera is not None
    ]


def test_ranges_are_those_of_the_cameras_own_rays(
    sequence: RecordedSequence, occ3d: ClassSet
) -> None:
    labeller = LidarLabels(occ3d, NoClasses())
    count, wrong = 0, 0
    for number, place, camera in cameras(sequence):
        labels = labeller.label(sequence, sequence.frames[number], camera)
        range_m, _ = true_range(STREET, place, camera, labels)
        count += len(range_m)
        # At a silhouette's edge, beyond its last LiDAR points, some background shines through.
        wrong += int((np.abs(labels.range_m - range_m) > 0.02 + 0.002 * range_m).sum())
    assert count > 10_000 and wrong < 0.02 * count


def test_without_motion_compensation_they_are_not(
    sequence: RecordedSequence, occ3d: ClassSet
) -> None:
    """The same comparison finds an ego pose that is 45 ms old: the test above can fail."""
    frame = sequence.frames[1]
    camera = frame.cameras[0]
    assert camera is not None
    still = replace(camera, world_from_ego=STREET.world_from_ego(frame.stamp_ns * 1e-9))
    labels = LidarLabels(occ3d, NoClasses()).label(sequence, frame, still)
    range_m, _ = true_range(STREET, 0, camera, labels)
    assert (np.abs(labels.range_m - range_m) > 0.02 + 0.002 * range_m).mean() > 0.2


def test_a_moving_box_is_labelled_where_it_is_when_the_camera_fires(
    sequence: RecordedSequence, occ3d: ClassSet
) -> None:
    labeller = LidarLabels(occ3d, BoxClasses(occ3d, MAPPING))
    frame = sequence.frames[1]
    camera = frame.cameras[0]
    assert camera is not None
    labels = labeller.label(sequence, frame, camera)
    on_car = labels.instance == 0
    assert on_car.sum() > 30 and (labels.class_id[on_car] == CAR).all()
    range_m, what = true_range(STREET, 0, camera, labels)
    assert (what[on_car] == 0).mean() > 0.97
    assert (np.abs(labels.range_m - range_m)[on_car] < 0.001).mean() > 0.85


def test_little_shines_through_and_nothing_is_lost(occ3d: ClassSet, tmp_path: Path) -> None:
    """A LiDAR on the roof sees the road behind a car; the camera below sees the car."""
    sequence = STREET.record(tmp_path, frames=1)
    frame = sequence.frames[0]
    for camera in frame.cameras:
        assert camera is not None
        points = np.fromfile(frame.lidar.file, "<f4").reshape(-1, 4)[:-1, :3]  # type: ignore[union-attr]
        world = (frame.world_from_ego @ frame.lidar.ego_from_sensor).apply(points)  # type: ignore[union-attr]
        # Everything stands in this test: the sweep's time is the camera's.
        still = replace(camera, world_from_ego=STREET.world_from_ego(0.1))
        in_camera = still.world_from_sensor.inverse().apply(world)
        pixels, inside = LENS.project(in_camera)
        range_m = np.linalg.norm(in_camera, axis=1)[inside]
        pose = still.world_from_sensor
        truth, _ = STREET.cast(pose.translation, LENS.rays(pixels[inside]) @ pose.rotation.T, 0.1)
        hidden = truth < range_m * 0.9 - 0.5
        kept = visible_points(pixels[inside], range_m, LENS, (1.0, 1.6))
        assert hidden.sum() > 50, "the scene must hide points from the camera"
        assert kept[hidden].mean() < 0.3 and kept[~hidden].mean() > 0.99


def test_ground_that_runs_away_is_not_hidden_by_itself() -> None:
    lens = CameraModel(1600, 900, np.array([[1260.0, 0, 800], [0, 1260.0, 450], [0, 0, 1]]))
    x, z = np.meshgrid(np.linspace(-20, 20, 200), 5 * 1.15 ** np.arange(18))
    points = np.stack([x, np.full_like(x, 1.5), z], axis=-1).reshape(-1, 3)
    pixels, inside = lens.project(points)
    range_m = np.linalg.norm(points, axis=1)[inside]
    assert visible_points(pixels[inside], range_m, lens, (1.0, 1.6)).all()


def test_returns_off_the_car_itself_are_dropped(
    sequence: RecordedSequence, occ3d: ClassSet
) -> None:
    sweep = sequence.frames[0].lidar
    assert sweep is not None
    labeller = LidarLabels(occ3d, NoClasses())
    everything, kept = (labeller.labelled_sweep(sequence, sweep, own_m) for own_m in (0.0, 1.0))
    assert len(everything.points) == len(kept.points) + 1


def test_more_scans_bring_more_points_as_exact_and_move_boxes_along(
    sequence: RecordedSequence, occ3d: ClassSet
) -> None:
    one, three = (LidarLabels(occ3d, BoxClasses(occ3d, MAPPING), sweeps=n) for n in (0, 2))
    frame = sequence.frames[1]
    camera = frame.cameras[0]
    assert camera is not None
    few, many = (labeller.label(sequence, frame, camera) for labeller in (one, three))
    assert len(many.range_m) > 2 * len(few.range_m)
    assert (many.instance == 0).sum() > 2 * (few.instance == 0).sum()
    range_m, _ = true_range(STREET, 0, camera, many)
    assert (np.abs(many.range_m - range_m) > 0.02 + 0.002 * range_m).mean() < 0.02


def test_the_cars_own_hood_does_not_stand_in_the_road_of_other_frames(
    tmp_path: Path, occ3d: ClassSet
) -> None:
    sequence = STREET.record(tmp_path, frames=3)
    sweep = sequence.frames[2].lidar
    assert sweep is not None
    hood = np.array([[1.9, 0.1, -1.3, 0.0]] * 40, "<f4")  # 1.9 m ahead of the LiDAR
    sweep.file.write_bytes(sweep.file.read_bytes() + hood.tobytes())
    labeller = LidarLabels(occ3d, NoClasses(), sweeps=2)
    camera = sequence.frames[1].cameras[0]
    assert camera is not None
    labels = labeller.label(sequence, sequence.frames[1], camera)
    range_m, _ = true_range(STREET, 0, camera, labels)
    assert (labels.range_m < range_m - 1).sum() == 0


def test_what_moves_without_a_box_comes_from_the_own_scan_alone(
    tmp_path: Path, occ3d: ClassSet
) -> None:
    class AllCars:
        name = "cars"

        def classes(self, sequence, sweep, points_ego, instance):  # type: ignore[no-untyped-def]
            return np.full(len(points_ego), CAR, np.uint8), instance

    sequence = STREET.record(tmp_path, frames=3, tracked=False)
    camera = sequence.frames[1].cameras[0]
    assert camera is not None
    few, many = (
        LidarLabels(occ3d, AllCars(), sweeps=n).label(sequence, sequence.frames[1], camera)
        for n in (0, 2)
    )
    assert np.array_equal(few.pixels, many.pixels)


def test_classes_of_boxes_and_ground(
    sequence: RecordedSequence, occ3d: ClassSet, tmp_path: Path
) -> None:
    labeller = LidarLabels(occ3d, BoxClasses(occ3d, MAPPING))
    names = set()
    for number, place, camera in cameras(sequence):
        labels = labeller.label(sequence, sequence.frames[number], camera)
        _, what = true_range(STREET, place, camera, labels)
        ground = (what == GROUND) & (labels.range_m < 40)
        assert (labels.class_id[ground] == occ3d.id_of("other_flat")).mean() > 0.98
        names |= {occ3d.names[c] for c in np.unique(labels.class_id) if c != IGNORE_ID}
    assert names == {"car", "pedestrian", "manmade", "other_flat"}


def test_the_road_of_the_map_is_drivable(tmp_path: Path, occ3d: ClassSet) -> None:
    import cv2

    sequence = STREET.record(tmp_path, frames=1)
    sweep = sequence.frames[0].lidar
    assert sweep is not None
    # A map of 0.1 m cells whose lower left corner is the world's origin: road where y < 5 m.
    picture = np.zeros((300, 900), np.uint8)
    picture[300 - 50 :, :] = 255
    file = tmp_path / "road.png"
    cv2.imwrite(str(file), picture)
    result = LidarLabels(occ3d, BoxClasses(occ3d, MAPPING, file)).labelled_sweep(
        sequence, sweep, 1.0
    )
    x, y, z = result.points.T
    ground = (z < 0.01) & (np.hypot(x, y) < 40)
    road = ground & (x > 0.1) & (y > 0.1) & (y < 4.9)
    beside = ground & ((y > 5.1) | (y < -0.1) | (x < -0.1))
    assert road.sum() > 200 and beside.sum() > 1000
    assert (result.class_id[road & (result.instance < 0)] == occ3d.id_of("driveable_surface")).all()
    assert (result.class_id[beside & (result.instance < 0)] == occ3d.id_of("other_flat")).all()


def test_ground_is_found_on_a_slope_and_walls_are_not_ground() -> None:
    random = np.random.default_rng(0)
    x, y = random.uniform(-40, 40, (2, 40_000))
    slope = np.stack([x, y, 0.03 * x], axis=1)
    wall = np.stack(
        [np.full(5000, 20.0), random.uniform(-5, 5, 5000), random.uniform(1.2, 4, 5000)], 1
    )
    result = near_ground(np.concatenate([slope, wall]))
    assert result[:40_000].mean() > 0.99 and not result[40_000:].any()


def test_unknown_categories_and_missing_boxes_are_errors(
    sequence: RecordedSequence, occ3d: ClassSet, tmp_path: Path
) -> None:
    mapping = BoxMapping(
        kind="boxes", categories={"human": "pedestrian"}, on_road="ignore", off_road="ignore"
    )
    sweep = sequence.frames[0].lidar
    assert sweep is not None
    with pytest.raises(ValueError, match="'vehicle.car' are not in the mapping"):
        LidarLabels(occ3d, BoxClasses(occ3d, mapping)).labelled_sweep(sequence, sweep, 1.0)
    bare = replace(sequence, tracks={})
    with pytest.raises(ValueError, match="no annotated boxes"):
        LidarLabels(occ3d, BoxClasses(occ3d, MAPPING)).labelled_sweep(bare, sweep, 1.0)
    blind = replace(sequence.frames[0], lidars=())
    camera = blind.cameras[0]
    assert camera is not None
    with pytest.raises(ValueError, match="no LiDAR sweep"):
        LidarLabels(occ3d, NoClasses()).label(sequence, blind, camera)
