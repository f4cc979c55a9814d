"""The voxels of a recording or of an evaluation's results, frame by frame."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from renderocc_ros.occupancy.semantic_occupancy import SemanticOccupancy
from renderocc_training.evaluation.bag_frames import chosen_topic, class_tables, volume_of
from renderocc_training.evaluation.results import read_results
from renderocc_training.evaluation.truth_sources import MESSAGE, find_truth_topics
from renderocc_training.recording.bag_reader import BagReader


def recorded_voxels(recording: Path, topic: str | None = None) -> Iterator[SemanticOccupancy]:
    """Every frame that has voxels, in order of time.

    Args:
        recording: a bag, or the folder of an evaluation.
        topic: a bag's SemanticOccupancy; if not given, the only one that is no truth, or the truth.

    Raises:
        ValueError: neither of both, it is damaged, or a choice that the bag leaves open.
    """
    if (recording / "results.json").is_file():
        results = read_results(recording)
        kept = (results.prediction(frame.token) for frame in results.frames)
        yield from (occupancy for occupancy in kept if occupancy is not None)
        return
    with BagReader(recording) as reader:
        voxel_topics = [
            name for name, each in reader.topics.items() if each.message_type == MESSAGE
        ]
        if topic is None:
            truth = find_truth_topics(reader, None)
            predicted = [name for name in voxel_topics if not name.startswith("/ground_truth/")]
            name = chosen_topic("--topic", None, predicted) or (truth[0] if truth else None)
        else:
            name = chosen_topic("--topic", topic, voxel_topics)
        tables = class_tables(reader)
        for message in reader.messages([name] if name else []):
            yield volume_of(reader.decode(message), tables)
