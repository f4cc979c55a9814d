"""Recordings as the sources of an evaluation, run here or by the workers of a pool."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import repeat
from pathlib import Path
from typing import Any

from renderocc_ros.config import RigConfig
from renderocc_ros.files import file_name
from renderocc_ros.prediction import Predictor
from renderocc_training.evaluation.label_files import Mask
from renderocc_training.evaluation.recorded_sets import RecordedSets
from renderocc_training.evaluation.rendered_views import BagLabels
from renderocc_training.evaluation.replay import Counted, Evaluation, Source
from renderocc_training.evaluation.results import ResultsWriter
from renderocc_training.evaluation.sequence_sets import SequenceSets
from renderocc_training.evaluation.truth_sources import (
    BagTruth,
    FileTruth,
    NoTruth,
    TruthSource,
    find_truth_topics,
)
from renderocc_training.recording.bag_layout import NO_CHOICE, TopicOptions
from renderocc_training.recording.bag_reader import BagReader
from renderocc_training.sequences.data_sets import open_sequences
from renderocc_training.sequences.model import unique_names

NO_FILES = (
    "not scored, it has no 3D truth: give --truth FOLDER of TOKEN/labels.npz (`renderocc truth` "
    "makes it from LiDAR)"
)
Name = Callable[[str, Path], str]  # of a source: from the wanted one and its recording


@dataclass(frozen=True, eq=False)
class Plan:
    """What is asked of every recording.

    Attributes:
        writer: takes each frame's files.
        mask: which voxels of the truth count.
        truth: folder of Occ3D files; None for the recording's own.
        truth_topic: of the recording's own; None for the usual one.
        topics: which of a bag's are read, where there is a choice.
        labels: topics of label images by kind, to score rendered views; empty for none.
    """

    rig: RigConfig
    writer: ResultsWriter
    mask: Mask
    truth: Path | None = None
    truth_topic: str | None = None
    topics: TopicOptions = NO_CHOICE
    labels: Mapping[str, str] = field(default_factory=dict)


class Names:
    """Gives each source a name that no other has, and says where it had to be changed."""

    def __init__(self, problems: list[str]) -> None:
        self._problems, self._given = problems, [""]

    def __call__(self, wanted: str, recording: Path) -> str:
        *_, name = self._given = unique_names([*self._given, file_name(wanted, "recording")])
        if name != wanted:
            self._problems.append(f"{recording}: called '{name}', there is another '{wanted}'")
        return name


def is_nuscenes(recording: Path) -> bool:
    """Whether it is a data set in nuScenes' schema and not a bag."""
    return recording.is_dir() and (
        (recording / "sample_data.json").is_file() or any(recording.glob("*/sample_data.json"))
    )


def run_sources(
    evaluation: Evaluation,
    predictor: Predictor,
    recording: Path,
    plan: Plan,
    name_of: Name,
    problems: list[str],
    stack: ExitStack,
    advance: Callable[[str], Callable[[int], None]] = lambda name: lambda stamp_ns: None,
) -> None:
    """Evaluate the parts of a recording.

    Args:
        problems: takes what is wrong with it.
        stack: closes its files.
        advance: of a source's name gives what is told the stamp of each set.
    """
    for source, skipped in _sources(recording, plan, predictor, name_of, problems, stack):
        evaluation.run(source, advance(source.name))
        evaluation.counted.skipped.update(skipped)


def _sources(
    recording: Path,
    plan: Plan,
    predictor: Predictor,
    name_of: Name,
    problems: list[str],
    stack: ExitStack,
) -> Iterator[tuple[Source, Counter[tuple[str, str]]]]:
    """The parts of a recording, and the counter of what each leaves out."""
    grid, image, rig = predictor.grid, predictor.config.image, plan.rig
    truth, labels = plan.truth, plan.labels
    files = FileTruth(truth, grid, predictor.class_set) if truth is not None else None
    if is_nuscenes(recording):
        for sequence in open_sequences(recording, as_recorded=True):
            sets, name = SequenceSets(sequence, rig, image), name_of(sequence.name, recording)
            problems += [f"{name}: {problem}" for problem in sequence.problems]
            yield Source(name, sets, files or NoTruth()), sets.skipped
        problems += files.problems(recording.name) if files else [f"{recording.name}: {NO_FILES}"]
        return
    sets_of_bag = RecordedSets(recording, rig, image, plan.topics)
    problems += [f"{recording.name}: {text}" for text in sets_of_bag.problems]
    reader = stack.enter_context(BagReader(recording))
    beside: TruthSource = files or NoTruth()
    truth_topics = None if files else find_truth_topics(reader, plan.truth_topic)
    if truth_topics is not None:
        beside = BagTruth(reader, *truth_topics, grid, predictor.class_set)
    elif files is None:
        problems.append(f"{recording.name}: {NO_FILES}, or --truth-topic")
    images = BagLabels(reader, labels, rig.names) if labels else None
    if images is not None and not images:
        problems.append(f"{recording.name}: no label images on {', '.join(labels.values())}")
    stem = name_of(_bag_name(recording), recording)
    tokens = ((f"{stem}_{each.stamp_ns}", each) for each in sets_of_bag)
    yield Source(stem, tokens, beside, images), sets_of_bag.skipped
    problems += files.problems(recording.name) if files else []


def _bag_name(recording: Path) -> str:
    return recording.stem if recording.is_file() else recording.resolve().name


# ------------------------------------------------------------------------------------- by workers


def count_on(
    pool: Executor, recordings: Sequence[Path], plan: Plan, names: Names
) -> Iterator[tuple[Counted, list[str]]]:
    """What workers count of each recording, in order, and what is wrong with it.

    Args:
        pool: whose workers began with ``begin_worker``, and see the same files.
    """
    given = [[names(wanted, each) for wanted in _wanted_names(each)] for each in recordings]
    yield from pool.map(_count, recordings, given, repeat(plan))


_PREDICTOR: list[Predictor] = []


def begin_worker(model: str, threshold: float, options: Mapping[str, Any]) -> None:
    """Load the model in a worker; see ``Predictor.from_name``."""
    predictor = Predictor.from_name(model, **options)
    predictor.threshold = threshold
    _PREDICTOR[:] = [predictor]


def _wanted_names(recording: Path) -> list[str]:
    if is_nuscenes(recording):
        return [sequence.name for sequence in open_sequences(recording, as_recorded=True)]
    return [_bag_name(recording)]


def _count(recording: Path, given: list[str], plan: Plan) -> tuple[Counted, list[str]]:
    (predictor,), names = _PREDICTOR, iter(given)
    problems: list[str] = []
    evaluation = Evaluation(predictor, plan.writer, plan.mask)
    with ExitStack() as stack:
        run_sources(evaluation, predictor, recording, plan, lambda *_: next(names), problems, stack)
    return evaluation.counted, problems
