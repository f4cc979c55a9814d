"""A short drive with exact truth, made once."""

from __future__ import annotations

from pathlib import Path

import pytest

from renderocc_training.synthetic.drive import write_drive
from renderocc_training.synthetic.spec import DriveSpec
from renderocc_training.synthetic.world.town import TownSpec

SETS = 4


@pytest.fixture(scope="session")
def drive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four sets of two cameras in two seconds, truth with each."""
    path = tmp_path_factory.mktemp("drive") / "town"
    town = TownSpec(seed=5, seconds=SETS / 2, traffic=4, walkers=4)
    write_drive(DriveSpec(town, rig="two_cameras", preset="tiny"), path)
    return path
