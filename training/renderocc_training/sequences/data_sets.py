"""Data sets of several layouts as sequences."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from renderocc_training.sequences.model import RecordedSequence

DataFormat = Literal["nuscenes", "semantickitti", "ddad"]
PART = re.compile(r"(.*?)(?:\[(\d*):(\d*)\])?")  # scene-0523, scene-0523[30:], scene-0523[:10]


def open_sequences(
    root: Path,
    format: DataFormat = "nuscenes",
    version: str | None = None,
    scenes: Sequence[str] = (),
) -> list[RecordedSequence]:
    """The sequences of a data set.

    Args:
        root: its folder.
        format: "nuscenes" (also what ``extract`` writes), "semantickitti" or "ddad".
        version: folder of nuScenes tables; the only one there if not given.
        scenes: names of scenes (sequences); all if empty.

    Raises:
        ValueError: the data set is not whole, or a scene is not there.
    """
    if not root.is_dir():
        raise ValueError(f"data set folder {root} is not there")
    if format == "semantickitti":
        from renderocc_training.sequences.semantickitti_sequences import semantickitti_sequences

        return semantickitti_sequences(root, scenes)
    if format == "ddad":
        from renderocc_training.sequences.ddad_sequences import ddad_sequences

        return ddad_sequences(root, scenes)
    from renderocc_training.sequences.nuscenes_sequences import nuscenes_sequences

    return nuscenes_sequences(root, version or _only_version(root), scenes)


def _only_version(root: Path) -> str:
    found = sorted(path.parent.name for path in root.glob("*/sample_data.json"))
    if not found:
        raise ValueError(
            f"{root} holds no tables of nuScenes (v1.0-…/sample_data.json): give the folder that "
            "has them, or the data set's --format"
        )
    if len(found) > 1:
        raise ValueError(f"{root} has tables of {', '.join(found)}: choose by --version")
    return found[0]


def hold_out(
    sequences: Sequence[RecordedSequence], held_out: Sequence[str]
) -> tuple[list[RecordedSequence], list[RecordedSequence]]:
    """What is left of some sequences, and what is held out; neither knows frames of the other.

    Args:
        sequences: all of them.
        held_out: names of whole sequences, or of a part of their key frames as Python writes it:
            "monday", "scene-0523[30:]", "scene-0523[:10]".

    Raises:
        ValueError: no such sequence or frames, a sequence named twice, or nothing left.
    """
    parts: dict[str, tuple[int, int]] = {}
    sizes = {sequence.name: len(sequence) for sequence in sequences}
    for text in held_out:
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
