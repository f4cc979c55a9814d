"""The commands with the oldest libraries that package.xml and setup.py allow."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.contracts.checkout import ROOT

PINS = dict(
    re.findall(
        r"^([\w-]+)==(\S+)$", (ROOT / "requirements" / "constraints-oldest.txt").read_text(), re.M
    )
)
EVERY_COMMAND = """
import typer
from typer.testing import CliRunner
from renderocc_ros.cli import GROUPS, app
print("typer", typer.__version__)
for name in (name for names in GROUPS.values() for name in names):
    words = (["labels", "make"] if name == "labels" else [name])
    shown = CliRunner().invoke(app, [*words, "--help"])
    if shown.exit_code:
        print("failed", name, shown.exit_code, shown.exception, shown.output)
"""


def test_the_oldest_versions_are_the_floors_of_the_requirements() -> None:
    core = (ROOT / "requirements" / "core.txt").read_text()
    for name in ("typer", "rich", "pydantic", "numpy", "transformers", "safetensors"):
        floor = re.search(rf"^{name}>=([\d.]+)", core, re.M)
        assert floor is not None and f"{PINS[name]}.".startswith(f"{floor[1]}."), name


@pytest.mark.slow
def test_every_command_runs_with_the_typer_of_ubuntu_24_04(tmp_path: Path) -> None:
    pytest.importorskip("rclpy", reason="no ROS 2 in this Python")
    pins = [f"{name}=={PINS[name]}" for name in ("typer", "click", "rich")]
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(tmp_path)]
    installed = subprocess.run([*pip, *pins], capture_output=True, text=True)
    if installed.returncode:
        pytest.skip(f"no package index within reach: {installed.stderr[-200:]}")
    paths = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": paths}

    def python(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, *arguments]
        return subprocess.run(command, capture_output=True, text=True, env=environment)

    shown = python("-c", EVERY_COMMAND)
    assert shown.stdout.strip() == f"typer {PINS['typer']}", shown.stderr
    output = python("-m", "renderocc_ros.cli", "info", "nano", "--json")
    assert output.returncode == 0 and '"occ3d"' in output.stdout, output.stderr
    wrong = python("-m", "renderocc_ros.cli", "score", "a", "b", "--mask", "eyes")
    assert wrong.returncode == 2 and "'camera', 'lidar', 'none'" in wrong.stderr
