"""SemanticKITTI: images, Velodyne scans, point labels and poses below ``sequences/NN``.

Axes: camera x right, y down, z forward; Velodyne x forward, y left, z up. The ego frame here has
the Velodyne's axes and lies on the ground below it; the world is the ego frame of the first pose.
Poses are ``cam0_of_frame_0 from cam0``, and all sensors of a frame share its time.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from renderocc_ros.geometry import CameraModel, RigidTransform
from renderocc_training.sequences.extraction.readings import Reading
from renderocc_training.sequences.layouts.drive import LayoutDrive, LayoutFrame, rigid

Array = NDArray[np.float64]

VELODYNE_HEIGHT_M = 1.73
CAMERAS = {"image_2": "CAM_2", "image_3": "CAM_3"}
LIDAR = "LIDAR_TOP"
FILES = ("calib.txt", "poses.txt", "times.txt")
EGO_FROM_LIDAR = RigidTransform(np.eye(3), np.array([0.0, 0.0, VELODYNE_HEIGHT_M]))


def semantickitti_drives(root: Path) -> list[LayoutDrive]:
    """The sequences below a folder, or the one that the folder is.

    Raises:
        ValueError: no sequence, or one that lacks a file.
    """
    folders = sorted(path.parent for path in root.glob("sequences/*/velodyne"))
    if not folders and (root / "velodyne").is_dir():
        folders = [root]
    if not folders:
        raise ValueError(f"{root} holds no sequences/NN/velodyne: give SemanticKITTI's own folder")
    return [_Sequence(folder).drive() for folder in folders]


class _Sequence:
    def __init__(self, folder: Path) -> None:
        missing = [name for name in FILES if not (folder / name).is_file()]
        if missing:
            raise ValueError(f"{folder} lacks {', '.join(missing)}")
        self.folder = folder
        self.calibration = _read_calibration(folder / "calib.txt")
        if "Tr" not in self.calibration:
            raise ValueError(
                f"{folder / 'calib.txt'} has no line 'Tr:' (camera from Velodyne): take the "
                "calib.txt of the odometry calibration"
            )
        self.times_s = np.loadtxt(folder / "times.txt", ndmin=1)
        self.poses = np.loadtxt(folder / "poses.txt", ndmin=2).reshape(-1, 3, 4)
        scans = sorted((folder / "velodyne").glob("*.bin"))
        self.numbers = [int(scan.stem) for scan in scans]
        known = min(len(self.times_s), len(self.poses))
        if self.numbers and self.numbers[-1] >= known:
            raise ValueError(
                f"{folder}: scan {self.numbers[-1]} has no pose or no time; there are {known}"
            )
        self.cam0_from_lidar = rigid(self.calibration["Tr"])

    def drive(self) -> LayoutDrive:
        labelled = (self.folder / "labels").is_dir()
        return LayoutDrive(
            name=f"semantickitti-{self.folder.name}",
            description="SemanticKITTI",
            vehicle="kitti",
            date="2011-09-26" if self.folder.name == "03" else "2011-10-03",
            location="karlsruhe",
            start_ns=0,
            count=len(self.numbers),
            frames=self.frames,
            problems=() if labelled else (f"{self.folder}: no labels for the points",),
        )

    def frames(self) -> Iterator[LayoutFrame]:
        ego_from_cam0 = EGO_FROM_LIDAR @ self.cam0_from_lidar.inverse()
        for number in self.numbers:
            stamp_ns = round(float(self.times_s[number]) * 1e9)
            pose = rigid(self.poses[number])
            world_from_ego = ego_from_cam0 @ pose @ ego_from_cam0.inverse()
            readings = [
                self._camera(number, folder, name, stamp_ns, ego_from_cam0, world_from_ego)
                for folder, name in CAMERAS.items()
                if (self.folder / folder / f"{number:06}.png").is_file()
            ]
            readings.append(self._scan(number, stamp_ns, world_from_ego))
            labels = self.folder / "labels" / f"{number:06}.label"
            yield LayoutFrame(
                stamp_ns, readings, [], labels.read_bytes() if labels.is_file() else None
            )

    def _camera(
        self,
        number: int,
        folder: str,
        name: str,
        stamp_ns: int,
        ego_from_cam0: RigidTransform,
        world_from_ego: RigidTransform,
    ) -> Reading:
        content = (self.folder / folder / f"{number:06}.png").read_bytes()
        with Image.open(io.BytesIO(content)) as image:
            width, height = image.size
        projection = self.calibration[f"P{folder[-1]}"]
        intrinsics = projection[:, :3]
        # P = K [I | t], where t is the origin of camera 0 in this rectified camera.
        camera_from_cam0 = RigidTransform(np.eye(3), np.linalg.solve(intrinsics, projection[:, 3]))
        return Reading(
            name,
            stamp_ns,
            content,
            "png",
            ego_from_cam0 @ camera_from_cam0.inverse(),
            world_from_ego,
            CameraModel(width, height, intrinsics),
        )

    def _scan(self, number: int, stamp_ns: int, world_from_ego: RigidTransform) -> Reading:
        file = self.folder / "velodyne" / f"{number:06}.bin"
        numbers = np.fromfile(file, dtype="<f4")
        if numbers.size % 4:
            raise ValueError(f"{file} holds {numbers.size} numbers, not four for each point")
        points = np.zeros((numbers.size // 4, 5), dtype="<f4")
        points[:, :4] = numbers.reshape(-1, 4)
        return Reading(LIDAR, stamp_ns, points.tobytes(), "pcd.bin", EGO_FROM_LIDAR, world_from_ego)


def _read_calibration(file: Path) -> dict[str, Array]:
    """Lines ``name: twelve numbers`` as (3, 4) matrices."""
    matrices = {}
    for line in file.read_text().splitlines():
        name, colon, numbers = line.partition(":")
        values = np.array(numbers.split(), dtype=np.float64)
        if colon and values.size == 12:
            matrices[name.strip()] = values.reshape(3, 4)
    return matrices
