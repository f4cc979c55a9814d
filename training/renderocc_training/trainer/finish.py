"""What follows a training: the density is calibrated, the threshold chosen, the model written."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from renderocc_ros.checkpoint import Model, load_checkpoint, save_checkpoint
from renderocc_ros.class_set import ClassSet
from renderocc_ros.network.renderocc import Network, RenderOcc
from renderocc_training.recipe import Recipe
from renderocc_training.samples.source import TrainingSource
from renderocc_training.samples.training_sample import TrainingSample
from renderocc_training.trainer.calibration import calibrate_density
from renderocc_training.trainer.threshold import best_threshold


def finished(path: Path, held_out: TrainingSource, device: torch.device, recipe: Recipe) -> Network:
    """The model of a run on a device, calibrated where its recipe made it too sure of itself, with
    its threshold chosen; written."""
    model = load_checkpoint(path)
    network = model.network.to(device)
    if recipe.vote_weights != "none" and isinstance(network, RenderOcc):
        calibrate_density(network.eval(), _voted(held_out))
    network = with_threshold(network, model.class_set, held_out)
    save_checkpoint(Model(network, model.class_set), path)
    return network


def with_threshold(network: Network, class_set: ClassSet, held_out: TrainingSource) -> Network:
    """The network itself, with the threshold that suits the votes of held-out samples best."""
    threshold, _ = best_threshold(network.eval(), class_set, _voted(held_out))
    network.config = network.config.with_opacity_threshold(threshold)
    return network


def _voted(source: TrainingSource) -> Iterator[TrainingSample]:
    """Every sample, with votes whether or not the recipe wants them."""
    for i, place in enumerate(source.places):
        sample = source.sample(i, np.random.default_rng(i))
        yield replace(sample, votes=source.votes(*place))
