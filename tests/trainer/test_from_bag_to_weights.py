"""The whole way as a user walks it: record, extract, train, load. On a drive made here."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from renderocc_ros.checkpoint import Model, load_checkpoint
from renderocc_ros.cli import app
from renderocc_ros.network.occupancy_field import opacity
from renderocc_training.recipe import load_recipe
from renderocc_training.samples.source import TrainingSource
from renderocc_training.samples.training_sample import collate
from renderocc_training.sequences.data_sets import open_sequences
from renderocc_training.supervision.labels.label_source import LabelSource, open_store

STEPS = 120
NETWORK = """
name: small
image: {width: 176, height: 64}
grid: {origin_m: [-40.0, -40.0, -1.0], resolution_m: 1.6, size: [50, 50, 4]}
architecture:
  kind: lifted
  backbone:
    model_type: resnet
    settings:
      {embedding_size: 8, hidden_sizes: [8, 16, 24, 32], depths: [1, 1, 1, 1], layer_type: basic}
    out_features: [stage2, stage3, stage4]
  neck: {channels: 24, stride: 8}
  depth: {from_m: 1.0, to_m: 33.0, step_m: 1.6, context_channels: 8, hidden_channels: 24}
  encoder: {channels: [32, 48], out_channels: 8}
  field: {hidden_channels: 16}
"""
RECIPE = f"""
name: short
steps: {STEPS}
batch_size: 2
precision: 32-true
rays: {{budget: 2048, rendered: 256, auxiliary_frames: [-1, 1]}}
optimiser: {{learning_rate: 3.0e-3, warmup_steps: 5, ema_decay: 0.9}}
losses: {{query: 0.5, query_semantics: 0.5, votes: 1.0, votes_semantics: 1.0, range_l1: 0.2,
  semantics: 0.2, lifting_depth: 0.2}}
"""


def command(*arguments: str | Path) -> str:
    result = CliRunner().invoke(app, [str(word) for word in arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


@dataclass(frozen=True)
class Agreement:
    """With what the rays vote, all frames of a drive together."""

    iou: float
    best_iou: float  # of all thresholds; the model's own is chosen by classes and what is high
    iou_if_all_were_occupied: float
    right_classes: float


def agreement(model: Model, source: TrainingSource) -> Agreement:
    config = model.network.config
    thresholds = np.array([config.threshold, *np.linspace(0.05, 0.95, 19)])
    both, either = np.zeros(len(thresholds)), np.zeros(len(thresholds))
    known_cells = occupied = right = 0
    for index in range(len(source)):
        sample = source.sample(index, np.random.default_rng(0))
        with torch.inference_mode():
            field = model.network(collate([sample]).current)
        result = opacity(field.density, config.grid.resolution_m)[0].numpy()
        assert sample.votes is not None
        known, true = sample.votes != 255, sample.votes < len(model.class_set)
        taken = result > thresholds[:, None, None, None]
        both += (taken & true & known).sum(axis=(1, 2, 3))
        either += ((taken | true) & known).sum(axis=(1, 2, 3))
        known_cells += int(known.sum())
        occupied += int(true.sum())
        right += int((field.semantics[0].argmax(0).numpy() == sample.votes)[true].sum())
    iou = both / either
    return Agreement(float(iou[0]), float(iou.max()), occupied / known_cells, right / occupied)


@pytest.mark.slow
def test_a_recorded_drive_becomes_weights_that_know_where_things_are(tmp_path: Path) -> None:
    for name, seed in (("monday", 3), ("tuesday", 4)):
        command(
            "simulate", tmp_path / name, "--seed", str(seed), "--seconds", "3",
            "--preset", "tiny", "--processes", "1",
        )  # fmt: skip
    command(
        "extract", tmp_path / "monday", tmp_path / "tuesday", "--rig", "nuscenes",
        "--out", tmp_path / "data", "--processes", "1",
        "--labels", "depth=/ground_truth/{camera}/depth",
        "--labels", "classes=/ground_truth/{camera}/classes",
    )  # fmt: skip
    (tmp_path / "small.yaml").write_text(NETWORK)
    (tmp_path / "short.yaml").write_text(RECIPE)
    printed = command(
        "train", tmp_path / "data", "--out", tmp_path / "run", "--held-out", "tuesday",
        "--network", tmp_path / "small.yaml", "--recipe", tmp_path / "short.yaml",
        "--depth", "images", "--semantics", "images", "--workers", "0", "--devices", "1",
        "--pictures-every", str(STEPS),
    )  # fmt: skip
    steps = [json.loads(line) for line in (tmp_path / "run" / "steps.jsonl").open()]
    assert [entry["step"] for entry in steps] == list(range(1, STEPS + 1))
    for term, factor in (("votes", 0.8), ("votes_semantics", 0.7), ("semantics", 0.9)):
        values = [entry["terms"][term] for entry in steps]
        assert np.mean(values[-10:]) < factor * np.mean(values[:3]), term

    model = load_checkpoint(json.loads(printed.splitlines()[-1])["model"])
    recipe = load_recipe(str(tmp_path / "short.yaml"))
    store = open_store(
        LabelSource(depth="images", semantics="images"), model.class_set, tmp_path / "run/labels"
    )
    seen, unseen = (
        agreement(
            model,
            TrainingSource(
                open_sequences(tmp_path / "data", names=(name,)),
                store,
                model.network.config,
                model.class_set,
                recipe,
            ),
        )
        for name in ("monday", "tuesday")
    )
    assert seen.best_iou > 0.55
    assert unseen.best_iou > 0.45 and unseen.best_iou > 2 * unseen.iou_if_all_were_occupied
    assert unseen.right_classes > 0.4  # of 17
    scores = json.loads((tmp_path / "run" / "held_out.json").read_text())
    trained, constant = (scores[name]["votes"] for name in ("trained", "best constant"))
    assert trained["iou"] == pytest.approx(unseen.iou, abs=0.01)
    # What the threshold is chosen for is more than any constant has.
    assert trained["miou"] > 2 * constant["miou"]
    assert trained["iou_above_ground"] > 1.3 * constant["iou_above_ground"]
    assert (tmp_path / "run" / "pictures" / f"{STEPS:06d}.png").is_file()
