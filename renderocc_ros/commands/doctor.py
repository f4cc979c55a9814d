"""Say what is installed and what of a running rig arrives, and the cure for what is wrong."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table

from renderocc_ros.commands._installation import attempt, installation
from renderocc_ros.config import load_rig
from renderocc_ros.files import write_whole
from renderocc_ros.outside_data import one_line
from renderocc_ros.progress import working
from renderocc_ros.rig.checkup import Check

MARKS = {"ok": "[green]ok[/]", "note": "[yellow]note[/]", "wrong": "[red]wrong[/]"}


def doctor(
    rig: Annotated[
        str | None, typer.Option(help="also listen to this rig: shipped name or .yaml")
    ] = None,
    checkpoint: Annotated[Path | None, typer.Option(help="also look into this model")] = None,
    seconds: Annotated[float, typer.Option(min=0, help="how long to listen to the rig")] = 3.0,
    bag: Annotated[
        Path | None,
        typer.Option(help="look into this recording instead: its topics, and what it lacks"),
    ] = None,
    write_rig: Annotated[
        Path | None, typer.Option(help="write a rig for --bag to this new .yaml, with comments")
    ] = None,
    namespace: Annotated[
        str, typer.Option(help="of one of several robots in --bag, whose transforms are read")
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="print JSON instead of a table")] = False,
) -> None:
    """Say what is installed and what of a running rig arrives, and the cure for what is wrong.

    renderocc doctor --rig my_rig.yaml

    renderocc doctor --bag monday --write-rig my_rig.yaml

    With --bag, a recording is looked into instead, without ROS, at its beginning and its index;
    --rig then is the rig that it is compared with. Ends with status 1 if anything is wrong.
    """
    if bag is not None:
        checks = _look_into(bag, rig, write_rig, namespace, as_json)
        raise typer.Exit(int(any(check.level == "wrong" for check in checks)))
    if write_rig is not None or namespace:
        raise ValueError("--write-rig and --namespace are of a recording: give it by --bag")
    checks = list(installation())
    if checkpoint is not None:
        checks.append(_model(checkpoint))
    if rig is not None:
        checks += _rig(rig, seconds)
    if as_json:
        print(json.dumps([check.as_json() for check in checks]))
    else:
        _show(checks)
    if any(check.level == "wrong" for check in checks):
        raise typer.Exit(1)


def _look_into(
    bag: Path, rig: str | None, write_rig: Path | None, namespace: str, as_json: bool
) -> Sequence[Check]:
    from renderocc_ros.commands._bag_doctor import look_into

    if write_rig is not None:
        if rig is not None:
            raise ValueError("--write-rig guesses a rig, --rig names one: give one of them")
        if write_rig.suffix not in (".yaml", ".yml"):
            raise ValueError(f"--write-rig {write_rig}: rig files end in .yaml")
        if write_rig.exists():
            raise ValueError(f"{write_rig} exists and is not overwritten: name another file")
    with working(f"looking into {bag}", Console(stderr=True)):
        report = look_into(bag, rig, namespace, write_rig)
    if write_rig is not None and report.rig_text:
        with write_whole(write_rig) as file:
            file.write(report.rig_text.encode())
    if as_json:
        print(json.dumps(asdict(report) | {"checks": [each.as_json() for each in report.checks]}))
        return report.checks
    console = Console(highlight=False)
    console.print(_plain(report.heading))
    for topic in sorted(report.topics, key=lambda topic: not topic.use):
        room = console.width - len(topic.topic) - len(topic.use)
        between = " " * room if room > 1 else "\n"
        about = ", ".join(filter(None, (topic.type, topic.rate, topic.content)))
        console.print(f"{_plain(topic.topic)}{between}[bold]{_plain(topic.use)}[/]")
        console.print(Padding(_plain(about), (0, 0, 0, 2)), style="dim")
    if report.unread:
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(report.unread.items()))
        console.print(f"not read: {kinds}", markup=False)
    _show(report.checks)
    if write_rig is not None and report.rig_text:
        console.print(f"rig: {write_rig}", markup=False, soft_wrap=True)
    for command in report.commands:
        console.print(command, markup=False, soft_wrap=True)
    return report.checks


def _show(checks: Sequence[Check]) -> None:
    table = Table("", "what", "found [yellow]→ cure[/]")
    for check in checks:
        cure = f"\n[yellow]→ {_plain(check.cure)}[/]" if check.cure else ""
        table.add_row(
            MARKS[check.level], _plain(check.subject), f"{_plain(check.observation)}{cure}"
        )
    for column in table.columns:
        column.overflow = "fold"
    Console(highlight=False).print(table)


def _plain(text: str) -> str:
    """What drivers write into names is no markup, and moves no cursor."""
    return escape(one_line(text))


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
    yield from check_rig(loaded, seconds)
