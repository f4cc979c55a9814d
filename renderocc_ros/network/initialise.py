"""Random weights whose output depends on their input."""

from __future__ import annotations

import math

import torch
from torch import nn

from renderocc_ros.network.camera_tensors import CameraTensors
from renderocc_ros.network.renderocc import RenderOcc

RING = 6  # cameras of the imaginary rig
HEIGHT_M = 1.5


def calibrate_batch_norms(network: RenderOcc, seed: int) -> None:
    """Give every batch norm the statistics of noise images, so that an untrained network is alive.

    Fresh weights with the norms' default statistics shrink the signal layer by layer until the
    field is the same whatever the images show. After data-dependent initialisation (Mishkin and
    Matas 2016, arXiv 1511.06422), with noise for data.
    """
    norms = [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    before = [(norm.momentum, norm.training) for norm in norms]
    for norm in norms:
        norm.momentum = None  # a plain mean over the batches seen
        norm.reset_running_stats()
        norm.train()
    with torch.no_grad():
        network(ring_of_noise(network, seed))
    for norm, (momentum, training) in zip(norms, before, strict=True):
        norm.momentum = momentum
        norm.train(training)


def ring_of_noise(network: RenderOcc, seed: int, cameras: int = RING) -> CameraTensors:
    """Noise images of level cameras that look all around, 70° wide each."""
    height, width = network.image_size
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(1, cameras, 3, height, width, generator=generator)
    focal = 0.5 * width / math.tan(math.radians(35))
    intrinsics = torch.tensor([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])
    poses = torch.eye(4).repeat(cameras, 1, 1)
    for number in range(cameras):
        yaw = 2 * math.pi * number / cameras
        right = (math.sin(yaw), -math.cos(yaw), 0.0)
        forward = (math.cos(yaw), math.sin(yaw), 0.0)
        poses[number, :3, :3] = torch.tensor([right, (0.0, 0.0, -1.0), forward]).T
        poses[number, 2, 3] = HEIGHT_M
    return CameraTensors(
        images,
        intrinsics.expand(1, cameras, 3, 3),
        poses[None],
        torch.ones(1, cameras, dtype=torch.bool),
    )
