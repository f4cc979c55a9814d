"""Writers killed, or their disk full, at random moments of their writing.

One JSON line a writer: how many moments, what the same command then made of what was left, and the
faults: half files under their final names, parts taken for the whole, endless or unclear errors.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.kills.campaign import campaign
from tests.kills.writers import WRITERS, Inputs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--moments", type=int, default=20, help="of each writer")
    parser.add_argument("--only", nargs="*", choices=WRITERS, help="these writers alone")
    parser.add_argument("--seed", type=int, default=0, help="another seed, other moments")
    options = parser.parse_args()
    faults = 0
    with tempfile.TemporaryDirectory() as folder:
        inputs = Inputs(Path(folder) / "inputs")
        for name in options.only or WRITERS:
            before = os.times()
            work = Path(folder) / name.replace(" ", "-")
            result = campaign(WRITERS[name], inputs, work, options.moments, options.seed)
            faults += len(result.faults)
            line = {
                "writer": name,
                "moments": result.moments,
                **result.outcomes,
                "faults": [f"{moment}: {fault}" for moment, fault in result.faults.items()],
                "cpu_s": round(sum(os.times()[:4]) - sum(before[:4]), 1),
            }
            print(json.dumps(line), flush=True)
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
