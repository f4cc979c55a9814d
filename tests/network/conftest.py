"""A network small enough for every test, and cameras that look all around."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from renderocc_ros.config import validate
from renderocc_ros.network.camera_tensors import CameraTensors
from renderocc_ros.network_config import NetworkConfig

TINY = Path(__file__).parent / "tiny.yaml"


def merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    result = dict(base)
    for key, value in changes.items():
        nested = isinstance(value, dict) and isinstance(base.get(key), dict) and key != "settings"
        result[key] = merged(base[key], value) if nested else value
    return result


@pytest.fixture(scope="session")
def tiny() -> Callable[..., NetworkConfig]:
    """The tiny network's configuration with some values changed; the dicts nest as in YAML."""

    def make(**changes: Any) -> NetworkConfig:
        content = yaml.safe_load(TINY.read_text(encoding="utf-8"))
        return validate(merged(content, changes), NetworkConfig, "tiny")

    return make


@pytest.fixture(scope="session")
def ring() -> Callable[..., CameraTensors]:
    """Noise images of level cameras that look all around."""

    def make(
        cameras: int = 4, batch: int = 1, size: tuple[int, int] = (32, 64), seed: int = 0
    ) -> CameraTensors:
        height, width = size
        generator = torch.Generator().manual_seed(seed)
        poses = np.tile(np.eye(4), (batch, cameras, 1, 1))
        for number in range(cameras):
            yaw = 2 * math.pi * number / cameras + 0.1
            forward = np.array([math.cos(yaw), math.sin(yaw), 0.0])
            right = np.array([math.sin(yaw), -math.cos(yaw), 0.0])
            poses[:, number, :3, :3] = np.stack([right, [0, 0, -1], forward], axis=1)
            poses[:, number, :3, 3] = 0.5 * forward + [0, 0, 1.2]
        intrinsics = np.array(
            [[0.5 * width, 0, width / 2], [0, 0.5 * width, height / 2], [0, 0, 1]]
        )
        return CameraTensors(
            torch.randn(batch, cameras, 3, height, width, generator=generator),
            torch.from_numpy(np.tile(intrinsics, (batch, cameras, 1, 1))).float(),
            torch.from_numpy(poses).float(),
            torch.ones(batch, cameras, dtype=torch.bool),
        )

    return make
