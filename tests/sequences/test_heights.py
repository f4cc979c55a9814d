"""Poses with tilt but without heights: on a hill of known shape, in a simulated town, in Boston."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial import cKDTree

from renderocc_ros.class_set import ClassSet
from renderocc_ros.config import load_rig
from renderocc_ros.geometry import RigidTransform, VoxelGrid
from renderocc_simulation.drive import write_drive
from renderocc_simulation.frames import DriveRenderer
from renderocc_simulation.spec import DriveSpec
from renderocc_simulation.world.town import TownSpec
from renderocc_training.recording.boxes import Box
from renderocc_training.sequences.data_sets import open_sequences
from renderocc_training.sequences.extraction.job import Job
from renderocc_training.sequences.extraction.options import ExtractOptions
from renderocc_training.sequences.extraction.pool import extract
from renderocc_training.sequences.heights import with_heights
from renderocc_training.sequences.model import Frame, LidarSweep, RecordedSequence, tracks_of
from renderocc_training.sequences.sensor_files import read_points
from renderocc_training.supervision.occupancy_truth import TruthMaker, TruthOptions

NODE_RIG = """
name: hill
odom_frame: odom
cameras:
  - {name: ahead, image_topic: ahead/image_raw}
"""
SIMULATED_RIG = """
name: hill
rig: RIG
cameras:
  - {name: ahead, position_m: [1.5, 0, 1.5], width: 64, height: 48, fov_deg: 80}
lidar: {name: LIDAR, position_m: [0.8, 0, 1.8], rings: 24, columns: 240}
"""


@dataclass
class Hill:
    """A road along x over a hill of 4 m: z = 2 - 2 cos(x / 30 m).

    Attributes:
        lean: how the robot stands on the road, nose up; tangent.
        step_m: way between frames.
        heights: whether the poses have them.
    """

    lean: float = 0.0
    step_m: float = 4.0
    heights: bool = False

    @staticmethod
    def z(x: np.ndarray | float) -> np.ndarray:
        return np.asarray(2.0 - 2.0 * np.cos(np.asarray(x) / 30.0))

    def world_from_ego(self, x: float, flat: bool) -> RigidTransform:
        slope = 2.0 / 30.0 * np.sin(x / 30.0)
        pitch = np.arctan(slope) + np.arctan(self.lean)
        c, s = np.cos(pitch), np.sin(pitch)
        rotation = np.array([[c, 0, -s], [0, 1, 0], [s, 0, c]])
        return RigidTransform(rotation, np.array([x, 0.0, 0.0 if flat else float(self.z(x))]))

    def record(self, folder: Path, frames: int = 24) -> RecordedSequence:
        result = []
        for number in range(frames):
            x, stamp_ns = self.step_m * number, number * 500_000_000
            ahead, left = np.meshgrid(np.arange(-14, 14, 0.4), np.arange(-6, 6, 0.4))
            ground = np.stack([x + ahead.ravel(), left.ravel(), self.z(x + ahead.ravel())], axis=1)
            points = self.world_from_ego(x, flat=False).inverse().apply(ground)
            file = folder / f"{number}.bin"
            np.pad(points, ((0, 0), (0, 2))).astype("<f4").tofile(file)
            pose = self.world_from_ego(x, flat=not self.heights)
            here = RigidTransform.identity()
            sweep = LidarSweep("lidar", stamp_ns, file, here, pose, "nuscenes")
            ahead_of_it = RigidTransform(np.eye(3), np.array([8.0, 3.0, 0.8]))
            box = Box("car", "1", (), "", pose @ ahead_of_it, (4.0, 2.0, 1.6), np.full(3, np.nan))
            result.append(Frame(f"t{number}", number, stamp_ns, pose, (), (sweep,), boxes=(box,)))
        return RecordedSequence("hill", folder, (), tuple(result), tracks_of(result))


def heights(sequence: RecordedSequence) -> np.ndarray:
    return np.array([frame.world_from_ego.translation[2] for frame in sequence.frames])


@pytest.mark.parametrize("lean", [0.0, 0.012, -0.02])
def test_a_hill_is_climbed_however_the_robot_leans(tmp_path: Path, lean: float) -> None:
    hill = Hill(lean)
    recorded = hill.record(tmp_path)
    true = hill.z(hill.step_m * np.arange(24))
    assert np.ptp(heights(recorded)) == 0 and np.ptp(true) > 3.9
    (mended,) = with_heights([recorded])
    assert np.abs(heights(mended) - true).max() < 0.12
    assert re.search(r"integrated, from -?0.0 to (3.9|4.0|4.1) m", mended.problems[0])
    for before, after in zip(recorded.frames, mended.frames, strict=True):
        assert after.lidar is not None and before.lidar is not None
        assert np.allclose(after.lidar.world_from_ego.matrix, after.world_from_ego.matrix)
        # A box stays where it was seen from its own frame.
        ego_from_box = [
            f.world_from_ego.inverse() @ f.boxes[0].map_from_box for f in (before, after)
        ]
        assert ego_from_box[0].is_close(ego_from_box[1], 1e-9, 1e-9)
    track = mended.tracks[0]
    assert np.allclose(track.at(0).matrix, mended.frames[0].boxes[0].map_from_box.matrix)  # type: ignore[union-attr]


def test_truth_of_a_hill_has_no_false_floor(tmp_path: Path, occ3d: ClassSet) -> None:
    """Ground of 40 m of road in one frame: one cell thick once the poses have heights."""
    grid = VoxelGrid((-20.0, -5.0, -3.0), 0.5, (80, 20, 16))
    recorded = Hill().record(tmp_path)

    def thickest(sequence: RecordedSequence) -> int:
        bare = replace(sequence, tracks={})
        maker = TruthMaker(bare, None, grid, occ3d, TruthOptions(window=8, seen_window=0))
        labels = maker.truth(bare.frames[12]).labels
        return int((labels != occ3d.free_id).sum(axis=2).max())

    assert thickest(recorded) >= 3
    assert thickest(with_heights([recorded])[0]) <= 2


def test_poses_that_have_heights_or_no_tilt_stay_as_they_are(tmp_path: Path) -> None:
    climbing = Hill(heights=True).record(tmp_path)
    level = [
        replace(frame, world_from_ego=RigidTransform(np.eye(3), frame.world_from_ego.translation))
        for frame in Hill().record(tmp_path).frames
    ]
    level_one = replace(climbing, frames=tuple(level))
    for sequence in (climbing, level_one):
        assert with_heights([sequence]) == [sequence]


def test_without_lidar_nothing_is_made_up(tmp_path: Path) -> None:
    recorded = Hill().record(tmp_path)
    blind = replace(recorded, frames=tuple(replace(f, lidars=()) for f in recorded.frames))
    (same,) = with_heights([blind])
    assert same.frames is blind.frames
    assert "no LiDAR sees the ground" in same.problems[0]


def test_planar_odometry_of_a_simulated_town_gets_its_hills_back(tmp_path: Path) -> None:
    (tmp_path / "node.yaml").write_text(NODE_RIG)
    rig = tmp_path / "simulated.yaml"
    rig.write_text(SIMULATED_RIG.replace("RIG", str(tmp_path / "node.yaml")))
    town = TownSpec(seed=11, seconds=10.0, light="day", traffic=2, walkers=2)
    spec = DriveSpec(town, str(rig), "tiny", planar_odometry=True)
    write_drive(spec, tmp_path / "bag")
    cameras, options = load_rig(str(tmp_path / "node.yaml")), ExtractOptions(occupancy="")
    (report,) = extract([Job(tmp_path / "bag", tmp_path / "data", cameras, options)], "v1.0-mini")
    assert report.key_frames == spec.sets == 20
    (flat,) = open_sequences(tmp_path / "data", as_recorded=True)
    (mended,) = open_sequences(tmp_path / "data")
    at_s = [(frame.stamp_ns - spec.stamp_ns(0.0)) * 1e-9 for frame in mended.frames]
    world_from_ego = DriveRenderer(spec).town.world_from_ego
    true = np.array([world_from_ego(time).translation[2] for time in at_s])
    true -= true[0]
    assert np.ptp(true) > 0.5 and np.ptp(heights(flat)) < 1e-6
    error = heights(mended) - heights(mended)[0] - true
    assert np.abs(error).max() < 0.15 < np.abs(true).max() / 3, (true, error)
    assert "integrated" in mended.problems[0]


def test_the_ground_of_far_frames_meets_in_boston(recording: Callable[..., Path]) -> None:
    root = recording("data", "nuscenes")
    (flat,) = open_sequences(root, as_recorded=True)
    (mended,) = open_sequences(root)

    def gap_m(sequence: RecordedSequence, first: int, second: int) -> float:
        """Median height of ground seen by two frames, at the same places."""
        clouds = []
        for number in (first, second):
            sweep = sequence.frames[number].lidar
            assert sweep is not None
            points = sweep.ego_from_sensor.apply(read_points(sweep))
            distance = np.hypot(points[:, 0], points[:, 1])
            low = (np.abs(points[:, 2]) < 0.6) & (distance > 4) & (distance < 35)
            clouds.append(sweep.world_from_ego.apply(points[low]))
        apart, nearest = cKDTree(clouds[0][:, :2]).query(clouds[1][:, :2], distance_upper_bound=0.3)
        met = np.isfinite(apart)
        assert met.sum() > 150
        return float(np.median(clouds[1][met, 2] - clouds[0][nearest[met], 2]))

    pairs = [(number, number + 14) for number in (0, 4, 8)]
    before = np.abs([gap_m(flat, *pair) for pair in pairs]).mean()
    after = np.abs([gap_m(mended, *pair) for pair in pairs]).mean()
    assert before > 0.1 and after < 0.6 * before, (before, after)
