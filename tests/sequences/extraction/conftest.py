"""A small robot's recordings, whole or with something wrong."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml

from renderocc_ros.config import RigConfig, load_yaml
from renderocc_ros.geometry import CameraModel, RigidTransform
from renderocc_training.recording import boxes, messages
from renderocc_training.recording.bag_writer import BagWriter
from renderocc_training.recording.boxes import Box

MS = 1_000_000
START_NS = 1_700_000_000_000_000_000
MODEL = CameraModel(48, 32, [[40.0, 0, 23.5], [0, 41.0, 15.5], [0, 0, 1]])
OPTICAL = RigidTransform.from_quaternion((-0.5, 0.5, -0.5, 0.5), (1.0, 0.2, 1.4))
LIDAR = RigidTransform.from_quaternion((0, 0, 0.2, 1.0), (0.5, 0.0, 1.8))
RIG = {
    "name": "robot",
    "odom_frame": "odom",
    "cameras": [
        {"name": "FRONT", "image_topic": "front/image_raw", "offset_ms": 0.0},
        {"name": "REAR", "image_topic": "rear/image_raw", "offset_ms": 20.0},
    ],
    "sync": {"period_s": 0.1, "min_cameras": 1},
}

Event = tuple[int, str, Any]  # log time, topic, message


def pose_at(stamp_ns: int) -> RigidTransform:
    """odom_from_base: 5 m/s along a curve."""
    seconds = (stamp_ns - START_NS) * 1e-9
    heading = 0.1 * seconds
    return RigidTransform.from_quaternion(
        (0, 0, np.sin(heading / 2), np.cos(heading / 2)),
        (50 * np.sin(heading), 50 * (1 - np.cos(heading)), 0.0),
    )


def jpeg(number: int) -> bytes:
    pixels = np.random.default_rng(number).integers(0, 256, (32, 48, 3), dtype=np.uint8)
    return bytes(cv2.imencode(".jpg", pixels)[1].tobytes())


def cloud(number: int) -> np.ndarray:
    points = np.zeros(
        50, dtype=[("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("intensity", "<f4"), ("ring", "<u2")]
    )
    random = np.random.default_rng(number)
    for name in "xyz":
        points[name] = random.uniform(-10, 10, 50)
    points["intensity"], points["ring"] = random.integers(0, 256, 50), random.integers(0, 32, 50)
    return points


@dataclass
class Drive:
    """A recording of two cameras and a LiDAR at 10 Hz, with poses at 50 Hz.

    Attributes:
        seconds: length.
        without: topics that are left out.
        jump_ns: by how much the clock is off in the second half.
        raw: raw images instead of JPEG.
        edit: changes or drops (None) any message on its way.
    """

    seconds: float = 3.0
    without: tuple[str, ...] = ()
    jump_ns: int = 0
    raw: bool = False
    start_ns: int = START_NS
    edit: Callable[[str, int, Any], Any] = field(default=lambda topic, number, message: message)

    def events(self) -> Iterator[Event]:
        mounts = [("front", OPTICAL), ("rear", OPTICAL), ("lidar", LIDAR)]
        static = [
            messages.transform_stamped(self.start_ns, "base_link", *mount) for mount in mounts
        ]
        yield self.start_ns, "/tf_static", messages.tf(static)
        count = round(self.seconds * 10)
        half = count // 2
        for number in range(count):
            log_ns = self.start_ns + number * 100 * MS
            stamp_ns = log_ns + (self.jump_ns if number >= half else 0)
            yield from self.cycle(number, log_ns, stamp_ns)

    def cycle(self, number: int, log_ns: int, stamp_ns: int) -> Iterator[Event]:
        """100 ms: five poses, two images, a cloud 30 ms after the cycle, boxes each 500 ms."""
        for step in range(5):
            at = stamp_ns + step * 20 * MS
            moved = messages.transform_stamped(at, "odom", "base_link", pose_at(at))
            yield log_ns + step * 20 * MS, "/tf", messages.tf([moved])
        for place, name in enumerate(("front", "rear")):
            at, log = stamp_ns + place * 20 * MS, log_ns + place * 20 * MS + MS
            yield log, f"/{name}/camera_info", messages.camera_info(at, name, MODEL)
            if self.raw:
                pixels = cv2.imdecode(np.frombuffer(jpeg(2 * number + place), np.uint8), 1)
                yield log, f"/{name}/image_raw", messages.image(at, name, pixels, "bgr8")
            else:
                image = messages.compressed_image(at, name, jpeg(2 * number + place))
                yield log, f"/{name}/image_raw/compressed", image
        at = stamp_ns + 30 * MS
        yield log_ns + 31 * MS, "/points", messages.point_cloud(at, "lidar", cloud(number))
        if number % 5 == 0:
            box = Box(
                "vehicle.car",
                "car 1",
                ("vehicle.parked",),
                "v80-100",
                RigidTransform(np.eye(3), np.array([12.0, 4.0, 0.8])),
                (12.0, 8.0, 4.0),
                np.full(3, np.nan),
            )
            yield log_ns + 32 * MS, "/boxes", boxes.detections(at, "odom", [box])

    def write(self, path: Path, **writer: Any) -> Path:
        numbers: dict[str, int] = {}
        events = [event for event in self.events() if event[1] not in self.without]
        with BagWriter(path, **writer) as bag:
            for log_ns, topic, message in sorted(events, key=lambda event: event[0]):
                number = numbers[topic] = numbers.get(topic, -1) + 1
                changed = self.edit(topic, number, message)
                if changed is not None:
                    bag.write(topic, changed, log_ns)
        return path


@pytest.fixture(scope="session")
def drive() -> type[Drive]:
    return Drive


@pytest.fixture(scope="session")
def rig_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("rig") / "robot.yaml"
    file.write_text(yaml.safe_dump(RIG))
    return file


@pytest.fixture(scope="session")
def rig(rig_file: Path) -> RigConfig:
    return load_yaml(rig_file, RigConfig)


class Tables:
    """The tables of a data set as plain lists, and look-up by token."""

    def __init__(self, root: Path, version: str = "v1.0-trainval") -> None:
        self.root = root
        self.all = {
            file.stem: json.loads(file.read_text()) for file in (root / version).glob("*.json")
        }

    def __getitem__(self, table: str) -> list[dict[str, Any]]:
        return list(self.all[table])

    def get(self, table: str, token: str) -> dict[str, Any]:
        (result,) = [record for record in self.all[table] if record["token"] == token]
        return dict(result)

    def channel(self, name: str, key_frames: bool | None = None) -> list[dict[str, Any]]:
        """A channel's sample_data in the order of its chain."""
        sensors = {sensor["token"]: sensor["channel"] for sensor in self["sensor"]}
        mounts = {
            mount["token"]: sensors[mount["sensor_token"]] for mount in self["calibrated_sensor"]
        }
        result = {
            record["token"]: record
            for record in self["sample_data"]
            if mounts[record["calibrated_sensor_token"]] == name
        }
        chain = [record for record in result.values() if not record["prev"]]
        while chain and chain[-1]["next"]:
            chain.append(result[chain[-1]["next"]])
        return [each for each in chain if key_frames is None or each["is_key_frame"] == key_frames]


@pytest.fixture(scope="session")
def tables() -> type[Tables]:
    return Tables
