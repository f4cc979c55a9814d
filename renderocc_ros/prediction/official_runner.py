"""The official network on a stream of sets."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from renderocc_ros.network.occupancy_field import OccupancyField
from renderocc_ros.network.official import SwinBStereoStream
from renderocc_ros.network.official.preset import OfficialRenderOcc, live_frame
from renderocc_ros.prediction.runner import camera_tensors
from renderocc_ros.prediction.timing import StageTimer
from renderocc_ros.rig.camera_set import CameraSet
from renderocc_ros.rig.network_input import NetworkInput

# A camera's pose in a set holds the motion between its stamp and the set's: up to 40 m/s · 25 ms.
MOTION_WITHIN_SET_M = 1.0


class OfficialRunner:
    """Feeds ``SwinBStereoStream``; without odometry every set stands alone.

    Attributes:
        threshold: a voxel is occupied where its opacity is above.
    """

    threshold = 0.5

    def __init__(self, network: OfficialRenderOcc, device: torch.device, timer: StageTimer) -> None:
        self._network = network.to(device).eval()
        self._device = device
        self._timer = timer
        self.stream = SwinBStereoStream(network, max_mounting_shift=MOTION_WITHIN_SET_M)

    def run(self, cameras: NetworkInput, camera_set: CameraSet) -> OccupancyField:
        """See ``Runner``."""
        config = self._network.config
        tensors = camera_tensors(cameras, self._device, config.image)
        there = tensors.valid[..., None, None]
        eye = torch.eye(4, device=self._device)
        odom_from_ego = camera_set.odom_from_ego
        if odom_from_ego is None:
            self.stream.reset()
        pose = np.eye(4) if odom_from_ego is None else odom_from_ego.matrix
        frame = live_frame(
            torch.where(there[..., None], tensors.images, 0.0),
            torch.where(there, tensors.intrinsics, eye[:3, :3]),
            torch.where(there, tensors.ego_from_camera, eye),
            torch.from_numpy(pose).to(self._device).expand(*tensors.valid.shape, 4, 4),
            tensors.valid,
        )
        with self._timer.stage("network"):
            field = self.stream.step(frame, camera_set.stamp_ns).field
        opacity = relative_opacity(field.density, config.threshold)
        resolution_m = config.grid.resolution_m
        return OccupancyField(-torch.log1p(-opacity) / resolution_m, field.semantics.movedim(-1, 1))

    def reset(self) -> None:
        """See ``Runner``."""
        self.stream.reset()


def relative_opacity(density: Tensor, threshold: float) -> Tensor:
    """The official density, which has no unit, as a number from 0 to 1: d / (d + threshold).

    One half at the official threshold; it keeps the order of densities but is no probability.
    """
    return density / (density + threshold)
