"""Where the truth of a set comes from: a topic of its bag, or files in Occ3D's layout."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from renderocc_ros.class_set import ClassSet
from renderocc_ros.geometry import VoxelGrid
from renderocc_ros.occupancy.grid_file import grid_beside
from renderocc_ros.occupancy.messages import grid_of, truth_of
from renderocc_ros.occupancy.occ3d_files import Occ3dTruth, files_by_token, read_truth
from renderocc_training.evaluation.stamped_topic import StampedTopic
from renderocc_training.recording.bag_reader import BagReader

MESSAGE = "renderocc_ros/msg/SemanticOccupancy"
TOLERANCE_NS = 10_000_000  # at 10 m/s the robot moves a tenth of a metre meanwhile


class TruthSource(Protocol):
    """Gives the truth of a set, or None where there is none."""

    def truth(self, token: str, stamp_ns: int) -> Occ3dTruth | None:
        """Labels and masks in the ego frame at this stamp.

        Raises:
            ValueError: the truth is of another grid or of other classes.
        """
        ...


class NoTruth:
    """For a recording that has none."""

    def truth(self, token: str, stamp_ns: int) -> Occ3dTruth | None:
        """None."""
        return None


class FileTruth:
    """Files of Occ3D's layout, known by token; ``grid.json`` counts where it is beside them."""

    def __init__(self, folder: Path, grid: VoxelGrid, class_set: ClassSet) -> None:
        self._folder, self._files, self._found = folder, files_by_token(folder), 0
        self._grid, self._class_set = grid, class_set

    def truth(self, token: str, stamp_ns: int) -> Occ3dTruth | None:
        """The file of this token, or one named by the stamp in nanoseconds."""
        path = self._files.get(token) or self._files.get(str(stamp_ns))
        if path is None:
            return None
        self._found += 1
        described = grid_beside(path)
        if described is not None:
            _check(f"truth in {path}", *described, self._grid, self._class_set)
        truth = read_truth(path)
        if truth.labels.shape != self._grid.size:
            raise ValueError(
                f"{path} is {truth.labels.shape}, the model's grid {self._grid.size}: score a "
                "model with the grid of its truth"
            )
        return truth

    def problems(self, recording: str) -> list[str]:
        """What is wrong if no set that was asked for has a file."""
        if self._found:
            return []
        return [
            f"{recording}: none of the {len(self._files)} files in {self._folder} is named by a "
            f"set's token or stamp ({next(iter(self._files))} is one): truth that was made from a "
            "data set belongs to `evaluate MODEL DATASET`, not to the bag"
        ]


class BagTruth:
    """SemanticOccupancy messages of a bag; its ``observed`` is the mask of what can be scored.

    Nothing is held in memory but the stamps.

    Args:
        reader: an open bag.
        topic: of the truth; ``observed`` tells what cameras see.
        lidar_topic: the same labels; ``observed`` tells what the LiDAR sees; None if there is none.
    """

    def __init__(
        self,
        reader: BagReader,
        topic: str,
        lidar_topic: str | None,
        grid: VoxelGrid,
        class_set: ClassSet,
    ) -> None:
        self._topic, self._grid, self._class_set = topic, grid, class_set
        self._cameras = StampedTopic(reader, topic)
        self._lidar = StampedTopic(reader, lidar_topic) if lidar_topic else None

    def truth(self, token: str, stamp_ns: int) -> Occ3dTruth | None:
        """The message nearest to the stamp, within 10 ms."""
        message = self._cameras.nearest(stamp_ns, TOLERANCE_NS)
        if message is None:
            return None
        grid, where = grid_of(message), f"truth on {self._topic}"
        _check(where, grid, message.class_table, self._grid, self._class_set)
        beside = self._lidar.nearest(stamp_ns, TOLERANCE_NS) if self._lidar else None
        return truth_of(message, beside)


def _check(
    where: str, grid: VoxelGrid, class_table: str, expected: VoxelGrid, class_set: ClassSet
) -> None:
    """Refuse truth of another grid or of other classes than the model's."""
    if not grid.is_close(expected):
        raise ValueError(
            f"{where} has the grid {grid}, the model {expected}: take a model with that grid, or "
            "extract a data set, make truth of the model's grid (`renderocc truth DATA --out gts "
            "--grid NETWORK`), and evaluate that (`renderocc evaluate MODEL DATA --truth gts`)"
        )
    if class_table != class_set.name:
        raise ValueError(
            f"{where} has the classes '{class_table}', the model '{class_set.name}': score with "
            "the classes that the model was trained with"
        )


def find_truth_topics(reader: BagReader, chosen: str | None) -> tuple[str, str | None] | None:
    """The truth topic of a bag and, beside it, that of the LiDAR's view; None if it has none.

    Raises:
        ValueError: the chosen topic is not in the bag.
    """
    topics = [name for name, topic in reader.topics.items() if topic.message_type == MESSAGE]
    if chosen is None:
        truth_topics = [name for name in topics if name.startswith("/ground_truth/")]
        chosen = min(truth_topics, key=len, default=None)
        if chosen is None:
            return None
    if chosen not in topics:
        raise ValueError(
            f"no {MESSAGE} on '{chosen}'; the bag has {', '.join(topics) or 'none of that type'}"
        )
    lidar = f"{chosen}_lidar"
    return chosen, lidar if lidar in topics else None
