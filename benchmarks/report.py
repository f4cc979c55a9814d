"""How long the report of many frames takes to open, in headless Chromium.

One JSON object: frames, size of the page, and milliseconds from the start of the navigation to the
moment when all scores and curves stand there, and to that when the whole file is parsed; the best
of three. Frames hold Occ3D's grid and six pictures.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from renderocc_ros.class_set import ClassSet
from renderocc_ros.config import load_class_set
from renderocc_ros.geometry import VoxelGrid
from renderocc_ros.occupancy.occ3d_files import Occ3dTruth
from renderocc_ros.occupancy.semantic_occupancy import SemanticOccupancy
from renderocc_training.evaluation.frame_counts import FrameCounter, FrameCounts
from renderocc_training.evaluation.results import FrameResult, ResultsWriter, read_results
from renderocc_training.evaluation.summary import frame_scores, latency_summary, summarise
from renderocc_training.report.page import write_page

GRID = VoxelGrid((-40.0, -40.0, -1.0), 0.4, (200, 200, 16))
CAMERAS = tuple(f"CAMERA_{number}" for number in range(6))
DISTINCT = 5
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def street(seed: int) -> NDArray[np.uint8]:
    """A road, boxes beside it, and rough ground."""
    random = np.random.default_rng(seed)
    labels = np.full(GRID.size, 17, np.uint8)
    labels[:, :, 2] = 14
    labels[:, 80:120, 2] = 11
    for _ in range(80):
        x, y, z = *random.integers(0, 190, 2), random.integers(4, 15)
        labels[x : x + 10, y : y + 6, 3:z] = random.integers(0, 17)
    bumps = random.random(GRID.size[:2]) < 0.1
    labels[..., 3][bumps & (labels[..., 3] == 17)] = 16
    return labels


def write_frames(folder: Path, frames: int, classes: ClassSet) -> None:
    """Results whose frames repeat a few different ones."""
    random = np.random.default_rng(0)
    writer, seen = ResultsWriter(folder, True, True), np.ones(GRID.size, bool)
    total, results, confusions, kinds = FrameCounts.none(len(classes)), [], {}, []
    for number in range(DISTINCT):
        true = street(number)
        predicted = np.where(random.random(GRID.size) < 0.02, 17, true).astype(np.uint8)
        sure = np.where(predicted < 17, 255, 0).astype(np.uint8)
        occupancy = SemanticOccupancy(number, GRID, classes, predicted, sure)
        truth = Occ3dTruth(true, seen, seen)
        pictures = {
            name: random.integers(0, 255, (34, 60, 3), np.uint8).repeat(8, 0).repeat(8, 1)
            for name in CAMERAS
        }
        kinds.append(
            (occupancy, truth, pictures, FrameCounter("none").count(occupancy, truth, None))
        )
    for number in range(frames):
        occupancy, truth, pictures, counts = kinds[number % DISTINCT]
        token = f"frame_{number:05}"
        writer.add(token, occupancy, truth, pictures)
        total, confusions[token] = total + counts, counts.voxels
        latency = {"total": float(random.gamma(20, 3))}
        results.append(
            FrameResult(token, "drive", number, (), latency, "", frame_scores(counts, classes))
        )
    content = {
        "name": "many frames",
        "model": {"network": "-", "file": "", "sha256": "", "device": "-", "threshold": 0.5},
        "recordings": ["drive"],
        "rig": "six",
        "cameras": list(CAMERAS),
        "mask": "none",
        "frames_evaluated": frames,
        "frames_scored": frames,
        **summarise(total, classes),
        "latency_ms": latency_summary([result.latency_ms for result in results]),
        "skipped": [],
        "problems": [],
    }
    writer.finish(content, classes, GRID, results, confusions)


def opened_ms(page: Path, browser: str) -> tuple[int, int]:
    """Milliseconds until scores are shown, and until all is parsed."""
    command = (browser, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom", page.as_uri())
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    timings = re.search(r'<body[^>]*data-shown-ms="(\d+)"[^>]*data-loaded-ms="(\d+)"', done.stdout)
    if timings is None:
        raise RuntimeError("the page never became ready")
    return int(timings[1]), int(timings[2])


def main() -> None:
    """Print the line."""
    frames = int(sys.argv[1]) if len(sys.argv) > 1 else 500
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        print(json.dumps({"benchmark": "report", "skipped": "no Chromium"}))
        return
    with tempfile.TemporaryDirectory() as name:
        folder, page = Path(name, "results"), Path(name, "report.html")
        write_frames(folder, frames, load_class_set("occ3d"))
        write_page([read_results(folder)], page, "many frames")
        times = [opened_ms(page, browser) for _ in range(3)]
        megabytes = page.stat().st_size / 1e6
    shown, loaded = (min(column) for column in zip(*times, strict=True))
    print(
        json.dumps(
            {
                "benchmark": "report",
                "frames": frames,
                "page_mb": round(megabytes, 1),
                "scores_shown_ms": shown,
                "all_parsed_ms": loaded,
            }
        )
    )


if __name__ == "__main__":
    main()
