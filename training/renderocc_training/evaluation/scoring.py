"""Score a whole folder in constant memory: read a pair of files, count, forget."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from renderocc_ros.class_set import ClassSet
from renderocc_ros.geometry import VoxelGrid
from renderocc_ros.occupancy.grid_file import grid_beside
from renderocc_ros.occupancy.occ3d_files import grid_of_prediction
from renderocc_ros.processes import worker_processes
from renderocc_training.evaluation.label_files import (
    Mask,
    Numbering,
    predicted_labels,
    true_labels,
)
from renderocc_training.evaluation.ray_scores import (
    THRESHOLDS_M,
    RayCounts,
    count_rays,
    ray_scores,
)
from renderocc_training.evaluation.voxel_counts import (
    VoxelCounts,
    constant_scores,
    count_voxels,
    occupancy_scores,
)

Origins = Callable[[str], NDArray[np.float64]]
AS_THE_CLASS_SET = Numbering()
CHUNK = 8  # samples that a worker process takes at a time


@dataclass(frozen=True, eq=False)
class SampleCounts:
    """What is counted of one sample, or of many: counts add up.

    Attributes:
        voxels: those under the chosen mask.
        rays: counts of RayIoU; None where no ray origins are known.
        samples: number of samples.
    """

    voxels: VoxelCounts
    rays: RayCounts | None
    samples: int

    def __add__(self, other: SampleCounts) -> SampleCounts:
        both = self.rays is not None and other.rays is not None
        rays = self.rays + other.rays if both else None  # type: ignore[operator]
        return SampleCounts(self.voxels + other.voxels, rays, self.samples + other.samples)


def count_sample(
    pair: tuple[str, Path, Path],
    class_set: ClassSet,
    grid: VoxelGrid,
    mask: Mask,
    origins: Origins | None = None,
    numbering: Numbering = AS_THE_CLASS_SET,
) -> SampleCounts:
    """Read one prediction and its truth and count.

    Args:
        pair: token, prediction file, truth file.
        origins: gives the (F, 3) ray origins of a token, metres in the ego frame; RayIoU is
            counted only where given.
        numbering: of the prediction's labels.

    Raises:
        ValueError: a file is not readable, or its grid or classes are not the expected ones; the
            message opens with the token.
    """
    token, predicted_path, truth_path = pair
    try:
        predicted = predicted_labels(predicted_path, class_set, grid, numbering)
        truth, counted = true_labels(truth_path, class_set, grid, mask)
        for name, own in grids_of(predicted_path, truth_path):
            if not own.is_close(grid):
                raise ValueError(f"{name} says {own}, scored is {grid}: score each grid by itself")
        for name, shape in (("prediction", predicted.shape), ("truth", truth.shape)):
            if shape != grid.size:
                raise ValueError(
                    f"{name} is {shape}, the grid {grid.size}: score files of one grid, and choose "
                    "it by --voxel-m where they do not say it"
                )
        voxels = count_voxels(truth, predicted, class_set, counted)
        rays = None
        if origins is not None:
            rays = count_rays(truth, predicted, grid, class_set, origins(token))
    except ValueError as error:
        raise ValueError(f"sample {token}: {error}") from error
    return SampleCounts(voxels, rays, 1)


def grids_of(prediction: Path, truth: Path) -> list[tuple[str, VoxelGrid]]:
    """("prediction" or "truth", grid) where a file tells it, or ``grid.json`` beside it."""
    beside = grid_beside(truth)
    own = (
        ("prediction", grid_of_prediction(prediction)),
        ("truth", beside[0] if beside else None),
    )
    return [(name, grid) for name, grid in own if grid is not None]


def count_folder(
    pairs: Sequence[tuple[str, Path, Path]],
    class_set: ClassSet,
    grid: VoxelGrid,
    mask: Mask,
    origins: Origins | None = None,
    processes: int = 1,
    numbering: Numbering = AS_THE_CLASS_SET,
) -> Iterator[SampleCounts]:
    """Counts of each pair, in order; add them up for the scores of the folder."""
    count = partial(
        count_sample,
        class_set=class_set, grid=grid, mask=mask, origins=origins, numbering=numbering,
    )  # fmt: skip
    if processes == 1:
        yield from map(count, pairs)
        return
    with worker_processes(processes) as pool:
        yield from pool.map(count, pairs, chunksize=CHUNK)


def total(counts: Iterable[SampleCounts]) -> SampleCounts:
    """The sum of all counts.

    Raises:
        ValueError: there are none.
    """
    summed: SampleCounts | None = None
    for sample in counts:
        summed = sample if summed is None else summed + sample
    if summed is None:
        raise ValueError("no sample to score")
    return summed


def scores_as_json(counts: SampleCounts, class_set: ClassSet, mask: str) -> dict[str, Any]:
    """Scores as a JSON object, shares from 0 to 1; NaN where a score is undefined.

    Args:
        mask: what people call the choice of voxels.
    """
    scores: dict[str, Any] = {
        "samples": counts.samples,
        "mask": mask,
        "voxels": int(counts.voxels.confusion.sum()),
        **occupancy_scores(counts.voxels, class_set),
        "best_constant": constant_scores(counts.voxels, class_set),
    }
    if counts.rays is not None:
        cast = ray_scores(counts.rays)
        scores["ray_iou"] = cast.ray_iou
        at_m = (f"{limit:g}" for limit in THRESHOLDS_M)
        scores["ray_iou_at_m"] = dict(zip(at_m, cast.at_threshold.tolist(), strict=True))
    return scores
