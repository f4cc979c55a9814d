"""Data sets of several layouts as sequences."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from renderocc_training.sequences.ddad import ddad_sequences
from renderocc_training.sequences.heights import with_heights
from renderocc_training.sequences.model import RecordedSequence
from renderocc_training.sequences.nuscenes import nuscenes_sequences
from renderocc_training.sequences.nuscenes_splits import with_splits
from renderocc_training.sequences.packed import packed_sequences
from renderocc_training.sequences.semantickitti import semantickitti_sequences

DataFormat = Literal["nuscenes", "semantickitti", "ddad", "packed"]
PART = re.compile(r"(.*?)(?:\[(\d*):(\d*)\])?")  # scene-0523, scene-0523[30:], scene-0523[:10]


def open_sequences(
    root: Path,
    format: DataFormat = "nuscenes",
    version: str | None = None,
    names: Sequence[str] = (),
    as_recorded: bool = False,
) -> list[RecordedSequence]:
    """The sequences of a data set.

    Args:
        root: its folder.
        format: "nuscenes" (also what ``extract`` writes), "semantickitti", "ddad", or "packed"
            (what ``pack`` writes).
        version: folder of nuScenes tables; the only one there if not given.
        names: of sequences (scenes), or of official splits of nuScenes; all if empty.
        as_recorded: poses as they are, and also the images between key frames; else poses get
            the heights that they lack, see ``renderocc_training.sequences.heights``.

    Raises:
        ValueError: the data set is not whole, or a sequence is not there.
    """
    if not root.is_dir():
        raise ValueError(f"data set folder {root} is not there")
    if format == "semantickitti":
        sequences = semantickitti_sequences(root, names)
    elif format == "ddad":
        sequences = ddad_sequences(root, names)
    elif format == "packed":
        sequences = packed_sequences(root, names)
    else:
        sequences = nuscenes_sequences(root, names, version, images_between=as_recorded)
    return sequences if as_recorded else with_heights(sequences)


def hold_out(
    sequences: Sequence[RecordedSequence], held_out: Sequence[str]
) -> tuple[list[RecordedSequence], list[RecordedSequence]]:
    """What is left of some sequences, and what is held out; neither knows frames of the other.

    Args:
        sequences: all of them.
        held_out: names of whole sequences, or of a part of their key frames as Python writes it:
            "monday", "scene-0523[30:]", "scene-0523[:10]"; or official splits of nuScenes: "val".

    Raises:
        ValueError: no such sequence or frames, a sequence named twice, or nothing left.
    """
    parts: dict[str, tuple[int, int]] = {}
    sizes = {sequence.name: len(sequence) for sequence in sequences}
    for text in with_splits(held_out, list(sizes)):
        name, first, last = PART.fullmatch(text).groups()  # type: ignore[union-attr]
        if name not in sizes:
            raise ValueError(
                f"no scene {name} to hold out; there are {len(sizes)}: {', '.join(sizes)}"
            )
        if name in parts:
            raise ValueError(f"scene {name} is held out twice; name one part of it")
        parts[name] = int(first or 0), min(int(last or sizes[name]), sizes[name])
    kept, held = [], []
    for sequence in sequences:
        first, last = parts.get(sequence.name, (0, 0))
        if sequence.name in parts:
            held.append(_part(sequence, first, last))
        kept += [_part(sequence, a, b) for a, b in ((0, first), (last, len(sequence))) if a < b]
    if not kept:
        raise ValueError("every scene is held out: there is nothing to train on")
    return kept, held


def _part(sequence: RecordedSequence, first: int, last: int) -> RecordedSequence:
    return sequence if (first, last) == (0, len(sequence)) else sequence.part(first, last)
