"""Scoring Occ3D files: samples a second and memory, beside the plain way.

The plain way reads the same files and counts intersection and union class by class with masks. One
JSON object a line: samples, samples per second with two processes, milliseconds of CPU for a sample
of both ways (one thread), their ratio, and by how much the peak of resident memory grows from the
first tenth of the samples to the last.
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from renderocc_ros.class_set import ClassSet
from renderocc_ros.config import load_class_set
from renderocc_ros.geometry import VoxelGrid
from renderocc_ros.occupancy.occ3d_files import find_pairs, read_prediction, read_truth
from renderocc_training.evaluation.scoring import SampleCounts, count_folder, count_sample
from renderocc_training.evaluation.voxel_scores import voxel_scores

GRID = VoxelGrid((-40.0, -40.0, -1.0), 0.4, (200, 200, 16))
DISTINCT = 8  # files that differ; the others are links to them
PROCESSES = 2
Pairs = tuple[tuple[str, Path, Path], ...]


def write_samples(folder: Path, count: int) -> None:
    """Streets with boxes beside them, as sparse as real truth; predictions err here and there."""
    random = np.random.default_rng(0)
    for number in range(count):
        gts = folder / "gts" / f"t{number:05}"
        gts.mkdir(parents=True)
        predicted = folder / "predicted" / f"t{number:05}.npz"
        predicted.parent.mkdir(exist_ok=True)
        if number >= DISTINCT:
            source = f"t{number % DISTINCT:05}"
            (gts / "labels.npz").hardlink_to(folder / "gts" / source / "labels.npz")
            predicted.hardlink_to(predicted.with_name(f"{source}.npz"))
            continue
        truth = np.full(GRID.size, 17, np.uint8)
        truth[:, 70:130, 2] = 11
        for _ in range(60):
            x, y = random.integers(0, 190, 2)
            truth[x : x + 10, y : y + 5, 3:8] = random.integers(0, 17)
        seen = np.cumsum(truth < 17, axis=2) <= 1
        np.savez_compressed(gts / "labels.npz", semantics=truth, mask_camera=seen, mask_lidar=seen)
        wrong = random.random(GRID.size) < 0.01
        np.savez_compressed(predicted, np.where(wrong, 16, truth).astype(np.uint8))


def plain(pairs: Pairs, class_set: ClassSet) -> float:
    """mIoU by masks, class by class."""
    hits, unions = np.zeros((2, len(class_set)), np.int64)
    for _, predicted_path, truth_path in pairs:
        truth, predicted = read_truth(truth_path), read_prediction(predicted_path)
        for label in range(len(class_set)):
            a = (truth.labels == label) & truth.mask_camera
            b = (predicted == label) & truth.mask_camera
            hits[label] += (a & b).sum()
            unions[label] += (a | b).sum()
    return float(np.mean(hits[unions > 0] / unions[unions > 0]))


def main() -> None:
    """Print the line."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 400
    class_set = load_class_set("occ3d")
    with tempfile.TemporaryDirectory() as name:
        write_samples(Path(name), count)
        pairs = find_pairs(Path(name, "predicted"), Path(name, "gts")).pairs
        start = time.perf_counter()
        total, memory = None, []
        for sample in count_folder(pairs, class_set, GRID, "camera", processes=PROCESSES):
            total = sample if total is None else total + sample
            memory.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3)
        seconds = time.perf_counter() - start
        assert isinstance(total, SampleCounts)
        few = pairs[: max(count // 10, 1)]
        begun = time.process_time()
        for pair in few:
            count_sample(pair, class_set, GRID, "camera")
        cpu_seconds = time.process_time() - begun
        begun = time.process_time()
        plain_miou = plain(few, class_set)
        plain_cpu_seconds = time.process_time() - begun
    ours = voxel_scores(total.voxels.confusion).miou
    print(
        json.dumps(
            {
                "benchmark": "score",
                "samples": count,
                "processes": PROCESSES,
                "samples_per_s": round(count / seconds, 1),
                "cpu_ms_per_sample": round(cpu_seconds / len(few) * 1e3, 2),
                "plain_cpu_ms_per_sample": round(plain_cpu_seconds / len(few) * 1e3, 2),
                "ratio": round(plain_cpu_seconds / cpu_seconds, 1),
                "memory_growth_mb": round(memory[-1] - memory[len(memory) // 10], 1),
                "miou_difference": round(abs(ours - plain_miou), 4),
            }
        )
    )


if __name__ == "__main__":
    main()
