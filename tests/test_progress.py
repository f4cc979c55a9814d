"""Progress where there is no terminal."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from renderocc_ros import progress
from renderocc_ros.progress import JobProgress, tracked


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
