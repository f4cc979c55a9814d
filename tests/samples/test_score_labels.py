"""``renderocc score-labels`` says of a checkpoint what training said of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from box_world import STREET
from typer.testing import CliRunner

from renderocc_ros.cli import app

NETWORK = """
name: small
image: {width: 96, height: 32}
grid: {origin_m: [-20.0, -20.0, -1.0], resolution_m: 2.0, size: [20, 20, 4]}
architecture:
  kind: lifted
  backbone:
    model_type: resnet
    settings:
      {embedding_size: 8, hidden_sizes: [8, 16, 24, 32], depths: [1, 1, 1, 1], layer_type: basic}
    out_features: [stage2, stage3, stage4]
  neck: {channels: 16, stride: 8}
  depth: {from_m: 1.0, to_m: 17.0, step_m: 2.0, context_channels: 8, hidden_channels: 16}
  encoder: {channels: [16, 24], out_channels: 8}
  field: {hidden_channels: 8}
"""
KITTI = ("--format", "semantickitti", "--semantics", "points")
HELD_OUT = ("--held-out", "00[2:]", "--recipe", "debug", *KITTI)


def command(*words: str | Path) -> str:
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Beside the data set and its truth: a training that held out the last two frames."""
    folder = tmp_path_factory.mktemp("scored")
    STREET.record_semantickitti(folder / "kitti", frames=4)
    (folder / "small.yaml").write_text(NETWORK)
    truth = ("truth", folder / "kitti", "--out", folder / "gts", *KITTI)
    command(*truth, "--grid", folder / "small.yaml")
    command(
        "train", folder / "kitti", "--out", folder / "run", "--network", folder / "small.yaml",
        "--steps", "2", "--workers", "0", "--devices", "1", "--truth", folder / "gts", *HELD_OUT,
    )  # fmt: skip
    return folder / "run"


def at(threshold: str) -> tuple[str, str]:
    return "--threshold", threshold


def scores(run: Path, *options: str | Path) -> dict[str, Any]:
    words = ("score-labels", run / "model.safetensors", run.parent / "kitti", "--json", *options)
    printed: dict[str, Any] = json.loads(command(*words))
    return printed


def test_figures_are_those_of_the_training_digit_for_digit(run: Path) -> None:
    reported = json.loads((run / "held_out.json").read_text())
    reported["model"] = reported.pop("trained")
    truth = ("--truth", run.parent / "gts")
    assert scores(run, "--labels", run / "labels", *truth, *HELD_OUT) == reported
    assert reported["model"]["depth"]["pixels"] > 1000
    assert reported["best constant"]["truth"]["miou"] is not None
    # Labels that are made on the way are the same.
    assert scores(run, *truth, *HELD_OUT) == reported


def test_another_threshold_can_be_tried(run: Path) -> None:
    truth = ("--labels", run / "labels", "--truth", run.parent / "gts", *HELD_OUT)
    own, none, every = (scores(run, *truth, *more) for more in ((), at("1"), at("0")))
    assert none["model"]["truth"]["iou"] == 0  # nothing is occupied
    assert every["model"]["truth"]["recall_above_ground"] == 1.0
    assert own["untrained"] == none["untrained"]
    table = command(
        "score-labels", run / "model.safetensors", run.parent / "kitti", *truth, *at("0.25")
    )
    assert "threshold 0.25" in table


def test_the_whole_data_set_is_scored_where_no_part_is_named(run: Path) -> None:
    whole = scores(run, "--labels", run / "labels", "--recipe", "debug", *KITTI)
    part = scores(run, "--labels", run / "labels", *HELD_OUT)
    pixels = [each["model"]["depth"]["pixels"] for each in (whole, part)]
    assert pixels[0] > 1.8 * pixels[1]
    assert whole["model"]["truth"]["miou"] is None  # no --truth
    table = command(
        "score-labels", run / "model.safetensors", run.parent / "kitti", "--recipe", "debug",
        "--labels", run / "labels", *KITTI,
    )  # fmt: skip
    assert "4 samples of 1 sequences, threshold" in table
    assert all(column in table for column in ("model", "untrained", "best constant"))


def test_a_network_without_weights_is_refused(run: Path) -> None:
    result = CliRunner().invoke(app, ["score-labels", "r50", str(run.parent / "kitti"), *KITTI])
    assert result.exit_code == 1 and "'r50' has no weights here" in result.output


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["car"], "give NAME=CLASS,CLASS"),
        (["vehicle=car,lorry"], "has no 'lorry'"),
        (["vehicle=car", "vehicle=bus"], "'vehicle' is given twice"),
    ],
)
def test_groups_of_classes_that_mean_nothing_are_refused(
    run: Path, given: list[str], words: str
) -> None:
    groups = [word for each in given for word in ("--as-one", each)]
    files = [str(run / "model.safetensors"), str(run.parent / "kitti")]
    result = CliRunner().invoke(app, ["score-labels", *files, *KITTI, *groups])
    assert result.exit_code == 1 and words in result.output
