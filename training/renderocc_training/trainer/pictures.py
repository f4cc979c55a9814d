"""A sample as the network sees it: the images, and the field rendered into each camera."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from renderocc_ros.class_set import ClassSet
from renderocc_ros.geometry import CameraModel, RigidTransform
from renderocc_ros.network.renderocc import Network
from renderocc_ros.network_config import ImageConfig
from renderocc_ros.rendering.camera_view import ViewRenderer
from renderocc_ros.viewing.colours import Picture, view_colours
from renderocc_training.samples.training_sample import TrainingSample, collate

SHARE = 2  # a rendered pixel is so many of the image


@torch.inference_mode()
def sample_picture(network: Network, sample: TrainingSample, class_set: ClassSet) -> Picture:
    """(3·H, N·W, 3) uint8 RGB: a column for each camera, with image, depth and classes.

    Draws no random number and leaves the network as it was, so that training goes on unchanged.
    """
    training = network.training
    batch = collate([sample]).to(next(network.parameters()).device)
    try:
        field = network.eval().field_and_depth(batch.current, batch.past)[0]
    finally:
        network.train(training)
    renderer = ViewRenderer(field, network.grid, network.config.opacity_threshold)
    columns = []
    for image, intrinsics, pose in zip(
        sample.views.images, sample.views.intrinsics, sample.views.ego_from_camera, strict=True
    ):
        picture = _picture(image, network.config.image)
        height, width = picture.shape[:2]
        model = CameraModel(width, height, intrinsics).resized(width // SHARE, height // SHARE)
        ego_from_camera = RigidTransform.from_matrix(pose.astype(np.float64))
        view = renderer.view(model, ego_from_camera)
        coloured = [
            cv2.resize(part, (width, height), interpolation=cv2.INTER_NEAREST)
            for part in view_colours(view, class_set)
        ]
        columns.append(np.concatenate([picture, *coloured]))
    return np.concatenate(columns, axis=1)


def _picture(image: NDArray[np.float32], config: ImageConfig) -> Picture:
    """(H, W, 3) uint8 RGB of a normalised image (3, H, W)."""
    shown = image.transpose(1, 2, 0) * np.array(config.std) + np.array(config.mean)
    shown = shown if config.channel_order == "rgb" else shown[..., ::-1]
    return np.asarray(shown.clip(0, 255), np.uint8)
