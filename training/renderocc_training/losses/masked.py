"""Means over what counts."""

from __future__ import annotations

import torch
from torch import Tensor


def masked_mean(values: Tensor, mask: Tensor, weight: Tensor | None = None) -> Tensor:
    """Mean of the values where the mask is set, weighted if asked; 0 where it is set nowhere.

    Values outside of the mask may be NaN or infinite: neither they nor their gradients count, as
    long as they were computed from finite numbers.
    """
    share = mask.to(values.dtype) if weight is None else mask * weight.to(values.dtype)
    kept = torch.where(mask, values, torch.zeros_like(values))
    total = share.sum()
    return (kept * share).sum() / torch.where(total > 0, total, torch.ones_like(total))
