"""Many recordings at once: processes here, or Ray on a cluster."""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence
from concurrent.futures import (
    FIRST_COMPLETED,
    Executor,
    Future,
    ThreadPoolExecutor,
    wait,
)
from pathlib import Path

from renderocc_ros.processes import workers
from renderocc_training.sequences.extraction.job import Job, run_job
from renderocc_training.sequences.extraction.merge import finished_fragments, merge_tables
from renderocc_training.sequences.extraction.report import ExtractionReport
from renderocc_training.sequences.nuscenes import FRAGMENTS

POLL_S = 0.2

Progress = Callable[[int, float], None]


def extract(
    jobs: Sequence[Job],
    version: str,
    processes: int = 1,
    ray_address: str | None = None,
    on_progress: Progress = lambda number, share: None,
) -> list[ExtractionReport]:
    """Extract recordings into one data set; those that an earlier run finished are kept.

    Args:
        jobs: all with the same ``root``.
        version: name of the folder of tables.
        processes: how many recordings at a time.
        ray_address: of a Ray cluster that does the jobs instead; see ``processes.workers``.
        on_progress: told a job's number and the share that is done, often.

    Returns:
        a report for each job, in their order. If none of them gives a scene and the data set is
        empty, no tables are written.

    Raises:
        ValueError: another version wrote the data set.
    """
    root = jobs[0].root
    (root / FRAGMENTS).mkdir(parents=True, exist_ok=True)
    finished_fragments(root)  # refuses those of another version before anything is read
    alone = ray_address is None and min(processes, len(jobs)) == 1
    # A bag takes minutes, so Ctrl-C ends what is in hand, too.
    interrupted = (signal.signal, (signal.SIGINT, signal.default_int_handler))
    many = workers(processes, ray_address, len(jobs), *interrupted)
    with ThreadPoolExecutor(1) if alone else many as pool:
        reports = _run_in(pool, jobs, on_progress)
    if any(report.scenes for report in reports):
        merge_tables(root, version)
    return reports


def _run_in(pool: Executor, jobs: Sequence[Job], on_progress: Progress) -> list[ExtractionReport]:
    futures: list[Future[ExtractionReport]] = [pool.submit(run_job, job) for job in jobs]
    pending = set(futures)
    try:
        while pending:
            _, pending = wait(pending, POLL_S, FIRST_COMPLETED)
            for number, (job, future) in enumerate(zip(jobs, futures, strict=True)):
                on_progress(number, 1.0 if future.done() else _share(job.progress_file))
        return [future.result() for future in futures]
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        raise


def _share(file: Path) -> float:
    try:
        return float(file.read_text())
    except (OSError, ValueError):  # not begun, or being written
        return 0.0
