"""Means over what counts."""

from __future__ import annotations

import torch
from torch import Tensor


def masked_mean(values: Tensor, mask: Tensor, weight: Tensor | None = None) -> Tensor:
    """Mean over the batch of each sample's mean over what counts, 0 for a sample without any.

    Sample by sample, so that two processes with half a batch each get the gradients of one process
    with the whole batch, however their labels are spread.

    Args:
        values: (B, …); outside of the mask they may be infinite: neither they nor their gradients
            count, as long as they were computed from finite numbers.
        mask: (B, …) bool.
        weight: (B, …), for a weighted mean.
    """
    return per_sample_mean(values, mask, weight).mean()


def per_sample_mean(values: Tensor, mask: Tensor, weight: Tensor | None = None) -> Tensor:
    """(B,) the means that ``masked_mean`` takes the mean of."""
    share = mask.to(values.dtype) if weight is None else mask * weight.to(values.dtype)
    kept = torch.where(mask, values, torch.zeros_like(values))
    total = share.flatten(1).sum(dim=1)
    summed = (kept * share).flatten(1).sum(dim=1)
    return summed / torch.where(total > 0, total, torch.ones_like(total))
