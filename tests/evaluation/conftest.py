"""A short drive with exact truth, made and evaluated once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from renderocc_ros.cli import app
from renderocc_simulation.drive import write_drive
from renderocc_simulation.spec import DriveSpec
from renderocc_simulation.world.town import TownSpec

SETS = 4


@pytest.fixture(scope="session")
def drive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four sets of two cameras in two seconds, truth with each."""
    path = tmp_path_factory.mktemp("drive") / "town"
    town = TownSpec(seed=5, seconds=SETS / 2, traffic=4, walkers=4)
    write_drive(DriveSpec(town, rig="two_cameras", preset="tiny"), path)
    return path


def evaluate(*arguments: str | Path) -> tuple[int, str, str]:
    command = ["evaluate", "nano", *map(str, arguments), "--rig", "two_cameras", "--threads", "1"]
    result = CliRunner().invoke(app, command)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture(scope="session")
def evaluated(drive: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    folder = tmp_path_factory.mktemp("evaluated")
    code, out, err = evaluate(
        drive, "--out", folder / "results", "--json", "--views", "--bag", folder / "bag"
    )
    assert code == 0, err
    return folder, json.loads(out)
