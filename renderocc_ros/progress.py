"""How far a long job is: bars in a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from operator import length_hint
from typing import Any, TypeVar

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

T = TypeVar("T")
LINE_PERIOD_S = 10.0


class JobProgress(Progress):
    """Rich's progress bars. Where the output is no terminal, such as the log of a cluster's job,
    each task says where it is every ten seconds and at its end.

    Args:
        console: takes them.
        amount: how an amount is shown, of ``task``.
        transient: the bars vanish at the end.
    """

    def __init__(
        self,
        console: Console,
        amount: str = "{task.completed:.0f} of {task.total:.0f}",
        transient: bool = False,
    ) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn(amount))
        super().__init__(
            *columns,
            TimeRemainingColumn(),
            console=console,
            transient=transient,
            disable=not console.is_terminal,
        )
        self._amount = amount
        self._said_s: dict[TaskID, float] = {}

    def update(self, task_id: TaskID, **changes: Any) -> None:
        """See rich."""
        super().update(task_id, **changes)
        self._say(task_id)

    def advance(self, task_id: TaskID, advance: float = 1) -> None:
        """See rich."""
        super().advance(task_id, advance)
        self._say(task_id)

    def _say(self, task_id: TaskID) -> None:
        if self.console.is_terminal:
            return
        (task,) = (each for each in self.tasks if each.id == task_id)
        now_s = time.monotonic()
        last_s = self._said_s.setdefault(task_id, now_s)
        if last_s != float("inf") and (task.finished or now_s - last_s >= LINE_PERIOD_S):
            self._said_s[task_id] = float("inf") if task.finished else now_s
            total = self._amount if task.total is not None else "{task.completed:.0f} done"
            line = f"{task.description}: {total.format(task=task)}"
            self.console.print(line, markup=False, highlight=False)


def tracked(
    items: Iterable[T], description: str, console: Console, total: int | None = None
) -> Iterator[T]:
    """The items, while it is shown how many have been taken."""
    known = total if total is not None else length_hint(items) or None
    with JobProgress(console, transient=True) as progress:
        task = progress.add_task(description, total=known)
        for item in items:
            yield item
            progress.advance(task)


@contextmanager
def working(description: str, console: Console) -> Iterator[None]:
    """Around a step that does not say how far it is: a moving sign in a terminal, a plain line at
    its start and every ten seconds elsewhere."""
    if console.is_terminal:
        with console.status(description):
            yield
        return
    console.print(f"{description} …", markup=False, highlight=False)
    done, start_s = threading.Event(), time.monotonic()

    def say() -> None:
        while not done.wait(LINE_PERIOD_S):
            passed_s = time.monotonic() - start_s
            console.print(f"{description}: {passed_s:.0f} s", markup=False, highlight=False)

    thread = threading.Thread(target=say, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
