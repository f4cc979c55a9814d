"""A synthetic drive as a recording: render all sets, in this process or several, write one bag."""

from __future__ import annotations

import json
import pickle
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from renderocc_ros.processes import worker_processes
from renderocc_simulation.drive_messages import DriveMessages
from renderocc_simulation.faults import settled
from renderocc_simulation.frames import (
    DriveRenderer,
    SetFrame,
    render_set,
    renderer,
    warm_up,
)
from renderocc_simulation.rig import load_simulated_rig
from renderocc_simulation.spec import DriveSpec
from renderocc_training.recording.bag_writer import BagWriter


@dataclass(frozen=True)
class DriveReport:
    """How the making of a drive went.

    Attributes:
        rays: cast in all, shadows and truth included.
        seconds: wall clock.
        counts: messages per topic.
    """

    rays: int
    seconds: float
    sets: int
    processes: int
    counts: dict[str, int]

    @property
    def rays_per_second(self) -> float:
        """Of wall clock, everything included."""
        return self.rays / self.seconds


def write_drive(
    spec: DriveSpec,
    path: Path,
    processes: int = 1,
    advance: Callable[[], None] = lambda: None,
) -> DriveReport:
    """Write the bag of a drive; it is the same for any number of processes.

    Args:
        advance: called after each set.

    Raises:
        ValueError: the bag exists, or the drive cannot be (rig, fault, preset …).
        OSError: the disk is full or cannot be written, or a process died. Nothing of the bag is
            left then.
    """
    if processes < 1:
        raise ValueError(f"processes = {processes}: at least 1")
    if path.exists():
        raise ValueError(f"{path} exists and is not overwritten: remove it or choose another")
    start = time.perf_counter()
    rig = load_simulated_rig(spec.rig).config
    raw = [camera.name for camera in rig.cameras if not camera.compressed]
    faults = settled(spec.faults, rig.names, rig.reference_name, spec.town.seconds, raw)
    spec = replace(spec, faults=faults)
    rays = 0
    with worker_pool(
        min(processes, spec.sets)
    ) as pool:  # which starts while the town is built here
        source = renderer(spec)
        path.parent.mkdir(parents=True, exist_ok=True)
        with BagWriter(path, compress=True, custom_data=_about(spec, source)) as bag:
            writer = DriveMessages(bag, spec, source)
            writer.begin()
            for frame in _rendered(source, pool, ahead=2 * processes):
                writer.add(frame)
                rays += frame.rays
                advance()
            writer.finish()
    return DriveReport(rays, time.perf_counter() - start, spec.sets, processes, bag.counts)


@contextmanager
def worker_pool(processes: int) -> Iterator[ProcessPoolExecutor | None]:
    """Processes that render, or None where this one does. At the end they drop what waits.

    Raises:
        ChildProcessError: one of them died.
    """
    if processes == 1:
        yield None
        return
    try:
        with worker_processes(processes) as pool:
            _start(pool, processes)
            yield pool
    except BrokenProcessPool as error:
        raise ChildProcessError(
            "a process that renders died, killed perhaps for want of memory (about 1 GB each; "
            f"'dmesg' tells): fewer at a time need less, --processes {processes // 2}"
        ) from error


def _start(pool: ProcessPoolExecutor, processes: int) -> None:
    try:
        for _ in range(processes):
            pool.submit(warm_up)
    except (OSError, ValueError) as error:
        # The first died, and took the pool's pipes from under the second: they are closed, or
        # their numbers already another file's.
        raise BrokenProcessPool(str(error)) from error


def _rendered(
    source: DriveRenderer, pool: ProcessPoolExecutor | None, ahead: int
) -> Iterator[SetFrame]:
    """All sets in order; the pool gets at most so many more than are taken."""
    spec = source.spec
    if pool is None:
        yield from map(source.render, range(spec.sets))
        return
    with TemporaryDirectory() as folder:
        town_file = Path(folder) / "town"
        town_file.write_bytes(pickle.dumps(source.town))
        begun: deque[Future[SetFrame]] = deque()
        for number in range(spec.sets):
            begun.append(pool.submit(render_set, spec, town_file, number))
            if len(begun) > ahead:
                yield begun.popleft().result()
        while begun:
            yield begun.popleft().result()


def _about(spec: DriveSpec, source: DriveRenderer) -> dict[str, str]:
    return {
        "source": "renderocc-train simulate",
        "seed": str(spec.town.seed),
        "split": spec.town.split,
        "light": source.town.light.name,
        "preset": spec.preset,
        "rig": source.rig.config.name,
        "vary_rig": json.dumps(spec.vary_rig),
        "vary_looks": json.dumps(spec.town.vary_looks),
        "faults": json.dumps([str(fault) for fault in spec.faults]),
    }
