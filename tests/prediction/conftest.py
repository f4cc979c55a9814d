"""A small model and sets of images from cameras that look all around."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from renderocc_ros.checkpoint import Model
from renderocc_ros.class_set import ClassSet, SemanticClass
from renderocc_ros.config import validate
from renderocc_ros.geometry import CameraModel, RigidTransform
from renderocc_ros.network.initialise import calibrate_batch_norms
from renderocc_ros.network.renderocc import build_network
from renderocc_ros.network_config import NetworkConfig
from renderocc_ros.rig.camera_set import CameraSet, PosedImage

TINY = Path(__file__).parents[1] / "network" / "tiny.yaml"
CLASSES = ClassSet(
    "three",
    (
        SemanticClass(0, "ground", (1, 2, 3)),
        SemanticClass(1, "wall", (4, 5, 6)),
        SemanticClass(2, "cart", (7, 8, 9), moves=True),
    ),
)


@pytest.fixture(scope="session")
def tiny_model() -> Callable[..., Model]:
    """A seeded model; keywords change the architecture's parts."""

    def make(seed: int = 1, **architecture: Any) -> Model:
        content = yaml.safe_load(TINY.read_text(encoding="utf-8"))
        for key, value in architecture.items():
            nested = isinstance(value, dict)
            before = content["architecture"].get(key, {})
            content["architecture"][key] = {**before, **value} if nested else value
        content["threshold"] = 0.1
        network = build_network(validate(content, NetworkConfig, "tiny"), len(CLASSES), seed=seed)
        calibrate_batch_norms(network, seed)
        return Model(network.eval(), CLASSES)

    return make


@pytest.fixture(scope="session")
def ring_set() -> Callable[..., CameraSet]:
    """A set of noise images; camera ``c`` looks along its yaw, c0 ahead."""

    def make(
        stamp_ns: int = 0,
        *,
        cameras: int = 4,
        missing: tuple[int, ...] = (),
        size: tuple[int, int] = (120, 60),
        odom_from_ego: RigidTransform | None = None,
        seed: int = 0,
        shift_m: float = 0.0,
    ) -> CameraSet:
        width, height = size
        noise = np.random.default_rng(seed)
        focal = 0.6 * width
        model = CameraModel(
            width, height, np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])
        )
        posed_images: list[PosedImage | None] = []
        for number in range(cameras):
            image = noise.integers(0, 256, (height, width, 3), dtype=np.uint8)
            yaw = 2 * math.pi * number / cameras
            forward = np.array([math.cos(yaw), math.sin(yaw), 0.0])
            right = np.array([math.sin(yaw), -math.cos(yaw), 0.0])
            rotation = np.stack([right, [0, 0, -1], forward], axis=1)
            pose = RigidTransform(rotation, 0.5 * forward + [shift_m, 0, 1.2])
            posed = PosedImage(f"c{number}", stamp_ns, image, model, pose)
            posed_images.append(None if number in missing else posed)
        names = tuple(f"c{number}" for number in range(cameras))
        return CameraSet(stamp_ns, names, tuple(posed_images), odom_from_ego)

    return make
