"""Killed or out of space, a writer leaves its output whole, resumable or refused; so says the
campaign, and a writer that does it wrong shows that the campaign would tell."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from renderocc_ros.files import write_bytes
from tests.kills.campaign import campaign
from tests.kills.writers import WRITERS, Inputs, Writer

BENCHMARK = Path(__file__).resolve().parents[2] / "benchmarks" / "kills.py"
CONTENT = b"0123456789" * 1000


class Written(Writer):
    """A writer that is a function instead of a command."""

    def call(self, inputs: Inputs, out: Path) -> Callable[[], object]:
        def write() -> None:
            try:
                self.command(inputs, out)
            except OSError as error:
                raise SystemExit(print(f"error: {error}") or 1) from error

        return write


def in_place(path: Path) -> None:
    path.write_bytes(CONTENT)


def once(path: Path) -> None:
    if path.exists():
        raise SystemExit(0)  # takes it for whole
    path.touch()
    write_bytes(path, CONTENT)


def two_files(path: Path) -> None:
    path.mkdir(exist_ok=True)
    for name in "ab":
        if (path / "b").exists():
            raise SystemExit(0)
        write_bytes(path / name, CONTENT)


def read_both(path: Path) -> object:
    files = sorted(path.glob("[ab]"))
    if not files:
        raise ValueError(f"no {path}")
    return [file.read_bytes() for file in files]


def read(path: Path) -> object:
    if not path.exists():
        raise ValueError(f"no {path}")
    return path.read_bytes()


def wordy(path: Path) -> None:
    try:
        write_bytes(path, CONTENT)
    except OSError as error:
        print("Traceback", error, sep="\n")
        raise SystemExit(2) from error


@pytest.mark.parametrize(
    ("write", "read", "fault"),
    [
        (in_place, read, "half: output"),
        (once, read, "half: output"),
        (two_files, read_both, "taken for whole"),
        (wordy, read, "stopped, exit 2"),
    ],
)
def test_a_writer_that_does_it_wrong_is_found_out(
    write: Callable[[Path], None], read: Callable[[Path], object], fault: str, tmp_path: Path
) -> None:
    def faulty(inputs: Inputs, out: Path) -> list[str | Path]:
        write(out)
        return []

    result = campaign(Written(faulty, read), Inputs(tmp_path / "in"), tmp_path / "work", 12, seed=1)
    assert any(fault in each for each in result.faults.values()), result


def test_a_writer_that_does_it_right_is_not(tmp_path: Path) -> None:
    def right(inputs: Inputs, out: Path) -> list[str | Path]:
        write_bytes(out, CONTENT)
        return []

    result = campaign(Written(right, read), Inputs(tmp_path / "in"), tmp_path / "work", 6, seed=1)
    assert result.moments == 6 and not result.faults, result.faults


@pytest.fixture(scope="module")
def lines() -> dict[str, dict[str, object]]:
    """What the benchmark says of each writer: a process of its own, since it forks."""
    command = [sys.executable, str(BENCHMARK), "--moments", "3", "--seed", "1"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    return {line["writer"]: line for line in map(json.loads, done.stdout.splitlines())}


@pytest.mark.parametrize("name", WRITERS)
def test_what_a_killed_writer_leaves_is_whole_resumable_or_refused(
    name: str, lines: dict[str, dict[str, object]]
) -> None:
    assert lines[name]["faults"] == []
    assert lines[name]["moments"] == 3
