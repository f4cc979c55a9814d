"""A second process that is given the output of a first one that still writes: a JSON line each.

The first stops itself in the middle of its writing, so both are there for certain.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tests.kills.dying import Moment, Running, run
from tests.kills.writers import WRITERS, Inputs

NAMES = (
    *("extract", "nuscenes-to-bag", "labels make", "truth", "train", "evaluate", "simulate"),
    "evaluate --bag",
)


def main(folder: Path) -> None:
    inputs = Inputs(folder / "inputs")
    for name in NAMES:
        writer = WRITERS[name]
        alone, out = (folder / name.replace(" ", "-") / kind / "output" for kind in ("one", "two"))
        events = run(writer.call(inputs, alone), alone.parent).events
        first = Running(writer.call(inputs, out), out.parent, Moment(events // 2, "stop"))
        stopped = first.await_stop()
        second = run(writer.call(inputs, out), out.parent)
        code = first.end().code if stopped else None
        is_whole = writer.contents(out) == writer.contents(alone)
        line = {"writer": name, "first": code, "whole": is_whole}
        print(json.dumps(line | {"second": second.code, "refusal": second.output}), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
