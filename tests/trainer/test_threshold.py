"""The chosen threshold is the one that brute force finds."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from toy_world import CLASSES, ToyWorld, toy_network

from renderocc_ros.class_set import IGNORE_ID, OCCUPIED_ID
from renderocc_ros.network.occupancy_field import decode_field
from renderocc_ros.network.renderocc import RenderOcc
from renderocc_ros.network_config import ReadOut
from renderocc_training.evaluation.above_ground import above_ground
from renderocc_training.samples.training_sample import TrainingSample, collate
from renderocc_training.trainer.threshold import best_threshold


def unsure_network(by: ReadOut) -> RenderOcc:
    """Untrained, but not of one mind about all voxels."""
    network: RenderOcc = toy_network()
    network.eval()
    network.config = network.config.model_copy(update={"read_out": by})
    with torch.no_grad():
        network.occupancy_field.out.weight.mul_(30)
    return network


def labels_of(network: RenderOcc, sample: TrainingSample, at: float) -> NDArray[np.uint8]:
    with torch.inference_mode():
        field = network(collate([sample]).current)
    labels: NDArray[np.uint8] = (
        decode_field(field, 1.0, at, network.config.read_out).labels[0].numpy()
    )
    return labels


def iou(pairs: list[tuple[NDArray[Any], NDArray[Any]]]) -> float:
    both, either = (
        sum(int(how(*pair).sum()) for pair in pairs) for how in (np.logical_and, np.logical_or)
    )
    return both / either


@pytest.mark.parametrize("by", ["opacity", "class"])
def test_the_threshold_is_that_of_brute_force(by: ReadOut) -> None:
    network, world = unsure_network(by), ToyWorld(3)
    samples = [world.sample(i, np.random.default_rng(i)) for i in range(3)]
    threshold, score = best_threshold(network, CLASSES, samples)

    def brute(at: float) -> float:
        seen = []
        for sample in samples:
            assert sample.votes is not None
            known = sample.votes != IGNORE_ID
            seen.append(
                (
                    sample.votes[known],
                    labels_of(network, sample, at)[known],
                    above_ground(sample.votes, CLASSES)[known],
                )
            )
        classes = [iou([(true == k, result == k) for true, result, _ in seen]) for k in range(2)]
        above = iou([((true < 2) & high, (result < 2) & high) for true, result, high in seen])
        return float(np.mean(classes) + above)

    assert score == pytest.approx(brute(threshold), abs=2e-3)
    assert score >= max(brute(at) for at in np.linspace(0.05, 0.95, 19)) - 2e-3
    assert score > brute(0.95) + 0.05


def test_without_classes_the_occupied_and_the_free_decide() -> None:
    """Nothing is known but that something is there: no class, no ground."""
    network, sample = unsure_network("opacity"), ToyWorld().sample(2, np.random.default_rng(0))
    assert sample.votes is not None
    votes = np.where(sample.votes < 2, np.uint8(OCCUPIED_ID), sample.votes)
    threshold, score = best_threshold(network, CLASSES, [replace(sample, votes=votes)])
    known = votes != IGNORE_ID
    result = labels_of(network, sample, threshold)[known] < 2
    assert score == pytest.approx(iou([(votes[known] == OCCUPIED_ID, result)]), abs=2e-3)


def test_without_votes_there_is_nothing_to_choose() -> None:
    with pytest.raises(ValueError, match="no sample has votes"):
        best_threshold(toy_network(), CLASSES, [])
