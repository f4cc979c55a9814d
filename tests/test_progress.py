"""Progress where there is no terminal."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from rich.console import Console

from renderocc_ros import progress
from renderocc_ros.progress import JobProgress, tracked, working


def test_a_log_gets_a_line_now_and_then_and_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now_s[0])
    out = io.StringIO()
    with JobProgress(Console(file=out, width=100)) as shown:
        task = shown.add_task("labels [of] monday", total=30)
        for _ in range(30):
            now_s[0] += 1.0
            shown.advance(task)
    assert out.getvalue().splitlines() == [
        "labels [of] monday: 11 of 30",
        "labels [of] monday: 21 of 30",
        "labels [of] monday: 30 of 30",
    ]


def test_items_come_as_they_are_and_their_end_is_told() -> None:
    out = io.StringIO()
    assert list(tracked("abc", "letters", Console(file=out), 3)) == ["a", "b", "c"]
    assert out.getvalue() == "letters: 3 of 3\n"


def test_items_that_take_long_are_told_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    """As all real ones do: rich's own tracking falls silent after 0.1 s where it draws nothing."""
    now_s, out = [0.0], io.StringIO()
    monkeypatch.setattr(progress.time, "monotonic", lambda: now_s[0])
    for _ in tracked(range(4), "letters", Console(file=out)):
        threading.Event().wait(0.05)  # work
        now_s[0] += 6.0
    assert out.getvalue().splitlines() == ["letters: 3 of 4", "letters: 4 of 4"]


def test_a_step_of_unknown_length_says_that_it_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "LINE_PERIOD_S", 0.05)
    lines: list[str] = []
    second = threading.Event()

    class Out(io.StringIO):
        def write(self, text: str) -> int:
            lines.extend(filter(None, text.split("\n")))
            if len(lines) > 1:
                second.set()
            return len(text)

    with working("exporting [nano]", Console(file=Out())):
        assert second.wait(10)
    assert lines[:2] == ["exporting [nano] …", "exporting [nano]: 0 s"]


CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f]")
PROGRESS = {
    "simulate": ": 2 of 2",
    "extract": "town: 100 %",
    "labels": "labels: 2 of 2",
    "truth": "town: 2 of 2",
    "evaluate": "results: ",
    "doctor": "Read: the index",
}


def test_jobs_write_plain_lines_into_a_log(tmp_path: Path) -> None:
    """No carriage return, no colour, no cursor: what a cluster or CI keeps can be read."""
    jobs = (
        ("simulate", "town", "--preset", "tiny", "--seconds", "1", "--rig", "two_cameras"),
        ("extract", "town", "--rig", "two_cameras", "--out", "data"),
        ("labels", "make", "data", "--out", "labels", "--processes", "1"),
        ("truth", "data", "--out", "gts", "--grid", "nano"),
        ("evaluate", "nano", "town", "--rig", "two_cameras", "--out", "out", "--threads", "1"),
        ("doctor", "--bag", "town"),
    )
    for words in jobs:
        command = [sys.executable, "-m", "renderocc_ros.cli", *words]
        environment = {key: value for key, value in os.environ.items() if key != "FORCE_COLOR"}
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert not CONTROL.search(done.stdout + done.stderr), words
        said = done.stderr if words[0] != "doctor" else done.stdout
        assert PROGRESS[words[0]] in said, (words, said)
