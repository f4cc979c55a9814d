"""One set after another through a network: calibration tables, past frames, and an engine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from renderocc_ros.network.camera_tensors import CameraTensors
from renderocc_ros.network.occupancy_field import OccupancyField
from renderocc_ros.network.official import SwinBStereoStream
from renderocc_ros.network.official.preset import OfficialRenderOcc, camera_frame, occupancy_field
from renderocc_ros.network.stereo_matching import PastViews
from renderocc_ros.network.temporal_fusion import PastVolume
from renderocc_ros.network.view_lifting import LiftingGeometry, LiftingTable
from renderocc_ros.network_config import ImageConfig, LiftedConfig
from renderocc_ros.prediction.calibration import Calibration, CalibrationCache
from renderocc_ros.prediction.stream import VolumeStream
from renderocc_ros.prediction.timing import StageTimer
from renderocc_ros.rig.camera_set import CameraSet
from renderocc_ros.rig.network_input import NetworkInput

# A camera's pose in a set holds the motion between its stamp and the set's: up to 40 m/s · 25 ms.
MOTION_WITHIN_SET_M = 1.0


class Runner(Protocol):
    """Runs a network on a stream of sets."""

    @property
    def depth(self) -> Tensor | None:
        """See ``Engine``."""
        ...

    def see(self, cameras: NetworkInput) -> Tensor | None:
        """See ``Engine``."""
        ...

    def run(self, cameras: NetworkInput, camera_set: CameraSet) -> OccupancyField:
        """The field of one set; call in order of time."""
        ...

    def reset(self) -> None:
        """Start a new stream."""
        ...


class Engine(Protocol):
    """Computes one instant of a lifted network.

    Attributes:
        depth: (1, N, D, h, w) distribution that the last instant was lifted by, until the next one;
            None where it is not handed out.
    """

    device: torch.device
    depth: Tensor | None

    def __call__(
        self, cameras: CameraTensors, table: LiftingTable, past: Sequence[PastVolume]
    ) -> tuple[OccupancyField, Tensor, PastViews | None]:
        """The field, the lifted volume (1, C, X, Y, Z) of this instant alone, and with stereo its
        views.

        All stay as they are when the next instant is computed.
        """
        ...

    def see(self, cameras: CameraTensors) -> Tensor | None:
        """(1, N, D, h, w) the depth distribution of these images by themselves; None where it is
        not handed out."""
        ...


class StreamRunner:
    """A lifted network on a stream: keeps its lifting table and the volumes of past frames."""

    def __init__(
        self,
        engine: Engine,
        image: ImageConfig,
        geometry: LiftingGeometry,
        parts: LiftedConfig,
        timer: StageTimer,
    ) -> None:
        self._engine = engine
        self._image = image
        self._geometry = geometry
        self._stream = VolumeStream(parts.temporal, stereo=parts.depth.stereo is not None)
        self._tables: CalibrationCache[LiftingTable] = CalibrationCache(self._table)
        self._timer = timer
        self._names: tuple[str, ...] = ()

    @property
    def depth(self) -> Tensor | None:
        """See ``Runner``."""
        return self._engine.depth

    @property
    def tables_made(self) -> int:
        """How often a lifting table was computed, because a camera was new or had moved."""
        return self._tables.made

    def run(self, cameras: NetworkInput, camera_set: CameraSet) -> OccupancyField:
        """See ``Runner``."""
        with self._timer.stage("lifting_table"):
            table = self._tables.get(Calibration.of(camera_set.names, cameras))
        stamp_ns, odom_from_ego = camera_set.stamp_ns, camera_set.odom_from_ego
        if camera_set.names != self._names:  # a camera is matched with its own past image
            self._stream.reset()
            self._names = camera_set.names
        past = self._stream.past(stamp_ns, odom_from_ego)
        tensors = camera_tensors(cameras, self._engine.device, self._image)
        field, volume, views = self._engine(tensors, table, past)
        self._stream.add(stamp_ns, odom_from_ego, volume, views)
        return field

    def see(self, cameras: NetworkInput) -> Tensor | None:
        """See ``Runner``."""
        return self._engine.see(camera_tensors(cameras, self._engine.device, self._image))

    def reset(self) -> None:
        """See ``Runner``."""
        self._stream.reset()
        self._tables.reset()

    def _table(self, calibration: Calibration) -> LiftingTable:
        device = self._engine.device
        table = self._geometry.table(
            torch.from_numpy(calibration.intrinsics)[None].to(device, torch.float32),
            torch.from_numpy(calibration.ego_from_camera)[None].to(device, torch.float32),
            torch.from_numpy(calibration.known)[None].to(device),
        )
        if table.inside == 0:
            raise ValueError(
                f"no camera of {', '.join(calibration.names)} looks into the grid "
                f"{self._geometry.grid}; check the cameras' poses in the ego frame (an optical "
                "frame is x right, y down, z forward), or choose another grid"
            )
        return table


class OfficialRunner:
    """Feeds ``SwinBStereoStream``; without odometry every set stands alone."""

    depth: Tensor | None = None

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

    def see(self, cameras: NetworkInput) -> None:
        """See ``Runner``."""

    def reset(self) -> None:
        """See ``Runner``."""
        self.stream.reset()


def camera_tensors(
    cameras: NetworkInput, device: torch.device, normalise: ImageConfig
) -> CameraTensors:
    """As a batch of one, on a device; images of bytes are normalised there."""
    images = torch.from_numpy(cameras.images)[None].to(device)
    if images.dtype == torch.uint8:
        mean, std = (
            torch.tensor(values, device=device)[:, None, None]
            for values in (normalise.mean, normalise.std)
        )
        images = (images.float() - mean) / std
    return CameraTensors(
        images,
        torch.from_numpy(cameras.intrinsics)[None].to(device, torch.float32),
        torch.from_numpy(cameras.ego_from_camera)[None].to(device, torch.float32),
        torch.from_numpy(cameras.valid)[None].to(device),
    )
