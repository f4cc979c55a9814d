"""Every command of the README runs: here, in another test, or in CI's workspace of ROS 2."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.contracts.checkout import ROOT
from tests.contracts.test_readme import shell_lines

LINES = shell_lines(ROOT / "README.md")
ELSEWHERE = {"./run demo": "tests/node/test_demo.py", "./run test": ".ci/run"}
WORKSPACE = slice(LINES.index("source venv/bin/activate") - 3, LINES.index("colcon build") + 1)
AROUND = {  # the workspace's first and last lines: CI has another folder, and starts more
    "cd ~/ros2_ws/src && git clone THIS_REPOSITORY renderocc_ros && cd ..",
    "source install/setup.bash",
    "ros2 launch renderocc_ros live.launch.py",
}
# What makes a command short; the last value of an option counts.
SHORTER = {
    "simulate monday": "--seconds 2",
    "train data": "--steps 2 --workers 0 --set rays.auxiliary_frames=[-1]",
    "simulate town": "--preset tiny --seconds 1 --image-hz 2",
    "view town": "--seconds 1",
}
HERE = [line for line in LINES if line.startswith("./run renderocc ")]


def test_every_command_is_known() -> None:
    other = {*LINES} - {*ELSEWHERE} - {*LINES[WORKSPACE]} - AROUND - {*HERE}
    assert other == set()
    assert all((ROOT / file).is_file() for file in ELSEWHERE.values())


def test_ci_sets_the_workspace_up_as_the_readme_says() -> None:
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
    done = [line.strip() for line in workflow.splitlines()]
    assert [line for line in LINES[WORKSPACE] if line not in done] == []
    assert "ros2 launch renderocc_ros live.launch.py -s" in done


@pytest.mark.slow
def test_the_way_from_a_drive_to_a_film(tmp_path: Path) -> None:
    pytest.importorskip("pyvista", reason="extra 'view' is not installed")
    (tmp_path / "weights").symlink_to(ROOT / "weights")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    environment.pop("DISPLAY", None)
    for line in HERE:
        words = shlex.split(line.removeprefix("./run renderocc "))
        more = shlex.split(SHORTER.get(" ".join(words[:2]), ""))
        done = subprocess.run(
            [sys.executable, "-m", "renderocc_ros.cli", *words, *more],
            cwd=tmp_path, env=environment, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, f"{line}\n{done.stderr[-3000:]}"
    assert (tmp_path / "results.png").stat().st_size > 50_000
    assert (tmp_path / "film.webp").stat().st_size > 20_000


def test_the_film_is_of_moderate_size() -> None:
    image = pytest.importorskip("PIL.Image")
    file = ROOT / "docs" / "pictures" / "film.webp"
    assert file.stat().st_size < 4e6
    with image.open(file) as film:
        lasts_ms = 0
        for number in range(film.n_frames):
            film.seek(number)
            film.load()
            lasts_ms += film.info["duration"]
    assert 6_000 <= lasts_ms <= 10_000
