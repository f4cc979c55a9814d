"""The official network on a stream of sets."""

from __future__ import annotations

import numpy as np
import torch

from renderocc_ros.network.occupancy_field import OccupancyField
from renderocc_ros.network.official import SwinBStereoStream
from renderocc_ros.network.official.preset import (
    OfficialRenderOcc,
    camera_frame,
    occupancy_field,
)
from renderocc_ros.prediction.runner import camera_tensors
from renderocc_ros.prediction.timing import StageTimer
from renderocc_ros.rig.camera_set import CameraSet
from renderocc_ros.rig.network_input import NetworkInput

# A camera's pose in a set holds the motion between its stamp and the set's: up to 40 m/s · 25 ms.
MOTION_WITHIN_SET_M = 1.0


class OfficialRunner:
    """Feeds ``SwinBStereoStream``; without odometry every set stands alone."""

    def __init__(self, network: OfficialRenderOcc, device: torch.device, timer: StageTimer) -> None:
        self._network = network.to(device).eval()
        self._device = device
        self._timer = timer
        self.stream = SwinBStereoStream(network, max_mounting_shift=MOTION_WITHIN_SET_M)

    def run(self, cameras: NetworkInput, camera_set: CameraSet) -> OccupancyField:
        """See ``Runner``."""
        tensors = camera_tensors(cameras, self._device, self._network.config.image)
        odom_from_ego = camera_set.odom_from_ego
        if odom_from_ego is None:
            self.stream.reset()
        pose = np.eye(4) if odom_from_ego is None else odom_from_ego.matrix
        frame = camera_frame(tensors, torch.from_numpy(pose).to(self._device)[None])
        with self._timer.stage("network"):
            field = self.stream.step(frame, camera_set.stamp_ns).field
        return occupancy_field(field, self._network.grid.resolution_m)

    def reset(self) -> None:
        """See ``Runner``."""
        self.stream.reset()
