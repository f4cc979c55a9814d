"""Exported files with convolutions in eight bits say how far their labels stay what they were."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import onnx
import pytest
from typer.testing import CliRunner

from renderocc_ros.checkpoint import Model
from renderocc_ros.cli import app
from renderocc_ros.export import export_onnx
from renderocc_ros.prediction import Predictor, int8
from renderocc_ros.prediction.int8 import Target, agreement, network_inputs, write_int8
from renderocc_ros.prediction.models import exported_metadata, model_header
from renderocc_ros.rig.camera_set import CameraSet

Models = Callable[..., Model]
Sets = Callable[..., CameraSet]


@pytest.fixture(scope="module")
def plain(tiny_model: Models, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("plain") / "tiny.onnx"
    export_onnx(tiny_model(), path, cameras=2)
    return path


@pytest.fixture
def drive(ring_set: Sets, monkeypatch: pytest.MonkeyPatch) -> list[CameraSet]:
    monkeypatch.setattr(int8, "GROUPS", 2)
    return [ring_set(number * 500_000_000, seed=number, cameras=2) for number in range(6)]


def steps(path: Path) -> tuple[int, int, set[str], list[np.ndarray]]:
    """Number of convolutions, of those whose weights are int8, types of activations, and their
    zero points."""
    graph = onnx.load(path).graph
    made_by = {output: node for node in graph.node for output in node.output}
    values = {entry.name: onnx.numpy_helper.to_array(entry) for entry in graph.initializer}
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    small, types, zeros = 0, set(), []
    for node in convolutions:
        weights, images = (made_by.get(name) for name in (node.input[1], node.input[0]))
        if weights is not None and weights.op_type == "DequantizeLinear":
            small += values[weights.input[0]].dtype == np.int8
            assert images is not None and images.op_type == "DequantizeLinear"
            zeros.append(values[images.input[2]])
            types.add(zeros[-1].dtype.name)
    return len(convolutions), small, types, zeros


@pytest.mark.parametrize(("target", "kind"), [("cpu", "uint8"), ("gpu", "int8")])
def test_what_the_file_says_is_so(
    target: Target, kind: str, plain: Path, drive: list[CameraSet], tmp_path: Path
) -> None:
    out = tmp_path / "small.onnx"
    report = write_int8(plain, out, drive, target=target, equal=0.2)
    count, small, types, zeros = steps(out)
    assert (report.all_convolutions, report.convolutions) == (count, small)
    assert small > 0
    assert types == {kind}
    assert target == "cpu" or not np.any(zeros), "TensorRT takes steps about zero alone"
    assert (report.calibrated_on, report.compared_on) == (3, 3)
    assert model_header(out) == model_header(plain)
    assert json.loads(exported_metadata(out)["int8"]) == asdict(report)
    labels = []
    for path in (out, plain):
        predictor = Predictor.from_checkpoint(path, device="cpu", threads=1)
        labels.append(np.stack([predictor.predict(each).labels for each in drive[1::2]]))
    assert agreement(*labels, 3) == pytest.approx(
        (report.labels_equal, report.occupied_equal), abs=0.01
    )
    assert report.labels_equal < 1
    result = CliRunner().invoke(app, ["info", str(out), "--json"])
    assert json.loads(result.output)["int8"]["convolutions"] == small


def test_what_cannot_be_int8(plain: Path, drive: list[CameraSet], tmp_path: Path) -> None:
    out = tmp_path / "small.onnx"
    with pytest.raises(ValueError, match="no layers of .* bear int8: the best leave .* of the la"):
        write_int8(plain, out, drive, target="cpu", equal=1.01)
    with pytest.raises(ValueError, match="3 sets of images are too few for int8, which needs 4"):
        write_int8(plain, out, drive[:3], target="cpu")
    assert not out.exists()
    for arguments, wanted in (
        (["--int8", "cpu"], "--int8 and --calibrate go together"),
        (["--calibrate", "bag"], "--int8 and --calibrate go together"),
        (["--int8", "npu", "--calibrate", "bag"], "--int8 npu: give cpu or gpu"),
    ):
        result = CliRunner().invoke(app, ["export", "nano", "--onnx", str(out), *arguments])
        assert result.exit_code == 1
        assert wanted in " ".join(result.output.split())


def test_kept_inputs_are_spread_evenly(
    plain: Path, ring_set: Sets, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(int8, "MAX_SETS", 3)
    sets = [ring_set(number * 500_000_000, seed=number, cameras=2) for number in range(7)]
    feeds, free = network_inputs(plain, iter(sets))
    predictor = Predictor.from_checkpoint(plain, device="cpu", threads=1)
    wanted = [predictor.preprocessor(sets[number]).images for number in (0, 4)]
    assert free == 3
    assert len(feeds) == 2
    for feed, images in zip(feeds, wanted, strict=True):
        assert np.array_equal(feed["images"][0], images)


def test_agreement_by_hand() -> None:
    labels, wanted = np.array([3, 3, 1, 2, 3]), np.array([3, 3, 1, 1, 2])
    assert agreement(labels, wanted, 3) == (0.6, pytest.approx(1 / 3))
    assert agreement(np.array([3]), np.array([3]), 3) == (1.0, 1.0)
