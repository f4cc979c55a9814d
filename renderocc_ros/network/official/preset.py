"""The preset ``swinb-stereo``: the official network from a NetworkConfig, and its live input."""

from __future__ import annotations

import torch
from torch import Tensor

from renderocc_ros.network.official.geometry import StereoFrame
from renderocc_ros.network.official.sizes import SwinBStereoConfig
from renderocc_ros.network.official.swinb_stereo import SwinBStereo
from renderocc_ros.network_config import NetworkConfig, OfficialConfig

CALIBRATED_SIZE = (900, 1600)  # height, width of the images that the weights were trained on


class OfficialRenderOcc(SwinBStereo):
    """The official network with the configuration that a checkpoint holds of it."""

    def __init__(self, config: NetworkConfig, sizes: SwinBStereoConfig) -> None:
        super().__init__(sizes)
        self.config = config


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
