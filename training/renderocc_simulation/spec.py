"""What a drive is made from: everything that decides its bytes."""

from __future__ import annotations

from dataclasses import dataclass, field

from renderocc_ros.geometry import VoxelGrid
from renderocc_simulation.faults import Fault
from renderocc_simulation.world.town import TownSpec

NANOSECONDS = 1_000_000_000
EPOCH_NS = 1_700_000_000 * NANOSECONDS
SEED_SPACING_NS = 10_000 * NANOSECONDS  # no two seeds below STAMPED_SEEDS share a stamp
STAMPED_SEEDS = 40_000  # and all stamps fit a message's 31 bits
LEAD_S = 0.1  # world time of the first set: shutters may fire before its reference


@dataclass(frozen=True)
class Preset:
    """How large things are.

    Attributes:
        width, height: of images, pixels; a fisheye image has as many pixels in its own shape.
        grid: of the dense truth.
        lidar_share: of the LiDAR's columns that are fired.
        lidar_steps: in which a turn is cast; within one the world stands still.
    """

    width: int
    height: int
    grid: VoxelGrid
    lidar_share: float = 1.0
    lidar_steps: int = 8


OCC3D_GRID = VoxelGrid((-40.0, -40.0, -1.0), 0.4, (200, 200, 16))
COARSE_GRID = VoxelGrid((-40.0, -40.0, -1.2), 0.8, (100, 100, 8))
PRESETS = {
    "tiny": Preset(352, 128, COARSE_GRID, 0.5, 2),
    "standard": Preset(704, 256, OCC3D_GRID),
    "large": Preset(1408, 512, OCC3D_GRID),
    "full": Preset(8192, 8192, OCC3D_GRID),  # no camera is larger: images as the rig has them
}


@dataclass(frozen=True)
class DriveSpec:
    """One drive.

    Attributes:
        rig: name or path of a simulated rig.
        image_hz: sets of images (and LiDAR turns) a second.
        key_hz: sets with truth a second; ``image_hz`` is a multiple of it.
        drift: share of the way by which the odometry goes wrong.
        planar_odometry: odometry without heights, as of wheels with an IMU.
        lidar_labels: whether LiDAR points carry their class.
        vary_rig: whether the cameras are moved, tilted and zoomed, by the seed.
    """

    town: TownSpec
    rig: str = "nuscenes"
    preset: str = "standard"
    image_hz: float = 2.0
    key_hz: float = 2.0
    drift: float = 0.0
    planar_odometry: bool = False
    lidar_labels: bool = True
    faults: tuple[Fault, ...] = field(default=())
    vary_rig: bool = False

    def __post_init__(self) -> None:
        if self.preset not in PRESETS:
            raise ValueError(f"preset '{self.preset}' is not one of: {', '.join(PRESETS)}")
        if not 0 < self.key_hz <= self.image_hz <= 30:
            raise ValueError(
                f"key_hz = {self.key_hz} and image_hz = {self.image_hz}: both above 0, key_hz at "
                "most image_hz, image_hz at most 30"
            )
        ratio = self.image_hz / self.key_hz
        if abs(ratio - round(ratio)) > 1e-6:
            raise ValueError(
                f"image_hz = {self.image_hz} must be a multiple of key_hz = {self.key_hz}"
            )
        if not 0 <= self.drift <= 0.2:
            raise ValueError(f"drift = {self.drift}: a share from 0 to 0.2")

    @property
    def exact_odometry(self) -> bool:
        """Whether the odometry is off by one pose, the same all the time."""
        return not (self.drift or self.planar_odometry)

    @property
    def sets(self) -> int:
        """Number of image sets."""
        return max(int(self.town.seconds * self.image_hz), 1)

    def set_time_s(self, number: int) -> float:
        """World time of a set's reference."""
        return LEAD_S + number / self.image_hz

    def has_truth(self, number: int) -> bool:
        """Whether a set is a key frame."""
        return number % round(self.image_hz / self.key_hz) == 0

    def stamp_ns(self, time_s: float) -> int:
        """Stamp of a world time."""
        first = EPOCH_NS + self.town.seed % STAMPED_SEEDS * SEED_SPACING_NS
        return first + round(time_s * 1e6) * 1000
