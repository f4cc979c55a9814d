"""Depth distributions and context of N cameras, pooled into the voxels of the ego frame.

Lift-splat (Philion and Fidler 2020, arXiv 2008.05711, sec. 3): every feature pixel stands for D
points on its ray, one per depth bin; the point in bin d carries the pixel's context times the
probability of d, and a voxel holds the sum of its points. Which point falls into which voxel
depends on calibration alone, so it is a table, made once while nothing moves.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from renderocc_ros.geometry import VoxelGrid
from renderocc_ros.kernels import use_triton

Pooling = Callable[[Tensor, Tensor, "LiftingTable"], Tensor]


@dataclass(frozen=True, eq=False)
class LiftingTable:
    """The points of all cameras, sorted by the cell that they fall into; outside ones last.

    Cells are numbered through the batch: B·X·Y·Z of them, z fastest.

    Attributes:
        point: (P,) int64, position in the flattened depth distribution (B, N, D, h, w).
        pixel: (P,) int64, position in the flattened feature pixels (B, N, h, w).
        cell: (P,) int64, B·X·Y·Z for a point that is in no cell.
        start: (B·X·Y·Z + 1,) int64, where each cell's points begin, and where the last one's end.
        inside: number of points that are in some cell.
    """

    point: Tensor
    pixel: Tensor
    cell: Tensor
    start: Tensor
    inside: int

    def to(self, device: torch.device) -> LiftingTable:
        """The table on another device."""
        point, pixel, cell, start = (
            part.to(device) for part in (self.point, self.pixel, self.cell, self.start)
        )
        return LiftingTable(point, pixel, cell, start, self.inside)


def frustum_points(
    intrinsics: Tensor,
    ego_from_camera: Tensor,
    depths_m: Tensor,
    feature_size: tuple[int, int],
    stride: float,
) -> Tensor:
    """Where each feature pixel's depth bins lie in the ego frame: (B, N, D, h, w, 3), metres.

    Args:
        intrinsics: (B, N, 3, 3) of the network's images.
        ego_from_camera: (B, N, 4, 4).
        depths_m: (D,) distances along the camera's z axis, not along the ray.
        feature_size: (h, w).
        stride: image pixels per feature pixel. Feature pixel j has its centre at image pixel
            (j + ½)·stride − ½, pixel centres being whole numbers.
    """
    device = intrinsics.device
    height, width = feature_size
    v = (torch.arange(height, device=device, dtype=torch.float64) + 0.5) * stride - 0.5
    u = (torch.arange(width, device=device, dtype=torch.float64) + 0.5) * stride - 0.5
    v, u = torch.meshgrid(v, u, indexing="ij")
    pixels = torch.stack([u, v, torch.ones_like(u)], dim=-1)  # (h, w, 3)

    rotation, origin = ego_from_camera[..., :3, :3], ego_from_camera[..., :3, 3]
    ego_from_pixel = rotation.double() @ torch.linalg.inv(intrinsics.double())
    rays = torch.einsum("bnij,hwj->bnhwi", ego_from_pixel, pixels).float()
    reach = depths_m.to(rays)[:, None, None, None]
    return origin[:, :, None, None, None].to(rays) + rays[:, :, None] * reach


def build_table(points: Tensor, valid: Tensor, grid: VoxelGrid, *, flat: bool) -> LiftingTable:
    """Sort points into cells.

    Args:
        points: (B, N, D, h, w, 3) of ``frustum_points``.
        valid: (B, N) bool; the points of other cameras are in no cell.
        grid: the cells.
        flat: pool whole columns: the cells are (X, Y, 1).
    """
    batch, _, bins, height, width, _ = points.shape
    size = torch.tensor(grid.size, device=points.device)
    index = torch.floor((points - points.new_tensor(grid.origin_m)) / grid.resolution_m)
    inside = ((index >= 0) & (index < size)).all(dim=-1) & valid[:, :, None, None, None]
    index = torch.where(inside[..., None], index, 0).long()
    x, y, z = index.unbind(-1)
    nx, ny, nz = grid.size
    column = x * ny + y
    in_item = column if flat else column * nz + z
    per_item = nx * ny * (1 if flat else nz)
    item = torch.arange(batch, device=points.device).view(-1, 1, 1, 1, 1)
    cell = torch.where(inside, in_item + item * per_item, batch * per_item).flatten()

    cell, point = torch.sort(cell.to(torch.int32), stable=True)
    camera = point // (bins * height * width)
    pixel = camera * (height * width) + point % (height * width)
    counts = torch.bincount(cell, minlength=batch * per_item + 1)
    start = counts.cumsum(0) - counts
    return LiftingTable(point, pixel, cell.long(), start, int(start[-1]))


@dataclass(frozen=True)
class LiftingGeometry:
    """What, beside the calibration, decides where feature pixels are lifted to.

    Attributes:
        depths_m: middles of the depth bins, metres along the camera's z axis.
        image_size: (height, width) of the network's images.
        stride: image pixels per feature pixel.
        grid: the voxels, in the ego frame.
        flat: pool whole columns of the grid.
    """

    depths_m: tuple[float, ...]
    image_size: tuple[int, int]
    stride: int
    grid: VoxelGrid
    flat: bool

    @property
    def volume_size(self) -> tuple[int, int, int]:
        """Cells of the lifted volume: (X, Y, Z), or (X, Y, 1)."""
        x, y, z = self.grid.size
        return (x, y, 1 if self.flat else z)

    @torch.no_grad()
    def table(self, intrinsics: Tensor, ego_from_camera: Tensor, valid: Tensor) -> LiftingTable:
        """Which feature pixel falls into which cell at which depth.

        Args:
            intrinsics: (B, N, 3, 3) of the network's images; anything for an invalid camera.
            ego_from_camera: (B, N, 4, 4).
            valid: (B, N) bool.
        """
        known = valid[..., None, None]
        points = frustum_points(
            torch.where(known, intrinsics, torch.eye(3).to(intrinsics)),
            ego_from_camera,
            torch.tensor(self.depths_m, device=intrinsics.device),
            (self.image_size[0] // self.stride, self.image_size[1] // self.stride),
            self.stride,
        )
        return build_table(points, valid, self.grid, flat=self.flat)


def pool_plain(depth: Tensor, context: Tensor, table: LiftingTable) -> Tensor:
    """The definition, in plain steps; also the form that is exported.

    Args:
        depth: (B, N, D, h, w).
        context: (B, N, C, h, w).

    Returns:
        (B·X·Y·Z, C) sums.
    """
    rows = context.movedim(2, -1).reshape(-1, context.shape[2])
    weighted = rows[table.pixel] * depth.reshape(-1)[table.point][:, None]
    cells = table.start.shape[0] - 1
    pooled = weighted.new_zeros(cells + 1, rows.shape[1]).index_add(0, table.cell, weighted)
    return pooled[:cells]


def pool_fast(depth: Tensor, context: Tensor, table: LiftingTable) -> Tensor:
    """As ``pool_plain``, without a weighted row per point: a weighted bag of rows per cell."""
    rows = context.movedim(2, -1).reshape(-1, context.shape[2])
    if use_triton(context):
        from renderocc_ros.kernels.interval_sum import interval_sum

        return interval_sum(depth.reshape(-1), rows, table.point, table.pixel, table.start)
    weights = depth.reshape(-1)[table.point[: table.inside]].float()
    return embedding_bag(
        table.pixel[: table.inside],
        rows.float(),
        table.start,
        mode="sum",
        per_sample_weights=weights,
        include_last_offset=True,
    ).to(context.dtype)


def lift(
    depth: Tensor,
    context: Tensor,
    table: LiftingTable,
    size: tuple[int, int, int],
    pool: Pooling = pool_fast,
) -> Tensor:
    """Pool into a volume (B, C, X, Y, Z) of ``size`` cells; see ``pool_plain`` for the input."""
    pooled = pool(depth, context, table)
    return pooled.view(depth.shape[0], *size, -1).movedim(-1, 1)
