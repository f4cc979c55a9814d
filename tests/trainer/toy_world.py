"""A world small enough to learn in a minute: one wall, its distance told by the image's colour."""

from __future__ import annotations

import numpy as np

from renderocc_ros.class_set import ClassSet, SemanticClass
from renderocc_ros.config import validate
from renderocc_ros.geometry import CameraModel, RigidTransform
from renderocc_ros.network.renderocc import RenderOcc, build_network
from renderocc_ros.network_config import NetworkConfig
from renderocc_training.recipe import Recipe
from renderocc_training.samples.training_sample import CameraViews, TrainingSample
from renderocc_training.supervision.labels.voxel_votes import count_votes, voted_labels
from renderocc_training.supervision.rays.ray_batch import PixelLabels, RayBatch, rays_of_pixels

CLASSES = ClassSet(
    "toy",
    (
        SemanticClass(0, "ground", (90, 90, 90), ground=True),
        SemanticClass(1, "wall", (200, 60, 60)),
    ),
)
NETWORK = {
    "name": "toy",
    "image": {"width": 64, "height": 32},
    "grid": {"origin_m": [0.0, -6.0, -1.0], "resolution_m": 1.0, "size": [12, 12, 4]},
    "architecture": {
        "kind": "lifted",
        "backbone": {
            "model_type": "resnet",
            "settings": {
                "embedding_size": 8,
                "hidden_sizes": [8, 12, 16, 24],
                "depths": [1, 1, 1, 1],
                "layer_type": "basic",
            },
            "out_features": ["stage2", "stage3"],
        },
        "neck": {"channels": 16, "stride": 8},
        "depth": {
            "from_m": 1.0,
            "to_m": 13.0,
            "step_m": 1.0,
            "context_channels": 8,
            "hidden_channels": 16,
        },
        "encoder": {"channels": [16, 24], "out_channels": 8},
        "field": {"hidden_channels": 16},
    },
}
CAMERA = CameraModel(64, 32, [[40, 0, 31.5], [0, 40, 15.5], [0, 0, 1]])
EGO_FROM_CAMERA = RigidTransform(
    np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]]), np.array([0.3, 0.0, 0.6])
)
BUDGET = 512


def toy_network(seed: int = 0) -> RenderOcc:
    return build_network(validate(NETWORK, NetworkConfig, "toy"), len(CLASSES), seed=seed)


def toy_recipe(**changes: object) -> Recipe:
    content = {
        "name": "toy",
        "steps": 12,
        "batch_size": 2,
        "precision": "32-true",
        "mirror": 0.5,
        "rays": {"budget": BUDGET, "rendered": 128, "free_points": 8},
        "optimiser": {"learning_rate": 3e-3, "warmup_steps": 3, "ema_decay": 0.9},
        "losses": {
            "query": 1.0,
            "query_semantics": 1.0,
            "votes": 1.0,
            "votes_semantics": 1.0,
            "range_l1": 0.2,
            "semantics": 0.2,
            "lifting_depth": 0.2,
        },
    }
    return validate({**content, **changes}, Recipe, "toy")


def wall_distance(index: int) -> float:
    return 3.5 + index % 8


class ToyWorld:
    """Flat ground at z = −0.5 m and a wall across the whole view at 3.5, 4.5 … 10.5 m."""

    def __init__(self, samples: int = 16) -> None:
        self.samples = samples

    def __len__(self) -> int:
        return self.samples

    def sample(self, index: int, random: np.random.Generator) -> TrainingSample:
        x = wall_distance(index)
        u, v = np.meshgrid(np.arange(64), np.arange(32))
        pixels = np.stack([u, v], axis=-1).reshape(-1, 2).astype(np.float32)
        rays = CAMERA.rays(pixels) @ EGO_FROM_CAMERA.rotation.T
        with np.errstate(divide="ignore"):
            to_wall = (x - EGO_FROM_CAMERA.translation[0]) / rays[:, 0]
            to_ground = (-0.5 - EGO_FROM_CAMERA.translation[2]) / rays[:, 2]
        ground = (to_ground > 0) & (to_ground < to_wall)
        range_m = np.where(ground, to_ground, to_wall).astype(np.float32)
        class_id = np.where(ground, 0, 1).astype(np.uint8)
        labels = PixelLabels(pixels, range_m, class_id, np.full(len(pixels), -1, np.int32))
        all_rays = rays_of_pixels(labels, CAMERA, EGO_FROM_CAMERA)
        grid = toy_grid()
        image = np.zeros((3, 32, 64), dtype=np.float32)
        image[0] = (x - 7) / 3
        image[1] = class_id.reshape(32, 64)
        image += random.normal(0, 0.05, image.shape).astype(np.float32)
        depth = (range_m * CAMERA.rays(pixels)[:, 2]).reshape(32, 64)[4::8, 4::8]
        return TrainingSample(
            token=f"wall at {x} m",
            views=CameraViews(
                image[None],
                CAMERA.intrinsics[None].astype(np.float32),
                EGO_FROM_CAMERA.matrix[None].astype(np.float32),
                np.array([True]),
            ),
            past=(),
            past_from_current=np.zeros((0, 4, 4), dtype=np.float32),
            rays=all_rays[random.permutation(len(all_rays))[:BUDGET]],
            depth_m=depth[None].astype(np.float32),
            image_class=class_id.reshape(32, 64)[None, 4::8, 4::8],
            votes=voted_labels(count_votes(all_rays, grid, CLASSES), CLASSES),
        )


def toy_grid():  # type: ignore[no-untyped-def]
    return validate(NETWORK, NetworkConfig, "toy").grid.build()


def empty_rays(sample: TrainingSample) -> RayBatch:
    return RayBatch.padding(len(sample.rays))
