"""A street of boxes whose every ray has a known answer, driven through and recorded to files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from renderocc_ros.geometry import CameraModel, RigidTransform
from renderocc_ros.geometry.voxel_traversal import clip_to_box
from renderocc_training.sequences.model import (
    BoxTrack,
    CameraImage,
    Frame,
    LidarSweep,
    RecordedSequence,
)

GROUND, NOTHING = -1, -2
KITTI_ID = np.array([252, 10, 254, 50, 50, 50])  # of the boxes of STREET
OPTICAL = np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])
LENS = CameraModel(320, 192, np.array([[160.0, 0, 159.5], [0, 160.0, 95.5], [0, 0, 1]]))
EGO_FROM_LIDAR = RigidTransform(np.eye(3), np.array([0.5, 0.0, 2.2]))


def turned(degrees: float) -> np.ndarray:
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1.0]])


@dataclass(frozen=True)
class Box:
    """A box on the ground that drives straight on."""

    category: str
    size_m: tuple[float, float, float]
    place: tuple[float, float]
    heading_deg: float = 0.0
    speed_m_s: float = 0.0

    def world_from_box(self, time_s: float) -> RigidTransform:
        way = turned(self.heading_deg)
        at = np.array([*self.place, self.size_m[2] / 2]) + way[:, 0] * self.speed_m_s * time_s
        return RigidTransform(way, at)


@dataclass(frozen=True)
class BoxWorld:
    """Boxes on flat ground, and a car that drives on a circle through them."""

    boxes: Sequence[Box]
    speed_m_s: float = 8.0
    turn_deg_s: float = 6.0
    rings: int = 48
    columns: int = 720
    camera_lag_s: tuple[float, ...] = (-0.045, -0.02)
    camera_yaw_deg: tuple[float, ...] = (0.0, -60.0)
    names: tuple[str, ...] = field(default=("front", "right"))

    def world_from_ego(self, time_s: float) -> RigidTransform:
        heading = self.turn_deg_s * time_s
        rate = np.deg2rad(self.turn_deg_s)
        if rate == 0:
            return RigidTransform(np.eye(3), np.array([self.speed_m_s * time_s, 0, 0]))
        radius, angle = self.speed_m_s / rate, np.deg2rad(heading)
        place = radius * np.array([np.sin(angle), 1 - np.cos(angle), 0.0])
        return RigidTransform(turned(heading), place)

    def world_from_camera(self, place: int, time_s: float) -> RigidTransform:
        return self.world_from_ego(time_s) @ self.ego_from_camera(place)

    def ego_from_camera(self, place: int) -> RigidTransform:
        return RigidTransform(
            turned(self.camera_yaw_deg[place]) @ OPTICAL, np.array([1.5, 0.0, 1.3])
        )

    def cast(
        self, origin: np.ndarray, direction: np.ndarray, time_s: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Ranges (R,) and what is hit: number of the box, GROUND or NOTHING."""
        origins = np.broadcast_to(origin, direction.shape)
        with np.errstate(divide="ignore", invalid="ignore"):
            range_m = np.where(direction[:, 2] < 0, -origins[:, 2] / direction[:, 2], np.inf)
        what = np.where(np.isfinite(range_m), GROUND, NOTHING)
        for number, box in enumerate(self.boxes):
            box_from_world = box.world_from_box(time_s).inverse()
            half = np.array(box.size_m) / 2
            enter, leave = clip_to_box(
                box_from_world.apply(origins), direction @ box_from_world.rotation.T, -half, half
            )
            nearer = (enter < leave) & (enter < range_m)
            range_m, what = np.where(nearer, enter, range_m), np.where(nearer, number, what)
        return range_m, what

    def sweep(self, time_s: float) -> tuple[np.ndarray, np.ndarray]:
        """(P, 3) points of a LiDAR turn in its own frame, all at one time, and what they hit."""
        pitch, yaw = np.meshgrid(
            np.deg2rad(np.linspace(-30, 10, self.rings)),
            np.linspace(-np.pi, np.pi, self.columns, endpoint=False),
        )
        beams = np.stack(
            [np.cos(pitch) * np.cos(yaw), np.cos(pitch) * np.sin(yaw), np.sin(pitch)], axis=-1
        ).reshape(-1, 3)
        world_from_lidar = self.world_from_ego(time_s) @ EGO_FROM_LIDAR
        directions = beams @ world_from_lidar.rotation.T
        range_m, what = self.cast(world_from_lidar.translation, directions, time_s)
        back = range_m < 80
        return beams[back] * range_m[back, None], what[back]

    def record(
        self, folder: Path, frames: int, period_s: float = 0.5, tracked: bool = True
    ) -> RecordedSequence:
        """Write images and sweeps below a folder."""
        folder.mkdir(parents=True, exist_ok=True)
        times = [0.1 + number * period_s for number in range(frames)]
        recorded = tuple(self._frame(folder, number, time) for number, time in enumerate(times))
        tracks = {
            number: BoxTrack(
                box.category,
                box.size_m,
                tuple(frame.stamp_ns for frame in recorded),
                tuple(box.world_from_box(time) for time in times),
            )
            for number, box in enumerate(self.boxes)
        }
        return RecordedSequence("street", folder, self.names, recorded, tracks if tracked else {})

    def record_semantickitti(self, root: Path, frames: int) -> None:
        """Write sequence 00 in SemanticKITTI's layout: two cameras, labelled points, 10 Hz."""
        folder = root / "sequences" / "00"
        for name in ("image_2", "image_3", "velodyne", "labels"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        # KITTI's ego frame lies 1.73 m below its LiDAR.
        ego_from_lidar = RigidTransform(np.eye(3), np.array([0.0, 0.0, 1.73]))
        ego_from_cam0 = RigidTransform(OPTICAL, np.array([0.3, 0.0, 1.5]))
        tr = ego_from_cam0.inverse() @ ego_from_lidar
        first = self.world_from_ego(0.0) @ ego_from_cam0
        baseline = np.array([[0.0], [0.0], [0.0]]), np.array([[-80.0], [0.0], [0.0]])  # fx · 0.5 m
        lines = [f"P{k}: {_row(np.hstack([LENS.intrinsics, baseline[k - 2]]))}" for k in (2, 3)]
        (folder / "calib.txt").write_text("\n".join([*lines, f"Tr: {_row(tr.matrix[:3])}"]))
        poses, times = [], []
        for number in range(frames):
            time_s = 0.1 * number
            pose = self.world_from_ego(time_s)
            poses.append(_row((first.inverse() @ pose @ ego_from_cam0).matrix[:3]))
            times.append(f"{time_s:e}")
            points, what = self.sweep(time_s)
            # The sweep was cast from EGO_FROM_LIDAR; the file has it in KITTI's LiDAR frame.
            shifted = points + EGO_FROM_LIDAR.translation - ego_from_lidar.translation
            stem = f"{number:06d}"
            np.pad(shifted, ((0, 0), (0, 1))).astype("<f4").tofile(folder / f"velodyne/{stem}.bin")
            raw = np.where(what >= 0, KITTI_ID[np.maximum(what, 0)], 40)
            raw.astype("<u4").tofile(folder / f"labels/{stem}.label")
            for name, side in (("image_2", 0.0), ("image_3", -0.5)):
                mount = ego_from_cam0 @ RigidTransform(np.eye(3), np.array([-side, 0, 0]))
                file = folder / name / f"{stem}.png"
                assert cv2.imwrite(str(file), self.picture(pose @ mount, time_s))
        (folder / "poses.txt").write_text("\n".join(poses))
        (folder / "times.txt").write_text("\n".join(times))

    def _frame(self, folder: Path, number: int, time_s: float) -> Frame:
        stamp_ns = round(time_s * 1e9)
        points = folder / f"{number}.bin"
        own = np.array([[0.3, 0.2, -0.6]])  # a return off the car's roof
        cloud = np.concatenate([self.sweep(time_s)[0], own])
        np.pad(cloud, ((0, 0), (0, 1))).astype("<f4").tofile(points)
        cameras = tuple(self._camera(folder, place, number, time_s) for place in range(2))
        pose = self.world_from_ego(time_s)
        sweep = LidarSweep("lidar", stamp_ns, points, EGO_FROM_LIDAR, pose, "kitti")
        return Frame(f"frame{number}", number, stamp_ns, pose, cameras, (sweep,))

    def _camera(self, folder: Path, place: int, number: int, time_s: float) -> CameraImage:
        at = time_s + self.camera_lag_s[place]
        mount, pose = self.ego_from_camera(place), self.world_from_ego(at)
        file = folder / f"{self.names[place]}{number}.jpg"
        assert cv2.imwrite(str(file), self.picture(pose @ mount, at))
        return CameraImage(self.names[place], round(at * 1e9), file, mount, pose, LENS)

    def picture(self, world_from_camera: RigidTransform, time_s: float) -> np.ndarray:
        """(H, W, 3) what a camera sees: brightness by distance, colour by object."""
        rays = LENS.pixel_rays().reshape(-1, 3) @ world_from_camera.rotation.T
        range_m, what = self.cast(world_from_camera.translation, rays, time_s)
        shade = np.where(what == NOTHING, 255, 200 / (1 + range_m / 20)).astype(np.uint8)
        image = np.stack([shade, (what * 40 + 80).astype(np.uint8), shade // 2], axis=-1)
        return image.reshape(LENS.height, LENS.width, 3)


def _row(matrix: np.ndarray) -> str:
    return " ".join(f"{value:.9e}" for value in matrix.ravel())


STREET = BoxWorld(
    (
        Box("vehicle.car", (4.4, 1.9, 1.5), (14.0, 3.5), 0.0, 6.0),
        Box("vehicle.car", (4.4, 1.9, 1.5), (12.0, -4.0), 10.0),
        Box("human.pedestrian.adult", (0.7, 0.7, 1.8), (7.5, -9.0), 90.0, 1.5),
        Box("static.wall", (30.0, 1.0, 6.0), (25.0, -14.0)),
        Box("static.wall", (30.0, 1.0, 6.0), (25.0, 16.0)),
        Box("static.wall", (1.0, 60.0, 6.0), (60.0, 0.0)),
    )
)
