"""Score a model on a data set's 2D labels, beside an untrained network and the best constants."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from renderocc_ros.checkpoint import Model, load_checkpoint
from renderocc_ros.class_set import ClassSet
from renderocc_ros.network.image_backbone import comes_in_package
from renderocc_ros.network.renderocc import Network, build_network
from renderocc_ros.network_config import LiftedConfig, NetworkConfig, load_network_config
from renderocc_ros.paths import share_path
from renderocc_ros.prediction.models import model_file
from renderocc_ros.prediction.options import choose_device
from renderocc_training.commands._label_options import (
    Depth,
    Format,
    LabelSourceName,
    Root,
    Semantics,
    Set,
    Version,
    chosen_label_source,
    label_settings,
    opened,
)
from renderocc_training.recipe import load_recipe
from renderocc_training.samples.source import TrainingSource
from renderocc_training.samples.truth import TruthFolder
from renderocc_training.sequences.data_sets import hold_out
from renderocc_training.supervision.labels.label_source import open_store
from renderocc_training.trainer.finish import with_threshold
from renderocc_training.trainer.held_out import held_out_table, score_held_out, scores_as_json


def score_labels(
    model: Annotated[
        str, typer.Argument(help="checkpoint; or a network's name: its shipped weights")
    ],
    root: Root,
    held_out: Annotated[
        list[str] | None,
        typer.Option(
            help="only this scene, or part of one as 'NAME[30:]'; may be repeated; all if not given"
        ),
    ] = None,
    format: Format = "nuscenes",
    version: Version = None,
    label_source: LabelSourceName = "lidar",
    depth: Depth = None,
    semantics: Semantics = None,
    settings: Set = None,
    labels: Annotated[
        Path | None,
        typer.Option(
            help="folder of `labels make`, or a run's: <run>/labels; made and not kept if not given"
        ),
    ] = None,
    truth: Annotated[
        Path | None, typer.Option(help="folder of 3D labels, to score as well")
    ] = None,
    unlabelled: Annotated[
        str | None,
        typer.Option(help="class of rays that have a range and no class; left out if not given"),
    ] = None,
    as_one: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=CLASS,CLASS,…",
            help="score classes of rays as one, too: vehicle=car,truck,bus; may be repeated",
        ),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="occupied above; the model's own if not given"),
    ] = None,
    recipe: Annotated[
        str, typer.Option(help="how rays are rendered and vote: a shipped recipe, or a .yaml")
    ] = "default",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 …")] = "auto",
    as_json: Annotated[
        bool, typer.Option("--json", help="the scores as one JSON object, as in held_out.json")
    ] = False,
) -> None:
    """Score a model on a data set's 2D labels, beside an untrained network and the best constants.

    renderocc score-labels model.safetensors data --held-out 'monday[30:]' --labels run/labels

    The figures are those that train gives for what it holds out: rendered ranges and classes of
    labelled rays, and voxels against the votes of all rays. They need no 3D truth. The model keeps
    its threshold if no other is given; that of the untrained network is chosen on the votes.
    """
    path = model_file(model)
    if path is None:
        raise ValueError(f"'{model}' has no weights here: give a checkpoint")
    plan, trained = load_recipe(recipe), load_checkpoint(path)
    if threshold is not None:
        trained.network.config = trained.network.config.with_opacity_threshold(threshold)
    source = chosen_label_source(
        label_source, depth, semantics, label_settings(settings), format, root
    )
    class_set, config = trained.class_set, trained.network.config
    groups = _groups(as_one or (), class_set)
    volumes = None if truth is None else TruthFolder.open(truth, class_set)
    sequences = opened(root, format, version)
    parts = hold_out(sequences, held_out)[1] if held_out else sequences
    if volumes is not None:
        volumes.require(parts)
    store = open_store(source, class_set, labels)
    samples = TrainingSource(parts, store, config, class_set, plan, volumes)
    console, place = Console(stderr=True), choose_device(device)
    networks = {"model": trained.network.to(place)}
    untrained = _untrained(trained, plan.seed)
    if untrained is not None:
        networks["untrained"] = with_threshold(untrained.to(place), class_set, samples)
    scores = score_held_out(
        networks,
        samples,
        class_set,
        plan,
        volumes,
        console,
        unlabelled=None if unlabelled is None else class_set.id_of(unlabelled),
        as_one=groups,
    )
    if as_json:
        typer.echo(json.dumps(scores_as_json(scores)))
        return
    title = f"{len(samples)} samples of {len(parts)} sequences, threshold {config.threshold:.3g}"
    Console().print(held_out_table(scores, title))


def _groups(texts: Sequence[str], class_set: ClassSet) -> dict[str, list[int]]:
    groups: dict[str, list[int]] = {}
    for text in texts:
        name, given, classes = text.partition("=")
        if not (name and given):
            raise ValueError(f"--as-one {text}: give NAME=CLASS,CLASS,…, as vehicle=car,truck,bus")
        if name in groups:
            raise ValueError(f"--as-one {text}: '{name}' is given twice; choose another name")
        groups[name] = sorted({class_set.id_of(each) for each in classes.split(",")})
    return groups


def _untrained(model: Model, seed: int) -> Network | None:
    """The network as training begins it; None for one that is never trained from nothing."""
    config = model.network.config
    if not isinstance(config.architecture, LiftedConfig):
        return None
    config = _with_first_weights(config, config.architecture)
    assert isinstance(config.architecture, LiftedConfig)
    pretrained = comes_in_package(config.architecture.backbone)
    return build_network(config, len(model.class_set), pretrained=pretrained, seed=seed)


def _with_first_weights(config: NetworkConfig, parts: LiftedConfig) -> NetworkConfig:
    """A checkpoint does not say what its backbone began with: its shipped namesake does."""
    if config.name not in {file.stem for file in share_path("config", "networks").glob("*.yaml")}:
        return config
    shipped = load_network_config(config.name).architecture
    if not isinstance(shipped, LiftedConfig):
        return config
    if shipped.backbone.model_type != parts.backbone.model_type:
        return config
    backbone = parts.backbone.model_copy(update={"pretrained": shipped.backbone.pretrained})
    parts = parts.model_copy(update={"backbone": backbone})
    return config.model_copy(update={"architecture": parts})
