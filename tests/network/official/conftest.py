"""A small network of the official kind, and a drive through noise to feed it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from renderocc_ros.geometry import VoxelGrid
from renderocc_ros.network.official import StereoFrame, SwinBStereo, SwinBStereoConfig
from renderocc_ros.network.official.swin import SwinConfig

CAMERAS, SIZE = 3, (64, 96)
MEAN_DENSITY = 5.0  # before the softplus
SMALL = SwinBStereoConfig(
    image_size=SIZE,
    cameras=CAMERAS,
    swin=SwinConfig(channels=16, depths=(2, 2, 2, 2), heads=(1, 2, 4, 8), window=4),
    neck_channels=24,
    aspp_channels=8,
    context_channels=8,
    depth_range_m=(1.0, 9.0, 0.5),
    grid=VoxelGrid((-8.0, -8.0, -1.0), 0.8, (20, 20, 4)),
    encoder_blocks=(1, 2, 1),
    classes=5,
    density_threshold=0.7,
)


def randomise(network: nn.Module, seed: int = 0) -> None:
    """Weights that keep activations alive, and norms that change them."""
    generator = torch.Generator().manual_seed(seed)

    def normal(like: Tensor, mean: float, std: float) -> Tensor:
        return mean + std * torch.randn(like.shape, generator=generator)

    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d):
            module.running_mean.copy_(normal(module.running_mean, 0.0, 0.2))
            module.running_var.copy_(normal(module.running_var, 1.0, 0.1).abs())
        for name, value in module.named_parameters(recurse=False):
            fan_in = max(1, value[0].numel()) if value.dim() > 1 else 1
            mean, std = (1.0, 0.1) if value.dim() == 1 and name == "weight" else (0.0, 0.05)
            std = (2.0 / fan_in) ** 0.5 if value.dim() > 1 else std
            value.data.copy_(normal(value, mean, std))


@pytest.fixture(scope="session")
def network() -> SwinBStereo:
    """The small network in evaluation mode."""
    network = SwinBStereo(SMALL).eval()
    with torch.no_grad():
        randomise(network)
        for name, value in network.named_parameters():
            if name.startswith("pre_process_net") and value.dim() == 5:
                value.mul_(10.0)  # a volume is mostly empty and its values are small
        network.density_mlp[2].bias.add_(MEAN_DENSITY)
        camera_norm = network.img_view_transformer.depth_net.bn
        camera_norm.running_var.fill_(1e4)  # camera parameters are pixels
    return network


def pose(yaw: float, x: float, y: float, z: float) -> Tensor:
    """(4, 4) float64 of a body that looks along yaw at (x, y, z)."""
    c, s = math.cos(yaw), math.sin(yaw)
    rows = [[c, -s, 0.0, x], [s, c, 0.0, y], [0.0, 0.0, 1.0, z], [0.0, 0.0, 0.0, 1.0]]
    return torch.tensor(rows, dtype=torch.float64)


OPTICAL = torch.tensor(
    [[0.0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]], dtype=torch.float64
)


@pytest.fixture(scope="session")
def frame_at() -> Callable[..., StereoFrame]:
    """A frame of the drive at a time: own images, and every camera at its own stamp."""

    def make(time_s: float, spread_s: float = 0.02) -> StereoFrame:
        generator = torch.Generator().manual_seed(round(time_s * 1000) + 7)
        mounts, poses = [], []
        for camera in range(CAMERAS):
            yaw = 2 * math.pi * camera / CAMERAS
            mounts.append(pose(yaw, 0.5 * math.cos(yaw), 0.5 * math.sin(yaw), 0.6) @ OPTICAL)
            at = time_s + spread_s * camera
            poses.append(pose(0.3 + 0.1 * at, 600.0 + 4 * at, 1600.0 + 1.2 * at, 0.1))
        k = torch.tensor([[60.0, 0, 79.5], [0, 60.0, 44.5], [0, 0, 1]])
        resize = torch.diag(torch.tensor([0.6, 0.6, 1.0]))
        shape = (1, CAMERAS, 3, 3)
        return StereoFrame(
            torch.randn(1, CAMERAS, 3, *SIZE, generator=generator),
            k.expand(shape).clone(),
            resize.expand(shape).clone(),
            torch.tensor([0.0, -10.0, 0.0]).expand(1, CAMERAS, 3).clone(),
            torch.stack(mounts)[None].float(),
            torch.stack(poses)[None],
        )

    return make


@pytest.fixture(scope="session")
def changed() -> Callable[..., StereoFrame]:
    """A frame with one field's entry set to a value."""

    def make(frame: StereoFrame, field: str, index: tuple[int, ...], value: float) -> StereoFrame:
        tensor = getattr(frame, field).clone()
        tensor[index] = value
        return replace(frame, **{field: tensor})

    return make
