"""How much of the exact 3D truth 2D labels can tell: the voxel labels before any network.

    ./run bench label_ceiling --data DATA

DATA is what ``extract`` makes of synthetic drives, with depth and class images as labels. For each
distance of labelled pixels, and for rays of the key frame alone and of seven frames, the labels
that the rays vote for are scored against the truth of the recording, where a camera sees it. One
JSON object a line: mIoU, IoU above ground and IoU, precision and recall of occupied cells among
cells that have a label, each with the best constant of these cells, and the shares of seen and of
occupied cells that have one.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from renderocc_ros.class_set import IGNORE_ID, OCCUPIED_ID
from renderocc_ros.config import load_class_set
from renderocc_ros.network_config import load_network_config
from renderocc_training.evaluation.voxel_counts import (
    VoxelCounts,
    constant_scores,
    count_voxels,
    occupancy_scores,
)
from renderocc_training.recipe import load_recipe
from renderocc_training.samples.source import TrainingSource
from renderocc_training.samples.truth import TruthFolder
from renderocc_training.sequences.data_sets import open_sequences
from renderocc_training.supervision.labels.label_source import LabelSource, open_store

SCORES = ("miou", "iou_above_ground", "iou", "precision", "recall")
SEVEN_FRAMES = (-3, -2, -1, 1, 2, 3)


def main(
    data: Annotated[Path, typer.Option(help="what extract made of synthetic drives")],
    stride_px: Annotated[list[int], typer.Option(help="may be repeated")] = [8, 4, 2, 1],  # noqa: B006
    every: Annotated[int, typer.Option(min=1, help="take every so many-th key frame")] = 6,
    network: str = "nano",
) -> None:
    for stride in stride_px:
        for offsets in ((), SEVEN_FRAMES):
            result = {"stride_px": stride, "frames": len(offsets) + 1}
            print(json.dumps(result | _score(data, network, stride, offsets, every)), flush=True)


def _score(
    data: Path, network: str, stride_px: int, offsets: tuple[int, ...], every: int
) -> dict[str, Any]:
    config, recipe = load_network_config(network), load_recipe("default")
    class_set, grid = load_class_set(config.class_set), config.grid.build()
    rays = recipe.rays.model_copy(update={"auxiliary_frames": offsets})
    labels = LabelSource(depth="images", semantics="images", stride_px=stride_px)
    source = TrainingSource(
        open_sequences(data, "nuscenes", None),
        open_store(labels, class_set, None),
        config,
        class_set,
        recipe.model_copy(update={"rays": rays}),
    )
    volumes = TruthFolder.open(data / "gts", class_set)
    counts = VoxelCounts.none(len(class_set))
    shares = []
    for sequence, frame in source.places[::every]:
        votes = source.votes(sequence, frame)
        truth, visible = volumes.volume(sequence, frame, grid)
        seen, labelled = visible & (truth != IGNORE_ID), votes != IGNORE_ID
        occupied = seen & (truth != class_set.free_id)
        shares.append((labelled[seen].mean(), labelled[occupied].mean()))
        # Occupied by nobody knows what counts as the first class: occupied all the same.
        labels = np.where(votes == OCCUPIED_ID, 0, votes)
        counts += count_voxels(truth, labels, class_set, seen & labelled)
    scores, constant = (each(counts, class_set) for each in (occupancy_scores, constant_scores))
    seen_share, occupied_share = np.mean(shares, axis=0)
    return {
        **{name: [scores[name], constant[name]] for name in SCORES},
        "labelled_of_seen": float(seen_share),
        "labelled_of_occupied": float(occupied_share),
        "key_frames": len(shares),
    }


if __name__ == "__main__":
    typer.run(main)
