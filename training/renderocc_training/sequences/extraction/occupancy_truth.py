"""3D truth of a recording, as Occ3D keeps it: ``gts/<scene>/<sample token>/labels.npz``."""

from __future__ import annotations

from collections import deque
from pathlib import Path
from typing import Any

from renderocc_ros.geometry import VoxelGrid
from renderocc_ros.occupancy.grid_file import describe_grid
from renderocc_ros.occupancy.messages import grid_of, truth_of
from renderocc_ros.occupancy.occ3d_files import write_truth
from renderocc_training.recording import message_content as content

FOLDER = "gts"
WAITING = 8  # messages of each topic that are kept until their key frame is written
LIDAR_SUFFIX = "_lidar"


class OccupancyTruth:
    """Keeps the last SemanticOccupancy messages, and writes those that lie at a key frame.

    The message's ``observed`` becomes ``mask_camera``; that of the message on ``<topic>_lidar``
    becomes ``mask_lidar``. A topic without ``observed`` sees everything.
    """

    def __init__(self, root: Path, topic: str) -> None:
        self._root, self._topic = root / FOLDER, topic
        self._camera: deque[Any] = deque(maxlen=WAITING)
        self._lidar: deque[Any] = deque(maxlen=WAITING)
        self._described: dict[str, tuple[VoxelGrid, str]] = {}  # by scene

    @property
    def topics(self) -> list[str]:
        """What to read."""
        return [self._topic, self._topic + LIDAR_SUFFIX]

    def take(self, topic: str, message: Any) -> None:
        """Keep a message for its key frame."""
        (self._camera if topic == self._topic else self._lidar).append(message)

    def known_until(self, stamp_ns: int) -> bool:
        """Whether what belongs to this time has come, or will not come any more."""
        return bool(self._camera) and content.stamp_ns(self._camera[-1]) >= stamp_ns

    def write(self, scene: str, sample: str, stamp_ns: int) -> None:
        """Write the truth of a key frame.

        Raises:
            ValueError: there is none at this very time: the grid is in the robot's frame, so
                another time's lies elsewhere; or the scene began with another grid or classes.
        """
        camera, lidar = _at(self._camera, stamp_ns), _at(self._lidar, stamp_ns)
        if camera is None:
            raise ValueError("no occupancy at the stamp of a key frame")
        self._describe(scene, grid_of(camera), camera.class_table)
        write_truth(self._root / scene / sample / "labels.npz", truth_of(camera, lidar))

    def _describe(self, scene: str, grid: VoxelGrid, class_table: str) -> None:
        """Keep to one grid in a scene, and write it beside its files."""
        if scene not in self._described:
            describe_grid(self._root / scene, grid, class_table)
            self._described[scene] = grid, class_table
        elif self._described[scene] != (grid, class_table):
            raise ValueError("another grid or other classes than where the scene begins")


def _at(messages: deque[Any], stamp_ns: int) -> Any:
    return next((each for each in messages if content.stamp_ns(each) == stamp_ns), None)
