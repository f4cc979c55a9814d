"""One thread that always works on the newest job and lets older ones go."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

Job = TypeVar("Job")


class NewestFirstWorker(Generic[Job]):
    """Runs a function on jobs in a thread of its own, with one place to wait.

    A job that comes while another waits takes its place; the older goes to ``on_replaced``,
    so it can be counted. A job that is being worked on is always finished. An exception in ``work``
    goes to ``on_error`` with its job and ends nothing.

    Args:
        work: what to do with a job.
        on_replaced: called in the submitting thread.
        on_error: called in the working thread.
    """

    def __init__(
        self,
        work: Callable[[Job], None],
        on_replaced: Callable[[Job], None],
        on_error: Callable[[Job, Exception], None],
        name: str = "inference",
    ) -> None:
        self._work, self._on_replaced, self._on_error = work, on_replaced, on_error
        self._changed = threading.Condition()
        self._waiting: Job | None = None
        self._busy = False
        self._stopping = False
        # A daemon, so that an inference that hangs cannot keep the process from ending.
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def submit(self, job: Job) -> None:
        """Hand over a job; returns at once."""
        with self._changed:
            replaced, self._waiting = self._waiting, job
            self._changed.notify_all()
        if replaced is not None:
            self._on_replaced(replaced)

    @property
    def is_idle(self) -> bool:
        """Nothing runs and nothing waits."""
        with self._changed:
            return not self._busy and self._waiting is None

    def wait_idle(self, timeout_s: float) -> bool:
        """Wait until nothing runs and nothing waits; False if the time is over before."""
        with self._changed:
            return self._changed.wait_for(
                lambda: not self._busy and self._waiting is None, timeout_s
            )

    def stop(self, timeout_s: float) -> bool:
        """Let go of what waits and end after the running job; False if that takes longer."""
        with self._changed:
            self._stopping = True
            abandoned, self._waiting = self._waiting, None
            self._changed.notify_all()
        if abandoned is not None:
            self._on_replaced(abandoned)
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._busy = False
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._waiting is not None or self._stopping)
                if self._stopping or self._waiting is None:
                    return
                job, self._waiting = self._waiting, None
                self._busy = True
            try:
                self._work(job)
            except Exception as error:
                self._on_error(job, error)
