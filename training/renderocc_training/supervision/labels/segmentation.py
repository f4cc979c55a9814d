"""Class images from segmentation models of ``transformers``: semantic, universal and promptable.

| kind | classes of transformers | for example |
|---|---|---|
| semantic | AutoModelForSemanticSegmentation | SegFormer, UperNet, DPT, BEiT |
| universal | AutoModelForUniversalSegmentation | OneFormer, Mask2Former, MaskFormer |
| promptable | CLIPSegForImageSegmentation | CLIPSeg: the mapping's names are the prompts |
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from torch import Tensor

from renderocc_ros.class_set import IGNORE_ID, ClassSet
from renderocc_training.sequences.model import CameraImage, Frame, RecordedSequence
from renderocc_training.sequences.sensor_files import read_pixels
from renderocc_training.supervision.labels.hub import load_pretrained
from renderocc_training.supervision.labels.mapping import NameMapping

PROMPTABLE = ("clipseg",)


class SegmentationImages:
    """Runs a model on every image.

    Args:
        model: of one of the kinds above.
        processor: prepares images for it (and prompts or the task, where it wants them).
        class_set: of the result.
        mapping: from the model's class names, or from prompts, to the class set.
        min_probability: pixels of which the model is less sure are ignored.
        device: where the model runs.
    """

    name = "segmentation"

    def __init__(
        self,
        model: Any,
        processor: Any,
        class_set: ClassSet,
        mapping: NameMapping,
        min_probability: float,
        device: str = "cpu",
    ) -> None:
        self._model = model.eval().to(device)
        self._processor, self._device = processor, device
        self._min_probability = min_probability
        self._prompts = (
            [name for _, name in mapping.pairs()] if is_promptable(model.config) else None
        )
        names: Mapping[int, str] = (
            dict(enumerate(self._prompts)) if self._prompts else model.config.id2label
        )
        where = f"model '{model.config.name_or_path or model.config.model_type}'"
        self._table = mapping.table({int(k): v for k, v in names.items()}, class_set, where)

    def classes(
        self, sequence: RecordedSequence, frame: Frame, camera: CameraImage
    ) -> NDArray[np.uint8]:
        """(H, W) class ids; sky is the class set's free id."""
        image = read_pixels(camera)
        return self.segment(image)

    @torch.no_grad()
    def segment(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """(H, W) class ids of an image (H, W, 3) uint8 RGB."""
        probability = self._probabilities(image)
        sure, number = (value.cpu().numpy() for value in probability.max(dim=0))
        class_id = self._table[number]
        class_id[sure < self._min_probability] = IGNORE_ID
        size = (image.shape[1], image.shape[0])
        return np.asarray(cv2.resize(class_id, size, interpolation=cv2.INTER_NEAREST_EXACT))

    def _probabilities(self, image: NDArray[np.uint8]) -> Tensor:
        """(C, h, w) of the model's own classes, at the model's own resolution."""
        if self._prompts:
            count = len(self._prompts)
            inputs = self._processor(
                text=self._prompts, images=[image] * count, padding=True, return_tensors="pt"
            )
            logits = self._model(**inputs.to(self._device)).logits.float()
            return torch.as_tensor(logits.reshape(count, *logits.shape[-2:]).sigmoid())
        extra = (
            {"task_inputs": ["semantic"]} if self._model.config.model_type == "oneformer" else {}
        )
        inputs = self._processor(images=image, return_tensors="pt", **extra)
        result = self._model(**inputs.to(self._device))
        if hasattr(result, "logits") and result.logits is not None and result.logits.ndim == 4:
            return torch.as_tensor(result.logits[0].float().softmax(dim=0))
        return _from_queries(result)


def _from_queries(result: Any) -> Tensor:
    """Semantic inference of mask classification: Σ_q p_q(c) m_q (Cheng et al. 2021, section 3.4).

    Where masks overlap the sum may exceed 1; then it is taken relative to that of all classes.
    """
    by_query = result.class_queries_logits[0].float().softmax(dim=-1)[:, :-1]  # the last: no object
    masks = result.masks_queries_logits[0].float().sigmoid()
    scores = torch.einsum("qc,qhw->chw", by_query, masks)
    return torch.as_tensor(scores / scores.sum(dim=0).clamp(min=1.0))


def is_promptable(config: Any) -> bool:
    """Whether a model takes words for the classes to look for."""
    return config.model_type in PROMPTABLE


def load_segmentation(
    name: str,
    class_set: ClassSet,
    mapping: NameMapping,
    min_probability: float,
    device: str = "cpu",
) -> SegmentationImages:
    """A model of the hub or of a folder.

    Raises:
        ValueError: it cannot be loaded, is no segmentation model, or the mapping lacks a class.
    """
    config = load_pretrained(transformers.AutoConfig, name)
    if is_promptable(config):
        kinds: tuple[Any, Any] = (
            transformers.CLIPSegForImageSegmentation,
            transformers.AutoProcessor,
        )
    elif type(config) in transformers.AutoModelForUniversalSegmentation._model_mapping:
        universal = transformers.AutoModelForUniversalSegmentation
        needs_text = config.model_type == "oneformer"
        processor = transformers.AutoProcessor if needs_text else transformers.AutoImageProcessor
        kinds = (universal, processor)
    elif type(config) in transformers.AutoModelForSemanticSegmentation._model_mapping:
        kinds = (transformers.AutoModelForSemanticSegmentation, transformers.AutoImageProcessor)
    else:
        raise ValueError(
            f"'{name}' is a {config.model_type}, which transformers cannot use for segmentation; "
            "choose a semantic, universal (OneFormer, Mask2Former) or promptable (CLIPSeg) model"
        )
    model = load_pretrained(kinds[0], name, use_safetensors=True)
    processor = load_pretrained(kinds[1], name)
    return SegmentationImages(model, processor, class_set, mapping, min_probability, device)
