"""Workers for this process: processes beside it, or those of a Ray cluster."""

from __future__ import annotations

import importlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context, parent_process
from queue import SimpleQueue
from typing import Any


@contextmanager
def worker_processes(
    count: int, set_up: Callable[..., object] | None = None, arguments: tuple[Any, ...] = ()
) -> Iterator[ProcessPoolExecutor]:
    """A pool that ends with what it has in hand, and drops what waits, however the block ends.

    Each process is a fresh interpreter: a forked one would inherit the threads of OpenCV, Embree
    and the caller, which do not survive it.

    Args:
        set_up: called in every process at first, with ``arguments``.
    """
    pool = ProcessPoolExecutor(count, get_context("spawn"), _begin, (set_up, arguments))
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _begin(set_up: Callable[..., object] | None, arguments: tuple[Any, ...]) -> None:
    # Ctrl-C reaches every process of the terminal; the first one ends the others.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_the_first, daemon=True).start()
    if set_up is not None:
        set_up(*arguments)


def _end_with_the_first() -> None:
    """A killed first process tells nobody: workers would wait for its work for ever."""
    first = parent_process()
    if first is not None:
        first.join()
        os._exit(1)


# ------------------------------------------------------------------------------------ on a cluster

RETRIES = 3  # of what a worker died at, by another one


@contextmanager
def workers(
    processes: int,
    ray: str | None,
    jobs: int,
    set_up: Callable[..., object] | None = None,
    arguments: tuple[Any, ...] = (),
    device: str = "cpu",
) -> Iterator[Executor]:
    """Whoever does many jobs: processes of this machine, or with ``ray`` those of a Ray cluster.

    A worker of the cluster that dies is replaced, and what it had in hand is done once more; what
    was done is not. When the block ends early, what waits is dropped.

    Args:
        ray: a cluster's address ("auto", HOST:PORT, ray://HOST:PORT) whose machines see the same
            files, or "local" for one of this machine alone; see ``--ray``.
        jobs: how many there will be: no more workers are begun.
        set_up: called in every worker at first, with ``arguments``.
        device: where the work is done. On a cluster with GPUs, unless it is the CPU, each worker
            has one for itself.

    Raises:
        ValueError: no Ray, no such cluster, or it has no GPU for a device that is one.
    """
    if ray is None:
        with worker_processes(min(processes, max(jobs, 1)), set_up, arguments) as pool:
            yield pool
        return
    cluster = _joined(ray)
    try:
        executor = _RayWorkers(cluster, jobs, set_up, arguments, device)
        try:
            yield executor
        finally:
            executor.shutdown(wait=False, cancel_futures=True)
    finally:
        cluster.shutdown()


def _joined(address: str) -> Any:
    """The module ``ray``, connected."""
    try:
        ray: Any = importlib.import_module("ray")
    except ModuleNotFoundError as error:
        raise ValueError("--ray needs Ray: pip install 'renderocc-ros[ray]'") from error
    try:
        ray.init(address=address, log_to_driver=False)
    except (ConnectionError, ValueError) as error:
        raise ValueError(f"--ray {address}: {error}") from error
    return ray


class _RayWorkers(Executor):
    """Actors of a Ray cluster as an executor; a thread here waits for each."""

    def __init__(
        self,
        ray: Any,
        jobs: int,
        set_up: Callable[..., object] | None,
        arguments: tuple[Any, ...],
        device: str,
    ) -> None:
        resources: dict[str, float] = ray.cluster_resources()
        gpus = int(resources.get("GPU", 0))
        if device.startswith("cuda") and not gpus:
            raise ValueError(f"--device {device}: the Ray cluster has no GPU; give --device cpu")
        on_gpu = gpus > 0 and device != "cpu"
        count = max(1, min(gpus if on_gpu else int(resources.get("CPU", 1)), jobs))
        begun = (os.getcwd(), set_up, arguments)
        actor = ray.remote(
            num_cpus=1, num_gpus=int(on_gpu), max_restarts=RETRIES, max_task_retries=RETRIES
        )(_RayWorker)
        self._ray = ray
        self._idle: SimpleQueue[Any] = SimpleQueue()
        for _ in range(count):
            self._idle.put(actor.remote(*begun))
        self._threads = ThreadPoolExecutor(count)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """As of every executor."""
        return self._threads.submit(self._run, fn, args, kwargs)

    def _run(self, function: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        actor = self._idle.get()
        try:
            return self._ray.get(actor.run.remote(function, args, kwargs))
        except self._ray.exceptions.RayTaskError as error:
            raise error.cause from None
        except self._ray.exceptions.RayActorError as error:
            raise ValueError(
                f"workers of the Ray cluster died {RETRIES + 1} times at {function.__name__}"
                f"{args!r:.200}: look for the reason in Ray's logs (memory?)"
            ) from error
        finally:
            self._idle.put(actor)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """As of every executor."""
        self._threads.shutdown(wait, cancel_futures=cancel_futures)


class _RayWorker:
    """What runs on the cluster."""

    def __init__(
        self, folder: str, set_up: Callable[..., object] | None, arguments: tuple[Any, ...]
    ) -> None:
        self._folder, self._set_up, self._arguments = folder, set_up, arguments
        self._ready = False

    def run(self, function: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """Do one job; before the first, get ready: what fails there is told as a job's failure."""
        if not self._ready:
            os.chdir(self._folder)  # paths mean the same here
            if self._set_up is not None:
                self._set_up(*self._arguments)
            self._ready = True
        return function(*args, **kwargs)
