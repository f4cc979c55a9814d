"""A study end to end on a street of boxes, and its tables from known scores."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import t as student_t
from typer.testing import CliRunner

from renderocc_ros.cli import app
from renderocc_ros.config import config_path
from renderocc_ros.files import locked
from renderocc_training.samples.truth import OCC3D_GRID
from renderocc_training.study.plan import Study, StudyTable, load_study, plans
from renderocc_training.study.tables import Estimate, table_lines

sys.path.insert(0, str(Path(__file__).parents[1] / "samples"))

from box_world import STREET

NETWORK = """
name: small
image: {width: 160, height: 64}
grid: {origin_m: [-24.0, -24.0, -1.2], resolution_m: 1.2, size: [40, 40, 4]}
architecture:
  kind: lifted
  backbone:
    settings: {embedding_size: 8, hidden_sizes: [8, 8, 8, 8], depths: [1, 1, 1, 1]}
    out_features: [stage2, stage3]
  neck: {channels: 16, stride: 8}
  depth: {to_m: 30.0, step_m: 1.0, context_channels: 8, hidden_channels: 16}
  encoder: {channels: [16, 16], out_channels: 8}
  field: {hidden_channels: 8}
"""
STUDY = """
name: short
network: NETWORK
recipe: debug
label_source: lidar_points
steps: 3
settings: [mapping=semantickitti, "rays.auxiliary_frames=[]", rays.budget=64, rays.rendered=16]
tables:
  - title: One
    claim: noise harms
    against: clean
    rows:
      - {name: clean}
      - {name: noisy, settings: [range_noise=0.5]}
  - title: Two
    claim: as above
    against: same
    rows:
      - {name: same, settings: [seed=0]}
      - {name: no votes, settings: [losses.votes=0, losses.votes_semantics=0]}
"""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three sequences of two frames with 3D labels, a network and a study."""
    folder = tmp_path_factory.mktemp("world")
    for number in range(3):
        STREET.record_semantickitti(folder / f"street-{number}", frames=2)
        sequences = folder / "data" / "sequences"
        sequences.mkdir(parents=True, exist_ok=True)
        next((folder / f"street-{number}").glob("**/sequences/00")).rename(
            sequences / f"{number:02d}"
        )
    (folder / "small.yaml").write_text(NETWORK)
    (folder / "short.yaml").write_text(STUDY.replace("NETWORK", str(folder / "small.yaml")))
    truth = ["truth", str(folder / "data"), "--out", str(folder / "gts")]
    kitti = ["--format", "semantickitti", "--label-source", "lidar_points"]
    done = CliRunner().invoke(app, [*truth, *kitti, "--grid", str(folder / "small.yaml")])
    assert done.exit_code == 0, done.output
    return folder


def study(world: Path, out: Path, *options: str, validation: str = "01") -> tuple[int, str]:
    command = ["study", str(world / "data"), "--format", "semantickitti", "--out", str(out)]
    command += ["--truth", str(world / "gts"), "--validation", validation, "--test", "02"]
    command += ["--study", str(world / "short.yaml"), *options]
    done = CliRunner().invoke(app, command)
    return done.exit_code, done.output


def test_a_study_goes_on_in_slices_elsewhere_and_trains_alike_rows_once(
    world: Path, tmp_path: Path
) -> None:
    whole, sliced = tmp_path / "whole", tmp_path / "sliced"
    code, output = study(world, whole, "--seeds", "1")
    assert code == 0, output
    scores = sorted((whole / "scores").iterdir())
    assert len(scores) == 3  # of four rows two train alike
    slices = 0
    while not (slices and output.strip().endswith("RESULTS.md")):
        code, output = study(world, sliced, "--seeds", "1", "--minutes", "0")
        assert code == 0, output
        slices += 1
        shutil.copytree(sliced, tmp_path / f"machine-{slices}")
        shutil.rmtree(sliced)
        sliced = tmp_path / f"machine-{slices}"
    assert slices == 7  # of three rows, two pauses each
    for file in scores:
        one, other = (
            json.loads((out / "scores" / file.name).read_text())["scores"]
            for out in (whole, sliced)
        )
        for key in ("miou", "iou", "abs_rel", "batch_mb"):
            assert one[key] == pytest.approx(other[key], nan_ok=True), key
    assert not list((sliced / "runs").iterdir())
    results = (sliced / "RESULTS.md").read_text()
    for text in ("### One", "| clean |", "| noisy |", "| *untrained* |", "| *best constant* |"):
        assert text in results


def test_what_another_process_has_in_hand_is_left_to_it(world: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- short: begin -->\nstale\n<!-- short: end -->\nafter\n")
    loaded = load_study(str(world / "short.yaml"))
    keys = {row.name: plan.key for row, plan in plans(loaded, loaded.tables[0])}
    options = ("--seeds", "1", "--table", "One", "--page", str(page))

    def seeds_of(row: str) -> int:
        lines = page.read_text().splitlines()
        return int(next(line for line in lines if line.startswith(f"| {row} |")).split("|")[-2])

    with locked(tmp_path / "locks" / f"{keys['noisy']}-0"):
        code, output = study(world, tmp_path, *options)
        assert code == 0 and "clean, seed 0" in output and "noisy, seed 0" not in output, output
    assert seeds_of("noisy") == 0 and seeds_of("clean") == 1
    code, output = study(world, tmp_path, *options)
    assert code == 0 and "noisy, seed 0" in output and "clean, seed 0" not in output, output
    text = page.read_text()
    assert text.startswith("before\n") and text.endswith("after\n") and "stale" not in text
    assert seeds_of("noisy") == 1 and "### One" in text


def test_a_packed_data_set_has_a_study_but_for_rows_that_need_a_lidar(
    world: Path, tmp_path: Path
) -> None:
    packed, small = tmp_path / "packed", str(world / "small.yaml")
    command = ["pack", str(world / "data"), str(packed), "--format", "semantickitti"]
    command += ["--label-source", "lidar_points", "--network", small]
    done = CliRunner().invoke(app, [*command, "--truth", str(world / "gts")])
    assert done.exit_code == 0, done.output
    sparse = "- {name: sparse, label_source: lidar_points, settings: [mapping=semantickitti]}"
    text = STUDY.replace("NETWORK", small).replace("mapping=semantickitti", "stride_px=4")
    text = text.replace("label_source: lidar_points", "label_source: images")
    text = text.replace("- {name: clean}", f"- {{name: clean}}\n      {sparse}")
    (tmp_path / "study.yaml").write_text(text)
    command = ["study", str(packed), "--format", "packed", "--truth", str(packed / "gts")]
    command += ["--validation", "01", "--test", "02", "--study", str(tmp_path / "study.yaml")]
    command += ["--seeds", "1", "--steps", "1", "--table", "One", "--workers", "1"]
    done = CliRunner().invoke(app, [*command, "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    assert "sparse: left out, the data set has no LiDAR" in done.output
    trained = {json.loads(f.read_text())["row"] for f in (tmp_path / "out" / "scores").iterdir()}
    assert trained == {"clean", "noisy"}
    assert "| sparse | – |" in (tmp_path / "out" / "RESULTS.md").read_text()


def test_other_data_is_refused(world: Path, tmp_path: Path) -> None:
    assert study(world, tmp_path, "--seeds", "1", "--minutes", "0")[0] == 0
    code, output = study(world, tmp_path, "--seeds", "1", validation="00")
    assert code == 1 and "holds a study of other sequences for training, validation" in output
    code, output = study(world, tmp_path / "new", "--table", "Three")
    assert code == 1 and "study 'short' has One, Two" in " ".join(output.split())


def test_every_row_of_the_shipped_studies_is_a_training() -> None:
    for file in config_path("studies", "claims").parent.glob("*.yaml"):
        loaded = load_study(str(file))
        keys = {
            (table.title, row.name): plan.key
            for table in loaded.tables
            for row, plan in plans(loaded, table)
        }
        for table in loaded.tables:  # in a table all rows differ
            of_table = [key for (title, _), key in keys.items() if title == table.title]
            assert len(set(of_table)) == len(table.rows), table.title


def test_a_study_is_like_another_but_for_what_it_says(tmp_path: Path) -> None:
    claims, standard = load_study("claims"), load_study("claims-standard")
    assert standard.tables == claims.tables and standard.network == claims.network
    shared = standard.settings[: len(claims.settings)]
    assert standard.steps == 4000 and shared == claims.settings
    _, plan = next(plans(standard, standard.tables[0]))
    assert plan.network.grid.build() == OCC3D_GRID and plan.labels.stride_px == 4
    assert plan.recipe.batch_size == 8 and plan.recipe.steps == 4000
    (tmp_path / "none.yaml").write_text("name: none\n")
    with pytest.raises(ValueError, match="'none' has no tables"):
        load_study(str(tmp_path / "none.yaml"))
    (tmp_path / "loop.yaml").write_text(f"name: loop\nlike: {tmp_path / 'loop.yaml'}\n")
    with pytest.raises(ValueError, match="is like itself"):
        load_study(str(tmp_path / "loop.yaml"))


def test_rows_inherit_settings() -> None:
    loaded = load_study("claims")
    table = next(each for each in loaded.tables if each.against == "semantics")
    recipes = {row.name: plan.recipe for row, plan in plans(loaded, table)}
    assert recipes["semantics"].losses.range_l1 == 0
    last = recipes["and weighted sampling"]
    assert last.losses.range_l1 == 1 and last.losses.votes == 0
    assert last.rays.class_weights == "tempered" and len(last.rays.auxiliary_frames) == 6
    assert recipes["and auxiliary rays"].rays.class_weights == "none"


TABLE = StudyTable.model_validate(
    {
        "title": "T",
        "claim": "b is twice a",
        "against": "a",
        "curve": True,
        "rows": [{"name": "a"}, {"name": "b"}, {"name": "c"}],
    }
)


def test_tables_hold_means_intervals_and_shares() -> None:
    scores = {"a": {0: {"miou": 0.1}, 1: {"miou": 0.3}}, "b": {0: {"miou": 0.2}, 1: {"miou": 0.6}}}
    lines = list(table_lines(TABLE, scores, {"untrained": {"miou": 0.05}}))
    half = student_t.ppf(0.975, 1) * 0.1 / 1  # std 0.1414 / sqrt(2)
    row = next(line for line in lines if line.startswith("| a |"))
    assert f"| 20.0 ± {100 * half:.1f} |" in row and row.endswith("| 100 ± 0 | 2 |")
    assert next(line for line in lines if line.startswith("| b |")).endswith("| 200 ± 0 | 2 |")
    assert next(line for line in lines if line.startswith("| c |")).endswith("| – | 0 |")
    assert next(line for line in lines if line.startswith("| *untrained* |")).startswith(
        "| *untrained* | 5.0 |"
    )
    assert "  x-axis [a, b]" in lines and "  line [20.0, 40.0]" in lines


def test_an_interval_needs_two_seeds() -> None:
    assert np.isnan(Estimate.of([1.0]).half) and Estimate.of([1.0]).text(1, 1) == "1.0"
    assert Estimate.of([]).text(1, 1) == "–"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"against": "z"}, "against 'z' is none of"),
        ({"rows": [{"name": "a"}, {"name": "a"}]}, "two rows have one name"),
        ({"rows": [{"name": "a", "like": "b"}, {"name": "b"}]}, "like 'b' is no row above it"),
    ],
)
def test_tables_that_cannot_be_are_refused(change: dict, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        StudyTable.model_validate({**TABLE.model_dump(), **change})


def test_a_row_may_have_a_network_and_a_length_of_its_own() -> None:
    rows = [{"name": "a"}, {"name": "b", "network": "nano-resnet", "steps": 7}]
    rows += [{"name": "c", "like": "b", "settings": ["losses.votes=9"]}]
    content = {"name": "s", "network": "nano", "steps": 3}
    loaded = Study.model_validate({**content, "tables": [{**TABLE.model_dump(), "rows": rows}]})
    found = {row.name: plan for row, plan in plans(loaded, loaded.tables[0])}
    assert [plan.network.name for plan in found.values()] == ["nano", "nano-resnet", "nano-resnet"]
    assert [plan.recipe.steps for plan in found.values()] == [3, 7, 7]
    assert found["c"].recipe.losses.votes == 9
    lines = list(table_lines(loaded.tables[0], {}, {}))
    assert [line.split(" | ")[0] for line in lines[6:9]] == ["| a", "| b, 7 steps", "| c"]
    short = loaded.with_steps(2)
    assert {plan.recipe.steps for _, plan in plans(short, short.tables[0])} == {2}


def test_unknown_settings_are_refused() -> None:
    row = {"name": "a", "settings": ["losses.vote=1"]}
    table = {**TABLE.model_dump(), "rows": [row, {"name": "b"}]}
    content = {"name": "s", "steps": 1, "tables": [table]}
    loaded = Study.model_validate(content)
    with pytest.raises(ValueError, match=r"did you mean 'losses.votes'"):
        list(plans(loaded, loaded.tables[0]))
