"""3D truth of a recording, as Occ3D keeps it: ``gts/<scene>/<sample token>/labels.npz``."""

from __future__ import annotations

import json
from collections import deque
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from renderocc_ros.viewing.from_messages import grid_of
from renderocc_training.recording import message_content as content

FOLDER = "gts"
GRID_FILE = "grid.json"
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
                another time's lies elsewhere.
        """
        camera, lidar = _at(self._camera, stamp_ns), _at(self._lidar, stamp_ns)
        if camera is None:
            raise ValueError("no occupancy at the stamp of a key frame")
        folder = self._root / scene / sample
        folder.mkdir(parents=True, exist_ok=True)
        seen = _volume(camera, camera.observed)
        np.savez_compressed(
            folder / "labels.npz",
            semantics=_volume(camera, camera.labels),
            mask_camera=seen,
            mask_lidar=seen if lidar is None else _volume(lidar, lidar.observed),
        )
        self._describe(self._root / scene / GRID_FILE, camera)

    def _describe(self, file: Path, message: Any) -> None:
        """The grid beside the files, which do not say it themselves."""
        if not file.exists():
            grid = asdict(grid_of(message))
            file.write_text(json.dumps(grid | {"class_table": message.class_table}))


def _at(messages: deque[Any], stamp_ns: int) -> Any:
    return next((each for each in messages if content.stamp_ns(each) == stamp_ns), None)


def _volume(message: Any, flat: NDArray[np.uint8]) -> NDArray[np.uint8]:
    size = grid_of(message).size
    if not len(flat):
        return np.ones(size, dtype=np.uint8)
    return np.asarray(flat, dtype=np.uint8).reshape(size)
