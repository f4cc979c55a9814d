"""Check that depth, dense occupancy and LiDAR of a recording agree with each other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from renderocc_simulation.bag_truth import truth_frames
from renderocc_simulation.check import check_truth as compare


def check_truth(
    bag: Annotated[Path, typer.Argument(help="a recording with truth, as 'simulate' makes it")],
    as_json: Annotated[bool, typer.Option("--json", help="print the shares as JSON")] = False,
) -> None:
    """Check that depth, dense occupancy and LiDAR of a recording agree with each other.

    renderocc check-truth town

    Ends with status 1 where they do not.
    """
    scores = compare(truth_frames(bag))
    if as_json:
        print(json.dumps(scores.as_dict()))
    else:
        table = Table(title=str(bag))
        table.add_column("what")
        table.add_column("value", justify="right")
        for name, value in scores.as_dict().items():
            shown = f"{value:.2%}" if isinstance(value, float) else str(value)
            table.add_row(name.replace("_", " "), shown)
        Console().print(table)
    if not scores.agrees:
        raise typer.Exit(1)
