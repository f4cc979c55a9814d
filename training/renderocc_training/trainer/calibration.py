"""Makes a trained density honest: weights that favour the rare make everything look more likely.

Vote weights teach a network to call a voxel occupied well before it mostly is, which finds what is
rare, but rays rendered through such a field end too early and its confidence is no probability. A
scale and a shift of the density's logit put both right and change no order between voxels (Platt
1999); they become part of the head's last layer.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from renderocc_ros.class_set import IGNORE_ID
from renderocc_ros.network.renderocc import RenderOcc
from renderocc_training.losses.voxels import occupancy_loss
from renderocc_training.samples.training_sample import TrainingSample, collate

MIN_SHARE = 1e-7  # share of the largest density whose logit is still finite


def calibrate_density(network: RenderOcc, samples: Iterable[TrainingSample]) -> tuple[float, float]:
    """Scale and shift the logit of the density to the votes of samples not trained on, in place.

    Returns:
        scale and shift, which minimise the plain cross entropy of the voted voxels' occupancy.

    Raises:
        ValueError: no sample has both occupied and free votes.
    """
    seen = [_logits_and_labels(network, sample) for sample in samples if sample.votes is not None]
    logits = torch.cat([each for each, _ in seen] or [torch.zeros(0)])
    occupied = torch.cat([each for _, each in seen] or [torch.zeros(0, dtype=torch.bool)])
    if not occupied.any() or occupied.all():
        raise ValueError("no sample has votes: the density needs labelled rays to be calibrated")
    scale, shift = _fitted(logits, occupied, network)
    head = network.occupancy_field.out
    with torch.no_grad():
        head.weight[0] *= scale
        head.bias[0] = scale * head.bias[0] + shift
    return scale, shift


@torch.inference_mode()
def _logits_and_labels(network: RenderOcc, sample: TrainingSample) -> tuple[Tensor, Tensor]:
    """(V,) of the voxels with a vote: the density's logit, and whether the voxel is occupied."""
    assert sample.votes is not None
    batch = collate([sample]).to(next(network.parameters()).device)
    field = network.field_and_depth(batch.current, batch.past)[0]
    share = field.density[0].float() / network.occupancy_field.max_density_per_m
    votes = torch.from_numpy(sample.votes.astype(np.int64)).to(share.device)
    known = votes != IGNORE_ID
    occupied = votes != field.semantics.shape[1]
    return torch.logit(share, eps=MIN_SHARE)[known], occupied[known]


def _fitted(logits: Tensor, occupied: Tensor, network: RenderOcc) -> tuple[float, float]:
    """Scale and shift, by L-BFGS on logits brought to mean 0 and deviation 1, where it is quick."""
    middle, spread = logits.mean(), logits.std().clamp(min=1e-3)
    even = (logits - middle) / spread  # a copy, too: inference mode's own refuse gradients
    parameters = torch.stack([spread, middle]).requires_grad_()  # as the network has them
    optimiser = torch.optim.LBFGS([parameters], max_iter=100, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimiser.zero_grad()
        share = torch.sigmoid(parameters[0] * even + parameters[1])
        density = network.occupancy_field.max_density_per_m * share
        mean = occupancy_loss(density, occupied, network.grid.resolution_m).mean()
        mean.backward()  # type: ignore[no-untyped-call]
        return mean

    optimiser.step(loss)  # type: ignore[arg-type, no-untyped-call]
    scale = parameters[0] / spread
    return float(scale.detach()), float((parameters[1] - scale * middle).detach())
