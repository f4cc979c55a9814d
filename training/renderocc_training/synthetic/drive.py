"""A synthetic drive as a recording: render all sets, in this process or several, write one bag."""

from __future__ import annotations

import json
import multiprocessing
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from pathlib import Path

from renderocc_training.recording.bag_writer import BagWriter
from renderocc_training.synthetic.drive_messages import DriveMessages
from renderocc_training.synthetic.faults import settled
from renderocc_training.synthetic.frames import DriveRenderer, SetFrame, render_set, renderer
from renderocc_training.synthetic.rig import load_simulated_rig
from renderocc_training.synthetic.spec import DriveSpec


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
    faults = settled(spec.faults, rig.names, rig.reference_name, spec.town.seconds)
    spec = replace(spec, faults=faults)
    source = renderer(spec)
    rays = 0
    path.parent.mkdir(parents=True, exist_ok=True)
    with BagWriter(path, compress=True, custom_data=_about(spec, source)) as bag:
        writer = DriveMessages(bag, spec, source)
        writer.begin()
        for frame in _rendered(spec, processes):
            writer.add(frame)
            rays += frame.rays
            advance()
        writer.finish()
    return DriveReport(rays, time.perf_counter() - start, spec.sets, processes, bag.counts)


def _rendered(spec: DriveSpec, processes: int) -> Iterator[SetFrame]:
    if processes == 1:
        for number in range(spec.sets):
            yield render_set(spec, number)
        return
    # Embree's threads do not survive a fork, so each worker builds the town for itself.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(processes, spec.sets), mp_context=context) as pool:
        ahead: list[Future[SetFrame]] = []
        try:
            for number in range(spec.sets):
                ahead.append(pool.submit(render_set, spec, number))
                if len(ahead) > 2 * processes:
                    yield ahead.pop(0).result()
            while ahead:
                yield ahead.pop(0).result()
        except BrokenProcessPool as error:
            raise ChildProcessError(
                "a process that renders died, killed perhaps for want of memory (about 1 GB each; "
                f"'dmesg' tells): fewer at a time need less, --processes {max(processes // 2, 1)}"
            ) from error
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _about(spec: DriveSpec, source: DriveRenderer) -> dict[str, str]:
    return {
        "source": "renderocc-train simulate",
        "seed": str(spec.town.seed),
        "split": spec.town.split,
        "light": source.town.light.name,
        "preset": spec.preset,
        "rig": source.rig.config.name,
        "faults": json.dumps([str(fault) for fault in spec.faults]),
    }
