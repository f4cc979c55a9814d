"""What a study found, as Markdown: means over seeds with their intervals."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student_t

from renderocc_training.study.plan import StudyTable

CONFIDENCE = 0.95
# Score, heading, factor, digits; the first is what rows are compared by.
COLUMNS = (
    ("miou", "mIoU %", 100.0, 1),
    ("iou_above_ground", "IoU above the ground %", 100.0, 1),
    ("iou", "IoU %", 100.0, 1),
    ("abs_rel", "AbsRel", 1.0, 3),
    ("step_cpu_s", "CPU s a step", 1.0, 2),
    ("batch_mb", "MB a step", 1.0, 1),
)
MAIN = COLUMNS[0][0]

Scores = Mapping[str, float]


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds, and half the length of its interval; NaN where one seed is all."""

    mean: float
    half: float

    @staticmethod
    def of(values: Sequence[float]) -> Estimate:
        """Of one value a seed: Student's interval of the mean at 95 %."""
        n = len(values)
        if n < 2:
            return Estimate(float(np.mean(values)) if n else np.nan, np.nan)
        quantile = student_t.ppf((1 + CONFIDENCE) / 2, n - 1)
        return Estimate(float(np.mean(values)), float(quantile * np.std(values, ddof=1) / n**0.5))

    def text(self, factor: float, digits: int) -> str:
        """For a cell of a table."""
        if np.isnan(self.mean):
            return "–"
        shown = f"{factor * self.mean:.{digits}f}"
        return shown if np.isnan(self.half) else f"{shown} ± {factor * self.half:.{digits}f}"


def table_lines(
    table: StudyTable,
    runs: Mapping[str, Mapping[int, Scores]],
    baselines: Mapping[str, Scores],
) -> Iterator[str]:
    """A table of a study.

    Args:
        runs: scores by row and seed.
        baselines: scores of what was not trained, by name.
    """
    yield from (f"### {table.title}", "", f"Claim: {table.claim}.", "")
    heads = [head for _, head, _, _ in COLUMNS]
    yield f"| | {' | '.join(heads)} | mIoU of '{table.against}', % | seeds |"
    yield f"|---|{'---|' * (len(heads) + 2)}"
    for row in table.rows:
        of_row = runs.get(row.name, {})
        cells = [
            Estimate.of([scores[key] for scores in of_row.values() if key in scores])
            for key, *_ in COLUMNS
        ]
        shown = [
            each.text(factor, digits)
            for each, (_, _, factor, digits) in zip(cells, COLUMNS, strict=True)
        ]
        share = _share(of_row, runs.get(table.against, {})).text(100.0, 0)
        own_steps = f", {row.steps} steps" if row.steps else ""
        yield f"| {row.name}{own_steps} | {' | '.join(shown)} | {share} | {len(of_row)} |"
    for name, scores in baselines.items():
        shown = [
            Estimate(scores.get(key, np.nan), np.nan).text(factor, digits)
            for key, _, factor, digits in COLUMNS
        ]
        yield f"| *{name}* | {' | '.join(shown)} | – | |"
    yield ""
    if table.curve:
        yield from _curve(table, runs)


def _share(of_row: Mapping[int, Scores], of_other: Mapping[int, Scores]) -> Estimate:
    """The main score as a share of another row's, seed by seed."""
    both = sorted(of_row.keys() & of_other.keys())
    return Estimate.of([of_row[s][MAIN] / of_other[s][MAIN] for s in both if of_other[s][MAIN]])


def _curve(table: StudyTable, runs: Mapping[str, Mapping[int, Scores]]) -> Iterator[str]:
    """The main score over the rows' numbers, as a chart of Mermaid's."""
    names = [row.name for row in table.rows if runs.get(row.name)]
    if not names:
        return
    means = [100 * float(np.mean([each[MAIN] for each in runs[name].values()])) for name in names]
    yield "```mermaid"
    yield "xychart-beta"
    yield f'  title "{table.title}: mIoU, %"'
    yield f"  x-axis [{', '.join(names)}]"
    yield f"  y-axis 0 --> {max(1, 1.2 * max(means)):.0f}"
    yield f"  line [{', '.join(f'{mean:.1f}' for mean in means)}]"
    yield from ("```", "")
