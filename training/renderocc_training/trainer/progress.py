"""What one sees of a run: a live table in the terminal, curves in TensorBoard, lines in a log."""

from __future__ import annotations

import json
import time
from collections import deque
from contextlib import suppress
from pathlib import Path
from statistics import fmean
from types import TracebackType

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.live import Live
from rich.table import Table
from torch.utils.tensorboard import SummaryWriter

from renderocc_ros.files import write_bytes, write_image
from renderocc_ros.progress import LINE_PERIOD_S
from renderocc_training.trainer.loop import StepReport

WINDOW = 50  # steps that the shown means are taken over
LOG_FILE = "steps.jsonl"
PICTURES = "pictures"


class Progress:
    """Shows and records the steps of a run; a context manager around ``train``.

    A run that is resumed takes the place of what was recorded of the steps it makes again.

    Args:
        folder: takes ``steps.jsonl``, one object a step, TensorBoard's files, and pictures.
        steps: of the whole run.
        console: where the table is drawn.
    """

    def __init__(self, folder: Path, steps: int, console: Console | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._steps = folder, steps
        self._window: deque[StepReport] = deque(maxlen=WINDOW)
        self._started_s = time.perf_counter()
        self._first: int | None = None
        self._console = console or Console(stderr=True)
        self._said_s = self._started_s
        self._live = Live(console=self._console, refresh_per_second=2, get_renderable=self.table)

    def __enter__(self) -> Progress:
        self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._live.stop()
        if not self._console.is_terminal:
            self._console.line()  # which ends the table's last line
        if self._first is not None:
            self._board.close()
            self._log.close()

    def __call__(self, report: StepReport) -> None:
        """Take note of a step."""
        if self._first is None:
            self._open(report.step)
            self._first = report.step - 1
        self._window.append(report)
        self._log.write(
            json.dumps(
                {
                    "step": report.step,
                    "loss": report.total,
                    "terms": report.terms,
                    "gradient_norm": report.gradient_norm,
                    "learning_rate": report.learning_rate,
                    "samples_per_s": report.samples_per_s,
                }
            )
            + "\n"
        )
        self._log.flush()
        self._say(report)
        self._board.add_scalar("loss/total", report.total, report.step)
        for name, value in report.terms.items():
            self._board.add_scalar(f"loss/{name}", value, report.step)
        self._board.add_scalar("optimiser/gradient_norm", report.gradient_norm, report.step)
        self._board.add_scalar("optimiser/learning_rate", report.learning_rate, report.step)

    def _say(self, report: StepReport) -> None:
        """A plain line now and then where there is no terminal for the table."""
        now_s = time.perf_counter()
        if self._console.is_terminal or now_s - self._said_s < LINE_PERIOD_S:
            return
        self._said_s = now_s
        self._console.print(
            f"{self._title()}: loss {report.total:.4f}, {report.samples_per_s:.1f} samples/s",
            markup=False,
            highlight=False,
        )

    def _open(self, first: int) -> None:
        file = self._folder / LOG_FILE
        known = file.read_bytes().splitlines(keepends=True) if file.exists() else []
        kept = []
        for line in known:
            with suppress(json.JSONDecodeError):  # the last one, where the run was killed
                if json.loads(line)["step"] < first:
                    kept.append(line)
        write_bytes(file, b"".join(kept))
        self._log = file.open("a", encoding="utf-8")
        self._board = SummaryWriter(str(self._folder / "tensorboard"), purge_step=first)

    def picture(self, step: int, image: NDArray[np.uint8]) -> None:
        """Keep a picture (H, W, 3) RGB: in TensorBoard, and as ``pictures/<step>.png``."""
        self._board.add_image("rendered", image, step, dataformats="HWC")
        file = self._folder / PICTURES / f"{step:06d}.png"
        write_image(file, np.ascontiguousarray(image[..., ::-1]))

    def table(self) -> Table:
        """The means of the last steps."""
        table = Table(title=self._title())
        table.add_column("loss")
        table.add_column(f"mean of the last {len(self._window) or WINDOW} steps", justify="right")
        if not self._window:
            return table
        seen = self._window
        for name in seen[-1].terms:
            table.add_row(name, f"{fmean(report.terms[name] for report in seen):.4f}")
        table.add_section()
        table.add_row("total", f"{fmean(report.total for report in seen):.4f}")
        table.add_row("gradient norm", f"{fmean(report.gradient_norm for report in seen):.3f}")
        table.add_row("learning rate", f"{seen[-1].learning_rate:.2e}")
        table.add_row("samples/s", f"{fmean(report.samples_per_s for report in seen):.1f}")
        return table

    def _title(self) -> str:
        if not self._window or self._first is None:
            return "waiting for the first batch"
        done = self._window[-1].step
        elapsed_s = time.perf_counter() - self._started_s
        left_s = elapsed_s / (done - self._first) * (self._steps - done)
        return f"step {done} of {self._steps}, {left_s / 60:.1f} min left"
