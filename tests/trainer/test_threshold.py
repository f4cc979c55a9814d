"""The chosen threshold is the one that brute force finds."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from toy_world import ToyWorld, toy_network

from renderocc_ros.network.occupancy_field import opacity
from renderocc_training.samples.training_sample import collate
from renderocc_training.trainer.threshold import best_threshold


def test_the_threshold_is_that_of_brute_force() -> None:
    network, world = toy_network().eval(), ToyWorld(3)
    samples = [world.sample(i, np.random.default_rng(i)) for i in range(3)]
    threshold, score = best_threshold(network, samples)

    def iou(at: float) -> float:
        both = either = 0
        for sample in samples:
            with torch.inference_mode():
                field = network(collate([sample]).current)
            found = opacity(field.density, 1.0)[0].numpy() >= at
            assert sample.votes is not None
            known, true = sample.votes != 255, sample.votes < 2
            both += (found & true & known).sum()
            either += ((found | true) & known).sum()
        return float(both / either)

    assert score == pytest.approx(iou(threshold))
    assert score >= max(iou(at) for at in np.linspace(0.01, 0.99, 50)) - 1e-3


def test_without_votes_there_is_nothing_to_choose() -> None:
    with pytest.raises(ValueError, match="no sample has votes"):
        best_threshold(toy_network(), [])
