"""A damaged file is read right or refused in one line that names it: never anything else."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz.property import Sound, campaign
from tests.fuzz.targets import TARGETS


@pytest.mark.parametrize("name", TARGETS)
def test_damaged_files_are_read_right_or_refused(name: str, tmp_path: Path) -> None:
    target = TARGETS[name]
    tried = campaign(Sound(target, tmp_path), target.inputs)
    assert tried.inputs >= target.inputs // 2
    assert tried.found == {}
