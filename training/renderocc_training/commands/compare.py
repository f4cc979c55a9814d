"""Compare two results, or two models on recordings: differences with bootstrap intervals."""

from __future__ import annotations

import json
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from renderocc_ros.config import load_rig
from renderocc_training.commands._score_table import (
    BASELINE,
    CAPTION,
    HEADLINES,
    ROWS,
    percent,
)
from renderocc_training.evaluation.comparison import (
    CONFIDENCE,
    RESAMPLES,
    SEED,
    Comparison,
    compare_results,
)
from renderocc_training.evaluation.label_files import Mask
from renderocc_training.evaluation.results import (
    Results,
    ResultsWriter,
    read_results,
    without_nan,
)

NAMED = 5


def compare(
    first: Annotated[str, typer.Argument(help="before: folder that evaluate wrote, or a model")],
    second: Annotated[str, typer.Argument(help="after: the same")],
    bag: Annotated[
        list[Path] | None,
        typer.Option(help="evaluate models on this recording; may be given several times"),
    ] = None,
    rig: Annotated[str, typer.Option(help="rig of the recordings: shipped name or .yaml")] = (
        "nuscenes"
    ),
    truth: Annotated[
        Path | None, typer.Option(help="folder of Occ3D files; else the bags' own truth")
    ] = None,
    mask: Annotated[Mask, typer.Option(help="score only voxels that this sensor sees")] = "camera",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 …")] = "auto",
    out: Annotated[
        Path | None, typer.Option(help="keep what models were evaluated to: OUT/first, OUT/second")
    ] = None,
    block: Annotated[
        int, typer.Option(min=1, help="neighbouring frames drawn together; they are alike")
    ] = 5,
    resamples: Annotated[int, typer.Option(min=100, help="draws of the bootstrap")] = RESAMPLES,
    seed: Annotated[int, typer.Option(min=0, help="of those draws")] = SEED,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object instead")] = False,
) -> None:
    """Compare two results of `renderocc evaluate`, or two models on the same recordings.

    renderocc compare before after

    renderocc compare old.safetensors new.safetensors --bag monday --bag tuesday

    A model is what evaluate takes: a checkpoint, an .onnx or a network's name. Only frames that
    both scored count. "Better" is said where the 95 % interval of the paired difference leaves out
    zero.
    """
    console = Console(stderr=True)
    if bag and Path(first).is_dir() and Path(second).is_dir():
        raise ValueError("--bag is to evaluate models on; these two are results already")
    with tempfile.TemporaryDirectory(prefix="renderocc-compare-") as scratch:
        a, b = (
            _results(given, bag or [], (out or Path(scratch)) / place, rig, truth, mask, device)
            for place, given in (("first", first), ("second", second))
        )
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
    Console().print(f"A: {a.name}\nB: {b.name}", markup=False)
    Console().print(_table(result, block))


def _table(result: Comparison, block: int) -> Table:
    title = f"{result.frames} common frames, blocks of {block}"
    interval = f"{100 * CONFIDENCE:.0f} % interval"
    table = Table("", title=title, caption=CAPTION, box=SIMPLE_HEAD, pad_edge=False)
    table.columns[0].no_wrap = True
    for column in ("A %", "B %", BASELINE.replace(" ", "\n"), "B − A", interval, "B is"):
        table.add_column(column, justify="right")
    labels = dict(ROWS)
    for name, each in result.scores.items():
        shares = map(percent, (each.first, each.second, each.constant))
        low_to_high = f"{_points(each.low)} … {_points(each.high)}"
        table.add_row(
            labels.get(name, name),
            *shares,
            _points(each.difference),
            low_to_high,
            {"second is better": "better", "first is better": "worse"}.get(each.verdict, "–"),
            style="bold" if name in HEADLINES else None,
        )
    return table


def _results(
    given: str,
    bags: list[Path],
    folder: Path,
    rig: str,
    truth: Path | None,
    mask: Mask,
    device: str,
) -> Results:
    """Results that are there, or those of a model on the bags."""
    if Path(given).is_dir():
        return read_results(Path(given))
    if not bags:
        raise ValueError(
            f"'{given}' is no folder that evaluate wrote; to compare models give recordings: --bag"
        )
    from renderocc_training.commands.evaluate import evaluated, load_predictor
    from renderocc_training.evaluation.recordings import Plan

    console = Console(stderr=True)
    predictor, about = load_predictor(given, console, device=device)
    writer = ResultsWriter(folder, keep_predictions=False, keep_images=False)
    evaluated(predictor, about, given, bags, Plan(load_rig(rig), writer, mask, truth), console)
    return read_results(folder)


def _points(value: float) -> str:
    return "–" if np.isnan(value) else f"{100 * value:+.2f}"
