"""The predictor that the parameters ask for, warm.

Torch takes seconds to import: that happens here, when the node is configured and can already be
asked and stopped.
"""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING, Any

import numpy as np

from renderocc_ros.geometry import CameraModel, RigidTransform
from renderocc_ros.node.parameters import NodeParameters
from renderocc_ros.rig.camera_set import CameraSet, PosedImage

if TYPE_CHECKING:
    from renderocc_ros.prediction import Predictor

# A camera that looks forward from 1.5 m above the ground: optical axes in the ego frame.
LOOKING_FORWARD = RigidTransform(
    np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]]), np.array([1.0, 0.0, 1.5])
)


def load_predictor(parameters: NodeParameters) -> Predictor:
    """From the checkpoint, or by the network's name.

    Raises:
        ValueError: the file, the network or the device cannot be used.
    """
    from renderocc_ros.prediction import Predictor

    options: dict[str, Any] = {
        "device": parameters.device,
        "backend": parameters.backend,
        "precision": parameters.precision,
        "threads": parameters.threads or None,
    }
    return Predictor.from_name(parameters.checkpoint or parameters.network, **options)


def warm_up(predictor: Predictor, names: tuple[str, ...]) -> None:
    """Run once on grey images, so that the first real set meets warm caches and kernels.

    Raises:
        ValueError: the network does not fit the number of cameras.
    """
    size = predictor.config.image
    focal_px = size.width / 2
    model = CameraModel(
        size.width,
        size.height,
        np.array([[focal_px, 0, size.width / 2], [0, focal_px, size.height / 2], [0, 0, 1]]),
    )
    grey = np.full((size.height, size.width, 3), 128, np.uint8)
    posed_images = tuple(PosedImage(name, 0, grey, model, LOOKING_FORWARD) for name in names)
    predictor.predict(CameraSet(0, names, posed_images, RigidTransform.identity()))
    predictor.reset()


def release_memory() -> None:
    """Give back the GPU memory of a predictor that nobody holds any more."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
