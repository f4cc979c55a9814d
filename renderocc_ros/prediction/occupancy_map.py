"""A map of the robot's surroundings that stays: what all sets said, fused in the odometry frame.

Each look at a cell is evidence: the log-odds of being occupied, against those of the network's
threshold, add up to a bound (Moravec and Elfes 1985; OctoMap, Hornung et al. 2013, eq. 2), and so
do the logarithms of the classes' shares. Looks from nearby weigh more, and a look says less of free
space than of what is occupied, since a network misses what it does not know. Free counts only where
a camera sees past what is occupied, occupied wherever a camera looks. What moves is taken as the
last look says, and fades while nobody looks; so a car that has left leaves no ghost.

The map is a window around the robot that follows it by whole cells and never turns. Its cells lie
in memory as in a ring: when the robot moves on, those that fall behind are cleared and become the
new ones ahead, and nothing is copied.

Notation: W window cells, K classes, M cells that a set says something new of.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pad

from renderocc_ros.class_set import IGNORE_ID, ClassSet
from renderocc_ros.geometry import RigidTransform, VoxelGrid
from renderocc_ros.network.occupancy_field import against_free
from renderocc_ros.network_config import ReadOut
from renderocc_ros.occupancy.semantic_occupancy import SemanticOccupancy

MIN_PROBABILITY, MIN_SHARE = 1e-3, 0.2  # of a look: no class is ruled out by one
LOOK_BOUNDS = (-0.5, 2.0)  # log-odds of one look
MIN_EVIDENCE = 1e-4  # log-odds: less is none
FORGOTTEN = 0.05  # log-odds: what moved and has faded to less is not known any more
MAYBE_SOLID = 0.99  # of the threshold: below that a cell is free whatever the rounding


@dataclass(frozen=True)
class MapOptions:
    """How a map is made.

    Attributes:
        size_m: length and width of the window around the robot, metres.
        trusted_m: distance from which a look weighs half as much as one from nearby.
        look_weight: of one look from nearby; sets that follow each other are alike, so below 1.
        max_evidence: bound of the evidence of a cell, nats: how sure the map may become.
        moving_half_life_s: time in which what moves loses half its evidence while nobody looks.
    """

    size_m: tuple[float, float] = (100.0, 100.0)
    trusted_m: float = 12.0
    look_weight: float = 0.25
    max_evidence: float = 3.0
    moving_half_life_s: float = 0.5


class OccupancyMap:
    """The map of one stream; feed it sets in order of time.

    Args:
        grid: of the sets; the window has its cells, and its height.
        class_set: meaning of the classes.
        threshold: of the network; a cell of evidence as strong as that is on the brink.
        read_out: what the threshold is compared with.
    """

    def __init__(
        self,
        grid: VoxelGrid,
        class_set: ClassSet,
        threshold: float,
        read_out: ReadOut,
        options: MapOptions,
        device: torch.device,
    ) -> None:
        self._grid, self._class_set, self._options, self._device = grid, class_set, options, device
        self._read_out: ReadOut = read_out
        self._threshold, self._brink = threshold, math.log(threshold / (1 - threshold))
        across = [max(1, math.ceil(size_m / grid.resolution_m)) for size_m in options.size_m]
        self._size = (across[0], across[1], grid.size[2])
        self._moving = torch.zeros(256, dtype=torch.bool, device=device)
        self._moving[sorted(class_set.moving_ids)] = True
        distance_m = torch.from_numpy(np.linalg.norm(grid.centres()[..., :2], axis=-1)).flatten()
        weight = options.look_weight / (1 + (distance_m / options.trusted_m) ** 2)
        self._weight = weight.to(device, torch.float32)
        numbers = torch.arange(grid.cell_count, dtype=torch.int32, device=device)
        self._of_bordered = self._bordered(numbers)
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        count = math.prod(self._size)
        self._odds = torch.zeros(count, device=self._device)
        self._classes = torch.zeros(count, len(self._class_set), device=self._device)
        self._labels = torch.full((count,), IGNORE_ID, dtype=torch.uint8, device=self._device)
        self._low: NDArray[np.int64] | None = None  # cell of the odometry frame at the corner
        self._stamp_ns = 0

    def update(
        self,
        probabilities: Tensor,
        in_view: NDArray[np.bool_],
        visible: NDArray[np.bool_],
        stamp_ns: int,
        odom_from_ego: RigidTransform,
    ) -> None:
        """Take in what a set says.

        Args:
            probabilities: (X, Y, Z, K + 1) of ``class_probabilities``, of this set alone.
            in_view: (X, Y, Z) bool, cells that a camera looks into.
            visible: (X, Y, Z) bool, those of them that it sees past what is occupied.
        """
        before_ns, self._stamp_ns = self._stamp_ns, stamp_ns
        self._follow(odom_from_ego)
        self._fade((stamp_ns - before_ns) * 1e-9)
        looks = probabilities.to(self._device).flatten(0, 2)
        see, look_into = (
            torch.from_numpy(mask).to(self._device).flatten() for mask in (visible, in_view)
        )
        # No class is likelier than all together: what is free by that is free by either read-out.
        maybe_solid = looks[:, -1] < 1 - MAYBE_SOLID * self._threshold
        cells, seen = self._cells_of(see | look_into & maybe_solid, odom_from_ego)
        looks = looks.index_select(0, seen)
        free, (likeliest, best) = looks[:, -1], looks[:, :-1].max(dim=1)
        occupied = 1 - free if self._read_out == "opacity" else against_free(likeliest, free)
        odds = (occupied.logit(MIN_PROBABILITY) - self._brink).clamp(*LOOK_BOUNDS)
        solid = odds > 0
        # What is no number would stay in the map for ever (the max hands it on).
        says = (see.index_select(0, seen) | solid) & (likeliest + free).isfinite()
        labels = self._labels.index_select(0, cells)
        changes = (self._is_moving(labels) | self._moving.index_select(0, best) & solid) & says
        self._classes.index_fill_(0, cells.index_select(0, _indices(changes)), 0.0)
        weight, hits = self._weight.index_select(0, seen), _indices(solid & says)
        looks, solid_cells = (each.index_select(0, hits) for each in (looks, cells))
        best = self._add_classes(solid_cells, looks, (occupied * weight).index_select(0, hits))
        labels.scatter_(0, hits, best.to(torch.uint8))
        before = self._odds.index_select(0, cells) * ~changes
        self._write(cells, (odds * weight).masked_fill(~says, 0.0) + before, labels)

    def occupancy(self) -> SemanticOccupancy:
        """The window in the odometry frame; unknown where no camera ever looked."""
        assert self._low is not None, "no set yet"
        origin_m = tuple((self._low * self._grid.resolution_m).tolist())
        grid = VoxelGrid(origin_m, self._grid.resolution_m, self._size)
        shift = [int(low % size) for low, size in zip(self._low, self._size, strict=True)]
        sure = (self._odds.sigmoid() * _is_known(self._odds) * 255).round().to(torch.uint8)
        labels, confidence = (
            np.roll(ring.cpu().numpy().reshape(self._size), [-s for s in shift], axis=(0, 1, 2))
            for ring in (self._labels, sure)
        )
        known = labels != IGNORE_ID
        return SemanticOccupancy(self._stamp_ns, grid, self._class_set, labels, confidence, known)

    def around(self, odom_from_ego: RigidTransform) -> SemanticOccupancy:
        """The same on the grid of the sets, at a pose of the robot."""
        everything = self.occupancy()
        points = odom_from_ego.apply(self._grid.centres())
        index, inside = everything.grid.index_of(points)
        place = everything.grid.flat_index(index)
        labels = np.where(inside, everything.labels.reshape(-1)[place], np.uint8(IGNORE_ID))
        confidence = everything.confidence.reshape(-1)[place] * inside
        return SemanticOccupancy(
            self._stamp_ns, self._grid, self._class_set, labels, confidence.astype(np.uint8),
            labels != IGNORE_ID,
        )  # fmt: skip

    def _follow(self, odom_from_ego: RigidTransform) -> None:
        """Move the window after the robot; cells that it comes to are not known."""
        x, y, z = odom_from_ego.translation
        resolution_m = self._grid.resolution_m
        corner_m = (x, y, z + self._grid.origin_m[2] + resolution_m / 2)
        low = np.floor(np.array(corner_m) / resolution_m).astype(np.int64)
        low[:2] -= np.array(self._size[:2]) // 2
        before, self._low = self._low, low
        if before is None:
            return
        for axis, size in enumerate(self._size):
            moved = int(low[axis] - before[axis])
            if not moved:
                continue
            new = np.arange(low[axis], low[axis] + size)
            new = new[(new < before[axis]) | (new >= before[axis] + size)]
            planes = torch.from_numpy(new % size).to(self._device)
            for ring, empty in (
                (self._odds, 0.0),
                (self._classes, 0.0),
                (self._labels, IGNORE_ID),
            ):
                ring.view(*self._size, -1).index_fill_(axis, planes, empty)

    def _fade(self, seconds: float) -> None:
        """What moves is less and less sure while nobody looks."""
        moving = _indices(self._is_moving(self._labels))
        if len(moving):
            half_lives = max(seconds, 0.0) / self._options.moving_half_life_s
            odds = self._odds.index_select(0, moving) * 0.5**half_lives
            odds.masked_fill_(odds < FORGOTTEN, 0.0)
            self._write(moving, odds, self._labels.index_select(0, moving))

    def _add_classes(self, cells: Tensor, looks: Tensor, sure: Tensor) -> Tensor:
        """Take in looks (M, K + 1), so sure (M,), at flat cells; returns the likeliest ids (M,)."""
        shares = looks[:, :-1] / looks[:, :-1].sum(dim=1, keepdim=True)
        classes = shares.clamp_(min=MIN_SHARE).log_().mul_(sure[:, None])
        classes += self._classes.index_select(0, cells)
        top, best = classes.max(dim=1)  # which has 0, the others less
        classes.sub_(top[:, None]).clamp_(min=-self._options.max_evidence)
        self._classes.index_copy_(0, cells, classes)
        return best

    def _write(self, cells: Tensor, odds: Tensor, labels: Tensor) -> None:
        """(M,) flat cells of the ring, log-odds that they are occupied, and by what if they are."""
        odds = odds.clamp(-self._options.max_evidence, self._options.max_evidence)
        labels = labels.masked_fill(odds <= 0, len(self._class_set))
        self._odds.scatter_(0, cells, odds)
        self._labels.scatter_(0, cells, labels.masked_fill_(~_is_known(odds), IGNORE_ID))

    def _is_moving(self, labels: Tensor) -> Tensor:
        """(M,) bool of labels (M,)."""
        return self._moving.index_select(0, labels.int())

    def _cells_of(self, chosen: Tensor, odom_from_ego: RigidTransform) -> tuple[Tensor, Tensor]:
        """Cells of the ring (M,) and of the set's grid (M,), flat, where some of these are chosen.

        Args:
            chosen: (X·Y·Z,) bool.
        """
        assert self._low is not None
        grid, ego_from_odom = self._grid, odom_from_ego.inverse()
        sides = zip(grid.origin_m, grid.upper_m, strict=True)
        corners = np.array(list(itertools.product(*sides)))
        reach = odom_from_ego.apply(corners) / grid.resolution_m
        first = np.maximum(np.floor(reach.min(axis=0)).astype(np.int64), self._low)
        last = np.minimum(np.ceil(reach.max(axis=0)).astype(np.int64), self._low + self._size)
        axes = [np.arange(a, max(a, b)) for a, b in zip(first, last, strict=True)]
        # The set's coordinates are linear in each of the cell's: sums of three small tables.
        x, y, z = (
            torch.from_numpy(np.outer(ego_from_odom.rotation[:, number], axis + 0.5))
            for number, axis in enumerate(axes)
        )
        start = (ego_from_odom.translation - grid.origin_m) / grid.resolution_m
        x = x + torch.from_numpy(start)[:, None]
        x, y, z = (table.to(self._device, torch.float32) for table in (x, y, z))
        # What lies outside comes into a border around the grid, of which no cell is chosen.
        place = torch.zeros(1, dtype=torch.int32, device=self._device)
        for row, size in enumerate(grid.size):
            index = (x[row][:, None, None] + y[row][:, None] + z[row]).floor_()
            index = index.clamp_(-1, size).add_(1).int()
            place = torch.add(index, place, alpha=size + 2)
        place = place.flatten()
        there = _indices(self._bordered(chosen).index_select(0, place))
        ring_x, ring_y, ring_z = (
            torch.from_numpy(axis % size).to(self._device)
            for axis, size in zip(axes, self._size, strict=True)
        )
        ring = (ring_x[:, None, None] * self._size[1] + ring_y[:, None]) * self._size[2] + ring_z
        seen = self._of_bordered.index_select(0, place.index_select(0, there))
        return ring.flatten().index_select(0, there), seen

    def _bordered(self, volume: Tensor) -> Tensor:
        """A flat volume of the set's grid with a border of one cell around it, where it is 0."""
        return pad(volume.view(self._grid.size), (1,) * 6).flatten()


def _is_known(odds: Tensor) -> Tensor:
    """(M,) bool of log-odds (M,)."""
    return odds.abs() > MIN_EVIDENCE


def _indices(mask: Tensor) -> Tensor:
    """(M,) where a mask (N,) is set.

    ``index_select`` and ``scatter_`` by them take a quarter of the time of brackets.
    """
    return mask.nonzero()[:, 0]
