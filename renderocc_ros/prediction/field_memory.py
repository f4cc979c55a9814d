"""What earlier sets said of the places around the robot, carried along by odometry.

A single look at a distant wall is a guess; many looks, of which the nearer ones weigh more, are
not. The memory averages class probabilities on a grid that stands still in the odometry frame. It
follows the robot by whole cells and never turns, so nothing drifts or blurs however often it moves:
what is remembered was rounded to a cell once when it was written, and is once more when it is read.

What moves is not remembered: where the present set sees such a class, it alone counts. So a car
that has left leaves no ghost, and one that arrives is not thinned by the road that was free.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import torch
from torch import Tensor

from renderocc_ros.geometry import RigidTransform, VoxelGrid
from renderocc_ros.network_config import MemoryConfig

FASTEST_M_S = 60.0  # no robot: the odometry has jumped
UNSEEN_WEIGHT = 1e-3  # of a look at a cell that no camera looks into


class FieldMemory:
    """The memory of one stream; feed it sets in order of time."""

    def __init__(
        self,
        grid: VoxelGrid,
        config: MemoryConfig,
        moving_ids: Collection[int],
        device: torch.device,
    ) -> None:
        """
        Args:
            grid: of the fields.
            moving_ids: classes that are not remembered.
        """
        self._grid, self._config, self._device = grid, config, device
        self._moving_ids = torch.tensor(sorted(moving_ids), device=device)
        centres = torch.from_numpy(grid.centres().reshape(-1, 3)).to(device, torch.float32)
        self._centres = centres.T.contiguous()
        distance_m = centres[:, :2].norm(dim=1)
        self._trust = 1 / (1 + (distance_m / config.trusted_m) ** 2)
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        # (cells, K + 2): sums of probabilities by the weight of their look, and of these weights.
        self._sums: Tensor | None = None
        self._odom_from_memory = RigidTransform.identity()
        self._last_pose = self._odom_from_memory
        self._last_ns = 0

    def blended(
        self,
        probabilities: Tensor,
        labels: Tensor,
        in_view: Tensor,
        stamp_ns: int,
        odom_from_ego: RigidTransform | None,
    ) -> Tensor:
        """What this set says together with what is remembered, which it then becomes part of.

        Time that does not move forward, a longer gap than the configuration allows, or a robot that
        is suddenly elsewhere starts anew. Without a pose this set speaks alone.

        Args:
            probabilities: (X, Y, Z, K + 1) of this set's ``class_probabilities``.
            labels: (X, Y, Z) what is read out of this set alone; says where something moves.
            in_view: (X, Y, Z) bool, cells that a camera looks into.

        Returns:
            (X, Y, Z, K + 1).
        """
        if odom_from_ego is None:
            return probabilities
        own = probabilities.flatten(0, 2)
        moves = torch.isin(labels.to(self._device), self._moving_ids).flatten()[:, None]
        look = torch.where(in_view.to(self._device).flatten(), self._trust, UNSEEN_WEIGHT)[:, None]
        if self._sums is None or not self._goes_on(stamp_ns, odom_from_ego):
            sums = torch.zeros(len(own), own.shape[1] + 1, device=self._device)
            self._odom_from_memory = _level(odom_from_ego)
        else:
            faded = 0.5 ** ((stamp_ns - self._last_ns) * 1e-9 / self._config.half_life_s)
            sums = self._after_robot(self._sums, odom_from_ego) * faded
        self._last_ns, self._last_pose = stamp_ns, odom_from_ego
        memory_from_ego = self._odom_from_memory.inverse() @ odom_from_ego
        before = self._carried(sums, memory_from_ego)
        mean = (before[:, :-1] + own * look) / (before[:, -1:] + look)
        kept = torch.cat([own, torch.ones_like(look)], dim=1) * (look * ~moves)
        self._sums = sums + self._carried(kept, memory_from_ego.inverse())
        return torch.where(moves, own, mean).view_as(probabilities)

    def _goes_on(self, stamp_ns: int, odom_from_ego: RigidTransform) -> bool:
        seconds = (stamp_ns - self._last_ns) * 1e-9
        if not 0 < seconds <= self._config.max_gap_s:
            return False
        moved = self._last_pose.inverse() @ odom_from_ego
        return float(np.linalg.norm(moved.translation)) <= FASTEST_M_S * seconds

    def _after_robot(self, sums: Tensor, odom_from_ego: RigidTransform) -> Tensor:
        """The sums on a grid that has moved after the robot, by whole cells."""
        memory_from_ego = self._odom_from_memory.inverse() @ odom_from_ego
        cells = np.round(memory_from_ego.translation / self._grid.resolution_m)
        before_from_after = RigidTransform(np.eye(3), cells * self._grid.resolution_m)
        self._odom_from_memory = self._odom_from_memory @ before_from_after
        return self._carried(sums, before_from_after) if cells.any() else sums

    def _carried(self, sums: Tensor, from_target: RigidTransform) -> Tensor:
        """Sums (cells, …) at another pose of the grid, by the cell that holds each centre.

        Args:
            from_target: from the wanted pose of the grid to that of ``sums``; what lies outside of
                it is 0.
        """
        matrix = torch.from_numpy(from_target.matrix).to(self._device, torch.float32)
        points = matrix[:3, :3] @ self._centres + matrix[:3, 3:]
        cells, inside = [], []
        for place_m, origin_m, size in zip(
            points, self._grid.origin_m, self._grid.size, strict=True
        ):
            cell = torch.floor((place_m - origin_m) / self._grid.resolution_m)
            inside.append((cell >= 0) & (cell < size))
            cells.append(cell.clamp_(0, size - 1).to(torch.int32))
        x, y, z = cells
        index = (x * self._grid.size[1] + y) * self._grid.size[2] + z
        outside = ~(inside[0] & inside[1] & inside[2])
        return sums.index_select(0, index).masked_fill_(outside[:, None], 0)


def _level(pose: RigidTransform) -> RigidTransform:
    """The pose without its tilt: the ground is level more often than a robot on a ramp."""
    yaw = np.arctan2(pose.rotation[1, 0], pose.rotation[0, 0])
    cos, sin = np.cos(yaw), np.sin(yaw)
    return RigidTransform(np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]]), pose.translation)
