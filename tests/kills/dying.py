"""A command as a forked process that is killed, or whose disk is full, at a moment of its writing.

Moments are counted in changes of files (created, opened for writing, renamed, removed …), which
Python reports to audit hooks. What libraries write without Python is met by a limit on the size of
files: the kernel kills the process, or fails the write, in the midst of it.
"""

from __future__ import annotations

import mmap
import os
import resource
import signal
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from renderocc_ros.cli import main

How = Literal["kill", "kill in a write", "full disk", "stop"]
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
CHANGES = {"os.rename", "os.mkdir", "os.rmdir", "os.remove", "os.link", "os.symlink", "os.truncate"}


@dataclass(frozen=True)
class Moment:
    """Before the ``event``-th change of a file, counted from 1, the process dies, or stops until it
    is told to go on; or from then on no file can grow beyond ``size`` bytes, which kills it or
    fails the write."""

    event: int
    how: How = "kill"
    size: int = 0


@dataclass(frozen=True)
class End:
    """How a command ended.

    Attributes:
        code: exit status; negative: the signal that ended it.
        events: changes of files that were counted.
        output: what it printed.
    """

    code: int
    events: int
    output: str


def renderocc(*words: str | Path) -> Callable[[], None]:
    """The command line with these words."""

    def call() -> None:
        sys.argv = ["renderocc", *map(str, words)]
        main()

    return call


def run(call: Callable[[], object], folder: Path, moment: Moment | None = None) -> End:
    """Call something in a forked process; changes of files below ``folder`` count."""
    return Running(call, folder, moment).end()


class Running:
    """A forked process that calls something."""

    def __init__(self, call: Callable[[], object], folder: Path, moment: Moment | None) -> None:
        self._counter = mmap.mmap(-1, 8)
        self._output, writing = os.pipe()
        self._process = os.fork()
        if self._process == 0:
            _become(call, folder, moment, self._counter, writing)
        os.close(writing)

    def await_stop(self) -> bool:
        """Whether it stopped, at its moment, and did not end."""
        return os.WIFSTOPPED(os.waitpid(self._process, os.WUNTRACED)[1])

    def end(self) -> End:
        """Let it go on if it stopped, and wait for its end."""
        os.kill(self._process, signal.SIGCONT)
        with os.fdopen(self._output, "rb") as pipe:
            output = pipe.read().decode(errors="replace")
        code = os.waitstatus_to_exitcode(os.waitpid(self._process, 0)[1])
        return End(code, int.from_bytes(self._counter[:8], "little"), output)


def _become(
    call: Callable[[], object],
    folder: Path,
    moment: Moment | None,
    counter: mmap.mmap,
    writing: int,
) -> None:
    """The forked process; it does not return."""
    code = 1
    try:
        os.dup2(writing, 1)
        os.dup2(writing, 2)
        sys.stdout, sys.stderr = (os.fdopen(number, "w", closefd=False) for number in (1, 2))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        fills = moment is not None and moment.how == "full disk"
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN if fills else signal.SIG_DFL)
        sys.addaudithook(_hook(str(folder), moment, counter))
        call()
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _hook(folder: str, moment: Moment | None, counter: mmap.mmap) -> Any:
    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if not _changes(event, arguments, folder):
            return
        count = int.from_bytes(counter[:8], "little") + 1
        counter[:8] = count.to_bytes(8, "little")
        if moment is None or count != moment.event:
            return
        if moment.how in ("kill", "stop"):
            os.kill(os.getpid(), signal.SIGKILL if moment.how == "kill" else signal.SIGSTOP)
            return
        resource.setrlimit(resource.RLIMIT_FSIZE, (moment.size, resource.RLIM_INFINITY))

    return hook


def _changes(event: str, arguments: tuple[Any, ...], folder: str) -> bool:
    """Whether an audit event is a change of a file below the folder."""
    if event == "open":
        if not isinstance(arguments[2], int) or not arguments[2] & WRITING:
            return False
    elif event not in CHANGES:
        return False
    path = arguments[0]
    if isinstance(path, bytes):
        path = os.fsdecode(path)
    # What is removed with its folder is named relative to it.
    relative = event in ("os.remove", "os.rmdir") and arguments[1] != -1
    return relative or (isinstance(path, str | os.PathLike) and os.fspath(path).startswith(folder))
