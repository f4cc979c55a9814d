"""The notebook runs, from a simulated drive to voxels and their score."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tests.contracts.checkout import ROOT

NOTEBOOK = ROOT / "docs" / "first-voxels.ipynb"


@pytest.mark.slow
def test_it_runs() -> None:
    pytest.importorskip("nbmake", reason="extra 'test' is not installed")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--nbmake", NOTEBOOK]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:]
    assert "1 passed" in done.stdout


def test_it_holds_no_results() -> None:
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    assert [cell for cell in cells if cell.get("outputs") or cell.get("execution_count")] == []
