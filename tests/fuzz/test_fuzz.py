"""A damaged file is read right or refused in one line that names it: never anything else."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.property import Sound, escape
from tests.fuzz.targets import TARGETS

INPUTS = 30  # of each reader; `./run bench fuzz --inputs 100000` tries more


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Sound:
    return Sound(TARGETS[request.param], tmp_path_factory.mktemp("fuzz"))


@pytest.mark.parametrize("sound", TARGETS, indirect=True)
@settings(
    max_examples=INPUTS,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
@given(data=st.data())
def test_damaged_files_are_read_right_or_refused(sound: Sound, data: st.DataObject) -> None:
    assert escape(sound, data.draw(sound.damaged)) is None
