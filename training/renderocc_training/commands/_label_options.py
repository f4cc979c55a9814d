"""Options that several commands share.

Labels made with a setting that another command lacks would be made again there, without a word: so
every command that makes labels takes the same label source and the same ``--set``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated

import typer

from renderocc_ros.files import claim
from renderocc_ros.settings import Settings, sort_settings, with_settings
from renderocc_training.sequences.data_sets import DataFormat, open_sequences
from renderocc_training.sequences.model import RecordedSequence
from renderocc_training.sequences.packed import LABEL_STRIDE_PX
from renderocc_training.supervision.labels.label_source import (
    LabelSource,
    default_mapping,
    load_label_source,
)

SOURCE_KEYS = "label source"

Root = Annotated[Path, typer.Argument(help="folder of the data set")]
Format = Annotated[
    DataFormat, typer.Option(help="layout of the data set; nuscenes is also what extract writes")
]
Version = Annotated[
    str | None, typer.Option(help="folder of nuScenes tables; the only one if not given")
]
Scenes = Annotated[
    list[str] | None,
    typer.Option(
        "--scene",
        help="only this scene, or nuScenes' split of this name (val, mini_val …); repeatable",
    ),
]
ClassSetName = Annotated[
    str, typer.Option("--class-set", help="class set: a shipped name, or a .yaml")
]
LabelSourceName = Annotated[
    str, typer.Option("--label-source", help="where labels come from: shipped name or .yaml")
]
Depth = Annotated[
    str | None, typer.Option(help="instead of the label source's: lidar, images, mono or none")
]
Semantics = Annotated[
    str | None,
    typer.Option(help="instead of the label source's: boxes, points, images, segmentation or none"),
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="another value of a key of the label source; repeatable"
    ),
]

Ray = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS",
        help="of a Ray cluster that does the work instead: auto, HOST:PORT, ray://… or local",
    ),
]


def opened(
    root: Path, format: DataFormat, version: str | None, names: Sequence[str] = ()
) -> list[RecordedSequence]:
    """The sequences of a command's options; what they lack is said."""
    sequences = open_sequences(root, format, version, names)
    for sequence in sequences:
        for problem in sequence.problems:
            typer.secho(f"{sequence.name}: {problem}", fg="yellow", err=True)
    return sequences


def chosen_label_source(
    name: str, depth: str | None, semantics: str | None, settings: Settings,
    format: DataFormat, root: Path,
) -> LabelSource:  # fmt: skip
    """The label source of a command's options, with the mapping file that fits the data set.

    Args:
        settings: of its keys, from ``--set``.
        format, root: of the data set.
    """
    given = {"depth": depth, "semantics": semantics}
    changes: Settings = {k: value for k, value in given.items() if value is not None} | settings
    named = load_label_source(name)
    if format == "packed" and "stride_px" not in named.model_fields_set:
        changes = {"stride_px": LABEL_STRIDE_PX} | changes
    source = with_settings(named, changes)
    if format == "packed" and source.stride_px % LABEL_STRIDE_PX:
        raise ValueError(
            f"stride_px = {source.stride_px}: the labels of a packed data set lie "
            f"{LABEL_STRIDE_PX} pixels apart, so give a multiple of that"
        )
    if source.mapping is None:
        mapping = default_mapping(source.semantics, format, root)
        source = source.model_copy(update={"mapping": mapping})
    return source


def label_settings(texts: list[str] | None) -> Settings:
    """The settings of a command that has nothing to set but its label source."""
    return sort_settings(texts or (), {SOURCE_KEYS: LabelSource})[SOURCE_KEYS]


@contextmanager
def claimed(folder: Path, sequences: Iterable[RecordedSequence]) -> Iterator[None]:
    """Keep other processes from writing what is made of these sequences into a folder.

    Raises:
        ValueError: another process does; it may write other sequences.
    """
    with ExitStack() as claims:
        for sequence in sequences:
            refusal = (
                f"another process writes '{sequence.name}' into {folder}: wait for it, or give "
                "another --out"
            )
            claims.enter_context(claim(folder / f".{sequence.name}.claim", refusal))
        yield
