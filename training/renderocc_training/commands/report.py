"""Show results of evaluate as one HTML page: scores, curves, worst frames, images beside voxels."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from renderocc_training.evaluation.results import read_results
from renderocc_training.report.page import write_page


def report(
    results: Annotated[list[Path], typer.Argument(help="folders that evaluate wrote, up to four")],
    out: Annotated[Path, typer.Option(help="folder for index.html, or an .html file")],
    title: Annotated[str | None, typer.Option(help="heading; the results' names if not given")] = (
        None
    ),
) -> None:
    """Show results of `renderocc evaluate` as one HTML page.

    renderocc report before after --out report

    The page needs no network and no other file: send it as it is. Several results stand side by
    side, frame by frame.
    """
    read = [read_results(folder) for folder in results]
    path = out if out.suffix == ".html" else out / "index.html"
    write_page(read, path, title or " · ".join(result.name for result in read))
    size = path.stat().st_size / 1e6
    Console(stderr=True).print(f"{path} ({size:.1f} MB)", soft_wrap=True, markup=False)
