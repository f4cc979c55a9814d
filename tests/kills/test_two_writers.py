"""Of two processes that write one output, the second is refused, and the first not harmed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.kills.two_writers import NAMES

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What became of each: from a process of its own, since it forks."""
    folder = tmp_path_factory.mktemp("two")
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(paths)}
    command = [sys.executable, "-m", "tests.kills.two_writers", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=ROOT)
    return {line["writer"]: line for line in map(json.loads, done.stdout.splitlines())}


@pytest.mark.parametrize("name", NAMES)
def test_the_second_writer_is_refused_and_the_first_one_unharmed(
    name: str, lines: dict[str, dict[str, Any]]
) -> None:
    line = lines[name]
    assert (line["first"], line["whole"], line["second"]) == (0, True, 1), line
    assert "another process" in line["refusal"] or "another training" in line["refusal"]
    assert "Traceback" not in line["refusal"]
