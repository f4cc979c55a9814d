"""Pack a data set into a small one of the same samples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from renderocc_ros.class_set import ClassSet
from renderocc_ros.config import load_class_set
from renderocc_ros.files import claim
from renderocc_ros.network_config import ImageConfig, load_network_config
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
    label_settings,
    opened,
)
from renderocc_training.samples.packing import Packer
from renderocc_training.samples.truth import TruthFolder
from renderocc_training.sequences.model import RecordedSequence
from renderocc_training.sequences.packed import begin_packing, is_packed
from renderocc_training.supervision.labels.label_source import LabelSource, make_labeller


def pack(
    root: Root,
    out: Annotated[Path, typer.Argument(help="folder of the packed data set")],
    network: Annotated[
        str, typer.Option(help="network whose images to keep: shipped name or .yaml")
    ] = "nano",
    format: Format = "nuscenes",
    version: Version = None,
    scenes: Scenes = None,
    class_set: ClassSetName = "occ3d",
    label_source: LabelSourceName = "lidar",
    depth: Depth = None,
    semantics: Semantics = None,
    settings: Set = None,
    truth: Annotated[
        Path | None, typer.Option(help="folder of 3D labels, which come to <out>/gts")
    ] = None,
    quality: Annotated[int, typer.Option(min=1, max=100, help="of the images, as WebP")] = 75,
    device: Annotated[str, typer.Option(help="where models run, such as cuda")] = "cpu",
    processes: Annotated[int, typer.Option(min=1, help="scenes at a time")] = 1,
    ray: Ray = None,
) -> None:
    """Pack a data set into a small one of the same samples, to train on another machine.

    renderocc pack data packed --label-source images

    renderocc train packed --format packed --label-source images --out runs/first

    Images have the size that the network takes; the labels of every fourth pixel of theirs lie
    beside them as label images. LiDAR, and what lies between key frames, stays behind. A run that
    was interrupted goes on where it stopped; further data sets are added to the folder.
    """
    console, classes = Console(stderr=True), load_class_set(class_set)
    image = load_network_config(network).image
    given = label_settings(settings)
    if format != "packed":  # of all pixels, so that each block's middle has one
        given = {"stride_px": 1} | given
    source = chosen_label_source(label_source, depth, semantics, given, format, root)
    volumes = None if truth is None else TruthFolder.open(truth, classes)
    sequences = opened(root, format, version, scenes or ())
    if volumes is not None:
        volumes.require(sequences)
    decides = {
        "image": (image.width, image.height, image.max_fov_deg),
        "quality": quality,
        "labels": source.fingerprint(classes),
        "truth": truth is not None,
    }
    make = partial(_packed, out, image, source, classes, quality, volumes, device)
    each: Iterable[Counter[str]]
    with ExitStack() as stack:
        stack.enter_context(claim(out / ".packing", f"another process packs into {out}: wait"))
        begin_packing(out, decides, [sequence.name for sequence in sequences])
        todo = [sequence for sequence in sequences if not is_packed(out, sequence)]
        if ray is None and processes == 1:
            each = map(make, todo)
        else:
            pool = stack.enter_context(workers(processes, ray, len(todo), device=device))
            each = pool.map(make, todo)
        total = sum(tracked(each, "scenes", console, len(todo)), Counter())
    frames = sum(map(len, todo))
    console.print(f"{len(sequences) - len(todo)} of {len(sequences)} scenes were packed already")
    if frames:
        kinds = ", ".join(f"{kind} {size / frames / 1000:.1f}" for kind, size in total.items())
        console.print(
            f"{frames} frames, {total.total() / 1e6:.1f} MB: "
            f"{total.total() / frames / 1000:.1f} kB a frame ({kinds})"
        )


def _packed(
    out: Path,
    image: ImageConfig,
    source: LabelSource,
    classes: ClassSet,
    quality: int,
    truth: TruthFolder | None,
    device: str,
    sequence: RecordedSequence,
) -> Counter[str]:
    labeller = make_labeller(source, classes, device)
    return Packer(out, image, labeller, classes, quality, truth).pack(sequence)
