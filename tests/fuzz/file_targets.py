"""Single files: configuration, checkpoints, arrays, results, images, calibrations."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import yaml
from hypothesis import strategies as st
from safetensors.torch import save as safetensors_bytes

from renderocc_ros.checkpoint import ModelHeader, header_metadata, load_checkpoint
from renderocc_ros.checkpoint_convert import read_official
from renderocc_ros.class_set import ClassSet, SemanticClass
from renderocc_ros.config import GridConfig, RigConfig, load_class_set, load_yaml, validate
from renderocc_ros.geometry import CameraModel, RigidTransform, VoxelGrid
from renderocc_ros.network.renderocc import build_network
from renderocc_ros.network_config import NetworkConfig
from renderocc_ros.occupancy.grid_file import described_grid
from renderocc_ros.occupancy.occ3d_files import (
    Occ3dTruth,
    grid_of_prediction,
    read_occupancy,
    read_prediction,
    read_truth,
    write_prediction,
    write_truth,
)
from renderocc_ros.occupancy.semantic_occupancy import SemanticOccupancy
from renderocc_ros.paths import share_path
from renderocc_ros.rig.calibration import camera_model
from renderocc_ros.rig.camera_set import CameraSet, PosedImage
from renderocc_ros.rig.image_decoding import decode_for, decode_image
from renderocc_training.evaluation.results import FrameResult, ResultsWriter, read_results
from renderocc_training.evaluation.voxel_counts import VoxelCounts
from renderocc_training.recipe import load_recipe
from renderocc_training.supervision.labels.label_source import load_label_source
from renderocc_training.supervision.labels.mapping import load_boxes, load_names, load_numbers
from tests.fuzz.damage import (
    damaged_bytes,
    damaged_json,
    damaged_numbers,
    damaged_values,
    damaged_yaml,
)
from tests.fuzz.target import Target, write

GRID = VoxelGrid((-2.0, -2.0, -1.0), 0.5, (8, 8, 4))
CLASSES = ClassSet(
    "two", (SemanticClass(0, "ground", (1, 2, 3)), SemanticClass(1, "car", (4, 5, 6)))
)
MODEL = CameraModel(48, 32, np.array([[40.0, 0, 23.5], [0, 41.0, 15.5], [0, 0, 1]]))


# ------------------------------------------------------------------------------------------- YAML


def _yaml(*parts: str, read: Callable[[str], object]) -> Target:
    shipped = share_path("config", *parts).read_bytes()
    return Target(
        "file.yaml",
        write("file.yaml", shipped),
        damaged_yaml,
        lambda at: read(str(at / "file.yaml")),
    )


def _network(name: str) -> object:
    config = load_yaml(Path(name), NetworkConfig)
    return config.architecture.depth.centres_m


# -------------------------------------------------------------------------------------- checkpoints


@cache
def _tiny() -> tuple[NetworkConfig, dict[str, torch.Tensor]]:
    text = (Path(__file__).parents[1] / "network" / "tiny.yaml").read_text(encoding="utf-8")
    config = validate(yaml.safe_load(text), NetworkConfig, "tiny")
    return config, build_network(config, len(CLASSES), seed=1).state_dict()


def _checkpoint(metadata: dict[str, str]) -> bytes:
    return bytes(safetensors_bytes(_tiny()[1], metadata=metadata))


def _make_checkpoint(folder: Path) -> None:
    metadata = header_metadata(ModelHeader(_tiny()[0], CLASSES))
    (folder / "model.safetensors").write_bytes(_checkpoint(metadata))


def _damaged_checkpoint(sound: bytes) -> st.SearchStrategy[bytes]:
    metadata = header_metadata(ModelHeader(_tiny()[0], CLASSES))
    content = json.loads(metadata["model"])
    headers = damaged_values(content).map(
        lambda changed: _checkpoint(metadata | {"model": json.dumps(changed)})
    )
    length = int.from_bytes(sound[:8], "little") + 8
    table = damaged_bytes(sound[:length]).map(lambda changed: changed + sound[length:])
    return headers | table | damaged_bytes(sound)


def _make_official(folder: Path) -> None:
    buffer = io.BytesIO()
    torch.save({"state_dict": {"module.a": torch.arange(6.0), "b": torch.zeros(2, 2)}}, buffer)
    (folder / "official.pth").write_bytes(buffer.getvalue())


# ------------------------------------------------------------------------------------------ arrays


def _truth() -> Occ3dTruth:
    labels = np.random.default_rng(0).integers(0, 3, GRID.size, dtype=np.uint8)
    return Occ3dTruth(labels, labels > 0, labels > 1)


def occupancy() -> SemanticOccupancy:
    return SemanticOccupancy(5, GRID, CLASSES, _truth().labels, _truth().labels)


def _read_prediction(folder: Path) -> object:
    file = folder / "token.npz"
    labels = read_prediction(file)
    return (
        labels,
        grid_of_prediction(file),
        read_occupancy(file, GRID, CLASSES),
    )


def _make_grid(folder: Path) -> None:
    content = {"origin_m": [0, 0, 0], "resolution_m": 0.5, "size": [8, 8, 4], "class_table": "two"}
    (folder / "grid.json").write_text(json.dumps(content))


# ----------------------------------------------------------------------------------------- results


def _make_results(folder: Path) -> None:
    """What evaluate writes, of two frames."""
    writer = ResultsWriter(folder / "results", keep_predictions=True, keep_images=True)
    posed = PosedImage(
        "front", 5, np.zeros((32, 48, 3), np.uint8), MODEL, RigidTransform.identity()
    )
    cameras = CameraSet(5, ("front",), (posed,), RigidTransform.identity())
    frames = [FrameResult(f"t{n}", "bag", n, (), {"total": 1.0}, "", {"miou": 0.5}) for n in (1, 2)]
    for frame in frames:
        writer.add(frame.token, occupancy(), _truth(), {"front": posed.pixels}, cameras)
    counts = VoxelCounts.none(len(CLASSES), GRID.size[2])
    iou = {"class_iou": {"ground": 0.5, "car": 0.5}}
    content = {
        "name": "first",
        "model": {},
        "recordings": ["bag"],
        "rig": "rig",
        "cameras": ["front"],
        "mask": "camera",
        "frames_evaluated": 2,
        "frames_scored": 2,
        "scores": {**iou, "best_constant": iou},
        "confusion": counts.confusion.tolist(),
        "rings": [],
        "calibration": {},
        "latency_ms": {},
        "skipped": [],
        "problems": [],
    }
    writer.finish(content, CLASSES, GRID, frames, {frame.token: counts for frame in frames})


def _read_results(folder: Path) -> object:
    from renderocc_training.commands.view import results_frames
    from renderocc_training.evaluation.comparison import compare_results
    from renderocc_training.report.page import write_page

    results = read_results(folder / "results")
    write_page([results], folder / "page.html", "title")
    compare_results(results, results, 1, resamples=2)
    return list(results_frames(results))


# ------------------------------------------------------------------------------------------ images


@dataclass
class _Compressed:
    data: Any
    format: str = "jpeg"


def image_file(kind: str) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (32, 48, 3), dtype=np.uint8)
    return bytes(cv2.imencode(kind, pixels)[1].tobytes())


def _read_image(folder: Path) -> object:
    data = (folder / "image").read_bytes()
    whole = decode_image(data)
    pixels, model = decode_for(_Compressed(data), MODEL, lambda _: 4)
    assert pixels.shape[:2] == (model.height, model.width)
    return whole


def _camera_info(folder: Path) -> object:
    content = json.loads((folder / "info.json").read_text())
    model = camera_model(**content)
    assert np.isfinite(model.intrinsics).all()
    pixels, inside = model.project([[0.0, 0.0, 5.0], [1.0, 1.0, 1.0], [0, 0, -1], [0, 0, 0]])
    assert np.isfinite(pixels[inside]).all()
    return model.rays([[0.0, 0.0], [20.0, 10.0]])


INFO = {
    "width": 48,
    "height": 32,
    "k": [40.0, 0.0, 23.5, 0.0, 41.0, 15.5, 0.0, 0.0, 1.0],
    "d": [0.1, 0.01, 0.0, 0.0, 0.0],
    "p": [40.0, 0.0, 23.5, 0.0, 0.0, 41.0, 15.5, 0.0, 0.0, 0.0, 1.0, 0.0],
    "distortion_model": "plumb_bob",
    "binning": [1, 1],
    "roi": [0, 0, 0, 0],
    "rectified": False,
}

FILES = {
    "rig.yaml": _yaml("rigs", "nuscenes.yaml", read=lambda at: load_yaml(Path(at), RigConfig)),
    "network.yaml": _yaml("networks", "nano.yaml", read=_network),
    "classes.yaml": _yaml("classes", "occ3d.yaml", read=load_class_set),
    "recipe.yaml": _yaml("recipes", "drive.yaml", read=load_recipe),
    "label source.yaml": _yaml("label_sources", "lidar.yaml", read=load_label_source),
    "boxes.yaml": _yaml("class_mappings", "nuscenes_boxes.yaml", read=load_boxes),
    "names.yaml": _yaml("class_mappings", "cityscapes.yaml", read=load_names),
    "numbers.yaml": _yaml("class_mappings", "semantickitti.yaml", read=load_numbers),
    "grid.yaml": Target(
        "file.yaml",
        write("file.yaml", b"origin_m: [0, 0, 0]\nresolution_m: 0.5\nsize: [8, 8, 4]\n"),
        damaged_yaml,
        lambda at: load_yaml(at / "file.yaml", GridConfig).build(),
    ),
    "checkpoint": Target(
        "model.safetensors",
        _make_checkpoint,
        _damaged_checkpoint,
        lambda at: load_checkpoint(at / "model.safetensors"),
    ),
    "official .pth": Target(
        "official.pth", _make_official, damaged_bytes, lambda at: read_official(at / "official.pth")
    ),
    "truth": Target(
        "labels.npz",
        lambda at: write_truth(at / "labels.npz", _truth()),
        damaged_bytes,
        lambda at: read_truth(at / "labels.npz"),
    ),
    "prediction": Target(
        "token.npz",
        lambda at: write_prediction(at / "token.npz", occupancy()),
        damaged_bytes,
        _read_prediction,
    ),
    "prediction .npy": Target(
        "token.npy",
        lambda at: np.save(at / "token.npy", _truth().labels),
        damaged_bytes,
        lambda at: read_prediction(at / "token.npy"),
    ),
    "grid.json": Target("grid.json", _make_grid, damaged_json, described_grid),
    "results.json": Target("results/results.json", _make_results, damaged_json, _read_results),
    "counts.npz": Target("results/counts.npz", _make_results, damaged_bytes, _read_results),
    "cameras.json": Target(
        "results/images/t1/cameras.json", _make_results, damaged_json, _read_results
    ),
    "JPEG": Target("image", write("image", image_file(".jpg")), damaged_bytes, _read_image),
    "PNG": Target("image", write("image", image_file(".png")), damaged_bytes, _read_image),
    "CameraInfo": Target(
        "info.json",
        write("info.json", json.dumps(INFO).encode()),
        lambda sound: damaged_numbers(json.loads(sound)),
        _camera_info,
    ),
}
