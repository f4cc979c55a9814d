"""The official loss on the depth distribution of image features, to be compared with a recording.

Training does not use it: in every recipe ``lifting_depth`` is ``depth_distribution_loss``.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

PAPER_WEIGHT = 0.05


def paper_depth_loss(
    depth: Tensor, label_m: Tensor, depth_range_m: tuple[float, float, float]
) -> Tensor:
    """Binary cross entropy of the depth bins, summed over them, averaged over labelled cells.

    Args:
        depth: (B, N, D, h, w) distribution over depth bins.
        label_m: (B, N, H, W) depth along the camera's axis, 0 where none is known. A cell's label
            is the nearest depth in it; bin i is the one of [i·step, (i+1)·step) + first depth, and
            depths in the half step before the first bin are none.
        depth_range_m: first depth, end and step of the bins.

    Returns:
        the loss, weight included; 0 where no cell has a label.
    """
    first, _, step = depth_range_m
    bins, cell = depth.shape[2], label_m.shape[-1] // depth.shape[-1]
    known = torch.where(label_m > 0, label_m, torch.inf)
    nearest = -F.max_pool2d(-known.flatten(0, 1)[:, None], cell)[:, 0]
    number = ((nearest - (first - step)) / step).nan_to_num(posinf=bins + 1)
    number = torch.where((number >= 0) & (number < bins + 1), number, 0).long()
    labelled = number > 0
    target = F.one_hot(number[labelled] - 1, bins).to(depth)
    predicted = depth.flatten(0, 1).movedim(1, -1)[labelled]
    entropy = F.binary_cross_entropy(predicted, target, reduction="sum")
    return PAPER_WEIGHT * entropy / labelled.sum().clamp(min=1)
