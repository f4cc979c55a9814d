"""What to give an evaluation that has nothing to score with: each way, as commands to copy."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

from renderocc_training.evaluation.truth_sources import MESSAGE
from renderocc_training.recording.bag_reader import BagReader


def ways_to_truth(
    model: str, recording: Path, rig: str, network: str, *, is_data_set: bool
) -> Iterator[str]:
    """Lines for a terminal.

    Args:
        model, recording, rig: as the user has named them.
        network: whose grid the model has.
        is_data_set: the recording is one, not a bag.
    """
    yield "Nothing was scored: there is no 3D truth. Each of these gives figures:"
    data = str(recording) if is_data_set else "data"
    again = ["evaluate", model, str(recording), "--rig", rig]
    extracted = [] if is_data_set else [["extract", str(recording), "--rig", rig, "--out", data]]
    yield "- truth from LiDAR, with boxes, point labels or (--semantics none) geometry alone:"
    yield from _commands(
        *extracted,
        ["truth", data, "--out", "gts", "--grid", network],
        ["evaluate", model, data, "--rig", rig, "--truth", "gts", "--out", "scored"],
    )
    named = "the sample's token" if is_data_set else "a set's stamp in nanoseconds"
    yield f"- files in Occ3D's layout, TOKEN/labels.npz, where TOKEN is {named}:"
    yield from _commands([*again, "--truth", "FOLDER", "--out", "scored"])
    if not is_data_set:
        yield from _in_the_bag(recording, again)
    yield "- 2D labels of LiDAR, boxes or models; no 3D truth is needed:"
    yield from _commands(*extracted, ["score-labels", model, data])


def _in_the_bag(bag: Path, again: list[str]) -> Iterator[str]:
    with BagReader(bag) as reader:
        topics = reader.topics
    voxels = sorted(name for name, topic in topics.items() if topic.message_type == MESSAGE)
    if voxels:
        yield f"- voxels of the bag itself, if one of these is truth: {', '.join(voxels)}"
        yield from _commands([*again, "--truth-topic", voxels[0], "--out", "scored"])
    yield "- label images of the bag, against rendered views; {camera} is a camera's name:"
    patterns = []
    if not any(name.startswith("/ground_truth/") and name.endswith("/depth") for name in topics):
        depth, classes = (f"/labels/{{camera}}/{kind}" for kind in ("depth", "classes"))
        patterns = ["--depth-labels", depth, "--class-labels", classes]
    yield from _commands([*again, "--views", *patterns, "--out", "scored"])


def _commands(*commands: list[str]) -> Iterator[str]:
    for command in commands:
        yield f"    {shlex.join(['renderocc', *command])}"
