"""The loop: draw, run, descend, average, write down."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies.ddp import DDPStrategy
from torch.utils.data import DataLoader, Dataset

from renderocc_ros.checkpoint import Model, save_checkpoint
from renderocc_ros.class_set import ClassSet
from renderocc_ros.network.renderocc import Network
from renderocc_ros.prediction.torch_engine import to_channels_last
from renderocc_training.recipe import Recipe
from renderocc_training.samples.augmentation import mirrored, recoloured
from renderocc_training.samples.photographing import retaken
from renderocc_training.samples.training_sample import TrainingBatch, TrainingSample, collate
from renderocc_training.trainer import arithmetic
from renderocc_training.trainer.objective import Objective, Opaque
from renderocc_training.trainer.run_state import read_state, write_state
from renderocc_training.trainer.schedule import (
    AveragedWeights,
    SampleRequest,
    StepSampler,
    learning_rate,
    parameter_groups,
)

MODEL_FILE = "model.safetensors"
LOADER_TIMEOUT_S = 300.0
NO_MEMORY = "can't allocate memory"  # how PyTorch says it on a CPU


class SampleSource(Protocol):
    """A data set: anything that makes sample ``index`` with the given randomness."""

    def __len__(self) -> int: ...

    def sample(self, index: int, random: np.random.Generator) -> TrainingSample:
        """One sample; the same for the same index and a generator in the same state."""
        ...


@dataclass(frozen=True)
class StepReport:
    """What one step did.

    Attributes:
        step: steps done so far.
        total: loss.
        terms: weighted terms of it, by name.
        gradient_norm: before clipping.
        learning_rate: of this step.
        samples_per_s: over all processes.
    """

    step: int
    total: float
    terms: dict[str, float]
    gradient_norm: float
    learning_rate: float
    samples_per_s: float


class TrainingStopped(RuntimeError):
    """Training cannot go on; the message says why and what can be done."""


class TrainingPaused(Exception):
    """The caller's time is up; all is written, and the next call goes on from there."""


class DrawnSamples(Dataset[TrainingSample]):
    """A source behind a data loader: mirrors, recolours and masks as the recipe says."""

    def __init__(self, source: SampleSource, network: Network, recipe: Recipe) -> None:
        self.source, self.grid, self.recipe = source, network.grid, recipe
        self.image = network.config.image

    def __getitem__(self, request: SampleRequest) -> TrainingSample:
        random = np.random.default_rng(request.seed)
        sample = self.source.sample(request.index, random)
        if random.random() < self.recipe.mirror:
            sample = mirrored(sample, self.grid)
        if self.recipe.retake and random.random() < self.recipe.retake:
            sample = retaken(sample, self.image, random)
        if self.recipe.recolour:
            sample = recoloured(sample, self.recipe.recolour, random)
        kept = random.random(len(sample.views.valid)) >= self.recipe.drop_camera
        valid = sample.views.valid & kept
        if not valid.any():
            return sample
        return replace(sample, views=replace(sample.views, valid=valid))


def make_fabric(recipe: Recipe, devices: int | str = "auto", nodes: int = 1) -> Fabric:
    """The engine behind one process or many; ``launch`` it before use.

    Args:
        recipe: says the precision.
        devices: GPUs, or processes where there is none; "auto" takes all GPUs.
        nodes: machines; start the program on each with torchrun.
    """
    several = nodes > 1 or devices not in (1, "1")
    if devices == "auto" and not torch.cuda.is_available():
        devices, several = 1, nodes > 1
    # A backbone may have stages behind the last feature map that is used: their parameters never
    # get a gradient, and without this switch no gradient at all would be shared.
    strategy = DDPStrategy(find_unused_parameters=True) if several else "auto"
    return Fabric(
        accelerator="cuda" if torch.cuda.is_available() else "cpu",
        devices=devices,
        num_nodes=nodes,
        precision=usable_precision(recipe),
        strategy=strategy,
    )


def usable_precision(recipe: Recipe) -> Literal["bf16-mixed", "32-true"]:
    """The recipe's, but 32 bits on a CPU without bf16 arithmetic, which is ten times slower.

    With "auto" it is that of all parts but those that a measurement finds faster in 32 bits.
    """
    quick = torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()
    if recipe.precision == "32-true" or not (quick or torch.cuda.is_available()):
        return "32-true"
    return "bf16-mixed"


def train(
    network: Network,
    class_set: ClassSet,
    source: SampleSource,
    recipe: Recipe,
    folder: Path,
    fabric: Fabric,
    *,
    workers: int = 0,
    save_every: int = 500,
    on_step: Callable[[StepReport], None] = lambda report: None,
    say: Callable[[str], object] = lambda line: None,
    pause: Callable[[], bool] = lambda: False,
) -> Path:
    """Train, or go on where the run in ``folder`` stopped; returns the path of the model.

    Args:
        network: with its initial weights; trained in place.
        class_set: meaning of the network's classes.
        source: the data set.
        recipe: how to train. A run can only go on with the recipe that it began with, but for its
            number of steps: the learning rate follows the new schedule from there.
        folder: takes the state of the run and the model with averaged weights.
        fabric: launched; one process or many.
        workers: processes that load samples.
        save_every: steps between two writes.
        on_step: called after each step, on every process.
        say: takes a line about how the run is computed, if that was measured.
        pause: asked after each step whether to write and stop; with one process alone.

    Raises:
        TrainingPaused: by ``pause``, before the last step.
        TrainingStopped: the loss is not finite, memory ran out, or the loader stalled.
        ValueError: the folder holds a run with another recipe or another network.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if fabric.device.type == "cpu":  # convolutions of 16 bits take half as long in this layout
        to_channels_last(network)
    average = AveragedWeights(network, recipe.optimiser.ema_decay)
    optimiser = torch.optim.AdamW(
        parameter_groups(network, recipe.optimiser),
        lr=recipe.optimiser.learning_rate,
        weight_decay=recipe.optimiser.weight_decay,
    )
    objective, optimiser = fabric.setup(Objective(network, class_set, recipe), optimiser)
    # On the device already: an optimiser's state is loaded to where its parameters are.
    first, single = _resume(folder, recipe, network, optimiser, average)
    average.state = {name: value.to(fabric.device) for name, value in average.state.items()}
    objective.train()
    if single is None:
        times = _part_times(network, source, recipe, fabric, objective.module)
        single = [name for name, each in times.items() if each.single]
        if fabric.is_global_zero and times:
            say(arithmetic.note(folder, times))
    batches = iter(_loader(source, network, recipe, fabric, first, workers))
    with arithmetic.folded(network), arithmetic.in_32_bits(network, single, fabric.device.type):
        for step in range(first, recipe.steps):
            started = time.perf_counter()
            objective.train()  # also after a picture
            rate = learning_rate(step, recipe.steps, recipe.optimiser)
            for group in optimiser.param_groups:
                group["lr"] = rate * group["share"]
            terms: dict[str, float] = {}
            for part in range(recipe.accumulate):
                batch = _next_batch(batches).to(fabric.device)
                number = (step * recipe.accumulate + part) * fabric.world_size + fabric.global_rank
                generator = torch.Generator().manual_seed(recipe.seed * 1_000_003 + number)
                torch.manual_seed(generator.initial_seed())  # of what a network drops at random
                with fabric.no_backward_sync(objective, enabled=part < recipe.accumulate - 1):
                    of_part = _step_terms(objective, batch, generator, fabric, recipe.accumulate)
                for name, value in of_part.items():
                    terms[name] = terms.get(name, 0.0) + value
            norm = fabric.clip_gradients(
                objective, optimiser, max_norm=recipe.optimiser.clip_norm, error_if_nonfinite=False
            )
            if norm is None or not torch.isfinite(norm):
                raise TrainingStopped(
                    f"step {step}: the gradient is not finite (terms {terms}); lower "
                    "optimiser.learning_rate or use precision 32-true"
                )
            optimiser.step()
            optimiser.zero_grad()
            average.update(network, step)
            done = step + 1
            samples = recipe.batch_size * recipe.accumulate * fabric.world_size
            on_step(
                StepReport(
                    done,
                    sum(terms.values()),
                    terms,
                    float(norm),
                    rate,
                    samples / (time.perf_counter() - started),
                )
            )
            paused = pause()
            if done % save_every == 0 or done == recipe.steps or paused:
                if fabric.is_global_zero:
                    _write(folder, recipe, network, optimiser, average, done, class_set, single)
                fabric.barrier()
            if paused and done < recipe.steps:
                raise TrainingPaused
    return folder / MODEL_FILE


def _loader(
    source: SampleSource,
    network: Network,
    recipe: Recipe,
    fabric: Fabric,
    first: int,
    workers: int,
) -> DataLoader[TrainingBatch]:
    sampler = StepSampler(
        len(source),
        recipe.batch_size,
        range(first * recipe.accumulate, recipe.steps * recipe.accumulate),
        recipe.seed,
        fabric.global_rank,
        fabric.world_size,
    )
    return DataLoader(
        DrawnSamples(source, network, recipe),  # type: ignore[arg-type]
        batch_sampler=sampler,  # type: ignore[arg-type]
        num_workers=workers,
        collate_fn=collate,
        timeout=LOADER_TIMEOUT_S if workers else 0,
        persistent_workers=workers > 0,
    )


def _part_times(
    network: Network, source: SampleSource, recipe: Recipe, fabric: Fabric, objective: Any
) -> arithmetic.Times:
    """How long the parts of the network take with the first batch; {} if the recipe decides."""
    if recipe.precision != "auto" or usable_precision(recipe) == "32-true":
        return {}
    batch = _next_batch(iter(_loader(source, network, recipe, fabric, 0, 0))).to(fabric.device)

    def run() -> None:
        with torch.autocast(fabric.device.type, torch.bfloat16):
            objective(Opaque(batch), torch.Generator().manual_seed(0))

    with arithmetic.folded(network):
        times = arithmetic.measure(network, run, fabric.device)
    return fabric.broadcast(times)  # several processes compute alike


def _next_batch(batches: Any) -> TrainingBatch:
    try:
        batch: TrainingBatch = next(batches)
    except RuntimeError as error:
        if "timed out" in str(error):
            raise TrainingStopped(
                f"no batch within {LOADER_TIMEOUT_S:g} s: the disk or a worker hangs; try fewer "
                "workers or copy the data set to a local disk"
            ) from error
        if "DataLoader worker (pid" in str(error):
            raise TrainingStopped(
                f"a process that loads samples died ({error}), most often because memory ran out; "
                "try fewer workers, or none to see its own error"
            ) from error
        raise
    except (ValueError, OSError) as error:
        if "Original Traceback" not in str(error):
            raise
        # A process that loads says it by its traceback, whose last line is what is wrong.
        *_, last = str(error).strip().splitlines()
        raise ValueError(last.partition(": ")[2]) from error
    return batch


def _step_terms(
    objective: Any, batch: TrainingBatch, generator: torch.Generator, fabric: Fabric, parts: int
) -> dict[str, float]:
    """Forward and backward of one batch; returns the terms as numbers."""
    try:
        terms = objective(Opaque(batch), generator)
        total = torch.stack(list(terms.values())).sum() / parts
        numbers = {name: float(value.detach()) / parts for name, value in terms.items()}
        if not torch.isfinite(total):
            bad = {name: value for name, value in numbers.items() if not np.isfinite(value)}
            raise TrainingStopped(
                f"the loss is not finite: {bad} on samples {', '.join(batch.tokens)}; look at "
                "their labels with `renderocc labels show`"
            )
        fabric.backward(total)
    except (RuntimeError, MemoryError) as error:
        on_gpu = isinstance(error, torch.cuda.OutOfMemoryError)
        if not on_gpu and not isinstance(error, MemoryError) and NO_MEMORY not in str(error):
            raise
        raise TrainingStopped(
            f"{'the GPU' if on_gpu else 'this machine'}'s memory ran out; halve batch_size and "
            f"double accumulate, which trains the same ({error})"
        ) from error
    return numbers


def _write(
    folder: Path,
    recipe: Recipe,
    network: Network,
    optimiser: Any,
    average: AveragedWeights,
    step: int,
    class_set: ClassSet,
    single: list[str],
) -> None:
    state = {
        "recipe": recipe.model_dump(mode="json"),
        "step": step,
        "network": network.state_dict(),
        "optimiser": optimiser.state_dict(),
        "average": average.state,
        "single": single,
    }
    live = {name: value.clone() for name, value in network.state_dict().items()}
    network.load_state_dict(average.state)
    save_checkpoint(Model(network, class_set), folder / MODEL_FILE)
    network.load_state_dict(live)
    # Last: whoever goes on from here finds that step's model written.
    write_state(folder, state)


def _resume(
    folder: Path,
    recipe: Recipe,
    network: Network,
    optimiser: Any,
    average: AveragedWeights,
) -> tuple[int, list[str] | None]:
    """Load the state of a run, if there is one.

    Returns:
        steps done, and the parts that it computes in 32 bits; None where none were chosen yet.
    """
    state = read_state(folder)
    if state is None:
        return 0, None
    began_with, done = Recipe.model_validate(state["recipe"]), int(state["step"])
    if done > recipe.steps:
        raise ValueError(
            f"the run in {folder} has done {done} steps already, which is more than steps = "
            f"{recipe.steps}; give at least {done} or choose another folder"
        )
    if began_with.model_copy(update={"steps": recipe.steps}) != recipe:
        old, new = began_with.model_dump(), recipe.model_dump()
        changed = {key: (old[key], new[key]) for key in old if old[key] != new[key]}
        raise ValueError(
            f"the run in {folder} began with another recipe: {changed}; go on with that one or "
            "choose another folder"
        )
    try:
        network.load_state_dict(state["network"])
    except RuntimeError as error:
        raise ValueError(
            f"the run in {folder} began with another network than '{network.config.name}' as it is "
            f"now ({str(error).splitlines()[1].strip()}); go on with that one or choose another "
            "folder"
        ) from error
    optimiser.load_state_dict(state["optimiser"])
    average.state = state["average"]
    return done, state.get("single", [])
