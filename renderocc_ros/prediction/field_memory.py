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
from renderocc_ros.network.occupancy_field import OccupancyField, class_probabilities
from renderocc_ros.network_config import MemoryConfig

FASTEST_M_S = 60.0  # no robot: the odometry has jumped
UNSEEN_WEIGHT = 1e-3  # of a look at a cell that no camera looks into
SURE = 1 - 1e-6  # opacity whose density is still finite


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
        self._centres = torch.from_numpy(grid.centres().reshape(-1, 3)).to(device, torch.float32)
        distance_m = self._centres[:, :2].norm(dim=1)
        self._trust = 1 / (1 + (distance_m / config.trusted_m) ** 2)
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self._sums: Tensor | None = None  # (K + 1, cells) probabilities by the weight of their look
        self._weights = torch.zeros(0)  # (cells,)
        self._odom_from_memory = RigidTransform.identity()
        self._last_pose = self._odom_from_memory
        self._last_ns = 0

    def blended(
        self,
        field: OccupancyField,
        labels: Tensor,
        in_view: Tensor,
        stamp_ns: int,
        odom_from_ego: RigidTransform | None,
    ) -> OccupancyField:
        """The field of this set together with what is remembered, which it then becomes part of.

        Time that does not move forward, a longer gap than the configuration allows, or a robot that
        is suddenly elsewhere starts anew. Without a pose the field stays as it is.

        Args:
            field: of a batch of one.
            labels: (X, Y, Z) what is read out of this field alone; says where something moves.
            in_view: (X, Y, Z) bool, cells that a camera looks into.
        """
        if odom_from_ego is None:
            return field
        moves = torch.isin(labels.to(self._device), self._moving_ids).flatten()
        own = class_probabilities(field, self._grid.resolution_m)[0].flatten(1)
        look = torch.where(in_view.to(self._device).flatten(), self._trust, UNSEEN_WEIGHT)
        if self._sums is None or not self._goes_on(stamp_ns, odom_from_ego):
            self._sums = torch.zeros_like(own)
            self._weights = torch.zeros_like(look)
            self._odom_from_memory = _level(odom_from_ego)
        else:
            faded = 0.5 ** ((stamp_ns - self._last_ns) * 1e-9 / self._config.half_life_s)
            self._sums, self._weights = self._sums * faded, self._weights * faded
            self._follow(odom_from_ego)
        self._last_ns, self._last_pose = stamp_ns, odom_from_ego
        memory_from_ego = self._odom_from_memory.inverse() @ odom_from_ego
        sums, weights = self._carried(self._sums, self._weights, memory_from_ego)
        mean = (sums + own * look) / (weights + look)
        kept = look * ~moves
        seen, weight = self._carried(own * kept, kept, memory_from_ego.inverse())
        self._sums, self._weights = self._sums + seen, self._weights + weight
        return self._field(torch.where(moves, own, mean), field)

    def _goes_on(self, stamp_ns: int, odom_from_ego: RigidTransform) -> bool:
        seconds = (stamp_ns - self._last_ns) * 1e-9
        if not 0 < seconds <= self._config.max_gap_s:
            return False
        moved = self._last_pose.inverse() @ odom_from_ego
        return float(np.linalg.norm(moved.translation)) <= FASTEST_M_S * seconds

    def _follow(self, odom_from_ego: RigidTransform) -> None:
        """Move the grid after the robot, by whole cells."""
        assert self._sums is not None
        memory_from_ego = self._odom_from_memory.inverse() @ odom_from_ego
        cells = np.round(memory_from_ego.translation / self._grid.resolution_m)
        if not cells.any():
            return
        before_from_after = RigidTransform(np.eye(3), cells * self._grid.resolution_m)
        self._sums, self._weights = self._carried(self._sums, self._weights, before_from_after)
        self._odom_from_memory = self._odom_from_memory @ before_from_after

    def _carried(
        self, sums: Tensor, weights: Tensor, from_target: RigidTransform
    ) -> tuple[Tensor, Tensor]:
        """Sums (K + 1, cells) and weights (cells,) at another pose of the grid; 0 from outside.

        Args:
            from_target: from the wanted pose of the grid to that of ``sums``.
        """
        if np.allclose(from_target.matrix, np.eye(4), atol=1e-6):
            return sums, weights
        matrix = torch.from_numpy(from_target.matrix).to(self._device, torch.float32)
        points = self._centres @ matrix[:3, :3].T + matrix[:3, 3]
        origin, size = (
            torch.tensor(values, device=self._device)
            for values in (self._grid.origin_m, self._grid.size)
        )
        cell = torch.floor((points - origin) / self._grid.resolution_m).long()
        inside = ((cell >= 0) & (cell < size)).all(dim=1)
        x, y, z = torch.minimum(cell.clamp(min=0), size - 1).unbind(dim=1)
        place = (x * size[1] + y) * size[2] + z
        return sums[:, place] * inside, weights[place] * inside

    def _field(self, probabilities: Tensor, like: OccupancyField) -> OccupancyField:
        """The field with these probabilities (K + 1, cells) of its classes and, last, of free."""
        opacity = (1 - probabilities[-1]).clamp(0, SURE)
        density = -torch.log1p(-opacity) / self._grid.resolution_m
        semantics = torch.log(probabilities[:-1].clamp(min=torch.finfo(torch.float32).tiny))
        return OccupancyField(density.view_as(like.density), semantics.view_as(like.semantics))


def _level(pose: RigidTransform) -> RigidTransform:
    """The pose without its tilt: the ground is level more often than a robot on a ramp."""
    yaw = np.arctan2(pose.rotation[1, 0], pose.rotation[0, 0])
    cos, sin = np.cos(yaw), np.sin(yaw)
    return RigidTransform(np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]]), pose.translation)
