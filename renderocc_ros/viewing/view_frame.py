"""One instant of a sequence, as every viewer here takes it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from renderocc_ros.occupancy.semantic_occupancy import SemanticOccupancy
from renderocc_ros.rig.camera_set import CameraSet


@dataclass(frozen=True, eq=False)
class ViewFrame:
    """What was seen, what was said about it, and what is true; any of it may be missing.

    Attributes:
        stamp_ns: of all of it, nanoseconds.
        cameras: images with the poses and models that place them.
        prediction: of a network.
        truth: what is really there.
        lidar_m: (N, 3) float32 points in the ego frame, metres.
    """

    stamp_ns: int
    cameras: CameraSet | None = None
    prediction: SemanticOccupancy | None = None
    truth: SemanticOccupancy | None = None
    lidar_m: NDArray[np.float32] | None = None

    @property
    def volumes(self) -> dict[str, SemanticOccupancy]:
        """The voxels that there are, "prediction" before "truth", which is shown whole."""
        truth = None if self.truth is None else replace(self.truth, in_view=None)
        named = {"prediction": self.prediction, "truth": truth}
        return {name: volume for name, volume in named.items() if volume is not None}

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to see."""
        return self.cameras is None and self.lidar_m is None and not self.volumes

    def without_truth(self) -> ViewFrame:
        """The frame as one sees it who does not know better."""
        return replace(self, truth=None)
