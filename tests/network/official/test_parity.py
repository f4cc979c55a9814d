"""The comparison with the official code's recorded activations."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

CHECKOUT = Path(__file__).resolve().parents[3]
SCRIPT = CHECKOUT / "benchmarks" / "parity.py"


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-u", str(SCRIPT), *arguments]


def environment() -> dict[str, str]:
    paths = [str(CHECKOUT), str(CHECKOUT / "training"), os.environ.get("PYTHONPATH", "")]
    return os.environ | {"PYTHONPATH": os.pathsep.join(paths)}


def run_parity(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments), capture_output=True, text=True, env=environment(), check=False
    )


@pytest.mark.slow
def test_every_stage_agrees_with_the_official_code(recording: Callable[..., Path]) -> None:
    reference = recording("parity", "A", "detector_256x704.npz")
    result = run_parity("--weights-seed", "20231006", str(reference))
    assert result.returncode == 0, result.stdout + result.stderr
    *stages, verdict = map(json.loads, result.stdout.splitlines())
    with np.load(reference) as arrays:
        assert {str(name) for name in arrays["order"]} <= {line["stage"] for line in stages}
    assert all(line["ok"] and line["rms_over_std"] <= line["limit"] for line in stages)
    assert verdict["ok"] and verdict["labels_equal"] >= 0.999


@pytest.mark.parametrize("name", ["nerf_head", "rays"])
def test_training_agrees_with_the_official_code(recording: Callable[..., Path], name: str) -> None:
    result = run_parity(str(recording("parity", "A", f"{name}.npz")))
    assert result.returncode == 0, result.stdout + result.stderr
    *stages, verdict = map(json.loads, result.stdout.splitlines())
    assert len(stages) >= 9 and all(line["ok"] for line in stages)
    assert verdict == {"labels_equal": 1.0, "ok": True}


def test_other_weights_are_told_apart(recording: Callable[..., Path]) -> None:
    """By the first stage that weights make; the whole call would take a minute more."""
    reference = recording("parity", "A", "detector_256x704.npz")
    with subprocess.Popen(
        command("--weights-seed", "1", str(reference)),
        stdout=subprocess.PIPE, text=True, env=environment(),
    ) as process:  # fmt: skip
        assert process.stdout is not None
        lines = map(json.loads, process.stdout)
        first = next((line["stage"] for line in lines if not line["ok"]), None)
        process.kill()
    assert first == "ref/stereo_feat"


def test_a_moved_ray_is_told_apart(recording: Callable[..., Path], tmp_path: Path) -> None:
    with np.load(recording("parity", "A", "rays.npz")) as recorded:
        arrays = dict(recorded)
    arrays["rays_all"] = arrays["rays_all"].copy()
    arrays["rays_all"][7] += 0.5
    np.savez(tmp_path / "moved.npz", **arrays)
    result = run_parity("--parity", str(recording("parity")), str(tmp_path / "moved.npz"))
    *stages, verdict = map(json.loads, result.stdout.splitlines())
    assert result.returncode == 1 and not verdict["ok"]
    assert not all(line["ok"] for line in stages)


def test_missing_and_ill_formed_files_are_named(
    recording: Callable[..., Path], tmp_path: Path
) -> None:
    parity = recording("parity")
    (tmp_path / "text.npz").write_text("no archive")
    np.savez(tmp_path / "other.npz", seed=1, other=np.zeros(3))
    whole = (parity / "A" / "detector_256x704.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
    for name, message in (
        ("nowhere.npz", "no such file"),
        ("text.npz", "not a readable .npz"),
        ("cut.npz", "not a readable .npz"),
        ("other.npz", "which is no reference of"),
    ):
        result = run_parity("--parity", str(parity), str(tmp_path / name))
        assert result.returncode == 2 and result.stdout == ""
        assert name in result.stderr and message in result.stderr
