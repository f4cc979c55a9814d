"""Samples of a sequence through the box world: a small network, a recipe, and their source."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from renderocc_ros.class_set import ClassSet
from renderocc_ros.config import validate
from renderocc_ros.geometry import VoxelGrid
from renderocc_ros.network_config import NetworkConfig
from renderocc_training.recipe import Recipe, load_recipe
from renderocc_training.samples.source import TrainingSource
from renderocc_training.sequences.model import RecordedSequence
from renderocc_training.supervision.labels.cache import LabelStore
from renderocc_training.supervision.labels.label_source import LabelSource, open_store

BUDGET = 1500
GRID = VoxelGrid((-24.0, -24.0, -1.3), 1.0, (48, 48, 6))


def network_config(past_frames: int = 0) -> NetworkConfig:
    content = {
        "name": "small",
        "image": {"width": 160, "height": 64},
        "grid": {"origin_m": GRID.origin_m, "resolution_m": 1.0, "size": GRID.size},
        "architecture": {
            "kind": "lifted",
            "backbone": {
                "settings": {"embedding_size": 8, "hidden_sizes": [8, 8, 8, 8], "depths": [1] * 4},
                "out_features": ["stage2", "stage3"],
            },
            "neck": {"channels": 16, "stride": 8},
            "depth": {"to_m": 30.0, "step_m": 1.0, "context_channels": 8, "hidden_channels": 16},
            "temporal": {"past_frames": past_frames},
            "encoder": {"channels": [16, 16], "out_channels": 8},
            "field": {"hidden_channels": 8},
        },
    }
    return validate(content, NetworkConfig, "small")


def recipe(**rays: Any) -> Recipe:
    content = load_recipe("default").model_dump()
    content["rays"] |= {"budget": BUDGET, "rendered": 200, "auxiliary_frames": (-1, 1), **rays}
    return Recipe.model_validate({**content, "precision": "32-true"})


def make_store(mapping: Path, occ3d: ClassSet, folder: Path | None) -> LabelStore:
    return open_store(LabelSource(mapping=str(mapping)), occ3d, folder)


def make_source(
    sequence: RecordedSequence,
    mapping: Path,
    occ3d: ClassSet,
    folder: Path | None = None,
    **options: Any,
) -> TrainingSource:
    store = make_store(mapping, occ3d, folder)
    past = options.pop("past_frames", 0)
    wanted = options.pop("recipe", None) or recipe(**options)
    return TrainingSource([sequence], store, network_config(past), occ3d, wanted)
