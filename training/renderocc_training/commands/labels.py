"""Make 2D labels of a data set's images, and look at them."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from concurrent.futures import Executor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Annotated

import cv2
import typer
from rich.console import Console

from renderocc_ros.class_set import ClassSet
from renderocc_ros.config import load_class_set
from renderocc_ros.files import write_image
from renderocc_ros.processes import workers
from renderocc_ros.progress import tracked
from renderocc_training.commands._label_options import (
    ClassSetName,
    Depth,
    Format,
    LabelSourceName,
    Ray,
    Root,
    Scenes,
    Semantics,
    Set,
    Version,
    chosen_label_source,
    claimed,
    label_settings,
    opened,
)
from renderocc_training.sequences.model import Frame, RecordedSequence
from renderocc_training.supervision.labels.cache import LabelStore
from renderocc_training.supervision.labels.label_source import LabelSource, open_store
from renderocc_training.supervision.labels.show import frame_picture

app = typer.Typer(
    help="Make 2D labels of a data set's images, and look at them.\n\n"
    "renderocc labels make data --out data/pixel_labels\n\n"
    "renderocc labels show data --labels data/pixel_labels --out pictures",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

Device = Annotated[str, typer.Option(help="where models run, such as cuda")]


@app.command()
def make(
    root: Root,
    out: Annotated[Path, typer.Option(help="folder that takes the labels")],
    format: Format = "nuscenes",
    version: Version = None,
    scenes: Scenes = None,
    class_set: ClassSetName = "occ3d",
    label_source: LabelSourceName = "lidar",
    depth: Depth = None,
    semantics: Semantics = None,
    settings: Set = None,
    device: Device = "cpu",
    processes: Annotated[int, typer.Option(min=1, help="frames at a time")] = 1,
    ray: Ray = None,
) -> None:
    """Label the images of every key frame that has no labels yet.

    renderocc labels make data --out data/pixel_labels

    renderocc labels make data --out data/pixel_labels --ray auto --device cuda

    On a Ray cluster each GPU has a worker of its own, with --device cuda.
    """
    source = chosen_label_source(
        label_source, depth, semantics, label_settings(settings), format, root
    )
    if ray is None and processes > 1 and device != "cpu":
        raise ValueError(f"--processes {processes} with --device {device}: a GPU takes one process")
    sequences = opened(root, format, version, scenes or ())
    places = [(sequence, frame.number) for sequence in sequences for frame in sequence.frames]
    classes = load_class_set(class_set)
    store = open_store(source, classes, out, device if ray is None else "cpu")
    console = Console(stderr=True)
    with claimed(store.folder or out, sequences):
        todo = [
            (sequence, number)
            for sequence, number in places
            if not store.has(sequence, sequence.frames[number])
        ]
        made = len(places) - len(todo)
        console.print(f"{len(places)} key frames, {made} of them labelled already")
        started, pixels = time.perf_counter(), 0
        pool = None
        if ray is not None:
            begin = (_begin_there, (source, classes, out, device))
            pool = workers(processes, ray, len(todo), *begin, device=device)
        elif processes > 1:
            pool = workers(processes, None, len(todo), _begin, (store,))
        for count in tracked(_made(store, todo, pool), "labels", console, len(todo)):
            pixels += count
    seconds = time.perf_counter() - started
    if todo:
        console.print(
            f"{pixels:,} labelled pixels in {seconds:.1f} s, {seconds / len(todo):.2f} s per frame"
        )
    console.print(f"labels are in {store.folder}", soft_wrap=True, markup=False)


@app.command()
def show(
    root: Root,
    out: Annotated[Path, typer.Option(help="folder that takes the pictures")],
    labels: Annotated[
        Path | None, typer.Option(help="folder of `labels make`; made anew if not given")
    ] = None,
    frames: Annotated[int, typer.Option(min=1, help="pictures per scene, evenly spread")] = 4,
    format: Format = "nuscenes",
    version: Version = None,
    scenes: Scenes = None,
    class_set: ClassSetName = "occ3d",
    label_source: LabelSourceName = "lidar",
    depth: Depth = None,
    semantics: Semantics = None,
    settings: Set = None,
    device: Device = "cpu",
) -> None:
    """Draw labels over their images, one PNG per frame.

    renderocc labels show data --labels data/pixel_labels --out pictures

    Ranges above, classes below.
    """
    source = chosen_label_source(
        label_source, depth, semantics, label_settings(settings), format, root
    )
    classes = load_class_set(class_set)
    store = open_store(source, classes, labels, device)
    out.mkdir(parents=True, exist_ok=True)
    for sequence in opened(root, format, version, scenes or ()):
        for frame in _spread(sequence, frames):
            picture = frame_picture(sequence, frame, store, classes)
            file = out / f"{sequence.name}-{frame.number:04d}.png"
            write_image(file, cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
            typer.echo(file)


def _spread(sequence: RecordedSequence, count: int) -> list[Frame]:
    count = min(count, len(sequence))
    return [
        sequence.frames[(2 * place + 1) * len(sequence) // (2 * count)] for place in range(count)
    ]


def _made(
    store: LabelStore,
    todo: list[tuple[RecordedSequence, int]],
    pool: AbstractContextManager[Executor] | None,
) -> Iterable[int]:
    """Numbers of labelled pixels, frame by frame as they are done."""
    if pool is None or not todo:
        yield from (_make(store, sequence, number) for sequence, number in todo)
        return
    with pool as executor:
        sequences, numbers = zip(*todo, strict=True)
        yield from executor.map(_make_here, sequences, numbers, chunksize=4)


_STORE: list[LabelStore] = []


def _begin(store: LabelStore) -> None:
    os.environ["OMP_NUM_THREADS"] = "1"
    cv2.setNumThreads(1)
    _STORE[:] = [store]


def _begin_there(source: LabelSource, classes: ClassSet, folder: Path, device: str) -> None:
    _begin(open_store(source, classes, folder, device))


def _make_here(sequence: RecordedSequence, number: int) -> int:
    return _make(_STORE[0], sequence, number)


def _make(store: LabelStore, sequence: RecordedSequence, number: int) -> int:
    return len(store.labels(sequence, sequence.frames[number]))
