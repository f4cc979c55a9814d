"""What depends on calibration alone, kept while it stays the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from renderocc_ros.rig.network_input import NetworkInput

Value = TypeVar("Value")

# A camera that moved less than this in the ego frame uses the table of before. At 40 m it is 4 cm,
# a tenth of the smallest shipped voxel. Cameras do move: each one's pose holds the robot's motion
# between its own stamp and the set's.
SAME_ROTATION_RAD = 5e-4
SAME_TRANSLATION_M = 0.02
SAME_INTRINSICS_PX = 1e-3


@dataclass(frozen=True, eq=False)
class Calibration:
    """Of N cameras: intrinsics (N, 3, 3), ego_from_camera (N, 4, 4), and which are known (N,)."""

    names: tuple[str, ...]
    intrinsics: NDArray[np.float64]
    ego_from_camera: NDArray[np.float64]
    known: NDArray[np.bool_]

    @staticmethod
    def of(names: tuple[str, ...], cameras: NetworkInput) -> Calibration:
        """The calibration of a set of images."""
        return Calibration(names, cameras.intrinsics, cameras.ego_from_camera, cameras.valid)

    def covers(self, other: Calibration) -> bool:
        """Whether tables made for this one serve the other as well."""
        if self.names != other.names or (other.known & ~self.known).any():
            return False
        pick = other.known
        pixels = np.abs(self.intrinsics[pick] - other.intrinsics[pick])
        before, after = self.ego_from_camera[pick], other.ego_from_camera[pick]
        moved = np.abs(before[:, :3, 3] - after[:, :3, 3])
        turned = np.abs(before[:, :3, :3] - after[:, :3, :3])
        return bool(
            pixels.max() < SAME_INTRINSICS_PX
            and moved.max() < SAME_TRANSLATION_M
            and turned.max() < SAME_ROTATION_RAD
        )

    def completed_by(self, older: Calibration | None) -> Calibration:
        """With the older one's values for the cameras that this one does not know."""
        if older is None or older.names != self.names:
            return self
        missing = ~self.known
        return Calibration(
            self.names,
            np.where(missing[:, None, None], older.intrinsics, self.intrinsics),
            np.where(missing[:, None, None], older.ego_from_camera, self.ego_from_camera),
            self.known | older.known,
        )


class CalibrationCache(Generic[Value]):
    """A value per calibration; made anew when a camera moved, never when one is merely missing."""

    def __init__(self, make: Callable[[Calibration], Value]) -> None:
        self._make = make
        self._calibration: Calibration | None = None
        self._value: Value | None = None
        self.made = 0

    def get(self, calibration: Calibration) -> Value:
        """The value for this calibration, or for one that it does not differ from."""
        old = self._calibration
        if old is None or self._value is None or not old.covers(calibration):
            self._calibration = calibration.completed_by(old)
            self._value = self._make(self._calibration)
            self.made += 1
        return self._value

    def reset(self) -> None:
        """Forget the calibration."""
        self._calibration = self._value = None
