"""What every layout gives: drives, frame by frame."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from renderocc_ros.geometry import RigidTransform
from renderocc_training.recording.boxes import Box
from renderocc_training.sequences.extraction.readings import Reading


@dataclass(frozen=True, eq=False)
class LayoutFrame:
    """Readings that belong together.

    Attributes:
        stamp_ns: time of the frame.
        readings: one of each sensor.
        boxes: in the world.
        point_labels: uint32 for each LiDAR point, SemanticKITTI's form.
        sweeps: readings before this frame that belong to none.
        is_key: the data set's own choice; None leaves it to the options.
    """

    stamp_ns: int
    readings: list[Reading]
    boxes: list[Box]
    point_labels: bytes | None = None
    sweeps: tuple[Reading, ...] = ()
    is_key: bool | None = None


@dataclass(frozen=True, eq=False)
class LayoutDrive:
    """One drive of a data set.

    Attributes:
        name: also of its scene.
        count: number of frames.
        frames: reads them one at a time, in the order of time.
        problems: what the data set lacks, in sentences.
    """

    name: str
    description: str
    vehicle: str
    date: str
    location: str
    start_ns: int
    count: int
    frames: Callable[[], Iterator[LayoutFrame]]
    problems: tuple[str, ...] = ()


def rigid(matrix: NDArray[np.float64]) -> RigidTransform:
    """From (3, 4) or (4, 4) numbers that were rounded for printing: the nearest rotation.

    The orthogonal Procrustes solution U·Vᵀ of the singular value decomposition.
    """
    left, _, right = np.linalg.svd(matrix[:3, :3])
    return RigidTransform(left @ right, matrix[:3, 3])
