"""Rendering the sets of a drive: each by itself, so that any process may do any of them."""

from __future__ import annotations

import ctypes
import pickle
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from renderocc_ros.config import load_class_set
from renderocc_ros.geometry import CameraModel, RigidTransform
from renderocc_simulation import textures
from renderocc_simulation.caster import Instant, StaticScene
from renderocc_simulation.mesh import Mesh
from renderocc_simulation.rig import RigCamera, SimulatedRig, load_simulated_rig, varied_rig
from renderocc_simulation.sensors.camera import (
    NO_CLASS,
    Development,
    Exposure,
    develop,
    encode_jpeg,
    look,
    pixel_rays,
)
from renderocc_simulation.sensors.lidar import sweep
from renderocc_simulation.shading import Shader
from renderocc_simulation.spec import LEAD_S, PRESETS, DriveSpec
from renderocc_simulation.truth import InView, Voxeliser, seen_cells
from renderocc_simulation.world.town import Town, build_town
from renderocc_simulation.world.traffic import Agent

MILLIMETRES = 1000.0
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h
KEPT_BYTES = 1 << 30
MAX_MMAP_BYTES = 1 << 25  # the most that every glibc takes
NEARBY_M = 110.0  # what moves farther away is left out


@dataclass(frozen=True, eq=False)
class CameraFrame:
    """What one camera brings.

    Attributes:
        image: (H, W, 3) uint8 RGB if the camera sends raw images, else None.
        jpeg: the file if it sends compressed ones, else empty.
        depth_mm: (H, W) uint16 z-depth, zero beyond 65.5 m and in the sky; None without truth.
        class_id: (H, W) uint8: class, free for sky, 255 where the lens has no ray; None likewise.
    """

    time_s: float
    image: NDArray[np.uint8] | None
    jpeg: bytes
    depth_mm: NDArray[np.uint16] | None
    class_id: NDArray[np.uint8] | None


@dataclass(frozen=True, eq=False)
class OccupancyFrame:
    """Dense truth: labels (X, Y, Z) uint8 and the two visibility masks (X, Y, Z) bool."""

    labels: NDArray[np.uint8]
    seen_by_cameras: NDArray[np.bool_]
    seen_by_lidar: NDArray[np.bool_] | None


@dataclass(frozen=True, eq=False)
class SetFrame:
    """All that the robot senses around one reference time, and the truth of key frames."""

    number: int
    cameras: dict[str, CameraFrame]
    points: NDArray[np.void] | None
    occupancy: OccupancyFrame | None
    rays: int


class DriveRenderer:
    """A town ready to be looked at.

    Args:
        town: of ``spec.town``; built if not given.
    """

    def __init__(self, spec: DriveSpec, town: Town | None = None) -> None:
        self.spec = spec
        self.classes = load_class_set("occ3d")
        self.rig: SimulatedRig = load_simulated_rig(spec.rig)
        if spec.vary_rig:
            self.rig = varied_rig(self.rig, np.random.default_rng([spec.town.seed, 78]))
        self.town: Town = town or build_town(spec.town, self.classes)
        preset = PRESETS[spec.preset]
        self.grid = preset.grid
        self.models = {
            camera.name: camera.simulated.sized(preset.width, preset.height)
            for camera in self.rig.cameras
        }
        lidar = self.rig.lidar
        if lidar is not None:
            columns = max(int(lidar.columns * preset.lidar_share), 8)
            lidar = lidar.model_copy(update={"columns": columns})
        self.lidar = lidar
        self._shader = Shader(self.town.materials, self.town.light)
        self._developments = {
            camera.name: Development.draw(np.random.default_rng([spec.town.seed, 77, k]))
            for k, camera in enumerate(self.rig.cameras)
        }

    # Made when first asked for: the process that only writes needs neither.

    @cached_property
    def _static(self) -> StaticScene:
        return StaticScene(self.town.static)

    @cached_property
    def _voxeliser(self) -> Voxeliser:
        return Voxeliser(self.town.static, self.grid)

    def render(self, number: int) -> SetFrame:
        """One set; the same whichever process does it."""
        # The products are so small that BLAS's threads would do little but wait, and spin for it.
        with threadpool_limits(1, user_api="blas"):
            return self._render(number)

    def _render(self, number: int) -> SetFrame:
        time_s = self.spec.set_time_s(number)
        truth = self.spec.has_truth(number)
        near = self._near(time_s)
        made: dict[int, Instant] = {}

        def instant_at(when: float) -> Instant:
            key = round(when * 1e6)
            if key not in made:
                moving = Mesh.joined(agent.mesh(when) for agent in near)
                made[key] = Instant(self._static, moving)
            return made[key]

        cameras = {
            camera.name: self._shoot(camera, instant_at(time_s + camera.offset_s), number, k, truth)
            for k, camera in enumerate(self.rig.cameras)
        }
        points = None
        if self.lidar is not None:
            rng = np.random.default_rng([self.spec.town.seed, 5, number])
            points = sweep(
                self.lidar,
                instant_at,
                self.town.world_from_ego,
                time_s,
                self.town.materials,
                rng,
                PRESETS[self.spec.preset].lidar_steps,
            )
        occupancy = self._occupancy(instant_at(time_s), time_s) if truth else None
        total = sum(instant.rays for instant in made.values())
        return SetFrame(number, cameras, points, occupancy, total)

    def _near(self, time_s: float) -> list[Agent]:
        here = self.town.world_from_ego(time_s).translation
        return [
            agent
            for agent in self.town.moving
            if np.linalg.norm(agent.position(time_s) - here) < NEARBY_M
        ]

    def _shoot(
        self, camera: RigCamera, instant: Instant, number: int, index: int, truth: bool
    ) -> CameraFrame:
        time_s = self.spec.set_time_s(number) + camera.offset_s
        model = self.models[camera.name]
        rng = np.random.default_rng([self.spec.town.seed, 3, number, index])
        pose = self.town.world_from_ego(time_s) @ camera.base_from_camera
        view = look(instant, self._shader, model, pose, rng)
        settings = self._developments[camera.name]
        extra = sum(
            fault.value
            for fault in self.spec.faults
            if fault.kind == "overexposure"
            and fault.strikes(self.spec.set_time_s(number) - LEAD_S, camera.name)
        )
        image = develop(view.radiance, settings, model, rng, extra)
        raw = not camera.config.compressed
        depth, class_id = self._truth_images(view, model) if truth else (None, None)
        return CameraFrame(
            time_s,
            image if raw else None,
            b"" if raw else encode_jpeg(image, settings.quality),
            depth,
            class_id,
        )

    def _truth_images(
        self, view: Exposure, model: CameraModel
    ) -> tuple[NDArray[np.uint16], NDArray[np.uint8]]:
        millimetres = np.round(view.depth_m.astype(np.float64) * MILLIMETRES)
        valid = (millimetres > 0) & (millimetres < 65535)
        depth = np.where(valid, millimetres, 0).astype(np.uint16)
        has_ray = np.isfinite(pixel_rays(model)).all(axis=-1)
        sky = (view.class_id == NO_CLASS) & has_ray
        return depth, np.where(sky, self.classes.free_id, view.class_id).astype(np.uint8)

    def _occupancy(self, instant: Instant, time_s: float) -> OccupancyFrame:
        world_from_ego = self.town.world_from_ego(time_s)
        surface = self._voxeliser.surface(instant.moving, world_from_ego)
        ego_from_world = world_from_ego.inverse()
        seen = np.zeros(self.grid.size, bool)
        for camera in self.rig.cameras:
            then = self.town.world_from_ego(time_s + camera.offset_s)
            ego_from_camera = ego_from_world @ then @ camera.base_from_camera
            seen |= seen_cells(
                self.grid,
                surface,
                instant,
                world_from_ego,
                ego_from_camera.translation,
                _inside_image(self.models[camera.name], ego_from_camera.inverse()),
            )
        swept = None
        if self.lidar is not None:
            body = self.lidar.base_from_body()
            swept = seen_cells(
                self.grid, surface, instant, world_from_ego, body.translation, self._beams_reach
            )
        return OccupancyFrame(surface.volume(self.grid, self.classes), seen, swept)

    def _beams_reach(self, points: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Whether the LiDAR's fan covers points (M, 3) of the ego frame."""
        assert self.lidar is not None
        local = self.lidar.base_from_body().inverse().apply(points)
        reach = np.linalg.norm(local, axis=1)
        elevation = np.rad2deg(np.arcsin(local[:, 2] / np.maximum(reach, 1e-6)))
        within = (elevation >= self.lidar.lowest_deg) & (elevation <= self.lidar.highest_deg)
        return np.asarray(within & (reach < self.lidar.range_m))


def _inside_image(model: CameraModel, camera_from_ego: RigidTransform) -> InView:
    return lambda points: model.project(camera_from_ego.apply(points))[1]


@lru_cache(maxsize=1)
def renderer(spec: DriveSpec, town_file: Path | None = None) -> DriveRenderer:
    """The renderer of this process, its town read from the file of a pickled one if given."""
    _keep_memory()
    if town_file is None:
        return DriveRenderer(spec)
    return DriveRenderer(spec, pickle.loads(town_file.read_bytes()))


def render_set(spec: DriveSpec, town_file: Path, number: int) -> SetFrame:
    """For process pools: render a set with this process's renderer."""
    return renderer(spec, town_file).render(number)


def warm_up() -> None:
    """For process pools: what can be done before there is a town."""
    cv2.setNumThreads(1)  # each process is one core's work, and threads that wait spin
    textures.make_all()


def _keep_memory() -> None:
    """Let this process use freed arrays again instead of asking the kernel for zeroed pages.

    Only glibc is told; other systems stay as they are.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)
        mallopt(M_MMAP_THRESHOLD, MAX_MMAP_BYTES)
