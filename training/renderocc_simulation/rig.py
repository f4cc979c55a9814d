"""The robot that drives through the town: where its sensors sit and what lenses they have.

A simulated rig adds to a rig of ``config/rigs`` (topics, frames, shutter offsets: what the node
reads) the calibration that a real robot would publish: ``config/simulated_rigs``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from renderocc_ros.config import (
    CameraConfig,
    Mount,
    RigConfig,
    StrictModel,
    load_rig,
    load_yaml,
)
from renderocc_ros.geometry import CameraModel, RigidTransform
from renderocc_ros.paths import share_path

HORIZON = 0.23
Finite = Field(allow_inf_nan=False)


class SimulatedCamera(Mount):
    """A camera: its mount and its lens.

    Attributes:
        name: of a camera of the rig.
        fov_deg: horizontal angle of view; sets the focal length where ``focal_px`` is not given.
        distortion: coefficients in the order of ``distortion_model``.
    """

    name: str
    width: int = Field(ge=8, le=8192)
    height: int = Field(ge=8, le=8192)
    fov_deg: float | None = Field(None, gt=1, lt=360)
    focal_px: float | None = Field(None, gt=0)
    distortion_model: Literal["none", "plumb_bob", "rational_polynomial", "equidistant"] = "none"
    distortion: tuple[float, ...] = ()

    @model_validator(mode="after")
    def _one_focal_length(self) -> SimulatedCamera:
        if (self.fov_deg is None) == (self.focal_px is None):
            raise ValueError(f"camera '{self.name}': give one of fov_deg and focal_px")
        fisheye = self.distortion_model == "equidistant"
        if self.fov_deg is not None and not fisheye and self.fov_deg >= 170:
            raise ValueError(
                f"camera '{self.name}': fov_deg = {self.fov_deg} needs a fisheye lens: "
                "set distortion_model: equidistant"
            )
        self.model()
        return self

    def model(self) -> CameraModel:
        """The lens at its full size."""
        focal = self.focal_px
        if focal is None:
            half = np.deg2rad((self.fov_deg or 0.0) / 2)
            focal = self.width / 2 / (half if self._fisheye else np.tan(half))
        middle = ((self.width - 1) / 2, (self.height - 1) / 2)
        intrinsics = np.array([[focal, 0, middle[0]], [0, focal, middle[1]], [0, 0, 1]])
        return CameraModel(
            self.width, self.height, intrinsics, self.distortion_model, self.distortion
        )

    @property
    def _fisheye(self) -> bool:
        return self.distortion_model == "equidistant"

    def sized(self, width: int, height: int) -> CameraModel:
        """The lens on images no larger than its own: scaled to the width; too tall an image is cut
        to a window.

        The window has the lens's middle, about the horizon, at ``HORIZON`` of its height: there is
        more to see below than above.

        A fisheye image is scaled as a whole, so that nothing of its circle is lost.
        """
        full = self.model()
        if self._fisheye:
            scale = min(1.0, np.sqrt(width * height / (self.width * self.height)))
            return full.resized(round(self.width * scale), round(self.height * scale))
        width = min(width, self.width)
        tall = round(self.height * width / self.width)
        scaled = full.resized(width, tall)
        if tall <= height:
            return scaled
        above = round(float(scaled.intrinsics[1, 2]) - HORIZON * height)
        return scaled.cropped(0, min(max(above, 0), tall - height), width, height)


class SimulatedLidar(Mount):
    """A spinning LiDAR."""

    name: str = "LIDAR_TOP"
    rings: int = Field(32, ge=1, le=256)
    lowest_deg: float = Field(-30.0, ge=-89, le=89)
    highest_deg: float = Field(10.0, ge=-89, le=89)
    columns: int = Field(1080, ge=8, le=8192, description="firings of one turn")
    range_m: float = Field(90.0, gt=1)
    noise_m: float = Field(0.015, ge=0, description="standard deviation along the beam")
    dropout: float = Field(0.02, ge=0, lt=1, description="share of returns that get lost")
    turn_ms: float = Field(50.0, gt=0, description="time of one turn, clockwise from above")


class _RigFile(StrictModel):
    name: str
    rig: str = Field(description="the rig of config/rigs that the node uses, or a path")
    cameras: tuple[SimulatedCamera, ...] = Field(min_length=1)
    lidar: SimulatedLidar | None = None


@dataclass(frozen=True)
class RigCamera:
    """A camera with both of its sides: what the node knows and what the lens is."""

    config: CameraConfig
    simulated: SimulatedCamera

    @property
    def name(self) -> str:
        """Name in the rig."""
        return self.config.name

    @property
    def frame(self) -> str:
        """Optical frame."""
        return self.config.frame or f"{self.config.name.lower()}_optical"

    @property
    def base_from_camera(self) -> RigidTransform:
        """Pose of the optical frame in base_link."""
        return self.simulated.base_from_optical()

    @property
    def offset_s(self) -> float:
        """Shutter time relative to the set's reference."""
        return (self.config.offset_ms or 0.0) * 1e-3


@dataclass(frozen=True)
class SimulatedRig:
    """All sensors of the robot."""

    config: RigConfig
    cameras: tuple[RigCamera, ...]
    lidar: SimulatedLidar | None


def load_simulated_rig(name: str) -> SimulatedRig:
    """A simulated rig by the name of a shipped one ("nuscenes") or by path.

    Raises:
        ValueError: no such file, a lens that no camera has, a camera below the ground, or cameras
            that the rig does not have.
    """
    path = Path(name)
    if path.suffix not in (".yaml", ".yml"):
        path = share_path("config", "simulated_rigs") / f"{name}.yaml"
    if not path.is_file():
        shipped = sorted(f.stem for f in share_path("config", "simulated_rigs").glob("*.yaml"))
        raise ValueError(
            f"no simulated rig '{name}'; give a path to a .yaml or one of: {', '.join(shipped)}"
        )
    file = load_yaml(path, _RigFile)
    config = load_rig(file.rig)
    return _joined(str(path), file, config)


def _joined(where: str, file: _RigFile, config: RigConfig) -> SimulatedRig:
    simulated = {camera.name: camera for camera in file.cameras}
    if len(simulated) != len(file.cameras) or set(simulated) != set(config.names):
        raise ValueError(
            f"{where}: cameras {[c.name for c in file.cameras]} must be those of rig "
            f"'{file.rig}', each once: {list(config.names)}"
        )
    mounts: list[Mount] = [*file.cameras, *([file.lidar] if file.lidar else [])]
    for mount in mounts:
        if mount.position_m[2] <= 0.05:
            raise ValueError(
                f"{where}: '{getattr(mount, 'name', '?')}' sits at z = {mount.position_m[2]} m, in "
                "the ground: z of position_m is its height above the ground, above 0.05 m"
            )
        if max(map(abs, mount.position_m)) > 6:
            raise ValueError(
                f"{where}: '{getattr(mount, 'name', '?')}' sits at {mount.position_m} m: not on "
                "a robot of less than 12 m; position_m is in metres"
            )
    cameras = tuple(RigCamera(entry, simulated[entry.name]) for entry in config.cameras)
    return SimulatedRig(config, cameras, file.lidar)


def varied_rig(rig: SimulatedRig, random: np.random.Generator) -> SimulatedRig:
    """The same cameras on another robot: sitting higher or lower, tilted, with other lenses.

    What all cameras share (height, tilt, length of the lenses) varies more than what differs from
    one to the next. Names, topics, shutters, distortion and the LiDAR stay.
    """
    raised_m = random.uniform(-0.4, 0.7)
    pitch_deg = random.uniform(-3.0, 5.0)
    zoom = np.exp(random.uniform(-0.2, 0.25))

    def moved(camera: RigCamera) -> RigCamera:
        mount = camera.simulated
        ahead_m, left_m, height_m = mount.position_m + random.uniform(-0.1, 0.1, 3)
        focal_px = mount.model().intrinsics[0, 0] * zoom * np.exp(random.uniform(-0.05, 0.05))
        values = {
            "position_m": (float(ahead_m), float(left_m), max(float(height_m + raised_m), 0.3)),
            "pitch_deg": mount.pitch_deg + pitch_deg + random.uniform(-1.0, 1.0),
            "yaw_deg": mount.yaw_deg + random.uniform(-4.0, 4.0),
            "roll_deg": mount.roll_deg + random.uniform(-1.0, 1.0),
            "focal_px": float(focal_px),
            "fov_deg": None,
        }
        return replace(camera, simulated=mount.model_copy(update=values))

    return replace(rig, cameras=tuple(map(moved, rig.cameras)))
