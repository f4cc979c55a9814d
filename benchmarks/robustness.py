"""What a network keeps of its scores where a camera, a mounting, the light or the rig is not right.

    ./run bench robustness --model nano --towns FOLDER --table docs/RESULTS.md

Synthetic towns with exact truth are replayed through the predictor, each disturbance alone. Bags
that FOLDER lacks are made first (16 of 6 s, about 20 s of CPU time each). Scores are those of
`renderocc evaluate`: voxels that a camera of the recording sees. One JSON object a line for each
row; with ``--table`` the section of that page between its marks is made anew.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
import yaml
from numpy.typing import NDArray

from renderocc_ros.config import load_rig
from renderocc_ros.files import between_marks, write_bytes
from renderocc_ros.geometry import RigidTransform
from renderocc_ros.paths import share_path
from renderocc_ros.prediction import Predictor
from renderocc_ros.rig.camera_set import CameraSet, PosedImage
from renderocc_simulation.drive import write_drive
from renderocc_simulation.spec import DriveSpec
from renderocc_simulation.world.town import TownSpec
from renderocc_training.evaluation.comparison import block_draws
from renderocc_training.evaluation.recorded_sets import RecordedSets
from renderocc_training.evaluation.truth_sources import BagTruth, find_truth_topics
from renderocc_training.evaluation.voxel_counts import (
    VoxelCounts,
    constant_scores,
    count_voxels,
    occupancy_scores,
)
from renderocc_training.recording.bag_reader import BagReader

RIG = "nuscenes"
OTHER_RIGS = {
    "lower": "every camera 30 cm lower",
    "two_cameras": "two cameras on a small robot",
    "surround_fisheye": "four fisheyes on a car",
}
LOWER_M = 0.3
UNDISTURBED = "undisturbed"
SECONDS, RESAMPLES = 6.0, 2000
SCORES = ("miou", "miou_moving", "miou_static", "iou_above_ground", "iou")
AXES = {"pitch": 0, "yaw": 1, "roll": 2}  # of the optical frame

Change = Callable[[PosedImage], PosedImage | None]
Labels = NDArray[np.uint8]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class ScoredSet:
    """A set, its truth, and what the undisturbed network says of it."""

    cameras: CameraSet
    truth: Labels
    seen: Mask
    undisturbed: Labels


@dataclass
class Row:
    """Counts of one line of the table, and those of the undisturbed network on the same voxels.

    Both by town, in the same order.
    """

    name: str
    counts: dict[int, VoxelCounts] = field(default_factory=dict)
    undisturbed: dict[int, VoxelCounts] = field(default_factory=dict)

    def add(self, town: int, counts: VoxelCounts, undisturbed: VoxelCounts) -> None:
        """Sets of a town."""
        for by_town, more in ((self.counts, counts), (self.undisturbed, undisturbed)):
            by_town[town] = by_town[town] + more if town in by_town else more


class Benchmark:
    """Runs disturbances of towns and keeps their rows, in the order in which they first come."""

    def __init__(self, predictor: Predictor) -> None:
        self.predictor, self.rows = predictor, dict[str, Row]()

    def town(self, number: int, sets: Sequence[ScoredSet]) -> None:
        """All disturbances of the recorded rig."""
        names = sets[0].cameras.names
        self._run(number, UNDISTURBED, sets, lambda image: image)
        for name in names:
            self._without(number, name, sets)
        sign = (-1) ** number
        turns = [(degrees, axis) for degrees in (1, 2) for axis in AXES]
        for (degrees, axis), struck in zip(turns, names[number:] + names, strict=False):
            turn = partial(_turned, axis=axis, degrees=sign * degrees)
            one = partial(_only, name=struck, change=turn)
            self._run(number, f"{axis} of one camera wrong by {degrees}°", sets, one)
            self._run(number, f"{axis} of all cameras wrong by {degrees}°", sets, turn)
        for stops, what in ((2, "2 stops too bright"), (-2, "2 stops too dark")):
            self._run(number, f"all images {what}", sets, partial(_exposed, stops=stops))
        self._run(number, "fog of noise in all images", sets, _fogged)
        self._run(number, "half the rate: a set a second", sets[::2], lambda image: image)

    def _run(self, town: int, name: str, sets: Sequence[ScoredSet], change: Change) -> None:
        results = self._predicted(sets, change)
        self._count(town, name, ((each, labels, each.seen) for each, labels, _ in results))

    def _without(self, town: int, camera: str, sets: Sequence[ScoredSet]) -> None:
        def left(image: PosedImage) -> PosedImage | None:
            return None if image.name == camera else image

        results = self._predicted(sets, left)
        self._count(
            town,
            "one camera missing: voxels in the images of those that remain",
            ((each, labels, each.seen & in_view) for each, labels, in_view in results),
        )
        self._count(
            town,
            "one camera missing: all voxels",
            ((each, labels, each.seen) for each, labels, _ in results),
        )

    def other_rig(self, number: int, name: str, sets: Sequence[ScoredSet]) -> None:
        """The undisturbed network on another rig in the same town."""
        counts = self._counts((each, each.undisturbed, each.seen) for each in sets)
        self._row(name).add(number, counts, self.rows[UNDISTURBED].counts[number])

    def _predicted(
        self, sets: Sequence[ScoredSet], change: Change
    ) -> list[tuple[ScoredSet, Labels, Mask]]:
        self.predictor.reset()
        results = []
        for each in sets:
            images = tuple(change(image) if image else None for image in each.cameras.images)
            result = self.predictor.predict(replace(each.cameras, images=images))
            results.append((each, result.labels, result.in_view))
        return results

    def _count(
        self, town: int, name: str, results: Iterator[tuple[ScoredSet, Labels, Mask]]
    ) -> None:
        entries = list(results)
        before = self._counts((each, each.undisturbed, mask) for each, _, mask in entries)
        self._row(name).add(town, self._counts(iter(entries)), before)

    def _counts(self, results: Iterator[tuple[ScoredSet, Labels, Mask]]) -> VoxelCounts:
        classes = self.predictor.class_set
        each = [count_voxels(s.truth, labels, classes, mask) for s, labels, mask in results]
        return VoxelCounts.stacked(each).total()

    def _row(self, name: str) -> Row:
        return self.rows.setdefault(name, Row(name))


# ------------------------------------------------------------------------------------ disturbances


def _turned(image: PosedImage, axis: str, degrees: float) -> PosedImage:
    """Mounted otherwise than the network is told, about an axis of the optical frame."""
    half = np.deg2rad(degrees) / 2
    quaternion = np.zeros(4)
    quaternion[AXES[axis]], quaternion[3] = np.sin(half), np.cos(half)
    turn = RigidTransform.from_quaternion(quaternion, np.zeros(3))
    return replace(image, ego_from_camera=image.ego_from_camera @ turn)


def _only(image: PosedImage, name: str, change: Change) -> PosedImage | None:
    return change(image) if image.name == name else image


def _exposed(image: PosedImage, stops: float) -> PosedImage:
    """Light times 2^stops before the tone curve (gamma 2.2); what is too bright is clipped."""
    table = 255 * np.minimum((np.arange(256) / 255) ** 2.2 * 2.0**stops, 1) ** (1 / 2.2)
    return replace(image, pixels=np.round(table).astype(np.uint8)[image.pixels])


def _fogged(image: PosedImage) -> PosedImage:
    """Half of the light is haze, and noise of 15 grey values lies on it."""
    random = np.random.default_rng(image.stamp_ns)
    hazy = image.pixels * 0.5 + 100 + random.normal(0, 15, image.pixels.shape)
    return replace(image, pixels=np.clip(hazy, 0, 255).astype(np.uint8))


# ------------------------------------------------------------------------------------------- towns


def bag_of(folder: Path, rig: str, seed: int) -> Path:
    """The bag of a town; made if it is not there."""
    bag = folder / f"{rig}-{seed}"
    if not bag.exists():
        simulated = _lower_rig(folder) if rig == "lower" else rig
        spec = DriveSpec(TownSpec(seed, SECONDS, "holdout"), simulated, "tiny")
        write_drive(spec, bag, processes=2)
    return bag


def _lower_rig(folder: Path) -> str:
    """The six cameras, each ``LOWER_M`` lower."""
    shipped = share_path("config", "simulated_rigs") / f"{RIG}.yaml"
    content = yaml.safe_load(shipped.read_text("utf-8"))
    for camera in content["cameras"]:
        camera["position_m"][2] = round(camera["position_m"][2] - LOWER_M, 6)
    path = folder / "lower.yaml"
    write_bytes(path, yaml.safe_dump(content).encode())
    return str(path)


def scored_sets(predictor: Predictor, bag: Path, rig: str) -> list[ScoredSet]:
    """All sets of a bag that have a truth, as the undisturbed network sees them."""
    predictor.reset()
    sets, config = [], predictor.config
    with BagReader(bag) as reader:
        topics = find_truth_topics(reader, None)
        if topics is None:
            raise ValueError(f"{bag} holds no 3D truth: take a bag of `renderocc simulate`")
        truths = BagTruth(reader, *topics, predictor.grid, predictor.class_set)
        for cameras in RecordedSets(bag, load_rig(rig), config.image):
            labels = predictor.predict(cameras).labels
            truth = truths.truth("", cameras.stamp_ns)
            if truth is not None:
                sets.append(ScoredSet(cameras, truth.labels, truth.mask_camera, labels))
    if not sets:
        raise ValueError(f"{bag}: no set has a truth")
    return sets


# ------------------------------------------------------------------------------------------- table


def summary(row: Row, predictor: Predictor) -> dict[str, Any]:
    """Scores of a row in percent, the best constant's mIoU, and the ratio with its interval."""
    classes = predictor.class_set
    counts, before = (
        VoxelCounts.stacked(list(by_town.values())) for by_town in (row.counts, row.undisturbed)
    )

    def ratio(times: NDArray[np.int64] | None = None) -> float:
        after, base = (
            float(occupancy_scores(stack.total(times), classes)["miou"])
            for stack in (counts, before)
        )
        return 100 * after / base

    draws = block_draws(len(row.counts), 1, RESAMPLES, np.random.default_rng(0))
    different, which = np.unique(draws, axis=0, return_inverse=True)
    drawn = np.array([ratio(times) for times in different])[which.reshape(-1)]
    low, high = np.quantile(drawn, (0.025, 0.975))
    total = counts.total()
    scores, constant = occupancy_scores(total, classes), constant_scores(total, classes)
    percent = {key: 100 * float(scores[key]) for key in SCORES}
    best = {f"constant_{key}": 100 * float(constant[key]) for key in SCORES}
    return percent | best | {"ratio": ratio(), "ratio_low": float(low), "ratio_high": float(high)}


def table(summaries: Mapping[str, Mapping[str, float]]) -> str:
    """In Markdown; the best constant's score in brackets."""
    head = "| | mIoU | movable | static | IoU above ground | IoU with ground | mIoU kept |"
    lines = [head, "|---|---|---|---|---|---|---|"]
    for name, each in summaries.items():
        cells = [f"{each[key]:.1f} ({each[f'constant_{key}']:.1f})" for key in SCORES]
        interval = f"{each['ratio_low']:.0f} to {each['ratio_high']:.0f}"
        same = name == UNDISTURBED
        ratio = "100 %" if same else f"**{each['ratio']:.0f} %** ({interval})"
        lines.append(f"| {' | '.join([name, *cells, ratio])} |")
    return "\n".join(lines)


def main(
    model: Annotated[str, typer.Option(help="a network or a checkpoint")] = "nano",
    towns: Annotated[Path, typer.Option(help="folder of the bags")] = Path("towns"),
    seed: Annotated[list[int], typer.Option(help="repeatable")] = [981, 982, 983, 984],  # noqa: B006
    threads: Annotated[int, typer.Option(min=1)] = 1,
    page: Annotated[Path | None, typer.Option("--table", help="page with the marks")] = None,
) -> None:
    """See the module."""
    started_s = time.process_time()
    predictor = Predictor.from_name(model, device="cpu", threads=threads)
    towns.mkdir(parents=True, exist_ok=True)
    bags = {(rig, s): bag_of(towns, rig, s) for s in seed for rig in (RIG, *OTHER_RIGS)}
    benchmark = Benchmark(predictor)
    for number, each in enumerate(seed):
        benchmark.town(number, scored_sets(predictor, bags[RIG, each], RIG))
        for rig, name in OTHER_RIGS.items():
            read_as = RIG if rig == "lower" else rig
            benchmark.other_rig(number, name, scored_sets(predictor, bags[rig, each], read_as))
    summaries = {}
    for name, row in benchmark.rows.items():
        summaries[name] = summary(row, predictor)
        rounded = {key: round(value, 2) for key, value in summaries[name].items()}
        print(json.dumps({"row": name} | rounded), flush=True)
    minutes = (time.process_time() - started_s) / 60
    print(json.dumps({"model": model, "towns": len(seed), "cpu_minutes": round(minutes, 2)}))
    if page is not None:
        text = between_marks(page.read_text("utf-8"), "robustness", table(summaries))
        write_bytes(page, text.encode())


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    typer.run(main)
