"""Range images from monocular depth models of ``transformers`` that answer in metres."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import torch
import transformers
from numpy.typing import NDArray

from renderocc_training.sequences.model import CameraImage, Frame, RecordedSequence
from renderocc_training.sequences.sensor_files import read_pixels
from renderocc_training.supervision.labels.hub import load_pretrained
from renderocc_training.supervision.labels.label_images import ranges_of_depth

METRIC_TYPES = ("zoedepth",)  # always answer in metres


class MonoDepthImages:
    """Runs a model on every image.

    Args:
        model: its ``predicted_depth`` is metres along the optical axis.
        processor: prepares images for it, without padding them: the answer is that of the image.
        farthest_m: depths beyond are not trusted.
        device: where the model runs.

    Raises:
        ValueError: the model's depth has no unit.
    """

    name = "mono"

    def __init__(self, model: Any, processor: Any, farthest_m: float, device: str = "cpu") -> None:
        config = model.config
        kind = getattr(config, "depth_estimation_type", None)
        if config.model_type not in METRIC_TYPES and kind != "metric":
            raise ValueError(
                f"depth model '{config.name_or_path or config.model_type}' gives relative or "
                "inverse depth; choose one that answers in metres, such as "
                "depth-anything/Depth-Anything-V2-Metric-Outdoor-Small-hf or ZoeDepth"
            )
        self._model = model.eval().to(device)
        self._processor, self._device, self._farthest_m = processor, device, farthest_m

    @torch.no_grad()
    def ranges(
        self, sequence: RecordedSequence, frame: Frame, camera: CameraImage
    ) -> NDArray[np.float32]:
        """(H, W) metres along each pixel's ray; NaN beyond what is trusted."""
        image = read_pixels(camera)
        inputs = self._processor(images=image, return_tensors="pt")
        depth = self._model(**inputs.to(self._device)).predicted_depth[0].float().cpu().numpy()
        size = (camera.model.width, camera.model.height)
        depth_m = cv2.resize(depth, size, interpolation=cv2.INTER_LINEAR)
        trusted = (depth_m > 0) & (depth_m < self._farthest_m)
        return ranges_of_depth(np.where(trusted, depth_m, np.nan).astype(np.float32), camera)


def load_mono_depth(name: str, farthest_m: float, device: str = "cpu") -> MonoDepthImages:
    """A model of the hub or of a folder.

    Raises:
        ValueError: it cannot be loaded, or does not answer in metres.
    """
    model = load_pretrained(transformers.AutoModelForDepthEstimation, name, use_safetensors=True)
    processor = load_pretrained(transformers.AutoImageProcessor, name, do_pad=False)
    return MonoDepthImages(model, processor, farthest_m, device)
