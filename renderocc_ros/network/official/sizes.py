"""Sizes of the official network."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from renderocc_ros.geometry.voxel_grid import VoxelGrid
from renderocc_ros.network.official.swin import SwinConfig


@dataclass(frozen=True)
class SwinBStereoConfig:
    """Sizes of the network; the defaults are those of the published checkpoint.

    Attributes:
        image_size: (height, width) of the input images, multiples of 32.
        cameras: number of cameras.
        swin: the image backbone.
        neck_channels: width of the image features and of the depth net.
        aspp_channels: width of each branch of the depth net's ASPP.
        context_channels: features that are lifted into the volume.
        depth_range_m: first depth bin, end, and step along the camera's axis.
        grid: the voxels, in the ego frame.
        encoder_blocks: residual blocks in each of the 3D encoder's stages.
        classes: number of occupied classes.
        density_threshold: a voxel is occupied where its density is above.
        invalid_cost: added to the matching cost of points outside the past image.
    """

    image_size: tuple[int, int] = (512, 1408)
    cameras: int = 6
    swin: SwinConfig = field(default_factory=SwinConfig)
    neck_channels: int = 512
    aspp_channels: int = 96
    context_channels: int = 32
    depth_range_m: tuple[float, float, float] = (1.0, 45.0, 0.5)
    grid: VoxelGrid = field(
        default_factory=lambda: VoxelGrid((-40.0, -40.0, -1.0), 0.4, (200, 200, 16))
    )
    encoder_blocks: tuple[int, ...] = (1, 2, 4)
    classes: int = 17
    density_threshold: float = 8.5
    invalid_cost: float = 5.0

    def __post_init__(self) -> None:
        if any(side % 32 or side < 32 for side in self.image_size):
            raise ValueError(
                f"image_size: height and width must be multiples of 32, got {self.image_size}"
            )
        if self.cameras < 1:
            raise ValueError(f"cameras: at least 1, got {self.cameras}")

    @property
    def depth_bins(self) -> int:
        """Number of depth hypotheses."""
        return len(self.depths_m())

    def depths_m(self, device: torch.device | None = None) -> Tensor:
        """(D,) depth of each bin, metres."""
        return torch.arange(*self.depth_range_m, dtype=torch.float32, device=device)
