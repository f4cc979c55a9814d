"""The map over time beside single sets and the network's memory, against the exact truth of bags.

    ./run bench map --bag towns/h961 --bag towns/h962

Every set is scored three times on the voxels that its cameras see: as the network says it alone,
with its memory, and as the map around the robot holds it by then (where it knows nothing, the set
alone). Ghosts are voxels of moving classes where the truth is free. One JSON object a line; last
what a set costs the map, in milliseconds of CPU time.
"""

from __future__ import annotations

import json
import time
from collections import defaultdict
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer

from renderocc_ros.class_set import IGNORE_ID
from renderocc_ros.config import load_rig
from renderocc_ros.network.occupancy_field import decode_probabilities
from renderocc_ros.node.costmap import VisibleVoxels
from renderocc_ros.prediction import Predictor
from renderocc_ros.prediction.occupancy_map import MapOptions, OccupancyMap
from renderocc_training.evaluation.recorded_sets import RecordedSets
from renderocc_training.evaluation.truth_sources import BagTruth, find_truth_topics
from renderocc_training.evaluation.voxel_counts import VoxelCounts, count_voxels, occupancy_scores
from renderocc_training.recording.bag_reader import BagReader
from renderocc_training.samples.training_sample import ignore_unseen

SCORES = (
    "miou",
    "miou_moving",
    "miou_static",
    "iou_above_ground",
    "precision_above_ground",
    "recall_above_ground",
    "iou",
)


def main(
    bag: Annotated[list[Path], typer.Option(help="recording with exact truth; repeatable")],
    model: Annotated[str, typer.Option(help="a network or a checkpoint")] = "nano",
    rig: Annotated[str, typer.Option()] = "nuscenes",
    threads: Annotated[int, typer.Option(min=1)] = 1,
    look_weight: Annotated[float, typer.Option()] = MapOptions.look_weight,
    max_evidence: Annotated[float, typer.Option()] = MapOptions.max_evidence,
) -> None:
    """See the module."""
    predictor = Predictor.from_name(model, device="cpu", threads=threads)
    options = MapOptions(look_weight=look_weight, max_evidence=max_evidence)
    counts: dict[str, list[VoxelCounts]] = defaultdict(list)
    ghosts: dict[str, int] = defaultdict(int)
    cpu_ms: dict[str, list[float]] = defaultdict(list)
    for each_bag in bag:
        for way, labels, truth in _sets(predictor, options, each_bag, rig, cpu_ms):
            counts[way].append(count_voxels(truth, labels, predictor.class_set))
            moving = np.isin(labels, sorted(predictor.class_set.moving_ids))
            ghosts[way] += int((moving & (truth == predictor.class_set.free_id)).sum())
    for way, each in counts.items():
        scores = occupancy_scores(VoxelCounts.stacked(each).total(), predictor.class_set)
        line: dict[str, Any] = {"way": way, "sets": len(each)}
        line |= {key: round(100 * float(scores[key]), 2) for key in SCORES}
        print(json.dumps(line | {"ghosts_per_set": round(ghosts[way] / len(each), 1)}), flush=True)
    costs = {f"{name}_cpu_ms": round(float(np.median(ms)), 2) for name, ms in cpu_ms.items()}
    print(json.dumps({"window_m": options.size_m, "threads": threads, **costs}))


def _sets(
    predictor: Predictor,
    options: MapOptions,
    bag: Path,
    rig: str,
    cpu_ms: dict[str, list[float]],
) -> Any:
    """Way, labels and truth of every set of a bag."""
    predictor.reset()
    config, classes = predictor.config, predictor.class_set
    kept = OccupancyMap(
        predictor.grid, classes, predictor.threshold, config.read_out, options, predictor.device
    )
    fresh = OccupancyMap(
        predictor.grid, classes, predictor.threshold, config.read_out, options, predictor.device
    )
    visible_voxels = VisibleVoxels(config.image)
    with BagReader(bag) as reader:
        topics = find_truth_topics(reader, None)
        if topics is None:
            raise ValueError(f"{bag} holds no 3D truth: take a bag of `renderocc simulate`")
        truths = BagTruth(reader, *topics, predictor.grid, classes)
        for cameras in RecordedSets(bag, load_rig(rig), config.image):
            result = predictor.predict(cameras)
            pose = cameras.odom_from_ego
            assert pose is not None, f"{bag} has no odometry"
            started_s = time.process_time()
            visible = visible_voxels.of(result, cameras, slice(0, predictor.grid.size[2]))
            cpu_ms["visible"].append((time.process_time() - started_s) * 1e3)
            probabilities = predictor.probabilities
            started_s = time.process_time()
            kept.update(probabilities, result.in_view, visible, cameras.stamp_ns, pose)
            cpu_ms["update"].append((time.process_time() - started_s) * 1e3)
            truth = truths.truth("", cameras.stamp_ns)
            if truth is None:
                continue
            exact = ignore_unseen(truth.labels, truth.mask_camera)
            alone = decode_probabilities(
                probabilities, predictor.threshold, config.read_out
            ).labels.numpy()
            mapped = kept.around(pose).labels
            fresh.reset()
            fresh.update(probabilities, result.in_view, visible, cameras.stamp_ns, pose)
            single = fresh.around(pose).labels
            yield "single set as a map", np.where(single == IGNORE_ID, alone, single), exact
            yield "alone", alone, exact
            yield "memory", result.labels, exact
            yield "map", np.where(mapped == IGNORE_ID, alone, mapped), exact


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    typer.run(main)
