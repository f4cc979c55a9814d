"""Converting official checkpoints: every wrapping of the weights, and files that do not fit."""

from __future__ import annotations

import io
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from torch import Tensor
from typer.testing import CliRunner

from renderocc_ros.checkpoint import read_header
from renderocc_ros.checkpoint_convert import convert, read_official, select_weights
from renderocc_ros.cli import app
from renderocc_ros.network.official import SwinBStereo
from renderocc_ros.network.official.preset import build_official
from renderocc_ros.network.official.swin import relative_position_index
from renderocc_ros.network_config import load_network_config

EXTRAS = {
    "semantic_loss.weight": torch.ones(5),
    "nerf_head.scene_center": torch.zeros(3),
    "img_backbone.stages.0.blocks.0.attn.w_msa.relative_position_index": relative_position_index(4),
}


@pytest.fixture
def official(network: SwinBStereo) -> dict[str, Tensor]:
    """What the official code would save of the small network."""
    return {**network.state_dict(), **EXTRAS}


def prefixed(state: dict[str, Any], prefix: str = "module.") -> dict[str, Any]:
    return OrderedDict((f"{prefix}{name}", value) for name, value in state.items())


@pytest.mark.parametrize(
    ("wrap", "kind"),
    [
        (lambda state: state, "plain"),
        (prefixed, "plain"),
        (lambda state: {"meta": {"epoch": 12, "CLASSES": ["car"]}, "state_dict": state}, "plain"),
        (lambda state: {"epoch": 12, "state_dict": state, "updates": 9000}, "EMA"),
        (lambda state: {"epoch": 12, "state_dict": prefixed(state), "updates": 9000}, "EMA"),
        (lambda state: {"state_dict": {"state_dict": state}, "optimizer": {}}, "plain"),
        (lambda state: {"state_dict": prefixed(state, "_orig_mod.")}, "plain"),
        (lambda state: {"state_dict": prefixed(prefixed(state, "_orig_mod."))}, "plain"),
        (lambda state: {"state_dict": prefixed(state, "model."), "epoch": 3}, "plain"),
        (lambda state: {"model": state, "meta": {"best": np.float64(0.2)}}, "plain"),
        (lambda state: {"model_state_dict": state, "epoch": np.int64(3)}, "plain"),
        (
            lambda state: {
                "state_dict": state,
                "ema_state_dict": {"steps": torch.zeros(()), **prefixed(state)},
            },
            "EMA",
        ),
    ],
)
def test_weights_are_found_in_every_wrapping(
    network: SwinBStereo, official: dict[str, Tensor], tmp_path: Path, wrap: Any, kind: str
) -> None:
    torch.save(wrap(official), tmp_path / "official.pth")
    state, result = read_official(tmp_path / "official.pth")
    expected = network.state_dict()
    weights, report = select_weights(state, result, expected, "official.pth")
    assert report.kind == kind and report.used == tuple(expected) and report.missing == ()
    assert report.unused == tuple(EXTRAS)
    assert all(torch.equal(weights[name], expected[name]) for name in expected)


def test_half_precision_becomes_float32(network: SwinBStereo, official: dict[str, Tensor]) -> None:
    half = {name: v.half() if v.is_floating_point() else v for name, v in official.items()}
    weights, _ = select_weights(half, "plain", network.state_dict(), "official.pth")
    network.load_state_dict(weights)
    assert weights["final_conv.conv.bias"].dtype == torch.float32


def test_missing_counters_are_reported_and_harmless(
    network: SwinBStereo, official: dict[str, Tensor]
) -> None:
    counters = tuple(name for name in official if name.endswith("num_batches_tracked"))
    rest = {name: value for name, value in official.items() if name not in counters}
    weights, report = select_weights(rest, "plain", network.state_dict(), "official.pth")
    assert report.missing == counters and set(weights) == set(network.state_dict())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"final_conv.conv.bias": None}, "final_conv.conv.bias missing"),
        ({"img_neck.conv.6.weight": torch.ones(1)}, "img_neck.conv.6.weight unexpected"),
        (
            {"density_mlp.0.bias": torch.ones(3)},
            r"density_mlp.0.bias \(3,\), needed \(16,\) of another shape",
        ),
        ({"density_mlp.0.bias": [0.0] * 16}, "density_mlp.0.bias is a list with wrong content"),
        ({"density_mlp.0.bias": torch.full((16,), torch.nan)}, "density_mlp.0.bias holds NaN"),
        ({"density_mlp.0.bias": torch.ones(16).long()}, "density_mlp.0.bias holds torch.int64"),
        (
            {list(EXTRAS)[-1]: relative_position_index(4).flip(0)},
            "relative_position_index is of another window",
        ),
    ],
)
def test_weights_of_another_network_are_refused_by_name(
    network: SwinBStereo, official: dict[str, Any], change: dict[str, Any], message: str
) -> None:
    state = {name: value for name, value in (official | change).items() if value is not None}
    with pytest.raises(ValueError, match=message):
        select_weights(state, "plain", network.state_dict(), "official.pth")


class Malicious:
    """Runs code when it is unpickled without care."""

    def __init__(self, witness: Path) -> None:
        self.witness = witness

    def __reduce__(self) -> Any:
        return Path.touch, (self.witness,)


def test_file_that_would_run_code_is_refused(tmp_path: Path) -> None:
    witness = tmp_path / "it ran"
    content = {"state_dict": {"x": torch.ones(1)}, "meta": Malicious(witness)}
    torch.save(content, tmp_path / "evil.pth")
    (tmp_path / "evil.pkl").write_bytes(pickle.dumps(Malicious(witness)))
    for name in ("evil.pth", "evil.pkl"):
        with pytest.raises(ValueError, match="refused|truncated or no PyTorch checkpoint"):
            convert(tmp_path / name, tmp_path / "out.safetensors")
    with pytest.raises(ValueError, match="reading it would run '[a-z.]*getattr'"):
        read_official(tmp_path / "evil.pth")
    assert not witness.exists() and not (tmp_path / "out.safetensors").exists()
    torch.load(tmp_path / "evil.pth", weights_only=False)
    assert witness.exists()  # it would have


@pytest.mark.parametrize("kept", [0, 10, 0.5, 0.99])
def test_truncated_file_is_refused(
    official: dict[str, Tensor], tmp_path: Path, kept: float
) -> None:
    buffer = io.BytesIO()
    torch.save(official, buffer)
    data = buffer.getvalue()
    (tmp_path / "cut.pth").write_bytes(data[: int(kept if kept >= 1 else kept * len(data))])
    with pytest.raises(ValueError, match="truncated or no PyTorch checkpoint|damaged"):
        read_official(tmp_path / "cut.pth")


def test_converted_file_is_not_taken_for_an_official_one(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"anything")
    with pytest.raises(ValueError, match="which the node loads as it is"):
        read_official(tmp_path / "model.safetensors")


@pytest.mark.parametrize("content", [[1, 2], {}, torch.ones(3)])
def test_file_without_weights_is_refused(tmp_path: Path, content: Any) -> None:
    torch.save(content, tmp_path / "other.pth")
    with pytest.raises(ValueError, match="not the weights of a network"):
        read_official(tmp_path / "other.pth")


def test_command_converts_a_whole_checkpoint(tmp_path: Path) -> None:
    config = load_network_config("swinb-stereo")
    with torch.device("meta"):
        shapes = build_official(config, 17).state_dict()
    one = torch.ones(1)
    state = {
        name: one.to(value.dtype).expand(value.shape) if value.dim() else torch.tensor(12)
        for name, value in shapes.items()
    }
    source, target = tmp_path / "renderocc.pth", tmp_path / "swinb-stereo.safetensors"
    torch.save({"epoch": 12, "state_dict": {**state, "nerf_head.act_shift": one}}, source)
    result = CliRunner().invoke(app, ["convert", str(source), str(target)])
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert "used    final_conv.conv.bias" in lines and "unused  nerf_head.act_shift" in lines
    assert f"{len(shapes)} names used, 1 unused, 0 missing" in result.output
    header = read_header(target)
    assert header.config == config and header.class_set.free_id == 17
    with safe_open(target, framework="pt") as file:
        assert set(file.keys()) == set(shapes)
        assert torch.equal(file.get_tensor("final_conv.conv.bias"), torch.ones(32))

    del state["final_conv.conv.bias"]
    torch.save(state, source)
    target.unlink()
    result = CliRunner().invoke(app, ["convert", str(source), str(target)])
    assert result.exit_code == 1 and "final_conv.conv.bias missing" in result.output
    assert list(tmp_path.iterdir()) == [source]
