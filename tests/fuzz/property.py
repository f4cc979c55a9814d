"""What must hold of every reader of files from outside."""

from __future__ import annotations

import resource
import time
import traceback
from dataclasses import dataclass
from pathlib import Path

from renderocc_ros.paths import PACKAGE
from tests.fuzz.target import Target

MAX_SECONDS = 10.0
MAX_GROWTH_KIB = 1_500_000  # of the peak of resident memory


@dataclass(frozen=True)
class Escape:
    """What a reader did instead of reading or refusing.

    Attributes:
        what: the exception, or the bound that was broken.
        where: place in this project's own code.
    """

    what: str
    where: str


class Sound:
    """Sound files of a target in a folder, of which one gets damaged."""

    def __init__(self, target: Target, folder: Path) -> None:
        self.target, self.folder = target, folder
        target.make(folder)
        self.file = folder / target.file
        content = self.file.read_bytes()
        target.read(folder)
        self.damaged = target.damaged(content)


def escape(sound: Sound, content: bytes) -> Escape | None:
    """What goes wrong when a file with this content is read; None if nothing does."""
    sound.file.write_bytes(content)
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.process_time()
    found = None
    try:
        sound.target.read(sound.folder)
    except ValueError as error:
        if len(str(error).splitlines()) != 1:
            found = Escape(f"a message of several lines: {error}", _place(error))
    except Exception as error:
        found = Escape(f"{type(error).__name__}: {error}", _place(error))
    seconds = time.process_time() - started
    grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib
    if seconds > MAX_SECONDS:
        return Escape(f"it took {seconds:.1f} s of CPU", "")
    if grown_kib > MAX_GROWTH_KIB:
        return Escape(f"it took {grown_kib} KiB", "")
    return found


def _place(error: BaseException) -> str:
    """The innermost line of this project in a traceback."""
    root = PACKAGE.parent
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if Path(frame.filename).is_relative_to(root)]
    own = [frame for frame in own if "tests" not in Path(frame.filename).parts] or own
    last = own[-1]
    return f"{Path(last.filename).relative_to(root)}:{last.lineno}"
