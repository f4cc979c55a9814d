"""Does the truth of a recording agree with itself? Depth, dense occupancy and LiDAR, compared.

A cell is occupied when it contains surface anywhere, so a ray that grazes the ground, or passes
beside a pole, rightly meets the surface's cell before the surface itself, at a distance along the
ray that may be many cells. ``grid_meets_depth`` therefore measures where the ray is stopped against
the surface, not along the ray: the first occupied cell must be one that holds surface of the depth
images (pixels and what lies between neighbouring ones), or its neighbour, or lie close before the
surface and within a cell of its plane (which is how cells just below an image's edge stop rays);
and no ray may pass its surface by more than a cell. ``along_ray`` is the plain difference of
ranges, for those who want it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, maximum_filter, minimum_filter

from renderocc_ros.geometry.voxel_traversal import first_hits
from renderocc_simulation.bag_truth import TruthFrame, TruthImage

Floats = NDArray[np.float64]
GRID_AGREES, LIDAR_AGREES = 0.99, 0.98
LIDAR_NOISE_M = 0.08  # what a LiDAR's noise may add up to, and
LIDAR_NOISE_SHARE = 0.004  # what half a millimetre of depth and a late shutter may, by distance
RAYS_PER_IMAGE = 4000
CLOSE_VOXELS = 8
SAME_SURFACE = 0.15  # share of the range by which neighbours on one surface may differ


@dataclass(frozen=True)
class TruthScores:
    """Shares of 0 to 1 over a whole recording.

    Attributes:
        frames, pixels, points: what was compared: key frames, pixels with surface inside the grid,
            LiDAR points inside an image.
        grid_meets_depth: rays through pixels that are stopped by the truth grid within a voxel of
            the surface, and not behind it.
        depth_in_occupied: surface points whose own cell is occupied.
        class_agrees: of these, cells of the pixel's class; mixed cells have the class of most.
        along_ray: rays whose first occupied cell is within a voxel of the surface's range.
        visible_agrees: surface points whose cell or a neighbour the camera mask calls seen.
        lidar_meets_depth: LiDAR points that are not hidden from the camera and lie on its depth.
        lidar_hidden: LiDAR points behind the camera's surface: the two look from different places.
        lidar_in_occupied: LiDAR points inside the grid whose cell or a neighbour is occupied.
    """

    frames: int
    pixels: int
    points: int
    grid_meets_depth: float
    depth_in_occupied: float
    class_agrees: float
    along_ray: float
    visible_agrees: float
    lidar_meets_depth: float | None
    lidar_hidden: float | None
    lidar_in_occupied: float | None

    @property
    def agrees(self) -> bool:
        """Whether the truth is what it should be."""
        lidar = self.lidar_meets_depth is None or self.lidar_meets_depth >= LIDAR_AGREES
        return min(self.grid_meets_depth, self.depth_in_occupied) >= GRID_AGREES and lidar

    def as_dict(self) -> dict[str, float | int | bool | None]:
        """For JSON."""
        return {**asdict(self), "agrees": self.agrees}


def check_truth(frames: Iterable[TruthFrame]) -> TruthScores:
    """Compare everything with everything.

    Raises:
        ValueError: no key frame has depth inside the grid.
    """
    counts: dict[str, list[int]] = {}
    count = 0
    for frame in frames:
        count += 1
        for name, passed in _frame_checks(frame):
            hits = counts.setdefault(name, [0, 0])
            hits[0] += int(np.count_nonzero(passed))
            hits[1] += int(passed.size)

    def share(name: str) -> float | None:
        good, total = counts.get(name, (0, 0))
        return good / total if total else None

    if not counts.get("grid", [0, 0])[1]:
        raise ValueError("no key frame of this recording has depth inside its truth grid")
    return TruthScores(
        frames=count,
        pixels=counts["grid"][1],
        points=counts.get("hidden", (0, 0))[1],
        grid_meets_depth=share("grid") or 0.0,
        depth_in_occupied=share("occupied") or 0.0,
        class_agrees=share("class") or 0.0,
        along_ray=share("ray") or 0.0,
        visible_agrees=share("visible") or 0.0,
        lidar_meets_depth=share("lidar"),
        lidar_hidden=share("hidden"),
        lidar_in_occupied=share("lidar_occupied"),
    )


def _frame_checks(frame: TruthFrame) -> Iterable[tuple[str, NDArray[np.bool_]]]:
    grid = frame.grid
    occupied = frame.labels < frame.free_id
    surfaces = [_surface(image) for image in frame.images]
    seen = np.zeros(grid.size, bool)
    for image, (known, points, _, _) in zip(frame.images, surfaces, strict=True):
        for patch in (points, *_between(image, known, points, grid.resolution_m)):
            cells, inside = grid.index_of(patch)
            seen[tuple(cells[inside].T)] = True
    near = binary_dilation(seen, np.ones((3, 3, 3)))
    wide = binary_dilation(occupied, np.ones((3, 3, 3)))
    visible = binary_dilation(frame.visible, np.ones((3, 3, 3)))
    for image, (known, points, ranges, classes) in zip(frame.images, surfaces, strict=True):
        cells, inside = grid.index_of(points)
        own = tuple(cells[inside].T)
        yield "occupied", occupied[own]
        if classes is not None:
            yield "class", (frame.labels[own] == classes[inside])[occupied[own]]
        yield "visible", visible[own]
        picked = np.flatnonzero(inside)
        picked = picked[:: max(len(picked) // RAYS_PER_IMAGE, 1)]
        normals = _normals(image, known, points)[picked]
        yield from _march(frame, occupied, near, image, points[picked], ranges[picked], normals)
    if frame.lidar_points is not None:
        cells, inside = grid.index_of(frame.lidar_points)
        yield "lidar_occupied", wide[tuple(cells[inside].T)]
        for image in frame.images:
            yield from _lidar(image, frame.lidar_points)


def _surface(
    image: TruthImage,
) -> tuple[NDArray[np.int64], Floats, Floats, NDArray[np.uint8] | None]:
    """Pixels with depth: their numbers, points (M, 3) in the ego frame, ranges (M,), classes."""
    depth = image.depth_m.ravel()
    known = np.flatnonzero(depth > 0)
    rays = image.model.pixel_rays().reshape(-1, 3)[known]
    forward = np.abs(rays[:, 2]) > 0.02  # at a right angle to the axis depth says nothing
    known, rays = known[forward], rays[forward]
    ranges = depth[known] / rays[:, 2]
    points = image.ego_from_camera.apply(rays * ranges[:, None])
    classes = None if image.class_id is None else image.class_id.ravel()[known]
    return known, points, ranges, classes


def _between(
    image: TruthImage, known: NDArray[np.int64], points: Floats, step_m: float
) -> Iterable[Floats]:
    """Surface between the points of neighbouring pixels that belong together.

    Far away, one row of pixels on the ground is metres from the next.
    """
    shape = (image.model.height, image.model.width)
    picture = np.full((shape[0] * shape[1], 3), np.nan)
    picture[known] = points
    picture = picture.reshape(*shape, 3)
    eye = image.ego_from_camera.translation
    for first, second in ((picture[:-1], picture[1:]), (picture[:, :-1], picture[:, 1:])):
        gap = np.linalg.norm(second - first, axis=-1)
        with np.errstate(invalid="ignore"):
            away = np.minimum(*(np.linalg.norm(p - eye, axis=-1) for p in (first, second)))
            together = (gap > step_m / 2) & (gap < SAME_SURFACE * away)
        a, b = first[together], second[together]
        count = int(np.ceil(gap[together].max(initial=0.0) / (step_m / 2)))
        for share in np.linspace(0, 1, count + 1)[1:-1]:
            yield a + share * (b - a)


def _normals(image: TruthImage, known: NDArray[np.int64], points: Floats) -> Floats:
    """Unit normals (M, 3) at each pixel, from its neighbours; infinite without them."""
    shape = (image.model.height, image.model.width)
    picture = np.full((shape[0] * shape[1], 3), np.nan)
    picture[known] = points
    picture = picture.reshape(*shape, 3)
    normals = np.full_like(picture, np.nan)
    across = picture[1:-1, 2:] - picture[1:-1, :-2]
    normals[1:-1, 1:-1] = np.cross(across, picture[2:, 1:-1] - picture[:-2, 1:-1])
    sums = normals.reshape(-1, 3)[known]
    length = np.linalg.norm(sums, axis=1, keepdims=True)
    # Without neighbours there is no plane: infinitely far from every cell.
    with np.errstate(invalid="ignore"):
        return np.where(length > 0, sums / np.maximum(length, 1e-12), np.inf)


def _march(
    frame: TruthFrame,
    occupied: NDArray[np.bool_],
    near: NDArray[np.bool_],
    image: TruthImage,
    points: Floats,
    ranges: Floats,
    normals: Floats,
) -> Iterable[tuple[str, NDArray[np.bool_]]]:
    """Rays from the camera through the grid to points (M, 3) at known ranges."""
    eye = image.ego_from_camera.translation
    directions = (points - eye) / ranges[:, None]
    origins = np.broadcast_to(eye, directions.shape)
    first = first_hits(occupied, frame.grid, origins, directions)
    voxel = frame.grid.resolution_m
    not_behind = first.hit & (first.enter_m <= ranges + voxel)
    offset = frame.grid.centres(first.cells) - points
    with np.errstate(invalid="ignore"):
        beside = np.abs(np.einsum("ij,ij->i", offset, normals)) <= voxel
    beside &= ranges - first.enter_m < CLOSE_VOXELS * voxel
    yield "grid", not_behind & (near[tuple(first.cells.T)] | beside)
    yield "ray", not_behind & (first.leave_m >= ranges - voxel)


def _lidar(image: TruthImage, points: Floats) -> Iterable[tuple[str, NDArray[np.bool_]]]:
    """LiDAR points (N, 3) of the ego frame against a depth image."""
    local = image.ego_from_camera.inverse().apply(points)
    pixels, inside = image.model.project(local)
    local, pixels = local[inside], np.round(pixels[inside]).astype(int)
    known = image.depth_m > 0
    far = np.where(known, image.depth_m, 0.0)
    nearest = minimum_filter(np.where(known, image.depth_m, np.inf), 3)
    farthest = maximum_filter(far, 3)
    v = np.clip(pixels[:, 1], 0, image.model.height - 1)
    u = np.clip(pixels[:, 0], 0, image.model.width - 1)
    usable = known[v, u] & (local[:, 2] > 0.3)
    u, v, z = u[usable], v[usable], local[usable, 2]
    slack = LIDAR_NOISE_M + LIDAR_NOISE_SHARE * z
    hidden = z > farthest[v, u] + slack
    yield "hidden", hidden
    yield "lidar", (z >= nearest[v, u] - slack)[~hidden]
