"""The scores of voxels for a terminal: the ones that matter come first, each with its baseline."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from rich.table import Table

BASELINE = "best constant"
CAPTION = (
    "best constant: what labels by height alone, the same in every frame, can reach in each score "
    "on this truth"
)
ROWS = (
    ("miou", "mIoU"),
    ("miou_moving", "  of what moves"),
    ("miou_static", "  of what stands"),
    ("iou_above_ground", "IoU above ground"),
    ("precision_above_ground", "  precision"),
    ("recall_above_ground", "  recall"),
    ("iou", "IoU with ground"),
    ("precision", "  precision"),
    ("recall", "  recall"),
)
HEADLINES = ("miou", "iou_above_ground")


def score_table(
    title: str, scores: Mapping[str, Any], rays: Mapping[str, float] | None = None
) -> Table:
    """A table of ``occupancy_scores`` with their ``best_constant``.

    Args:
        rays: RayIoU by class, and of their mean as "miou", for a column of its own.
    """
    table = Table("", title=title, caption=CAPTION)
    for column in ("%", f"{BASELINE} %", *(["RayIoU %"] if rays else [])):
        table.add_column(column, justify="right")
    constant = scores["best_constant"]
    for key, label in ROWS:
        if key == "iou":
            table.add_section()
        shown = [percent(scores[key]), percent(constant[key])]
        shown += [percent(rays[key]) if key in rays else ""] if rays else []
        table.add_row(label, *shown, style="bold" if key in HEADLINES else None)
    table.add_section()
    for name, iou in scores["class_iou"].items():
        shown = [percent(iou), percent(constant["class_iou"][name])]
        table.add_row(name, *shown, *([percent(rays[name])] if rays else []))
    return table


def percent(value: float | None) -> str:
    """A share in percent; a dash where there is none."""
    return "–" if value is None or np.isnan(value) else f"{100 * value:.2f}"
