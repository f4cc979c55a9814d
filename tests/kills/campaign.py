"""What became of an output whose writer died, and of the same command called again."""

from __future__ import annotations

import random
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.kills.dying import End, How, Moment, run
from tests.kills.writers import Contents, Inputs, Writer

HOWS: tuple[How, ...] = ("kill", "kill in a write", "full disk")
SIZES = (0, 1, 100, 5000, 50_000)  # bytes that a file may have where writes are cut short


@dataclass
class Campaign:
    """What became of a writer's output at many moments.

    Attributes:
        outcomes: how often the command, called again, made the whole ("made whole"), said that the
            whole is there ("whole before"), or refused what is not whole and named what to remove
            ("refused"). All three end with the same content as an undisturbed run.
        faults: all else, by moment.
    """

    moments: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    faults: dict[Moment, str] = field(default_factory=dict)


class Fault(Exception):
    """A half file, a part taken for the whole, or an unhelpful end."""


def campaign(writer: Writer, inputs: Inputs, folder: Path, moments: int, seed: int) -> Campaign:
    """Kill a writer at so many moments; the same seed chooses the same."""
    writer.warm(inputs)
    trial = _Trial(writer, inputs, folder)
    result = Campaign()
    for moment in _moments(trial.events, moments, seed):
        result.moments += 1
        try:
            result.outcomes[trial.outcome(moment)] += 1
        except Fault as fault:
            result.faults[moment] = str(fault)
    return result


def _moments(events: int, count: int, seed: int) -> Iterator[Moment]:
    draw = random.Random(seed)
    for number in range(count):
        yield Moment(draw.randint(1, events), HOWS[number % len(HOWS)], draw.choice(SIZES))


class _Trial:
    def __init__(self, writer: Writer, inputs: Inputs, folder: Path) -> None:
        self._writer, self._inputs = writer, inputs
        self._folder = folder / "out"
        self._out = self._folder / "output"
        self._begin()
        self._before = writer.contents(self._out)
        self._read_before = self._read()
        end = self._call()
        if end.code:
            raise RuntimeError(f"the undisturbed run failed: {end.output}")
        self._whole = writer.contents(self._out)
        self._read_whole = self._read()
        self.events = end.events

    def _begin(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(parents=True)
        self._writer.before(self._inputs, self._out)

    def _call(self, moment: Moment | None = None) -> End:
        return run(self._writer.call(self._inputs, self._out), self._folder, moment)

    def _read(self) -> object:
        """What tools read of the output; None where they refuse it."""
        try:
            return self._writer.read(self._out)
        except ValueError as refusal:
            if len(str(refusal).splitlines()) != 1:
                raise Fault(f"read: {refusal}") from refusal
            return None

    def outcome(self, moment: Moment) -> str:
        """What became of the output; raises ``Fault``."""
        self._begin()
        end = self._call(moment)
        if end.code > 0:
            _require_one_line(end, "stopped")
        half = self._writer.half(self._out, self._before, self._whole)
        if half:
            raise Fault(f"half: {', '.join(half)}")
        there = self._writer.contents(self._out)
        is_whole = not _different(there, self._whole)
        read = self._read()
        if read is not None and read not in (self._read_before, self._read_whole):
            raise Fault(f"taken for whole; it differs in {_different(there, self._whole)}")
        again = self._call()
        if again.code:
            _require_one_line(again, "called again")
            outcome = "whole before" if is_whole else "refused"
            if not is_whole:
                self._remove_what_is_named(again.output)
                again = self._call()
                if again.code:
                    raise Fault(f"called once more: {again.output}")
        else:
            outcome = "made whole"
        different = _different(self._writer.contents(self._out), self._whole)
        if different:
            raise Fault(f"called again, other than the whole: {different}")
        return outcome

    def _remove_what_is_named(self, refusal: str) -> None:
        named = re.findall(
            rf"{re.escape(str(self._folder))}[^\s:,;)]*", "".join(refusal.split("\n"))
        )
        if not named:
            raise Fault(f"called again, names nothing to remove: {refusal}")
        for path in map(Path, named):
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def _require_one_line(end: End, what: str) -> None:
    """An error of exit status 1 in one line at the end, without traceback."""
    lines = end.output.strip().splitlines()
    errors = [line for line in lines if line.startswith("error: ")]
    if end.code != 1 or len(errors) != 1 or lines[-1] != errors[0]:
        raise Fault(f"{what}, exit {end.code}: {end.output[-1500:]}")
    if "this should not happen" in errors[0]:
        raise Fault(f"{what}: {errors[0]}")


def _different(one: Contents, other: Contents) -> list[str]:
    names = sorted(one.keys() | other.keys())
    return [name for name in names if one.get(name) != other.get(name)]
