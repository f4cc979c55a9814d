"""The newest job wins, every other one is accounted for, and no exception ends the thread."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

pytest.importorskip("rclpy", reason="no ROS 2 in this Python")

from renderocc_ros.node.worker import NewestFirstWorker

pytestmark = pytest.mark.ros


class Log:
    """What became of each job."""

    def __init__(self) -> None:
        self.done: list[int] = []
        self.replaced: list[int] = []
        self.failed: list[tuple[int, str]] = []

    def worker(self, work: Callable[[int], None]) -> NewestFirstWorker[int]:
        def record(job: int) -> None:
            work(job)
            self.done.append(job)

        return NewestFirstWorker(
            record,
            self.replaced.append,
            lambda job, error: self.failed.append((job, str(error))),
        )


def test_newest_job_wins_and_the_others_are_handed_back() -> None:
    started, release = threading.Event(), threading.Event()

    def work(job: int) -> None:
        started.set()
        assert release.wait(10)

    log = Log()
    worker = log.worker(work)
    worker.submit(0)
    assert started.wait(10)
    for job in (1, 2, 3):
        worker.submit(job)
    release.set()
    assert worker.wait_idle(10)
    assert log.done == [0, 3]
    assert log.replaced == [1, 2]
    assert worker.stop(10)


def test_every_job_is_done_or_handed_back() -> None:
    log = Log()
    worker = log.worker(lambda job: None)
    for job in range(2000):
        worker.submit(job)
    assert worker.wait_idle(10)
    assert sorted(log.done + log.replaced) == list(range(2000))
    assert log.done[-1] == 1999
    assert log.done == sorted(log.done)
    assert worker.stop(10)


def test_exception_is_reported_and_survived() -> None:
    log = Log()

    def work(job: int) -> None:
        if job == 1:
            raise RuntimeError("out of memory")

    worker = log.worker(work)
    for job in range(3):
        worker.submit(job)
        assert worker.wait_idle(10)
    assert log.done == [0, 2]
    assert log.failed == [(1, "out of memory")]
    assert worker.stop(10)


def test_stop_hands_back_what_waits_and_says_if_the_running_job_hangs() -> None:
    started, release = threading.Event(), threading.Event()

    def work(job: int) -> None:
        started.set()
        release.wait(10)

    log = Log()
    worker = log.worker(work)
    worker.submit(0)
    assert started.wait(10)
    worker.submit(1)
    assert not worker.stop(0.01)
    assert log.replaced == [1]
    release.set()
    assert worker.stop(10)
    assert log.done == [0]
