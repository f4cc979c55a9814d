"""Extraction of recordings beside plain reading of the same files in one process.

Plain reading goes through every message with rosbags: leaving it serialised, deserialising it, and
writing the data of every image and cloud to a file of its own. Extraction matches, looks poses up,
writes files and tables.
Without arguments the recordings are made here: a robot with six JPEG cameras at 12 Hz, a LiDAR at
20 Hz and poses at 100 Hz. One JSON object a line: what, seconds, MB/s of recording, seconds of
recording per second, and the ratio to plain reading.

    ./run bench extraction [--bags 2] [--seconds 10] [--processes 2]
    ./run bench extraction --rig robot.yaml BAG…
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import typer

from renderocc_ros.config import load_rig
from renderocc_ros.geometry import CameraModel, RigidTransform
from renderocc_training.recording import messages
from renderocc_training.recording.bag_reader import BagReader
from renderocc_training.recording.bag_writer import BagWriter
from renderocc_training.sequences.extraction.job import Job
from renderocc_training.sequences.extraction.options import ExtractOptions
from renderocc_training.sequences.extraction.pool import extract

START_NS = 1_700_000_000_000_000_000
CAMERAS = ("front_left", "front", "front_right", "back_left", "back", "back_right")
OFFSETS_MS = (-7.6, 0.0, 7.6, 34.7, 25.0, 15.3)
MODEL = CameraModel(1600, 900, np.array([[1266.0, 0, 816], [0, 1266, 491], [0, 0, 1]]))
POINTS = 34_000


def main(
    bags: Annotated[list[Path] | None, typer.Argument()] = None,
    rig: str = "nuscenes",
    count: Annotated[int, typer.Option("--bags")] = 2,
    seconds: float = 10.0,
    processes: int = 2,
) -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder:
        made = [make_bag(Path(folder, f"bag{i}"), seconds, i) for i in range(0 if bags else count)]
        measure(bags or made, rig, processes, Path(folder))


def measure(bags: list[Path], rig: str, processes: int, folder: Path) -> None:
    """One line for each way of going through the recordings."""
    size_mb = sum(file.stat().st_size for bag in bags for file in files_of(bag)) / 1e6
    length_s = 0.0
    for bag in bags:  # also warms the file cache for all that follows
        with BagReader(bag) as reader:
            length_s += (reader.end_ns - reader.start_ns) * 1e-9

    def extraction(out: str, workers: int) -> Callable[[], None]:
        jobs = [Job(bag, folder / out, load_rig(rig), ExtractOptions()) for bag in bags]
        return lambda: check(extract(jobs, "v1.0-trainval", workers))

    ways = {
        "plain reading": lambda: read(bags, decode=False),
        "plain reading, deserialised": lambda: read(bags, decode=True),
        "plain reading, data written": lambda: read(bags, decode=True, out=folder / "plain"),
        "extraction, 1 process": extraction("one", 1),
        f"extraction, {processes} processes": extraction("many", processes),
        "extraction, done before": extraction("many", processes),
    }
    plain_s = 0.0
    for name, way in ways.items():
        begun = time.perf_counter()
        way()
        took = time.perf_counter() - begun
        plain_s = plain_s or took
        line = {
            "what": name,
            "seconds": round(took, 3),
            "mb_per_s": round(size_mb / took, 1),
            "times_real_time": round(length_s / took, 1),
            "ratio_to_plain": round(took / plain_s, 2),
        }
        print(json.dumps(line), flush=True)


def read(bags: list[Path], decode: bool, out: Path | None = None) -> None:
    """Go through every message."""
    number = 0
    for bag in bags:
        with BagReader(bag) as reader:
            for message in reader.messages():
                content = reader.decode(message) if decode else None
                if out is not None and hasattr(content, "data"):
                    out.mkdir(exist_ok=True)
                    (out / f"{number}").write_bytes(content.data.tobytes())
                    number += 1


def check(reports: list[object]) -> None:
    """A benchmark of nothing is no benchmark."""
    if not all(report.key_frames for report in reports):  # type: ignore[attr-defined]
        raise SystemExit(f"no key frames: {reports}")


def files_of(bag: Path) -> list[Path]:
    """The files that hold a recording."""
    return [file for file in bag.iterdir() if file.is_file()] if bag.is_dir() else [bag]


def make_bag(path: Path, seconds: float, seed: int) -> Path:
    """A drive straight on; every image is the same JPEG of about 150 kB."""
    draw = np.random.default_rng(seed)
    coarse = draw.integers(0, 256, (110, 200, 3), dtype=np.uint8)
    content = cv2.imencode(".jpg", cv2.resize(coarse, (1600, 900)))[1].tobytes()
    cloud = np.zeros(POINTS, dtype=[(n, "<f4") for n in ("x", "y", "z", "intensity")])
    cloud["x"], cloud["y"] = draw.uniform(-50, 50, (2, POINTS))
    still = RigidTransform.identity()
    events: list[tuple[int, str, int]] = [(START_NS, "/tf_static", 0)]
    for topic, rate_hz in (("/tf", 100), ("/points", 20)):
        events += [
            (START_NS + round(i * 1e9 / rate_hz), topic, 0) for i in range(round(seconds * rate_hz))
        ]
    for camera, offset_ms in enumerate(OFFSETS_MS):
        events += [
            (START_NS + round(i * 1e9 / 12 + (offset_ms + 8) * 1e6), "/image", camera)
            for i in range(round(seconds * 12))
        ]
    with BagWriter(path) as bag:
        for stamp_ns, topic, camera in sorted(events):
            name = f"cam_{CAMERAS[camera]}"
            if topic == "/image":
                info = messages.camera_info(stamp_ns, f"{name}_optical", MODEL)
                bag.write(f"/{name}/camera_info", info, stamp_ns)
                image = messages.compressed_image(stamp_ns, f"{name}_optical", content)
                bag.write(f"/{name}/image_raw/compressed", image, stamp_ns)
            elif topic == "/points":
                bag.write(topic, messages.point_cloud(stamp_ns, "lidar_top", cloud), stamp_ns)
            else:
                children = ["lidar_top", *(f"cam_{each}_optical" for each in CAMERAS)]
                edges = [("base_link", child, still) for child in children]
                if topic == "/tf":
                    x = (stamp_ns - START_NS) * 8e-9
                    edges = [("odom", "base_link", RigidTransform(np.eye(3), np.array([x, 0, 0])))]
                moved = messages.tf(messages.transform_stamped(stamp_ns, *e) for e in edges)
                bag.write(topic, moved, stamp_ns)
    return path


if __name__ == "__main__":
    typer.run(main)
