"""``./run bench gpu`` without a GPU: every part runs or is named, and the time is kept."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest

from tests.contracts.checkout import ROOT

SCRIPT = ROOT / "benchmarks" / "gpu.py"
TINY = ROOT / "tests" / "network" / "tiny.yaml"


@pytest.fixture(scope="module")
def gpu() -> ModuleType:
    spec = importlib.util.spec_from_file_location("bench_gpu", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = sys.modules["bench_gpu"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_parity_and_a_training_step_of_noise(tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPT), str(tmp_path), "--tiny", "--networks", str(TINY)]
    subprocess.run([*command, "--only", "parity,training"], check=True, timeout=280)
    content = json.loads((tmp_path / "gpu.json").read_text())
    parity, training = content["parts"]
    assert (parity["problem"], training["problem"]) == ("", "")
    assert parity["lines"][0]["labels_equal"] > 0.999
    assert training["lines"][0]["step_ms"] > 0
    assert training["lines"][0]["rays"] == 64
    assert (tmp_path / "gpu.md").read_text().count(str(TINY)) == 2


def test_what_goes_wrong_or_takes_too_long_is_told(gpu: ModuleType, tmp_path: Path) -> None:
    alive = tmp_path / "alive"
    child = f"import time; time.sleep(60); open({str(alive)!r}, 'w')"
    slow = (
        "import subprocess, sys, time; print('{\"network\": 1}', flush=True); print('{half'); "
        f"subprocess.Popen([sys.executable, '-c', {child!r}]); time.sleep(60)"
    )
    started = time.monotonic()
    lines, problem = gpu.run_part(gpu.Part("frames", "slow", ("-c", slow)), 3)
    assert time.monotonic() - started < 30
    assert (lines, problem) == ([{"network": 1}], "ended after 3 s")
    broken = "import sys; print('no JSON'); sys.exit('out of memory')"
    assert gpu.run_part(gpu.Part("frames", "x", ("-c", broken)), 30) == ([], "out of memory")


def test_what_there_is_no_time_for_is_named(gpu: ModuleType, tmp_path: Path) -> None:
    gpu.main(tmp_path, networks="nano,r50", seconds=1, only="parity,frames", tiny=True)
    content = json.loads((tmp_path / "gpu.json").read_text())
    names = [(part["kind"], part["name"]) for part in content["parts"]]
    assert names == [("parity", "nano"), ("parity", "r50")] + [
        ("frames", name) for _ in gpu.CPU_WAYS for name in ("nano", "r50")
    ]
    assert {part["problem"] for part in content["parts"]} == {"left out: no time was left"}
    assert "- frames r50: left out: no time was left\n" in (tmp_path / "gpu.md").read_text()
    with pytest.raises(SystemExit, match="--only speed: there are parity, kernels, frames, trai"):
        gpu.main(tmp_path, networks="nano", seconds=1, only="speed", tiny=True)


def test_tables(gpu: ModuleType) -> None:
    eager = {"network": "nano", "backend": "eager", "sets_per_s": 90, "latency_ms": {"p50": 11}}
    failed = {"network": "nano", "backend": "tensorrt_fp16", "error": "no TensorRT"}
    parts = [
        {"kind": "frames", "name": "nano", "problem": "", "lines": [eager, failed]},
        {"kind": "frames", "name": "nano", "problem": "", "lines": [{**eager, "sets_per_s": 91}]},
    ]
    machine = {"device": "NVIDIA Orin", "torch": "2.13", "cuda": "13.0"}
    text = gpu.tables({"machine": machine, "parts": parts})
    assert text.startswith("NVIDIA Orin, torch 2.13, CUDA 13.0.\n")
    assert "| nano | eager | 91 | 11 |" in text
    assert "| 90 |" not in text, "eager, which ran twice, stands there once"
    assert "- frames nano: tensorrt_fp16: no TensorRT\n" in text


def test_every_way_exists_and_every_preset_is_there(gpu: ModuleType) -> None:
    from renderocc_ros.prediction.benchmark import BACKENDS

    ways = ",".join((*gpu.GPU_WAYS, *gpu.CPU_WAYS)).split(",")
    assert set(ways) <= set(BACKENDS)
    shipped = {path.stem for path in (ROOT / "config" / "networks").glob("*.yaml")}
    assert set(gpu.PRESETS.split(",")) == shipped
    kinds = [part.kind for part in gpu.parts(["nano"], tiny=False, on_gpu=True)]
    assert kinds == ["parity", "kernels", "frames", "training", "frames", "frames"]
    assert set(kinds) == set(gpu.MAX_SECONDS)
