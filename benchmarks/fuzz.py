"""Damaged files through every reader of files from outside: what is neither read nor refused.

The properties of tests/fuzz with more inputs, one JSON object a line: each reader with the inputs
tried and the distinct escapes, then the whole. ``--inputs 100000`` is the sum over all readers.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.fuzz.property import Sound, campaign
from tests.fuzz.targets import TARGETS


def tried(name: str, inputs: int, first_seed: int, examples: Path | None) -> dict[str, object]:
    """Try one reader; the first input of each kind of escape is kept where a folder is given."""
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        result = campaign(Sound(TARGETS[name], Path(folder)), inputs, first_seed)
    for number, (escape, (_, content)) in enumerate(result.found.items()):
        print(f"{name}: {escape.kind} at {escape.where}: {escape.message}", file=sys.stderr)
        if examples is not None:
            examples.mkdir(parents=True, exist_ok=True)
            (examples / f"{name}-{number}".replace("/", "_")).write_bytes(content)
    kinds = [
        {"kind": escape.kind, "where": escape.where, "inputs": count}
        for escape, (count, _) in result.found.items()
    ]
    return {
        "reader": name,
        "inputs": result.inputs,
        "escapes": sum(count for count, _ in result.found.values()),
        "kinds": kinds,
        "seconds": round(time.perf_counter() - started, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--inputs", type=int, default=2000, help="of all readers together")
    parser.add_argument("--only", nargs="*", choices=TARGETS, help="these readers alone")
    parser.add_argument("--seed", type=int, default=0, help="another seed tries other inputs")
    parser.add_argument("--examples", type=Path, help="keep inputs that escape in this folder")
    options = parser.parse_args()
    names = options.only or list(TARGETS)
    lines = []
    for name in names:
        each = max(1, options.inputs // len(names))
        lines.append(tried(name, each, options.seed, options.examples))
        print(json.dumps(lines[-1]), flush=True)
    total = {key: sum(int(str(line[key])) for line in lines) for key in ("inputs", "escapes")}
    kinds = sum(len(list(line["kinds"])) for line in lines)  # type: ignore[call-overload]
    print(json.dumps({"readers": len(lines), **total, "kinds": kinds}))
    sys.exit(1 if kinds else 0)


if __name__ == "__main__":
    main()
