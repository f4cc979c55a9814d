"""Compare two results of evaluate frame by frame: differences with bootstrap intervals."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from renderocc_training.evaluation.comparison import CONFIDENCE, RESAMPLES, SEED, compare_results
from renderocc_training.evaluation.results import read_results, without_nan

NAMED = 5


def compare(
    first: Annotated[Path, typer.Argument(help="folder that evaluate wrote: before")],
    second: Annotated[Path, typer.Argument(help="folder that evaluate wrote: after")],
    block: Annotated[
        int, typer.Option(min=1, help="neighbouring frames drawn together; they are alike")
    ] = 5,
    resamples: Annotated[int, typer.Option(min=100)] = RESAMPLES,
    seed: Annotated[int, typer.Option()] = SEED,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object instead")] = False,
) -> None:
    """Compare two results of `renderocc-train evaluate` on the same recordings.

    renderocc-train compare before after

    Only frames that both scored count. "Better" is said where the 95 % interval of the paired
    difference leaves out zero.
    """
    console = Console(stderr=True)
    a, b = read_results(first), read_results(second)
    result = compare_results(a, b, block, resamples, seed)
    for name, tokens in ((a.name, result.only_first), (b.name, result.only_second)):
        if tokens:
            more = f" and {len(tokens) - NAMED} more" if len(tokens) > NAMED else ""
            console.print(
                f"[yellow]{len(tokens)} frames are scored in '{name}' alone and left out: "
                f"{', '.join(tokens[:NAMED])}{more}"
            )
    if as_json:
        scores = {
            name: asdict(each) | {"difference": each.difference, "verdict": each.verdict}
            for name, each in result.scores.items()
        }
        content = {"first": a.name, "second": b.name, "frames": result.frames, "block": block}
        typer.echo(json.dumps(without_nan(content | {"scores": scores})))
        return
    table = Table(
        "score",
        a.name,
        b.name,
        "difference",
        f"{100 * CONFIDENCE:.0f} % interval",
        "",
        title=f"{result.frames} common frames, blocks of {block}",
    )
    for name, each in result.scores.items():
        interval = f"{_points(each.low)} … {_points(each.high)}"
        row = (_percent(each.first), _percent(each.second), _points(each.difference), interval)
        table.add_row(name, *row, each.verdict.replace("first", a.name).replace("second", b.name))
    Console().print(table)


def _percent(value: float) -> str:
    return "–" if np.isnan(value) else f"{100 * value:.2f}"


def _points(value: float) -> str:
    return "–" if np.isnan(value) else f"{100 * value:+.2f}"
