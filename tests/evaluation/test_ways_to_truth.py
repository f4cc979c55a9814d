"""An evaluation with nothing to score says what to give, in commands that work as they stand."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from renderocc_ros.cli import app
from tests.evaluation.test_evaluate import copied


def run(words: list[str]) -> tuple[str, str]:
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    return result.stdout, result.stderr


def test_each_way_to_figures_is_a_command_to_copy(
    drive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bag = copied(drive, tmp_path / "plain", lambda t, m: None if "/occupancy" in t else m)
    monkeypatch.chdir(tmp_path)
    evaluated = ["evaluate", "nano", str(bag), "--rig", "two_cameras", "--out", "out"]
    _, shown = run([*evaluated, "--threads", "1"])
    assert "Nothing was scored" in shown
    commands = [
        shlex.split(line)[1:] for line in shown.splitlines() if line.startswith("    renderocc ")
    ]
    named = [words[0] for words in commands]
    assert named == [
        *("extract", "truth", "evaluate"),  # LiDAR
        "evaluate",  # files
        "evaluate",  # rendered views
        *("extract", "score-labels"),  # 2D labels
    ]
    from_lidar, files, views = commands[:3], commands[3], commands[4]
    for words in from_lidar[:2]:
        run(words)
    scored = json.loads(run([*from_lidar[2], "--threads", "1", "--json"])[0])
    assert scored["frames_scored"] == scored["frames_evaluated"] > 0
    assert files[-4:] == ["--truth", "FOLDER", "--out", "scored"]
    rendered, told = run([*views[:-1], "views", "--threads", "1", "--json"])
    assert json.loads(rendered)["views"]["depth_pixels"] > 1000
    assert "Nothing was scored" not in told
    table, _ = run(commands[6])
    assert "best constant" in table


def test_a_data_set_without_truth_is_told_the_same(
    drive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run(["extract", str(drive), "--rig", "two_cameras", "--out", "data"])
    evaluated = ["evaluate", "nano", "data", "--rig", "two_cameras", "--out", "out"]
    printed, shown = run([*evaluated, "--threads", "1", "--json"])
    assert any("data: not scored" in text for text in json.loads(printed)["problems"])
    assert "renderocc truth data --out gts --grid nano" in shown
    assert "extract" not in shown and "score-labels nano data" in shown
