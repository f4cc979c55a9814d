"""Voxels rendered off screen, from above and in perspective (PyVista, extra ``view``)."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
import pyvista
from numpy.typing import NDArray
from vtkmodules.vtkCommonCore import vtkLogger

from renderocc_ros.geometry import VoxelGrid
from renderocc_ros.occupancy.semantic_occupancy import SemanticOccupancy
from renderocc_ros.rig.camera_set import CameraSet, PosedImage
from renderocc_ros.viewing.voxel_surface import voxel_surface

# Drawing without a GPU loads Mesa's LLVM, and PyTorch may load Triton's later: in that order they
# crash the process, in this one they do not.
with suppress(ImportError):
    import triton  # noqa: F401

BACKGROUND = "#dde1e7"
FRUSTUM_M = 3.5
FRUSTUM_COLOUR, LIDAR_COLOUR = "#0b57d0", "#101418"
# Brightness of faces by the direction they look to, so that shapes show in any class colour.
SHADE_BOTTOM, SHADE_TOP, SHADE_X, SHADE_Y = 0.45, 1.0, 0.78, 0.62
SHADE_LOW_SPAN_M = 4.0
VEHICLE_M = ((-1.0, 3.8), (-0.95, 0.95), (0.2, 1.75))  # of a car, its rear axle at the origin


def from_above(occupancy: SemanticOccupancy, width: int, height: int) -> NDArray[np.uint8]:
    """(height, width, 3) uint8 RGB: the grid from above, forward (+x) up, left (+y) left."""

    def look(plotter: pyvista.Plotter) -> None:
        centre, span = _middle(occupancy.grid)
        plotter.camera.position = (centre[0], centre[1], 500.0)
        plotter.camera.focal_point = centre
        plotter.camera.up = (1.0, 0.0, 0.0)
        plotter.enable_parallel_projection()
        plotter.camera.parallel_scale = 0.51 * max(span[0], span[1] * height / width)

    return _render(occupancy, width, height, look)


def in_perspective(
    occupancy: SemanticOccupancy,
    width: int,
    height: int,
    cameras: CameraSet | None = None,
    lidar_m: NDArray[np.float32] | None = None,
) -> NDArray[np.uint8]:
    """(height, width, 3) uint8 RGB: seen from behind and above the robot, looking forward.

    Args:
        cameras: drawn as frusta.
        lidar_m: (N, 3) points in the ego frame, drawn as dots.
    """

    def look(plotter: pyvista.Plotter) -> None:
        _, span = _middle(occupancy.grid)
        reach = max(span[0], span[1])
        plotter.camera.position = (-0.55 * reach, 0.0, 0.42 * reach)
        plotter.camera.focal_point = (0.06 * reach, 0.0, 0.0)
        plotter.camera.up = (0.0, 0.0, 1.0)
        plotter.camera.view_angle = 50.0
        for posed in cameras.images if cameras else ():
            if posed is not None:
                edges = pyvista.line_segments_from_points(frustum_edges(posed, FRUSTUM_M))
                plotter.add_mesh(edges, color=FRUSTUM_COLOUR, line_width=2)
        if lidar_m is not None and len(lidar_m):
            # A scan lies inside the voxels that it fills: along the line of sight out of them.
            sight = np.array(plotter.camera.position) - lidar_m
            out_m = 2 * occupancy.grid.resolution_m / np.linalg.norm(sight, axis=1, keepdims=True)
            plotter.add_points(lidar_m + out_m * sight, color=LIDAR_COLOUR, point_size=3)

    return _render(occupancy, width, height, look)


def frustum_edges(posed: PosedImage, length_m: float) -> NDArray[np.float64]:
    """(16, 3): ends of the 8 edges of what a camera sees, in the ego frame, two by two, metres."""
    model = posed.model
    right, bottom = model.width - 0.5, model.height - 0.5
    rays = model.rays([(-0.5, -0.5), (right, -0.5), (right, bottom), (-0.5, bottom)])
    origin, corners = np.zeros(3), np.nan_to_num(rays) * length_m
    ends = [(origin, corner) for corner in corners]
    ends += [(corners[i], corners[(i + 1) % 4]) for i in range(4)]
    return np.asarray(posed.ego_from_camera.apply(np.reshape(ends, (16, 3))))


def _render(
    occupancy: SemanticOccupancy,
    width: int,
    height: int,
    look: Callable[[pyvista.Plotter], None],
) -> NDArray[np.uint8]:
    # Without a display VTK tries X, warns, and takes EGL or software: the warning helps nobody.
    vtkLogger.SetStderrVerbosity(vtkLogger.VERBOSITY_ERROR)
    plotter = pyvista.Plotter(off_screen=True, window_size=(width, height), lighting="none")
    try:
        plotter.set_background(BACKGROUND)
        mesh = _mesh(occupancy)
        if mesh is not None:
            plotter.add_mesh(mesh, scalars="colour", rgb=True, lighting=False)
        _add_frame(plotter, occupancy.grid)
        look(plotter)
        plotter.camera.clipping_range = (0.1, 2000.0)
        plotter.enable_anti_aliasing("ssaa")
        picture: NDArray[np.uint8] = plotter.screenshot(return_img=True)
        return picture[..., :3]
    finally:
        plotter.close()


def _mesh(occupancy: SemanticOccupancy) -> Any:
    surface = voxel_surface(occupancy)
    count = len(surface.normals)
    if not count:
        return None
    faces = np.empty((count, 5), np.int64)
    faces[:, 0] = 4
    faces[:, 1:] = np.arange(4 * count).reshape(count, 4)
    mesh = pyvista.PolyData(surface.vertices_m, faces.reshape(-1))
    x, y, z = np.abs(surface.normals.T)
    top_or_bottom = np.where(surface.normals[:, 2] > 0, SHADE_TOP, SHADE_BOTTOM)
    shade = SHADE_X * x + SHADE_Y * y + top_or_bottom * z
    # Higher is a little lighter: heights stay readable from above.
    low = surface.vertices_m[::4, 2] - occupancy.grid.origin_m[2]
    shade *= 0.82 + 0.18 * np.clip(low / SHADE_LOW_SPAN_M, 0.0, 1.0)
    mesh.cell_data["colour"] = (surface.colours * shade[:, None]).astype(np.uint8)
    return mesh


def _add_frame(plotter: pyvista.Plotter, grid: VoxelGrid) -> None:
    """The grid's outline, the robot, and its axes: red forward, green left."""
    lower, upper = grid.origin_m, grid.upper_m
    bounds = [value for pair in zip(lower, upper, strict=True) for value in pair]
    plotter.add_mesh(pyvista.Box(bounds).extract_all_edges(), color="#8b929c", line_width=1)
    body = pyvista.Box([value for pair in VEHICLE_M for value in pair])
    plotter.add_mesh(body, color="#20242a", lighting=False)
    for direction, colour in (((1, 0, 0), "#e53935"), ((0, 1, 0), "#43a047")):
        arrow = pyvista.Arrow(
            start=(0, 0, 2.2), direction=direction, scale=6.0, shaft_radius=0.04, tip_radius=0.1
        )
        plotter.add_mesh(arrow, color=colour, lighting=False)


def _middle(grid: VoxelGrid) -> tuple[tuple[float, ...], tuple[float, ...]]:
    lower, upper = np.array(grid.origin_m), np.array(grid.upper_m)
    return tuple((lower + upper) / 2), tuple(upper - lower)
