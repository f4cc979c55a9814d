"""Makes the box world importable; a sequence through it, and what its boxes are called."""

import sys
from pathlib import Path

import pytest

from renderocc_training.sequences.model import RecordedSequence

sys.path.insert(0, str(Path(__file__).parent))

from box_world import STREET

BOXES = """
kind: boxes
categories: {vehicle.car: car, human: pedestrian, static.wall: manmade}
on_road: driveable_surface
off_road: other_flat
"""


@pytest.fixture(scope="session")
def sequence(tmp_path_factory: pytest.TempPathFactory) -> RecordedSequence:
    return STREET.record(tmp_path_factory.mktemp("street"), frames=4)


@pytest.fixture(scope="session")
def mapping(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("mapping") / "boxes.yaml"
    file.write_text(BOXES)
    return file
