"""Which samples a step sees, its learning rate, and the averaged weights."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Sampler

from renderocc_training.recipe import OptimiserConfig


@dataclass(frozen=True)
class SampleRequest:
    """Sample ``index`` of the data set, with a seed for everything random about it."""

    index: int
    seed: int


class StepSampler(Sampler[list[SampleRequest]]):
    """The batches of one process, from any step on, the same whenever and wherever it is asked.

    Every epoch is a permutation of its own; a step takes the next ``batch_size · processes``
    samples of it, dealt out to the processes. So a resumed run sees what the whole one would.
    """

    def __init__(
        self,
        samples: int,
        batch_size: int,
        batches: range,
        seed: int,
        rank: int = 0,
        processes: int = 1,
    ) -> None:
        """
        Args:
            samples: size of the data set.
            batch_size: samples per batch and process.
            batches: numbers of the batches to give, counted from the run's first.
            seed: of the run.
            rank, processes: which of how many processes this is.
        """
        if samples < 1:
            raise ValueError("the data set holds no sample to train on")
        self.samples, self.batch_size, self.batches = samples, batch_size, batches
        self.seed, self.rank, self.processes = seed, rank, processes

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[SampleRequest]]:
        for batch in self.batches:
            first = (batch * self.processes + self.rank) * self.batch_size
            yield [self._request(first + place) for place in range(self.batch_size)]

    def _request(self, place: int) -> SampleRequest:
        epoch, within = divmod(place, self.samples)
        order = np.random.default_rng((self.seed, epoch)).permutation(self.samples)
        return SampleRequest(int(order[within]), self.seed * 1_000_003 + place)


def learning_rate(step: int, steps: int, config: OptimiserConfig) -> float:
    """Linear warm-up, then half a cosine down to ``final_share`` of the full rate."""
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps
    part = (step - config.warmup_steps) / max(steps - config.warmup_steps, 1)
    share = config.final_share + (1 - config.final_share) * 0.5 * (1 + math.cos(math.pi * part))
    return config.learning_rate * share


def parameter_groups(network: nn.Module, config: OptimiserConfig) -> list[dict[str, Any]]:
    """The weights by their share of the learning rate, as an optimiser takes them.

    Each group's "share" is that of the learning rate. Weights of share 0 are in no group, and ask
    for no gradient.

    Raises:
        ValueError: no weight's name begins so.
    """
    groups: dict[float, list[nn.Parameter]] = {}
    unused = set(config.rates)
    for name, weight in network.named_parameters():
        parts = [part for part in config.rates if f"{name}.".startswith(f"{part}.")]
        unused -= set(parts)
        share = config.rates[max(parts, key=len)] if parts else 1.0
        weight.requires_grad_(share > 0)
        if share:
            groups.setdefault(share, []).append(weight)
    if unused:
        raise ValueError(
            f"optimiser.rates: no weight's name begins with '{min(unused)}'; "
            f"parts of this network: {', '.join(name for name, _ in network.named_children())}"
        )
    return [{"params": weights, "share": share} for share, weights in groups.items()]


class AveragedWeights:
    """Exponential moving average of a network's floating point state.

    The decay starts low, (1 + step) / (10 + step), so that a short run is not an average with its
    random beginning.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.state = {name: value.detach().clone() for name, value in network.state_dict().items()}

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        """Move the average towards the network's state after ``step`` steps."""
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, value in network.state_dict().items():
            average: Tensor = self.state[name]
            if average.is_floating_point():
                average.lerp_(value.detach().to(average), 1 - decay)
            else:
                average.copy_(value)
