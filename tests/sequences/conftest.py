"""Two nuScenes data sets: a real drive where it is at hand, and a tiny one made here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

VERSION = "v1.0-mini"
START_US = 1_600_000_000_000_000
# Yaw of each camera in degrees and its shutter time before the LiDAR's stamp in microseconds.
CAMERAS = {
    "CAM_FRONT": (0, 40_000),
    "CAM_FRONT_RIGHT": (-55, 32_000),
    "CAM_BACK_RIGHT": (-110, 24_000),
    "CAM_BACK": (180, 15_000),
    "CAM_BACK_LEFT": (110, 5_000),
    "CAM_FRONT_LEFT": (55, 48_000),
}
SIZE = (64, 36)  # width, height
KEY_FRAMES = 4
KEY_FRAME_GAP_US = 500_000

Record = dict[str, Any]


def token(*parts: object) -> str:
    """A readable token; nuScenes' are hexadecimal, nothing depends on it."""
    return "-".join(map(str, parts))


def quaternion_wxyz(yaw_deg: float, roll_deg: float = 0.0) -> list[float]:
    half, other = np.radians(yaw_deg) / 2, np.radians(roll_deg) / 2
    return [
        float(np.cos(half) * np.cos(other)),
        float(np.cos(half) * np.sin(other)),
        float(np.sin(half) * np.sin(other)),
        float(np.sin(half) * np.cos(other)),
    ]


def camera_rotation_wxyz(yaw_deg: float) -> list[float]:
    """Optical axes (z forward, x right) of a camera that looks along the yaw."""
    w, x, y, z = 0.5, -0.5, 0.5, -0.5  # base from optical, looking along x
    half = np.radians(yaw_deg) / 2
    a, d = float(np.cos(half)), float(np.sin(half))
    return [a * w - d * z, a * x - d * y, a * y + d * x, a * z + d * w]


class TinyNuscenes:
    """A car that drives a gentle curve, with two objects beside it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.random = np.random.default_rng(7)
        self.tables: dict[str, list[Record]] = {
            "category": [
                {"token": "car", "name": "vehicle.car", "description": ""},
                {"token": "cone", "name": "movable_object.trafficcone", "description": ""},
            ],
            "attribute": [{"token": "parked", "name": "vehicle.parked", "description": ""}],
            "visibility": [{"token": "4", "level": "v80-100", "description": ""}],
            "log": [
                {
                    "token": "log",
                    "logfile": "n000-2020-09-13",
                    "vehicle": "n000",
                    "date_captured": "2020-09-13",
                    "location": "nowhere",
                }
            ],
            "map": [
                {
                    "token": "map",
                    "log_tokens": ["log"],
                    "category": "semantic_prior",
                    "filename": "maps/map.png",
                }
            ],
        }
        for name in ("sensor", "calibrated_sensor", "ego_pose", "sample", "sample_data"):
            self.tables[name] = []
        for name in ("instance", "sample_annotation", "scene"):
            self.tables[name] = []

    def write(self) -> Path:
        for folder in ("maps", VERSION):
            (self.root / folder).mkdir(parents=True)
        cv2.imwrite(str(self.root / "maps" / "map.png"), np.full((40, 40), 255, np.uint8))
        self.sensors()
        self.samples()
        for channel in (*CAMERAS, "LIDAR_TOP", "RADAR_FRONT"):
            self.readings(channel)
        self.objects()
        for name, records in self.tables.items():
            (self.root / VERSION / f"{name}.json").write_text(json.dumps(records))
        return self.root

    def sensors(self) -> None:
        mounts: dict[str, tuple[str, list[float], list[float], Any]] = {
            channel: (
                "camera",
                camera_rotation_wxyz(yaw),
                [1.5 * np.cos(np.radians(yaw)), 0.5 * np.sin(np.radians(yaw)), 1.5],
                [[50.0 + i, 0.0, 31.7], [0.0, 50.0 + i, 17.9], [0.0, 0.0, 1.0]],
            )
            for i, (channel, (yaw, _)) in enumerate(CAMERAS.items())
        }
        mounts["LIDAR_TOP"] = ("lidar", quaternion_wxyz(-90, 0.5), [0.9, 0.0, 1.84], [])
        mounts["RADAR_FRONT"] = ("radar", quaternion_wxyz(0), [3.4, 0.0, 0.5], [])
        for channel, (modality, rotation, place, intrinsic) in mounts.items():
            self.tables["sensor"].append(
                {"token": channel, "channel": channel, "modality": modality}
            )
            self.tables["calibrated_sensor"].append(
                {
                    "token": token("mount", channel),
                    "sensor_token": channel,
                    "translation": place,
                    "rotation": rotation,
                    "camera_intrinsic": intrinsic,
                }
            )

    def samples(self) -> None:
        last = KEY_FRAMES - 1
        self.tables["sample"] = [
            {
                "token": token("sample", i),
                "timestamp": START_US + i * KEY_FRAME_GAP_US,
                "scene_token": "scene",
                "prev": token("sample", i - 1) if i else "",
                "next": token("sample", i + 1) if i < last else "",
            }
            for i in range(KEY_FRAMES)
        ]
        self.tables["scene"] = [
            {
                "token": "scene",
                "log_token": "log",
                "nbr_samples": KEY_FRAMES,
                "first_sample_token": token("sample", 0),
                "last_sample_token": token("sample", last),
                "name": "scene-9001",
                "description": "a curve",
            }
        ]

    def readings(self, channel: str) -> None:
        """Key frames, and one sweep before the first and between any two."""
        early = CAMERAS[channel][1] if channel in CAMERAS else 0
        count = 2 * KEY_FRAMES
        for i in range(count):
            is_key = i % 2 == 1
            stamp = START_US + (i - 1) * KEY_FRAME_GAP_US // 2 - early
            self.tables["ego_pose"].append(self.ego_pose(token("pose", channel, i), stamp))
            folder = "samples" if is_key else "sweeps"
            file, size = self.sensor_file(channel, folder, stamp)
            self.tables["sample_data"].append(
                {
                    "token": token("data", channel, i),
                    "sample_token": token("sample", i // 2),
                    "ego_pose_token": token("pose", channel, i),
                    "calibrated_sensor_token": token("mount", channel),
                    "timestamp": stamp,
                    "fileformat": Path(file).name.split(".")[1],
                    "is_key_frame": is_key,
                    "height": size[1],
                    "width": size[0],
                    "filename": file,
                    "prev": token("data", channel, i - 1) if i else "",
                    "next": token("data", channel, i + 1) if i < count - 1 else "",
                }
            )

    def ego_pose(self, name: str, stamp_us: int) -> Record:
        seconds = (stamp_us - START_US) * 1e-6
        heading = 0.6 + 0.2 * seconds  # rad; 8 m/s on a circle of 40 m
        place = 40.0 * np.array([np.sin(heading) - np.sin(0.6), np.cos(0.6) - np.cos(heading)])
        return {
            "token": name,
            "timestamp": stamp_us,
            "rotation": quaternion_wxyz(np.degrees(heading), 1.0 * np.sin(3 * seconds)),
            "translation": [1740.0 + place[0], 1233.0 + place[1], 0.0],
        }

    def sensor_file(self, channel: str, folder: str, stamp: int) -> tuple[str, tuple[int, int]]:
        kind = "jpg" if channel in CAMERAS else "pcd" if "RADAR" in channel else "pcd.bin"
        name = f"{folder}/{channel}/n000-2020-09-13__{channel}__{stamp}.{kind}"
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if channel in CAMERAS:
            image = self.random.integers(0, 256, (SIZE[1], SIZE[0], 3), dtype=np.uint8)
            cv2.imwrite(str(path), image)
            return name, SIZE
        if channel == "LIDAR_TOP":
            points = self.random.uniform(-20, 20, (200, 5)).astype("<f4")
            points[:, 3] = self.random.integers(0, 256, 200)
            points[:, 4] = self.random.integers(0, 32, 200)
            points.tofile(path)
        else:
            path.write_text("radar")
        return name, (0, 0)

    def objects(self) -> None:
        """A parked car, and a cone that is seen in the last two key frames only."""
        for category, first in (("car", 0), ("cone", KEY_FRAMES - 2)):
            frames = range(first, KEY_FRAMES)
            self.tables["instance"].append(
                {
                    "token": token("the", category),
                    "category_token": category,
                    "nbr_annotations": len(frames),
                    "first_annotation_token": token("box", category, frames[0]),
                    "last_annotation_token": token("box", category, frames[-1]),
                }
            )
            for i in frames:
                self.tables["sample_annotation"].append(
                    {
                        "token": token("box", category, i),
                        "sample_token": token("sample", i),
                        "instance_token": token("the", category),
                        "visibility_token": "4",
                        "attribute_tokens": ["parked"] if category == "car" else [],
                        "translation": [1750.0 + 0.1 * i, 1240.0, 0.8],
                        "size": [1.9, 4.5, 1.6],
                        "rotation": quaternion_wxyz(30.0),
                        "prev": token("box", category, i - 1) if i > first else "",
                        "next": token("box", category, i + 1) if i < KEY_FRAMES - 1 else "",
                        "num_lidar_pts": 3,
                        "num_radar_pts": 0,
                    }
                )


@pytest.fixture(scope="session")
def tiny_nuscenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The made one: four key frames, sweeps, a radar, two objects."""
    return TinyNuscenes(tmp_path_factory.mktemp("nuscenes") / "tiny").write()


@pytest.fixture(scope="session", params=["tiny", "recorded"])
def nuscenes_root(request: pytest.FixtureRequest) -> Path:
    """Both data sets in turn."""
    if request.param == "tiny":
        made: Path = request.getfixturevalue("tiny_nuscenes")
        return made
    recorded: Path = request.getfixturevalue("recording")("data", "nuscenes")
    return recorded
