"""The whole way as a user walks it: record, extract, train, load. On a drive made here."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from renderocc_ros.checkpoint import load_checkpoint
from renderocc_training.cli import app

STEPS = 60
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


def command(*words: str | Path) -> str:
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    return result.stdout


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
        "--pictures-every", str(STEPS), "--truth", tmp_path / "data" / "gts",
    )  # fmt: skip
    steps = [json.loads(line) for line in (tmp_path / "run" / "steps.jsonl").open()]
    assert [entry["step"] for entry in steps] == list(range(1, STEPS + 1))
    for term, factor in (("votes", 0.8), ("votes_semantics", 0.7), ("semantics", 0.9)):
        values = [entry["terms"][term] for entry in steps]
        assert np.mean(values[-10:]) < factor * np.mean(values[:3]), term

    model = load_checkpoint(json.loads(printed.splitlines()[-1])["model"])
    assert 0 < model.network.config.threshold < 1
    picture = cv2.imread(str(tmp_path / "run" / "pictures" / f"{STEPS:06d}.png"))
    assert picture.shape == (3 * 64, 6 * 176, 3)
    scores = json.loads((tmp_path / "run" / "held_out.json").read_text())
    trained, untrained = scores["trained"], scores["untrained"]
    # A street it never saw. Untrained, the best threshold says "occupied" almost everywhere.
    assert trained["votes_iou"] > 0.5 and trained["votes_iou"] > 1.3 * untrained["votes_iou"]
    assert trained["truth_iou"] > 1.2 * untrained["truth_iou"]
    assert trained["depth"]["abs_rel"] < untrained["depth"]["abs_rel"]
