"""Train a network on a data set with 2D labels."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console

from renderocc_ros.checkpoint import Model, file_sha256, load_checkpoint, save_checkpoint
from renderocc_ros.class_set import ClassSet
from renderocc_ros.config import load_class_set, validate
from renderocc_ros.network.renderocc import Network, RenderOcc, build_network
from renderocc_ros.network_config import load_network_config
from renderocc_training.dataset.drives import hold_out, open_drives
from renderocc_training.dataset.source import TrainingSource
from renderocc_training.dataset.truth import TruthFolder
from renderocc_training.labels.config import LabelConfig, open_store
from renderocc_training.trainer.loop import StepReport, TrainingStopped, make_fabric
from renderocc_training.trainer.loop import train as run
from renderocc_training.trainer.progress import Progress
from renderocc_training.trainer.recipe import load_recipe
from renderocc_training.trainer.threshold import best_threshold

DEFAULTS = LabelConfig()


def train(
    root: Annotated[Path, typer.Argument(help="folder of the data set")],
    out: Annotated[Path, typer.Option(help="folder of the run; a run found there goes on")],
    network: Annotated[str, typer.Option(help="a shipped preset, or a .yaml")] = "nano",
    recipe: Annotated[str, typer.Option(help="a shipped recipe, or a .yaml")] = "default",
    steps: Annotated[int | None, typer.Option(help="instead of the recipe's")] = None,
    format: Annotated[
        str, typer.Option(help="nuscenes (also what extract writes), semantickitti, ddad")
    ] = "nuscenes",
    version: Annotated[str | None, typer.Option(help="folder of nuScenes tables")] = None,
    held_out: Annotated[
        list[str] | None,
        typer.Option(
            help="scene, or part as 'NAME[30:]', that only chooses the threshold; may be repeated"
        ),
    ] = None,
    depth: Annotated[str, typer.Option(help="lidar, images, mono or none")] = DEFAULTS.depth,
    semantics: Annotated[
        str, typer.Option(help="boxes, points, images, segmentation or none")
    ] = DEFAULTS.semantics,
    mapping: Annotated[str | None, typer.Option(help="mapping file of the labels")] = None,
    road_mask: Annotated[Path | None, typer.Option(help="road map, for box labels")] = None,
    scans: Annotated[int, typer.Option(help="further LiDAR scans to add")] = DEFAULTS.scans,
    stride_px: Annotated[
        int, typer.Option(help="distance in pixels of labels from images")
    ] = DEFAULTS.stride_px,
    segmentation_model: Annotated[str | None, typer.Option(help="hub name or folder")] = None,
    depth_model: Annotated[str | None, typer.Option(help="hub name or folder")] = None,
    labels: Annotated[
        Path | None, typer.Option(help="folder of `labels make`; <out>/labels if not given")
    ] = None,
    truth: Annotated[
        Path | None, typer.Option(help="folder of 3D labels, for recipes that use them")
    ] = None,
    start_from: Annotated[
        Path | None, typer.Option(help="checkpoint whose weights the run begins with")
    ] = None,
    pretrained: Annotated[
        bool, typer.Option(help="begin with the backbone's pretrained weights")
    ] = False,
    devices: Annotated[str, typer.Option(help="GPUs, or processes without one")] = "auto",
    nodes: Annotated[int, typer.Option(min=1, help="machines, each started by torchrun")] = 1,
    workers: Annotated[int, typer.Option(min=0, help="processes that load samples")] = 2,
    save_every: Annotated[int, typer.Option(min=1, help="steps between two writes")] = 500,
) -> None:
    """Train a network on a data set with 2D labels.

    renderocc-train train data --out runs/first

    The model with averaged weights is <out>/model.safetensors, and the node loads it as it is.
    """
    plan, config = load_recipe(recipe), load_network_config(network)
    if steps is not None:
        plan = plan.model_copy(update={"steps": steps})
    class_set = load_class_set(config.class_set)
    given = {
        "depth": depth,
        "semantics": semantics,
        "mapping": mapping,
        "road_mask": road_mask,
        "scans": scans,
        "stride_px": stride_px,
        "segmentation_model": segmentation_model,
        "depth_model": depth_model,
    }
    label_config = validate(
        {key: value for key, value in given.items() if value is not None}, LabelConfig, "options"
    )
    store = open_store(label_config, class_set, labels or out / "labels")
    drives = open_drives(root, format, version)  # type: ignore[arg-type]
    volumes = None if truth is None else TruthFolder.open(truth, class_set)
    training, rest = hold_out(drives, held_out or ())
    fabric = make_fabric(plan, _number(devices), nodes)
    fabric.launch()
    source = TrainingSource(training, store, config, class_set, plan, volumes)
    model = _trainable(
        _first_weights(start_from, class_set)
        if start_from
        else build_network(config, len(class_set), pretrained=pretrained, seed=plan.seed)
    )
    console = Console(stderr=True)
    first = fabric.is_global_zero  # the one process that shows, records and writes
    if first:
        console.print(
            f"{len(source)} samples of {len(training)} drives, {plan.steps} steps of "
            f"{plan.batch_size * plan.accumulate * fabric.world_size} on {fabric.device}"
        )
    try:
        with Progress(out, plan.steps, console) if first else nullcontext(_silent) as progress:
            path = run(
                model, class_set, source, plan, out, fabric,
                workers=workers, save_every=save_every, on_step=progress,
            )  # fmt: skip
    except TrainingStopped as error:
        raise ValueError(str(error)) from error
    if first:
        if rest:
            unseen = TrainingSource(rest, store, config, class_set, plan, volumes)
            _choose_threshold(path, unseen, console)
        typer.echo(json.dumps({"model": str(path), "sha256": file_sha256(path)}))


def _silent(report: StepReport) -> None:
    """Of several processes one tells."""


def _number(devices: str) -> int | str:
    return int(devices) if devices.isdigit() else devices


def _trainable(network: Network) -> RenderOcc:
    if isinstance(network, RenderOcc):
        return network
    raise ValueError(
        f"'{network.config.name}' runs the published weights as they are; it is not trained here"
    )


def _first_weights(path: Path, class_set: ClassSet) -> Network:
    model = load_checkpoint(path)
    if model.class_set.names != class_set.names:
        raise ValueError(
            f"{path} knows the classes {model.class_set.names}, the network's are "
            f"{class_set.names}; train with the class set of the checkpoint"
        )
    return model.network


def _choose_threshold(path: Path, source: TrainingSource, console: Console) -> None:
    model = load_checkpoint(path)
    samples = (source.sample(i, np.random.default_rng(i)) for i in range(len(source)))
    network = _trainable(model.network)
    threshold, score = best_threshold(network, samples)
    network.config = network.config.model_copy(update={"threshold": threshold})
    save_checkpoint(Model(network, model.class_set), path)
    console.print(
        f"occupied above an opacity of {threshold:.3f}: IoU {100 * score:.1f} % with the votes of "
        f"{len(source)} held-out samples"
    )
