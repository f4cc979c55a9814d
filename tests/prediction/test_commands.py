"""The commands about models: what they print is what is in the file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from typer.testing import CliRunner

from renderocc_ros.checkpoint import Model, read_header, save_checkpoint
from renderocc_ros.cli import app
from renderocc_ros.prediction import Predictor
from renderocc_ros.prediction.benchmark import Plan, recommendation, ring_drive, run_benchmark
from renderocc_ros.prediction.models import load_model, untrained_model

Models = Callable[..., Model]


@pytest.fixture
def saved(tiny_model: Models, tmp_path: Path) -> Path:
    path = tmp_path / "tiny.safetensors"
    save_checkpoint(tiny_model(), path)
    return path


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, list(arguments))
    return result.exit_code, result.output


def test_info_prints_hash_and_configuration(saved: Path) -> None:
    code, text = run("info", str(saved))
    assert code == 0
    content = yaml.safe_load(text)
    assert content["sha256"] == hashlib.sha256(saved.read_bytes()).hexdigest()
    assert content["classes"] == ["ground", "wall", "cart"]
    assert content["network"]["grid"]["size"] == [20, 20, 4]
    code, text = run("info", str(saved), "--json")
    assert code == 0
    assert json.loads(text) == content


def test_info_of_a_network_is_that_of_its_shipped_weights() -> None:
    code, text = run("info", "nano")
    assert code == 0
    assert yaml.safe_load(text)["network"]["name"] == "nano"
    code, text = run("info", "r50")
    assert code == 1
    assert "'r50' comes without weights" in text


def test_info_of_something_else_says_so(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(b"nothing of the kind")
    code, text = run("info", str(tmp_path / "a.safetensors"))
    assert code == 1
    assert "is not a whole safetensors file" in text


def test_export_writes_a_file_that_predicts(saved: Path, tmp_path: Path) -> None:
    target = tmp_path / "new" / "tiny.onnx"
    code, text = run("export", str(saved), "--onnx", str(target), "--cameras", "2")
    assert code == 0, text
    assert hashlib.sha256(target.read_bytes()).hexdigest() in text
    plan = Plan(cameras=2, image_size=(128, 64), sets=1, warm_up=0)
    (camera_set,) = ring_drive(plan)
    exported = Predictor.from_checkpoint(target, device="cpu", threads=1)
    eager = Predictor.from_checkpoint(saved, device="cpu")
    result, wanted = exported.predict(camera_set), eager.predict(camera_set)
    assert np.abs(result.confidence.astype(int) - wanted.confidence).max() <= 1
    # Cells that no camera sees hover about the threshold; float noise decides a few of them.
    assert (result.labels == wanted.labels).mean() > 0.98
    assert exported.header == read_header(saved)
    of_both = [json.loads(run("info", str(path), "--json")[1]) for path in (saved, target)]
    assert of_both[0]["network"] == of_both[1]["network"]


def test_export_to_another_kind_of_file_is_refused(saved: Path, tmp_path: Path) -> None:
    code, text = run("export", str(saved), "--onnx", str(tmp_path / "tiny.engine"))
    assert code == 1
    assert "must end in .onnx" in text


def test_a_model_is_named_by_its_file_or_its_network(saved: Path) -> None:
    assert load_model(saved).network.config.name == "tiny"
    shipped, untrained = load_model("nano"), untrained_model("nano", 0)
    assert shipped.network.config.name == "nano"
    bias = "occupancy_field.out.bias"
    assert not torch.equal(shipped.network.state_dict()[bias], untrained.network.state_dict()[bias])
    with pytest.raises(ValueError, match="no checkpoint at"):
        load_model("nano.safetensors")


def test_benchmark_refuses_what_it_does_not_know(saved: Path) -> None:
    with pytest.raises(ValueError, match="backend 'warp' is not one of: eager, "):
        list(run_benchmark(str(saved), ["warp"], Plan()))
    code, text = run("benchmark", str(saved), "--image-size", "big")
    assert code == 1
    assert "give WIDTHxHEIGHT" in text


def test_the_quickest_way_with_equal_labels_is_recommended() -> None:
    def line(backend: str, cpu_ms: float, latency_ms: float, equal: float, device: str) -> Any:
        return {
            "backend": backend,
            "device": device,
            "cpu_ms_per_set": cpu_ms,
            "latency_ms": {"p50": latency_ms},
            "labels_equal": equal,
        }

    lines = [
        line("eager", 300, 150, 1.0, "cpu"),
        line("bf16", 90, 40, 0.97, "cpu"),
        {"backend": "openvino", "error": "not installed"},
        line("openvino_bf16", 110, 90, 0.995, "cpu"),
        line("onnxruntime", 180, 80, 1.0, "cpu"),
    ]
    assert recommendation(lines) == (
        "take openvino_bf16 (backend: openvino, precision: bf16) with the file of `renderocc "
        "export`: 110 ms of CPU time a set, eager takes 300; 99.50% of the labels are equal"
    )
    lines = [line("eager", 10, 30, 1.0, "NVIDIA"), line("cuda_graph", 12, 20, 1.0, "NVIDIA")]
    assert recommendation(lines).startswith("take cuda_graph (backend: cuda_graph): 20 ms a set,")
    assert recommendation(lines[:1]).startswith("take eager (no options): 30 ms a set")
    assert recommendation([{"backend": "eager", "error": "no such device"}]) == ""


@pytest.mark.slow
def test_benchmark_measures_and_compares_each_backend(saved: Path) -> None:
    """Real processes; the figures are this machine's, but their relations are not."""
    plan = Plan(cameras=2, image_size=(128, 64), sets=4, warm_up=1, device="cpu", threads=1)
    lines = list(run_benchmark(str(saved), ["bf16", "cuda_graph", "onnxruntime"], plan))
    assert [line["backend"] for line in lines] == ["eager", "bf16", "cuda_graph", "onnxruntime"]
    eager, bf16, graph, exported = lines
    assert "needs a CUDA device" in graph["error"]
    for line in (eager, bf16, exported):
        assert line["sets"] == 4
        latency = line["latency_ms"]
        assert 0 < latency["p50"] <= latency["p95"]
        assert line["sets_per_s"] <= 1e3 / (0.1 * latency["p50"])
        assert 0 < sum(line["stages_ms"].values()) < 1.5 * latency["p95"]
        assert line["peak_memory_mb"] > 50
    assert eager["labels_equal"] == 1.0
    assert 0.5 < bf16["labels_equal"] < 1.0
    assert exported["labels_equal"] > 0.99
    assert exported["confidence_rms"] < bf16["confidence_rms"]
    json.dumps(lines)
