"""One training of a study, in slices if need be, and what it is worth."""

from __future__ import annotations

import shutil
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from renderocc_ros.class_set import ClassSet
from renderocc_ros.config import load_class_set
from renderocc_ros.network.image_backbone import comes_in_package
from renderocc_ros.network.renderocc import Network, build_network
from renderocc_ros.network_config import LiftedConfig, NetworkConfig
from renderocc_training.recipe import Recipe
from renderocc_training.samples.source import TrainingSource
from renderocc_training.samples.training_sample import collate
from renderocc_training.samples.truth import TruthFolder
from renderocc_training.sequences.model import RecordedSequence
from renderocc_training.study.plan import Plan
from renderocc_training.supervision.labels.label_source import open_store
from renderocc_training.trainer.finish import finished, with_threshold
from renderocc_training.trainer.held_out import HeldOutScores, score_held_out
from renderocc_training.trainer.loop import StepReport, TrainingPaused, make_fabric, train

SAVE_EVERY = 25  # steps; a slice that is killed gives up those since the last write


@dataclass(frozen=True, eq=False)
class StudyData:
    """What all rows are trained, tuned and scored on; no sequence is in two of them.

    Attributes:
        training: sequences.
        validation: these choose each row's threshold.
        test: these are scored.
        truth: 3D labels, of training too, where a row is supervised by them.
        labels: folder for 2D labels; each label source has one of its own in it.
    """

    training: Sequence[RecordedSequence]
    validation: Sequence[RecordedSequence]
    test: Sequence[RecordedSequence]
    truth: TruthFolder
    labels: Path

    def can_train(self, plan: Plan) -> bool:
        """Whether all frames have what a row's labels are made from."""
        if plan.labels.depth != "lidar":
            return True
        sequences = (*self.training, *self.validation, *self.test)
        return all(frame.lidar for sequence in sequences for frame in sequence.frames)

    def source(
        self, sequences: Sequence[RecordedSequence], plan: Plan, recipe: Recipe, classes: ClassSet
    ) -> TrainingSource:
        """Samples of some sequences as a row wants them."""
        store = open_store(plan.labels, classes, self.labels / plan.labels_key)
        return TrainingSource(sequences, store, plan.network, classes, recipe, self.truth)


def run(
    plan: Plan,
    seed: int,
    data: StudyData,
    folder: Path,
    time_is_up: Callable[[], bool],
    workers: int = 0,
) -> dict[str, float] | None:
    """Train a row once, or go on with it, and score it; its folder is then removed.

    Args:
        workers: processes that load samples.

    Returns:
        scores on the test sequences, the CPU time of a step in seconds, and the size of a batch in
        megabytes; None if time was up first.
    """
    recipe = plan.recipe.model_copy(update={"seed": seed})
    class_set = load_class_set(plan.network.class_set)
    samples, validation, test = (
        data.source(each, plan, recipe, class_set)
        for each in (data.training, data.validation, data.test)
    )
    fabric = make_fabric(recipe, 1)
    fabric.launch()
    cpu_s = [time.process_time()]

    def on_step(report: StepReport) -> None:
        cpu_s.append(time.process_time())

    try:
        path = train(
            _network(plan.network, class_set, seed), class_set, samples, recipe, folder, fabric,
            workers=workers, save_every=SAVE_EVERY, on_step=on_step, pause=time_is_up,
        )  # fmt: skip
    except TrainingPaused:
        return None
    network = finished(path, validation, fabric.device, recipe)
    scores = score_held_out({"trained": network}, test, class_set, recipe, data.truth)["trained"]
    shutil.rmtree(folder)
    steps_s = np.diff(cpu_s).tolist()
    first = [samples.sample(i, np.random.default_rng(i)) for i in range(recipe.batch_size)]
    costs = {
        "step_cpu_s": statistics.median(steps_s) if steps_s else np.nan,
        "batch_mb": _bytes(collate(first)) * 1e-6,
    }
    return _flat(scores) | costs


def baselines(plan: Plan, data: StudyData) -> dict[str, dict[str, float]]:
    """Scores of the untrained network and of the best constant, on the test sequences."""
    class_set = load_class_set(plan.network.class_set)
    validation, test = (
        data.source(each, plan, plan.recipe, class_set) for each in (data.validation, data.test)
    )
    network = _network(plan.network, class_set, 0).to(make_fabric(plan.recipe, 1).device)
    network = with_threshold(network, class_set, validation)
    scores = score_held_out({"untrained": network}, test, class_set, plan.recipe, data.truth)
    return {name: _flat(each) for name, each in scores.items()}


def _network(config: NetworkConfig, class_set: ClassSet, seed: int) -> Network:
    parts = config.architecture
    pretrained = isinstance(parts, LiftedConfig) and comes_in_package(parts.backbone)
    return build_network(config, len(class_set), pretrained=pretrained, seed=seed)


def _flat(scores: HeldOutScores) -> dict[str, float]:
    wanted = ("miou", "iou_above_ground", "iou")
    return {key: float(scores.truth[key]) for key in wanted} | {
        "abs_rel": float(scores.depth.abs_rel)
    }


def _bytes(value: Any) -> int:
    """Of all tensors in a batch."""
    if isinstance(value, torch.Tensor):
        return value.nbytes
    if isinstance(value, tuple):
        return sum(map(_bytes, value))
    if is_dataclass(value):
        return sum(_bytes(getattr(value, field.name)) for field in fields(value))
    return 0
