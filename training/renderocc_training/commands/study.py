"""Train many rows of a study alike, and write tables of what each is worth."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated

import torch
import typer

from renderocc_ros.config import load_class_set
from renderocc_ros.files import between_marks, locked, write_bytes
from renderocc_training.commands._label_options import Format, Root, Version, opened
from renderocc_training.evaluation.results import without_nan
from renderocc_training.samples.truth import TruthFolder
from renderocc_training.sequences.data_sets import hold_out
from renderocc_training.study.plan import Plan, Study, load_study, plans
from renderocc_training.study.runs import StudyData, baselines, run
from renderocc_training.study.tables import Scores, table_lines

RESULTS = "RESULTS.md"
LOCKS = "locks"  # a file for each training; empty, and not in the way if left
PARTS = ("training", "validation", "test")


def study(
    root: Root,
    out: Annotated[Path, typer.Option(help="folder of the study; what is done there is kept")],
    truth: Annotated[Path, typer.Option(help="folder of 3D labels of all sequences")],
    validation: Annotated[
        list[str], typer.Option(help="sequence that chooses thresholds; may be repeated")
    ],
    test: Annotated[list[str], typer.Option(help="sequence that is scored; may be repeated")],
    name: Annotated[str, typer.Option("--study", help="a shipped study, or a .yaml")] = "claims",
    steps: Annotated[
        int | None, typer.Option(min=1, help="of each training, whatever the study says")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="trainings of each row")] = 3,
    table: Annotated[
        list[str] | None, typer.Option(help="only the table of this title; may be repeated")
    ] = None,
    minutes: Annotated[
        float | None,
        typer.Option(min=0, help="stop after so long; the next call goes on from there"),
    ] = None,
    page: Annotated[
        Path | None,
        typer.Option(
            help="write the tables into this page too, between <!-- NAME: begin --> and "
            "<!-- NAME: end --> with the study's name"
        ),
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads of a training")] = 1,
    workers: Annotated[
        int, typer.Option(min=0, help="processes that load samples, to keep a GPU busy")
    ] = 0,
    format: Format = "nuscenes",
    version: Version = None,
) -> None:
    """Train many rows of a study alike, and write tables of what each is worth.

    renderocc study data --truth data/gts --validation v --test t --out study

    renderocc study packed --format packed --truth packed/gts --study claims-standard \
        --validation v --test t --out study --minutes 8 --workers 8

    Rows that train alike are trained once. All rows get a first seed before any gets a second.
    Several processes may work on one study: each takes what no other has in hand.
    The tables are in <out>/RESULTS.md. All that a study has done is in <out>: copied elsewhere, it
    goes on there. Rows whose labels need a LiDAR are left out where the data set has none.
    """
    until_s = time.monotonic() + 60 * minutes if minutes is not None else float("inf")
    wanted = load_study(name)
    if steps is not None:
        wanted = wanted.with_steps(steps)
    titles = [each.title for each in wanted.tables]
    for title in table or ():
        if title not in titles:
            raise ValueError(f"--table '{title}': study '{wanted.name}' has {', '.join(titles)}")
    rows = [
        (row, plan)
        for each in wanted.tables
        for row, plan in plans(wanted, each)
        if not table or each.title in table
    ]
    sequences = opened(root, format, version)
    data = StudyData(
        hold_out(sequences, [*validation, *test])[0],
        hold_out(sequences, validation)[1],
        hold_out(sequences, test)[1],
        TruthFolder.open(truth, load_class_set(rows[0][1].network.class_set)),
        out / "labels",
    )
    for row, plan in rows:
        if not data.can_train(plan):
            typer.echo(f"{row.name}: left out, the data set has no LiDAR", err=True)
    rows = [(row, plan) for row, plan in rows if data.can_train(plan)]
    if not rows:
        raise ValueError("no row is left: the labels of all of them need a LiDAR")
    torch.set_num_threads(threads)
    out.mkdir(parents=True, exist_ok=True)
    _same_data(out, data)
    tables = _tables(out, wanted, rows[0][1], data)
    for seed in range(seeds):
        for row, plan in rows:
            name_of_run = f"{plan.key}-{seed}"
            file = out / "scores" / f"{name_of_run}.json"
            try:
                mine = locked(out / LOCKS / name_of_run, wait=False)
            except BlockingIOError:
                continue
            with mine:
                if file.is_file():
                    continue
                typer.echo(f"{row.name}, seed {seed}", err=True)
                folder = out / "runs" / name_of_run
                scores = run(plan, seed, data, folder, lambda: time.monotonic() > until_s, workers)
                if scores is None:
                    typer.echo("time is up; call it again to go on", err=True)
                    return
                _write_json(file, {"row": row.name, "seed": seed, "scores": scores})
                tables = _tables(out, wanted, rows[0][1], data)
    if page is not None:
        write_bytes(page, between_marks(page.read_text("utf-8"), wanted.name, tables).encode())
    typer.echo(out / RESULTS)


def _same_data(out: Path, data: StudyData) -> None:
    """Refuse to go on with other data than the study began with."""
    parts = {part: [each.name for each in getattr(data, part)] for part in PARTS}
    file = out / "data.json"
    if file.is_file() and (before := json.loads(file.read_text(encoding="utf-8"))) != parts:
        changed = [part for part in PARTS if before.get(part) != parts[part]]
        raise ValueError(
            f"{out} holds a study of other sequences for {', '.join(changed)}: go on with those "
            "or choose another --out"
        )
    _write_json(file, parts)


def _tables(out: Path, wanted: Study, plan: Plan, data: StudyData) -> str:
    """What there is so far, as Markdown; written to RESULTS.md."""
    file = out / "baselines.json"
    with locked(out / LOCKS / "baselines"):
        if not file.is_file():
            _write_json(file, baselines(plan, data))
    untrained = json.loads(file.read_text(encoding="utf-8"))
    lines = [
        f"Network {wanted.network}, {wanted.steps} steps each, {len(data.training)} sequences to "
        f"train on, {len(data.validation)} for thresholds, {len(data.test)} for scores. Means over "
        "seeds with Student's 95 % intervals.",
        "",
    ]
    for table in wanted.tables:
        runs: dict[str, dict[int, Scores]] = {}
        for row, each in plans(wanted, table):
            for path in sorted((out / "scores").glob(f"{each.key}-*.json")):
                content = json.loads(path.read_text(encoding="utf-8"))
                scores = {k: v for k, v in content["scores"].items() if v is not None}
                runs.setdefault(row.name, {})[content["seed"]] = scores
        lines += table_lines(table, runs, untrained)
    text = "\n".join(lines).strip()
    write_bytes(out / RESULTS, f"# Study: {wanted.name}\n\n{text}\n".encode())
    return text


def _write_json(file: Path, content: object) -> None:
    write_bytes(file, f"{json.dumps(without_nan(content), indent=2)}\n".encode())
