"""What must hold of every reader of files from outside."""

from __future__ import annotations

import resource
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, seed, settings

from renderocc_ros.paths import PACKAGE
from tests.fuzz.target import Target

MAX_SECONDS = 10.0
MAX_GROWTH_KIB = 1_500_000  # of the peak of resident memory


@dataclass(frozen=True)
class Escape:
    """What a reader did instead of reading or refusing.

    Attributes:
        kind: the exception, or the bound that was broken.
        where: place in this project's own code.
        message: of the first of this kind.
    """

    kind: str
    where: str
    message: str = field(default="", compare=False)


@dataclass
class Campaign:
    """What a reader made of many damaged files.

    Attributes:
        inputs: so many were tried.
        found: kinds of escapes, how often each came, and the first content that brought it.
    """

    inputs: int = 0
    found: dict[Escape, tuple[int, bytes]] = field(default_factory=dict)


class Sound:
    """Sound files of a target in a folder, of which one gets damaged."""

    def __init__(self, target: Target, folder: Path) -> None:
        self.target, self.folder = target, folder
        target.make(folder)
        self.file = folder / target.file
        content = self.file.read_bytes()
        target.read(folder)
        self.damaged = target.damaged(content)


def campaign(sound: Sound, inputs: int, first_seed: int = 0) -> Campaign:
    """Damage a file in so many ways; the same seed damages it in the same ways."""
    tried = Campaign()

    @seed(first_seed)
    @settings(
        max_examples=inputs,
        phases=[Phase.generate],
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(sound.damaged)
    def try_one(content: bytes) -> None:
        tried.inputs += 1
        result = escape(sound, content)
        if result is not None:
            count, first = tried.found.get(result, (0, content))
            tried.found[result] = count + 1, first

    try_one()
    return tried


def escape(sound: Sound, content: bytes) -> Escape | None:
    """What goes wrong when a file with this content is read; None if nothing does."""
    sound.file.write_bytes(content)
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.process_time()
    result = None
    try:
        sound.target.read(sound.folder)
    except ValueError as error:
        if len(str(error).splitlines()) != 1:
            result = Escape("a message of several lines", _place(error), str(error))
    except Exception as error:
        result = Escape(type(error).__name__, _place(error), str(error))
    seconds = time.process_time() - started
    grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib
    if seconds > MAX_SECONDS:
        return Escape("too much time", "", f"{seconds:.1f} s of CPU")
    if grown_kib > MAX_GROWTH_KIB:
        return Escape("too much memory", "", f"{grown_kib} KiB")
    return result


def _place(error: BaseException) -> str:
    """The innermost line of this project in a traceback."""
    root = PACKAGE.parent
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if Path(frame.filename).is_relative_to(root)]
    own = [frame for frame in own if "tests" not in Path(frame.filename).parts] or own
    last = own[-1]
    return f"{Path(last.filename).relative_to(root)}:{last.lineno}"
