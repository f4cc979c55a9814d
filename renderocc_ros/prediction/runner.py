"""The network in PyTorch, one set after another."""

from __future__ import annotations

import torch

from renderocc_ros.geometry import RigidTransform
from renderocc_ros.network.occupancy_field import OccupancyField
from renderocc_ros.network.renderocc import CameraTensors, RenderOcc
from renderocc_ros.network.view_lifting import LiftingTable
from renderocc_ros.network_config import LiftedConfig
from renderocc_ros.prediction.calibration import Calibration, CalibrationCache
from renderocc_ros.prediction.network_input import NetworkInput
from renderocc_ros.prediction.stream import VolumeStream
from renderocc_ros.prediction.timing import StageTimer


class TorchRunner:
    """A ``RenderOcc`` with its lifting table and the volumes of its last frames."""

    def __init__(self, network: RenderOcc, device: torch.device, timer: StageTimer) -> None:
        parts = network.config.architecture
        assert isinstance(parts, LiftedConfig)
        self.network = network.to(device).eval()
        self.device = device
        self.stream = VolumeStream(parts.temporal)
        self._tables: CalibrationCache[LiftingTable] = CalibrationCache(self._table)
        self._timer = timer
        timer.watch(network)

    def run(
        self,
        cameras: NetworkInput,
        names: tuple[str, ...],
        stamp_ns: int,
        odom_from_ego: RigidTransform | None,
    ) -> OccupancyField:
        """The field of one set; call in order of time."""
        with self._timer.stage("lifting_table"):
            table = self._tables.get(
                Calibration(names, cameras.intrinsics, cameras.ego_from_camera, cameras.valid)
            )
        views = self.network.view_features(self._tensors(cameras))
        with self._timer.stage("view_lifting"):
            volume = self.network.lift_views(views, table)
        field = self.network.decode(volume, self.stream.past(stamp_ns, odom_from_ego))
        self.stream.add(stamp_ns, odom_from_ego, volume)
        return field

    def reset(self) -> None:
        """Start a new stream: no past frames, no calibration."""
        self.stream.reset()
        self._tables.reset()

    def _tensors(self, cameras: NetworkInput) -> CameraTensors:
        return CameraTensors(
            torch.from_numpy(cameras.images)[None].to(self.device),
            torch.from_numpy(cameras.intrinsics)[None].to(self.device, torch.float32),
            torch.from_numpy(cameras.ego_from_camera)[None].to(self.device, torch.float32),
            torch.from_numpy(cameras.valid)[None].to(self.device),
        )

    def _table(self, calibration: Calibration) -> LiftingTable:
        table = self.network.lifting_table(
            CameraTensors(
                torch.empty(0),
                torch.from_numpy(calibration.intrinsics)[None].to(self.device, torch.float32),
                torch.from_numpy(calibration.ego_from_camera)[None].to(self.device, torch.float32),
                torch.from_numpy(calibration.known)[None].to(self.device),
            )
        )
        if table.inside == 0:
            raise ValueError(
                f"no camera of {', '.join(calibration.names)} looks into the grid "
                f"{self.network.grid}; check the cameras' poses in the ego frame (an optical frame "
                "is x right, y down, z forward), or choose another grid"
            )
        return table
