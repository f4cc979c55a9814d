"""What goes wrong on robots, on the real node: what it says, what it publishes, how it recovers.

One JSON object a line for each fault of tests/faults, then the whole. The node is a process of its
own, the robot publishes over DDS; every result is computed anew and compared.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.faults.campaign import campaign
from tests.faults.catalogue import FAULTS
from tests.faults.fault import Fault, Outcome
from tests.faults.table import in_document


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", default="", help="faults whose name holds these words")
    parser.add_argument("--ci", action="store_true", help="those that run with every change")
    parser.add_argument("--table", type=Path, help="write the table into this page, try nothing")
    options = parser.parse_args()
    if options.table:
        options.table.write_text(in_document(options.table.read_text("utf-8")), "utf-8")
        return
    chosen = [f for f in FAULTS if options.only in f.name and (f.in_ci or not options.ci)]
    started_s, tried = time.monotonic(), list[tuple[Fault, Outcome]]()
    with tempfile.TemporaryDirectory() as folder:
        for fault, outcome in campaign(chosen, Path(folder)):
            tried.append((fault, outcome))
            say(**asdict(outcome), verdict=outcome.verdict)
    say(**whole(tried), minutes=(time.monotonic() - started_s) / 60)
    sys.exit(any(outcome.problems for _, outcome in tried))


def whole(tried: list[tuple[Fault, Outcome]]) -> dict[str, Any]:
    """The last line. Wrong poses and mixed sets are those that are not in the fault itself."""
    outcomes = [outcome for _, outcome in tried]
    return {
        "faults": len(tried),
        "ok": sum(not outcome.problems for outcome in outcomes),
        "to_be_named": sum(bool(fault.part) for fault, _ in tried),
        "named": sum(outcome.named_s is not None for outcome in outcomes),
        "named_s_most": max((o.named_s or 0 for o in outcomes), default=None),
        "recovered": sum(outcome.recovered_s is not None for outcome in outcomes),
        "recovered_s_most": max((o.recovered_s or 0 for o in outcomes), default=None),
        "cleared_s_most": max((o.cleared_s or 0 for o in outcomes), default=None),
        "published": sum(outcome.published for outcome in outcomes),
        "expected": sum(outcome.expected for fault, outcome in tried if fault.used),
        "wrong": sum(outcome.wrong for fault, outcome in tried if not fault.own_poses),
        "mixed": sum(outcome.mixed for fault, outcome in tried if not fault.own_mixing),
        "wrong_after": sum(outcome.wrong_after for outcome in outcomes),
        "stale": sum(max(0, outcome.stale - fault.goes_back) for fault, outcome in tried),
        "deaths": sum(outcome.died for outcome in outcomes),
        "memory_mb_least": min((outcome.peak_mb for outcome in outcomes), default=None),
        "memory_mb_most": max((outcome.peak_mb for outcome in outcomes), default=None),
    }


def say(**values: Any) -> None:
    """One line."""
    rounded = {k: round(v, 2) if isinstance(v, float) else v for k, v in values.items()}
    print(json.dumps(rounded, ensure_ascii=False), flush=True)


if __name__ == "__main__":
    main()
