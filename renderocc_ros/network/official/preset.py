"""The preset ``swinb-stereo``: the official network from a NetworkConfig, and its input."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

import torch
from torch import Tensor, nn

from renderocc_ros.geometry import VoxelGrid
from renderocc_ros.network.camera_tensors import CameraTensors, PastCameras
from renderocc_ros.network.occupancy_field import OccupancyField
from renderocc_ros.network.official.geometry import StereoFrame
from renderocc_ros.network.official.heads import SemanticDensityField
from renderocc_ros.network.official.sizes import SwinBStereoConfig
from renderocc_ros.network.official.swinb_stereo import SwinBStereo
from renderocc_ros.network_config import HALF_OPAQUE_DENSITY, NetworkConfig, OfficialConfig

CALIBRATED_SIZE = (900, 1600)  # height, width of the images that the weights were trained on


class OfficialRenderOcc(SwinBStereo):
    """The official network with the configuration that a checkpoint holds of it."""

    def __init__(self, config: NetworkConfig, sizes: SwinBStereoConfig) -> None:
        super().__init__(sizes)
        self.config = config

    @property
    def grid(self) -> VoxelGrid:
        """The voxels, in the ego frame."""
        return self.sizes.grid

    def train(self, mode: bool = True) -> OfficialRenderOcc:
        """As any module, but batch norms keep the statistics of the published weights.

        The few views that fit into memory would make poor ones, and the parameters of one rig's
        cameras hardly vary.
        """
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()
        return self

    def field_and_depth(
        self, current: CameraTensors, past: Sequence[PastCameras] = ()
    ) -> tuple[OccupancyField, Tensor]:
        """The field in the current ego frame, and (B, N, D, h, w) the depth distribution now.

        Args:
            current: the cameras now.
            past: the adjacent and the reference frame; where one is missing, that is a sample
                without any valid camera in it, the next newer one stands in, as on a stream.
        """
        here = torch.eye(4, dtype=torch.float64, device=current.images.device)
        world_from_ego = here.expand(len(current.images), 4, 4)
        frames = [camera_frame(current, world_from_ego)]  # the current ego frame is the world
        for earlier in past:
            frame = camera_frame(
                earlier.cameras, torch.linalg.inv(earlier.past_from_current.double())
            )
            frames.append(_where(earlier.cameras.valid.any(dim=1), frame, frames[-1]))
        field = self(frames)
        return occupancy_field(field, self.grid.resolution_m), field.depth


def build_official(config: NetworkConfig, classes: int) -> OfficialRenderOcc:
    """The official network at the image size, grid and threshold of ``config``.

    Raises:
        ValueError: the architecture is another one, or a size does not fit the network.
    """
    if not isinstance(config.architecture, OfficialConfig):
        raise ValueError(f"architecture.kind = '{config.architecture.kind}' is not 'official'")
    if config.cameras is None:
        raise ValueError("cameras: the official network needs their number; the weights have 6")
    sizes = SwinBStereoConfig(
        image_size=(config.image.height, config.image.width),
        cameras=config.cameras,
        grid=config.grid.build(),
        classes=classes,
        density_threshold=config.threshold,
    )
    return OfficialRenderOcc(config, sizes).eval()


def occupancy_field(field: SemanticDensityField, resolution_m: float) -> OccupancyField:
    """The official density d, which has no unit, as one that makes a voxel d / (d + 8.5) opaque.

    One half at the published threshold. It keeps the order of densities, but says how sure the
    network is only after training on it.
    """
    density = torch.log1p(field.density.float() / HALF_OPAQUE_DENSITY) / resolution_m
    return OccupancyField(density, field.semantics.movedim(-1, 1))


def official_density(field: OccupancyField, resolution_m: float) -> Tensor:
    """What ``occupancy_field`` was made of: (B, X, Y, Z)."""
    return HALF_OPAQUE_DENSITY * torch.expm1(field.density * resolution_m)


def camera_frame(cameras: CameraTensors, global_from_ego: Tensor) -> StereoFrame:
    """One instant of all cameras as the network takes it.

    Args:
        cameras: what their entries hold where they are not valid does not matter.
        global_from_ego: (B, 4, 4) pose of the ego frame that ``cameras`` refers to, metres.
    """
    valid = cameras.valid[..., None, None]
    eye = torch.eye(4).to(cameras.ego_from_camera)
    return live_frame(
        torch.where(valid[..., None], cameras.images, 0.0),
        torch.where(valid, cameras.intrinsics, eye[:3, :3]),
        torch.where(valid, cameras.ego_from_camera, eye),
        global_from_ego[:, None].expand(*cameras.valid.shape, 4, 4),
        cameras.valid,
    )


def live_frame(
    images: Tensor,
    intrinsics: Tensor,
    ego_from_camera: Tensor,
    global_from_ego: Tensor,
    valid: Tensor | None = None,
) -> StereoFrame:
    """A frame whose intrinsics are those of the network's own images.

    The network is told the camera before and after scaling and cropping apart, and knows scaling
    from 1600 pixels of width with the rest cropped at the top, as in nuScenes. Any camera can be
    described so: its pixels are traced back to a virtual image of that size.

    Args:
        images: (B, N, 3, H, W) normalised.
        intrinsics: (B, N, 3, 3) of these images, pixels.
        ego_from_camera, global_from_ego: (B, N, 4, 4), metres.
        valid: (B, N) bool, cameras that are there; all of them if not given.
    """
    height, width = images.shape[-2:]
    scale = width / CALIBRATED_SIZE[1]
    top = round(CALIBRATED_SIZE[0] * scale) - height
    resize = torch.diag(torch.tensor([scale, scale, 1.0], dtype=intrinsics.dtype))
    offset = torch.tensor([0.0, -float(top), 0.0], dtype=intrinsics.dtype)
    back = torch.eye(3, dtype=torch.float64)
    back[:2] = torch.tensor([[1 / scale, 0.0, 0.0], [0.0, 1 / scale, top / scale]])
    back = back.to(intrinsics.device)
    return StereoFrame(
        images,
        (back @ intrinsics.double()).to(intrinsics.dtype),
        resize.to(intrinsics.device).expand_as(intrinsics),
        offset.to(intrinsics.device).expand(*intrinsics.shape[:2], 3),
        ego_from_camera,
        global_from_ego,
        valid,
    )


def _where(valid: Tensor, frame: StereoFrame, stand_in: StereoFrame) -> StereoFrame:
    """Sample by sample one frame or the other; ``there`` is (B,) bool."""
    pairs = ((getattr(frame, f.name), getattr(stand_in, f.name)) for f in fields(StereoFrame))
    return StereoFrame(
        *(torch.where(valid.view(-1, *[1] * (own.dim() - 1)), own, other) for own, other in pairs)
    )
