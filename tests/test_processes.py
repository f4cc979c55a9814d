"""Worker processes end with the first one, however that ends."""

from __future__ import annotations

import os
import select
import subprocess
import sys

WORKING = """
import os, sys, time
from renderocc_ros.processes import worker_processes
if __name__ == "__main__":
    with worker_processes(2) as pool:
        for _ in range(2):
            pool.submit(time.sleep, 0).result()
        print(*pool._processes, flush=True)
        sys.stdin.read()
"""
PATIENCE_MS = 60_000


def test_workers_end_when_the_first_process_is_killed() -> None:
    command = [sys.executable, "-c", WORKING]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, text=True, **pipes) as first:  # type: ignore[call-overload]
        workers = [os.pidfd_open(int(number)) for number in first.stdout.readline().split()]
        first.kill()
    assert workers
    for worker in workers:
        ended = select.poll()
        ended.register(worker, select.POLLIN)
        assert ended.poll(PATIENCE_MS), "a worker waits for work that nobody sends"
        os.close(worker)
