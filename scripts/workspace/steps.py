"""Steps: each says what it does and how long it took; a failed one names its log and the cure."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path


class StepFailed(Exception):
    """A step did not succeed; the message is for the user."""


def say(text: str) -> None:
    """Print for the user. On stderr: stdout belongs to the command that runs afterwards."""
    print(f"[run] {text}", file=sys.stderr, flush=True)


@contextmanager
def step(title: str) -> Iterator[None]:
    """Announce a step, and its seconds when it is done."""
    say(f"{title} …")
    start = time.monotonic()
    yield
    say(f"{title}: done in {time.monotonic() - start:.1f} s")


def run_logged(
    command: Sequence[str | Path],
    log: Path,
    cure: str,
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> None:
    """Run a command of a step with its output in a log file.

    Raises:
        StepFailed: the command failed; the text has the end of the log, its path and the cure.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as output:
        output.write(" ".join(str(word) for word in command) + "\n")
        output.flush()
        try:
            code = subprocess.call(
                [str(word) for word in command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=dict(env) if env is not None else None,
                cwd=cwd,
            )
        except OSError as error:
            output.write(f"{error}\n")
            code = 127
    if code != 0:
        tail = "".join(
            f"    {line}\n" for line in log.read_text(errors="replace").splitlines()[-15:]
        )
        raise StepFailed(
            f"{Path(command[0]).name} ended with {code}:\n{tail}  log:  {log}\n  cure: {cure}"
        )


class Stamp:
    """Remembers what a step was done for, so that it is done again only when that changes."""

    def __init__(self, folder: Path, name: str, inputs: str) -> None:
        self._file = folder / "stamps" / name
        self._inputs = inputs

    @property
    def is_current(self) -> bool:
        try:
            return self._file.read_text() == self._inputs
        except OSError:
            return False

    def set(self) -> None:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        partial = self._file.with_suffix(f".{os.getpid()}")
        partial.write_text(self._inputs)
        partial.replace(self._file)

    def clear(self) -> None:
        self._file.unlink(missing_ok=True)
