"""Say what is installed and what of a running rig arrives, and the cure for what is wrong."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from renderocc_ros.commands._installation import Check, attempt, installation
from renderocc_ros.config import load_rig

MARKS = {"ok": "[green]ok[/]", "note": "[yellow]note[/]", "wrong": "[red]wrong[/]"}


def doctor(
    rig: Annotated[
        str | None, typer.Option(help="also listen to this rig: shipped name or .yaml")
    ] = None,
    checkpoint: Annotated[Path | None, typer.Option(help="also look into this model")] = None,
    seconds: Annotated[float, typer.Option(min=0, help="how long to listen to the rig")] = 3.0,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON instead of a table")] = False,
) -> None:
    """Say what is installed and what of a running rig arrives, and the cure for what is wrong.

    renderocc doctor --rig my_rig.yaml

    Ends with status 1 if anything is wrong.
    """
    checks = list(installation())
    if checkpoint is not None:
        checks.append(_model(checkpoint))
    if rig is not None:
        checks += _rig(rig, seconds)
    if as_json:
        print(json.dumps([asdict(check) for check in checks]))
    else:
        _show(checks)
    if any(check.level == "wrong" for check in checks):
        raise typer.Exit(1)


def _show(checks: list[Check]) -> None:
    table = Table("", "what", "found", "cure")
    for check in checks:
        table.add_row(MARKS[check.level], check.subject, check.observation, check.cure)
    Console().print(table)


def _model(path: Path) -> Check:
    def read() -> str:
        from renderocc_ros.prediction import Predictor

        predictor = Predictor.from_checkpoint(path, device="cpu")
        grid = predictor.grid
        return (
            f"network {predictor.config.name}, {len(predictor.class_set)} classes, grid "
            f"{grid.size} of {grid.resolution_m} m"
        )

    return attempt("model", read, "give the path of a checkpoint that training has written")


def _rig(name: str, seconds: float) -> Iterator[Check]:
    loaded = load_rig(name)
    try:
        from renderocc_ros.tools.rig_checkup import check_rig
    except ImportError as error:
        yield Check("wrong", f"rig {name}", f"cannot listen: {error}", "see the lines above")
        return
    for finding in check_rig(loaded, seconds):
        yield Check(
            "ok" if finding.good else "wrong", finding.subject, finding.observation, finding.cure
        )
