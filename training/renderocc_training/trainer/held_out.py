"""What a network is worth on frames it never saw: rendered ranges and occupancy, with baselines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from rich.table import Table

from renderocc_ros.class_set import IGNORE_ID, ClassSet
from renderocc_ros.network.occupancy_field import decode_field
from renderocc_ros.network.renderocc import Network
from renderocc_training.evaluation.view_scores import DepthScores, depth_scores, depth_sums
from renderocc_training.evaluation.voxel_scores import confusion_matrix, voxel_scores
from renderocc_training.recipe import Recipe
from renderocc_training.samples.source import TrainingSource
from renderocc_training.samples.training_sample import collate
from renderocc_training.samples.truth import TruthFolder
from renderocc_training.trainer.objective import render_field


@dataclass(frozen=True)
class HeldOutScores:
    """Scores over all held-out samples; NaN where there is nothing to compare with.

    Attributes:
        depth: rendered against labelled ranges of the samples' own frames, inside the grid.
        ray_miou: classes of those rays.
        votes_iou: occupancy against the votes of all rays.
        truth_iou, truth_miou: occupancy and classes against 3D truth.
    """

    depth: DepthScores
    ray_miou: float = float("nan")
    votes_iou: float = float("nan")
    truth_iou: float = float("nan")
    truth_miou: float = float("nan")


@dataclass(frozen=True, eq=False)
class _Seen:
    """One sample: ranges (R,) with NaN labels where none counts, and confusion matrices."""

    rendered_m: NDArray[np.float32]
    label_m: NDArray[np.float32]
    rays: NDArray[np.int64]
    votes: NDArray[np.int64]
    truth: NDArray[np.int64]


def score_held_out(
    networks: Mapping[str, Network],
    source: TrainingSource,
    class_set: ClassSet,
    recipe: Recipe,
    truth: TruthFolder | None = None,
) -> dict[str, HeldOutScores]:
    """Score networks side by side, and last the constant range that does best on these labels.

    Every labelled ray of a sample's own frame counts, whatever the recipe would draw.
    """
    scores = {}
    for name, network in networks.items():
        seen = [_look(network, source, i, class_set, recipe, truth) for i in range(len(source))]
        labels = np.concatenate([each.label_m for each in seen])
        rays, votes, volumes = (
            voxel_scores(np.sum([getattr(each, part) for each in seen], axis=0))
            for part in ("rays", "votes", "truth")
        )
        scores[name] = HeldOutScores(
            depth_scores(depth_sums(np.concatenate([each.rendered_m for each in seen]), labels)),
            rays.miou,
            votes.iou,
            volumes.iou,
            volumes.miou,
        )
    known = labels[np.isfinite(labels)]
    middle = np.full_like(known, np.median(known) if len(known) else np.nan)
    scores["constant range"] = HeldOutScores(depth_scores(depth_sums(middle, known)))
    return scores


@torch.inference_mode()
def _look(
    network: Network,
    source: TrainingSource,
    index: int,
    class_set: ClassSet,
    recipe: Recipe,
    truth: TruthFolder | None,
) -> _Seen:
    sequence, frame = source.places[index]
    sample = replace(
        source.sample(index, np.random.default_rng(index)), rays=source.own_rays(index)
    )
    batch = collate([sample]).to(next(network.parameters()).device)
    field = network.eval().field_and_depth(batch.current, batch.past)[0]
    rendered, samples = render_field(field, network, batch.rays.rays, recipe)
    inside = batch.rays.valid[0] & samples.inside(batch.rays.range_m[0])
    label_m = torch.where(inside, batch.rays.range_m[0], torch.nan)
    labelled = torch.where(inside, batch.rays.class_id[0], IGNORE_ID)
    # What meets nothing has no likeliest class: the first one would be blamed for it.
    met = torch.where(rendered.opacity > 0, rendered.classes.argmax(dim=1), class_set.free_id)
    grid, config = network.grid, network.config
    read = decode_field(field, grid.resolution_m, config.opacity_threshold, config.read_out)
    occupancy = read.labels[0].cpu().numpy()
    voted = source.votes(sequence, frame)
    exact = (
        truth.labels(sequence, frame, grid) if truth else np.full(grid.size, IGNORE_ID, np.uint8)
    )
    return _Seen(
        rendered.range_m.cpu().numpy(),
        label_m.cpu().numpy(),
        confusion_matrix(
            labelled.cpu().numpy().astype(np.uint8),
            met.cpu().numpy().astype(np.uint8),
            class_set,
        ),
        confusion_matrix(voted, occupancy, class_set),
        confusion_matrix(exact, occupancy, class_set),
    )


def held_out_table(scores: Mapping[str, HeldOutScores], samples: int) -> Table:
    """The scores for a terminal."""
    titles = ("AbsRel", "RMSE m", "δ<1.25 %", "ray mIoU %", "IoU votes %", "IoU 3D %", "mIoU 3D %")
    table = Table("", *titles, title=f"{samples} held-out samples")
    for name, score in scores.items():
        shares = (score.ray_miou, score.votes_iou, score.truth_iou, score.truth_miou)
        cells = [f"{score.depth.abs_rel:.3f}", f"{score.depth.rmse_m:.2f}"]
        cells += [_percent(share) for share in (score.depth.delta[0], *shares)]
        table.add_row(name, *cells)
    return table


def _percent(share: float) -> str:
    return "–" if np.isnan(share) else f"{100 * share:.1f}"
