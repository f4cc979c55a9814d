"""Convert the published RenderOcc checkpoint to a file that the node loads."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from renderocc_ros.checkpoint_convert import convert as convert_file
from renderocc_ros.progress import working


def convert(
    source: Annotated[Path, typer.Argument(help="official file, renderocc-7frame-12e.pth")],
    target: Annotated[Path, typer.Argument(help="file to write, ending in .safetensors")],
) -> None:
    """Convert the published RenderOcc checkpoint to a file that the node loads.

    Averaged (EMA) or plain weights, with or without the prefix "module.". No code in the file is
    run. A file that does not fit is refused with the names that do not.

    Example: renderocc convert renderocc-7frame-12e.pth swinb-stereo.safetensors
    """
    with working(f"converting {source}", Console(stderr=True)):
        report, sha256 = convert_file(source, target)
    for title, names in (
        ("used", report.used),
        ("unused", report.unused),
        ("missing", report.missing),
    ):
        for name in names:
            typer.echo(f"{title:8}{name}")
    typer.echo(
        f"{target}: {report.kind} weights, {len(report.used)} names used, {len(report.unused)} "
        f"unused, {len(report.missing)} missing\nsha256 {sha256}"
    )
