"""The density says how likely a voxel is occupied, whatever the weights that it learned with."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from toy_world import ToyWorld, toy_network

from renderocc_ros.class_set import IGNORE_ID
from renderocc_ros.network.occupancy_field import opacity
from renderocc_ros.network.renderocc import RenderOcc
from renderocc_training.samples.training_sample import TrainingSample, collate
from renderocc_training.trainer.calibration import calibrate_density


def opacities(network: RenderOcc, sample: TrainingSample) -> np.ndarray:  # type: ignore[type-arg]
    with torch.inference_mode():
        field = network(collate([sample]).current)
    result: np.ndarray = opacity(field.density, network.grid.resolution_m)[0].numpy()  # type: ignore[type-arg]
    return result


def drawn(network: RenderOcc, number: int) -> TrainingSample:
    """A sample whose votes are drawn by the network's own opacities; some are unknown."""
    sample, random = (
        ToyWorld().sample(number, np.random.default_rng(number)),
        np.random.default_rng(number),
    )
    chance = opacities(network, sample)
    votes = np.where(random.random(chance.shape) < chance, 1, 2).astype(np.uint8)
    votes[random.random(votes.shape) < 0.3] = IGNORE_ID
    return replace(sample, votes=votes)


def test_what_was_made_too_sure_is_put_right_and_keeps_its_order() -> None:
    network = toy_network().eval()
    with torch.no_grad():
        network.occupancy_field.out.weight[0] *= 150
    samples = [drawn(network, number) for number in range(16)]
    before = opacities(network, samples[0])
    with torch.no_grad():  # as tempered weights do
        network.occupancy_field.out.weight[0] *= 0.8
        network.occupancy_field.out.bias[0] *= 0.8
        network.occupancy_field.out.bias[0] += 1.5
    wrong = opacities(network, samples[0])
    assert np.abs(wrong - before).mean() > 0.1
    scale, shift = calibrate_density(network, samples)
    assert (scale, shift) == (pytest.approx(1 / 0.8, rel=0.15), pytest.approx(-1.5 / 0.8, rel=0.15))
    after = opacities(network, samples[0])
    assert np.abs(after - before).mean() < 0.02
    assert (np.diff(after.ravel()[np.argsort(wrong.ravel())]) > -1e-5).all()


def test_without_votes_there_is_nothing_to_calibrate_by() -> None:
    with pytest.raises(ValueError, match="no sample has votes"):
        calibrate_density(toy_network(), [])
