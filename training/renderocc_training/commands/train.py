"""Train a network on a data set with 2D labels."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console

from renderocc_ros.checkpoint import (
    Model,
    file_sha256,
    load_checkpoint,
    require_match,
)
from renderocc_ros.class_set import ClassSet
from renderocc_ros.config import StrictModel, load_class_set
from renderocc_ros.files import write_bytes
from renderocc_ros.network.image_backbone import comes_in_package
from renderocc_ros.network.renderocc import Network, build_network
from renderocc_ros.network_config import (
    LiftedConfig,
    NetworkConfig,
    OfficialConfig,
    load_network_config,
)
from renderocc_ros.settings import Settings, sort_settings, with_settings
from renderocc_training.commands._label_options import (
    SOURCE_KEYS,
    Depth,
    Format,
    LabelSourceName,
    Root,
    Semantics,
    Version,
    chosen_label_source,
    opened,
)
from renderocc_training.recipe import Recipe, load_recipe
from renderocc_training.samples.source import TrainingSource
from renderocc_training.samples.truth import TruthFolder
from renderocc_training.sequences.data_sets import hold_out
from renderocc_training.supervision.labels.label_source import LabelSource, open_store
from renderocc_training.trainer.finish import finished, with_threshold
from renderocc_training.trainer.held_out import (
    BY_VOTES,
    held_out_table,
    score_held_out,
    scores_as_json,
)
from renderocc_training.trainer.loop import (
    StepReport,
    TrainingStopped,
    make_fabric,
    usable_precision,
)
from renderocc_training.trainer.loop import train as run
from renderocc_training.trainer.pictures import sample_picture
from renderocc_training.trainer.progress import Progress
from renderocc_training.trainer.run_state import claim

KINDS: dict[str, type[StrictModel]] = {
    "recipe": Recipe,
    "network": NetworkConfig,
    SOURCE_KEYS: LabelSource,
}


def train(
    root: Root,
    out: Annotated[Path, typer.Option(help="folder of the run; a run found there goes on")],
    network: Annotated[
        str | None, typer.Option(help="a shipped preset, or a .yaml; nano if not given")
    ] = None,
    recipe: Annotated[str, typer.Option(help="a shipped recipe, or a .yaml")] = "default",
    steps: Annotated[int | None, typer.Option(min=1, help="instead of the recipe's")] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="instead of the recipe's")] = None,
    rate: Annotated[
        float | None,
        typer.Option("--learning-rate", min=1e-9, max=1.0, help="instead of the recipe's"),
    ] = None,
    format: Format = "nuscenes",
    version: Version = None,
    held_out: Annotated[
        list[str] | None,
        typer.Option(
            help="scene, part of one as 'NAME[30:]', or nuScenes' split of this name (val), that "
            "chooses the threshold and is scored, but never trained on; may be repeated"
        ),
    ] = None,
    label_source: LabelSourceName = "lidar",
    depth: Depth = None,
    semantics: Semantics = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="another value of a key of recipe, network or label source, such as "
            "losses.votes=1.5; repeatable",
        ),
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(help="folder of `labels make`; <out>/labels if not given")
    ] = None,
    truth: Annotated[
        Path | None,
        typer.Option(help="folder of 3D labels, for recipes that use them and for the scores"),
    ] = None,
    start_from: Annotated[
        Path | None,
        typer.Option(
            help="checkpoint whose weights the run begins with; its network, too, without --network"
        ),
    ] = None,
    what_fits: Annotated[
        bool,
        typer.Option(
            help="take of --start-from what has its name and shape in the network, and begin anew "
            "with the rest: for another backbone before a trained encoder"
        ),
    ] = False,
    pretrained: Annotated[
        bool | None,
        typer.Option(
            help="begin with the backbone's pretrained weights; if not given, where they come from "
            "an installed package"
        ),
    ] = None,
    devices: Annotated[str, typer.Option(help="GPUs, or processes without one")] = "auto",
    nodes: Annotated[int, typer.Option(min=1, help="machines, each started by torchrun")] = 1,
    workers: Annotated[int, typer.Option(min=0, help="processes that load samples")] = 2,
    save_every: Annotated[int, typer.Option(min=1, help="steps between two writes")] = 500,
    pictures_every: Annotated[
        int, typer.Option(min=0, help="steps between rendered pictures of a sample; 0: none")
    ] = 500,
) -> None:
    """Train a network on a data set with 2D labels.

    renderocc train data --out runs/first

    The model with averaged weights is <out>/model.safetensors, and the node loads it as it is.
    """
    changes = sort_settings(settings or (), KINDS)
    source = chosen_label_source(label_source, depth, semantics, changes[SOURCE_KEYS], format, root)
    instead = {"steps": steps, "batch_size": batch_size, "optimiser.learning_rate": rate}
    changes["recipe"] |= {key: value for key, value in instead.items() if value is not None}
    plan = with_settings(load_recipe(recipe), changes["recipe"])

    def first_weights() -> tuple[Network, ClassSet]:
        return _first_weights(
            start_from, network, changes["network"], pretrained, plan.seed, what_fits=what_fits
        )

    model, class_set = first_weights()
    config = model.config
    volumes = None if truth is None else TruthFolder.open(truth, class_set)
    store = open_store(source, class_set, labels or out / "labels")
    sequences = opened(root, format, version)
    training, rest = hold_out(sequences, held_out or ())
    if volumes is not None:
        volumes.require(rest)
    fabric = make_fabric(plan, _number(devices), nodes)
    fabric.launch()
    samples = TrainingSource(training, store, config, class_set, plan, volumes)
    unseen = TrainingSource(rest, store, config, class_set, plan, volumes) if rest else None
    console = Console(stderr=True)
    first = fabric.is_global_zero  # the one process that shows, records and writes
    claimed = claim(out) if first else None
    if first:
        console.print(
            f"{len(samples)} samples of {len(training)} sequences, {plan.steps} steps of "
            f"{plan.batch_size * plan.accumulate * fabric.world_size} on {fabric.device}, "
            f"precision {usable_precision(plan)}"
        )
    with Progress(out, plan.steps, console) if first else nullcontext() as progress:

        def on_step(report: StepReport) -> None:
            if progress is None:
                return
            progress(report)
            if pictures_every and report.step % pictures_every == 0:
                sample = (unseen or samples).sample(0, np.random.default_rng(0))
                progress.picture(report.step, sample_picture(model, sample, class_set))

        try:
            path = run(
                model, class_set, samples, plan, out, fabric,
                workers=workers, save_every=save_every, on_step=on_step, say=console.print,
            )  # fmt: skip
        except TrainingStopped as error:
            raise ValueError(str(error)) from error
    if not first:
        return
    if unseen:
        networks = {
            "trained": finished(path, unseen, fabric.device, plan),
            "untrained": with_threshold(first_weights()[0].to(fabric.device), class_set, unseen),
        }
        scores = score_held_out(networks, unseen, class_set, plan, volumes, console)
        console.print(held_out_table(scores, f"{len(unseen)} held-out samples; {BY_VOTES}"))
        text = json.dumps(scores_as_json(scores), indent=2)
        write_bytes(out / "held_out.json", f"{text}\n".encode())
    typer.echo(json.dumps({"model": str(path), "sha256": file_sha256(path)}))
    if claimed is not None:
        claimed.close()


def _number(devices: str) -> int | str:
    if devices != "auto" and not (devices.isdecimal() and int(devices)):
        raise ValueError(f"--devices '{devices}' must be a number from 1 on, or auto")
    return devices if devices == "auto" else int(devices)


def _first_weights(
    start_from: Path | None,
    network: str | None,
    settings: Settings,
    pretrained: bool | None,
    seed: int,
    *,
    what_fits: bool = False,
) -> tuple[Network, ClassSet]:
    """The network that a run begins with: made anew, or with the weights of a checkpoint."""
    if what_fits and (start_from is None or network is None):
        raise ValueError("--what-fits needs --start-from and the --network that takes the weights")
    model = None if start_from is None else load_checkpoint(start_from)
    if model is not None and network is None and not settings:
        return model.network, model.class_set
    of_model = model.network.config if model is not None and network is None else None
    config = with_settings(of_model or load_network_config(network or "nano"), settings)
    class_set = load_class_set(config.class_set)
    if model is None and isinstance(config.architecture, OfficialConfig):
        raise ValueError(
            f"'{config.name}' is fine-tuned, not trained from nothing: give its published weights "
            "by --start-from, see `renderocc convert`, or take --network r50 --pretrained"
        )
    if pretrained is None and isinstance(config.architecture, LiftedConfig):
        pretrained = comes_in_package(config.architecture.backbone)
    built = build_network(config, len(class_set), pretrained=bool(pretrained), seed=seed)
    if model is not None:
        require_match(model.header, class_set=class_set)
        (_take_what_fits if what_fits else _take_weights)(built, model)
    return built, class_set


def _take_what_fits(network: Network, model: Model) -> None:
    own = network.state_dict()
    fitting = {
        name: value
        for name, value in model.network.state_dict().items()
        if name in own and own[name].shape == value.shape
    }
    if not fitting:
        raise ValueError(
            f"no weight of '{model.network.config.name}' fits network '{network.config.name}'"
        )
    network.load_state_dict(own | fitting)


def _take_weights(network: Network, model: Model) -> None:
    """For another size of image, grid or rig; what the weights are made for must be the same."""
    try:
        network.load_state_dict(model.network.state_dict())
    except RuntimeError as error:
        raise ValueError(
            f"the weights of '{model.network.config.name}' do not fit network "
            f"'{network.config.name}' ({str(error).splitlines()[1].strip()}); change no more than "
            "image, grid and cameras of the network that they were made for"
        ) from error
