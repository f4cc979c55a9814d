"""A file is there whole or not at all."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from renderocc_ros.files import between_marks, write_whole

KILLED_WHILE_WRITING = """
import os, signal, sys
from pathlib import Path
from renderocc_ros.files import write_whole
with write_whole(Path(sys.argv[1])) as file:
    file.write(b"new" * 100_000)
    file.flush()
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_written_file_has_its_content_and_nothing_lies_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.txt"
    with write_whole(path) as file:
        file.write(b"content")
        assert not path.exists()
    assert path.read_bytes() == b"content"
    assert list(path.parent.iterdir()) == [path]
    (tmp_path / "plain").touch()
    assert path.stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_an_error_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"old")

    def fail() -> None:
        with write_whole(path) as file:
            file.write(b"half")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        fail()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_killed_writer_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    path.write_bytes(b"old")
    command = [sys.executable, "-c", KILLED_WHILE_WRITING, str(path)]
    assert subprocess.run(command, check=False, env=os.environ).returncode == -signal.SIGKILL
    assert path.read_bytes() == b"old"
    assert list(tmp_path.glob("*.npz")) == [path]


def test_text_is_put_between_its_marks_and_nowhere_else() -> None:
    page = "a\n<!-- x: begin -->\nold\n<!-- x: end -->\nb <!-- y: end -->\n"
    once = between_marks(page, "x", "new")
    assert once == "a\n<!-- x: begin -->\n\nnew\n\n<!-- x: end -->\nb <!-- y: end -->\n"
    assert between_marks(once, "x", "new") == once
    with pytest.raises(ValueError, match="no <!-- y: begin --> and"):
        between_marks(page, "y", "new")
