"""Weights that keep frequent classes from drowning rare ones, in losses and among drawn rays."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from renderocc_ros.class_set import ClassSet

CLASS_COUNTS = (
    1163161, 2309034, 188743, 2997643, 20317180, 852476, 243808, 2457947, 497017, 2731022,
    7224789, 214411435, 5565043, 63191967, 76098082, 128860031, 141625221,
)  # fmt: skip
"""Voxels of each class in Occ3D-nuScenes' training set."""


def tempered(counts: Tensor, exponent: float = 0.5, largest: float = 10.0) -> Tensor:
    """(…, K) (median n / n_c)^exponent, within 1/largest and largest; 1 for an absent class.

    Rare classes weigh more, but none so much that a few hundred pixels of it are all that a step
    sees.

    Args:
        counts: (…, K) floats, how often each class is there. The median is that of the classes
            that are there, of an even number the mean of the middle two.
        exponent: 0 weighs all alike, 1 gives all classes the same share.
        largest: bound of the weights.
    """
    seen = counts > 0
    median = counts.masked_fill(~seen, torch.nan).nanquantile(0.5, dim=-1, keepdim=True)
    weights = (median / counts).pow(exponent).clamp(1 / largest, largest)
    return torch.where(seen, weights, torch.ones_like(weights))


def tempered_class_weights(class_id: Tensor, classes: int) -> Tensor:
    """(B, K) ``tempered`` weights of the classes, sample by sample.

    Counted in each sample alone, so that a batch spread over processes weighs the same.

    Args:
        class_id: (B, …) int64; what is no id below K does not count.
        classes: K.

    Example:
        100 voxels of a road, 25 of a car and 4 of a cone weigh 0.5, 1 and 2.5.
    """
    flat = class_id.flatten(1)
    slots = torch.where(flat < classes, flat, classes)
    counts = torch.zeros((len(flat), classes + 1), device=flat.device)
    counts = counts.scatter_add(1, slots, torch.ones_like(slots, dtype=counts.dtype))[:, :classes]
    return tempered(counts)


def weight_of_each(class_weights: Tensor, class_id: Tensor) -> Tensor:
    """The weight of every entry of class_id (B, …), by the table (K,) or (B, K); 0 for no class."""
    classes = class_weights.shape[-1]
    table = functional.pad(class_weights.expand(len(class_id), classes), (0, 1))
    slots = torch.where(class_id < classes, class_id, classes).flatten(1)
    return table.gather(1, slots).view_as(class_id)


def published_counts(class_set: ClassSet) -> tuple[int, ...] | None:
    """``CLASS_COUNTS`` where they are those of the classes at hand, which need the set's name."""
    fits = class_set.name == "occ3d" and len(class_set) == len(CLASS_COUNTS)
    return CLASS_COUNTS if fits else None
