"""What a network is worth on frames it never saw: rendered ranges and occupancy, with baselines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from renderocc_ros.class_set import IGNORE_ID, ClassSet
from renderocc_ros.network.occupancy_field import decode_field
from renderocc_ros.network.renderocc import Network
from renderocc_ros.progress import tracked
from renderocc_training.evaluation.results import without_nan
from renderocc_training.evaluation.view_scores import DepthScores, depth_scores, depth_sums
from renderocc_training.evaluation.voxel_counts import (
    VoxelCounts,
    constant_class_miou,
    constant_scores,
    count_voxels,
    occupancy_scores,
)
from renderocc_training.evaluation.voxel_scores import Occupancy, confusion_matrix, voxel_scores
from renderocc_training.recipe import Recipe
from renderocc_training.samples.source import TrainingSource
from renderocc_training.samples.training_sample import collate
from renderocc_training.samples.truth import TruthFolder
from renderocc_training.trainer.objective import render_field

BY_VOTES = "their votes chose the threshold"


@dataclass(frozen=True)
class HeldOutScores:
    """Scores over all held-out samples; NaN where there is nothing to compare with.

    Attributes:
        depth: rendered against labelled ranges of the samples' own frames, inside the grid.
        ray_miou: classes of those rays.
        as_one: IoU on those rays of several classes taken for one, by the name of that one.
        votes, truth: voxels against the votes of all rays, and against 3D truth: miou,
            iou_above_ground, iou … of ``occupancy_scores``.
    """

    depth: DepthScores
    ray_miou: float
    as_one: Mapping[str, float]
    votes: Mapping[str, Any]
    truth: Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class _Seen:
    """One sample: ranges (R,) with NaN labels where none counts, classes of rays, and voxels."""

    rendered_m: NDArray[np.float32]
    label_m: NDArray[np.float32]
    rays: NDArray[np.int64]
    votes: VoxelCounts
    truth: VoxelCounts


def score_held_out(
    networks: Mapping[str, Network],
    source: TrainingSource,
    class_set: ClassSet,
    recipe: Recipe,
    truth: TruthFolder | None = None,
    console: Console | None = None,
    *,
    unlabelled: int | None = None,
    as_one: Mapping[str, Sequence[int]] = MappingProxyType({}),
) -> dict[str, HeldOutScores]:
    """Score networks side by side, and last the constants that do best on these labels: one range
    and one class for all rays, and voxels by height alone.

    Every labelled ray of a sample's own frame counts, whatever the recipe would draw.

    Args:
        console: shows how far it is.
        unlabelled: class of the rays that have a range and no class; None leaves them out.
        as_one: classes that are scored as one as well, by the name of that one.
    """
    scores = {}
    shown = console or Console(quiet=True)
    for name, network in networks.items():
        samples = tracked(range(len(source)), f"scoring {name}", shown)
        seen = [_look(network, source, i, class_set, recipe, truth, unlabelled) for i in samples]
        rendered, labels = (
            np.concatenate([getattr(each, part) for each in seen])
            for part in ("rendered_m", "label_m")
        )
        rays = np.sum([each.rays for each in seen], axis=0)
        votes = VoxelCounts.stacked([each.votes for each in seen]).total()
        volumes = VoxelCounts.stacked([each.truth for each in seen]).total()
        scores[name] = HeldOutScores(
            depth_scores(depth_sums(rendered, labels)),
            voxel_scores(rays).miou,
            {name: _iou_as_one(rays, classes) for name, classes in as_one.items()},
            occupancy_scores(votes, class_set),
            occupancy_scores(volumes, class_set),
        )
    known = labels[np.isfinite(labels)]
    middle = np.full_like(known, np.median(known) if len(known) else np.nan)
    scores["best constant"] = HeldOutScores(
        depth_scores(depth_sums(middle, known)),
        constant_class_miou(rays),
        {name: _constant_as_one(rays, classes) for name, classes in as_one.items()},
        constant_scores(votes, class_set),
        constant_scores(volumes, class_set),
    )
    return scores


def _iou_as_one(rays: NDArray[np.int64], classes: Sequence[int]) -> float:
    both = rays[np.ix_(classes, classes)].sum()
    return Occupancy.of(both, rays[classes].sum(), rays[:, classes].sum()).iou


def _constant_as_one(rays: NDArray[np.int64], classes: Sequence[int]) -> float:
    of_them = rays[classes].sum()  # all of which are met by calling every ray one of them
    return Occupancy.of(of_them, of_them, rays.sum()).iou


@torch.inference_mode()
def _look(
    network: Network,
    source: TrainingSource,
    index: int,
    class_set: ClassSet,
    recipe: Recipe,
    truth: TruthFolder | None,
    unlabelled: int | None = None,
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
    if unlabelled is not None:
        labelled = torch.where(inside & (labelled == IGNORE_ID), unlabelled, labelled)
    # What meets nothing has no likeliest class: the first one would be blamed for it.
    met = torch.where(rendered.opacity > 0, rendered.classes.argmax(dim=1), class_set.free_id)
    grid, config = network.grid, network.config
    read = decode_field(field, grid.resolution_m, config.opacity_threshold, config.read_out)
    occupancy = read.labels[0].cpu().numpy()
    voted = source.votes(sequence, frame)
    volumes = VoxelCounts.none(len(class_set))
    if truth is not None:
        exact, visible = truth.volume(sequence, frame, grid)
        volumes = count_voxels(exact, occupancy, class_set, visible)
    return _Seen(
        rendered.range_m.cpu().numpy(),
        label_m.cpu().numpy(),
        confusion_matrix(
            labelled.cpu().numpy().astype(np.uint8),
            met.cpu().numpy().astype(np.uint8),
            class_set,
        ),
        count_voxels(voted, occupancy, class_set),
        volumes,
    )


def scores_as_json(scores: Mapping[str, HeldOutScores]) -> dict[str, Any]:
    """As held_out.json has them."""
    return {name: without_nan(asdict(each)) for name, each in scores.items()}


def held_out_table(scores: Mapping[str, HeldOutScores], title: str) -> Table:
    """The scores for a terminal."""
    table = Table("", *scores, title=title)
    for column in table.columns[1:]:
        column.justify = "right"
    each = list(scores.values())
    for volumes, against in (("truth", "3D truth"), ("votes", "votes")):
        for key, label in (
            ("miou", "mIoU"),
            ("iou_above_ground", "IoU above ground"),
            ("precision_above_ground", "  precision"),
            ("recall_above_ground", "  recall"),
            ("iou", "IoU with ground"),
        ):
            shares = [getattr(one, volumes)[key] for one in each]
            if not np.isnan(shares).all():
                table.add_row(f"{label}, {against}, %", *map(_percent, shares))
        table.add_section()
    table.add_row("rays: mIoU %", *(_percent(one.ray_miou) for one in each))
    for name in each[0].as_one:
        table.add_row(
            f"  {name}, as one class, IoU %", *(_percent(one.as_one[name]) for one in each)
        )
    table.add_row("ranges: AbsRel", *(f"{one.depth.abs_rel:.3f}" for one in each))
    table.add_row("  RMSE m", *(f"{one.depth.rmse_m:.2f}" for one in each))
    table.add_row("  δ<1.25 %", *(_percent(one.depth.delta[0]) for one in each))
    return table


def _percent(share: float) -> str:
    return "–" if np.isnan(share) else f"{100 * share:.1f}"
