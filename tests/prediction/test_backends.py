"""Every way to run a network gives what running it eagerly in float32 gives."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from renderocc_ros.checkpoint import Model
from renderocc_ros.export import export_onnx
from renderocc_ros.geometry import RigidTransform
from renderocc_ros.prediction import Predictor
from renderocc_ros.prediction import options as options_module
from renderocc_ros.prediction.onnx_engine import open_session
from renderocc_ros.prediction.onnxruntime_session import (
    choose_providers,
    engine_folder,
    provider_options,
)
from renderocc_ros.prediction.options import Options, quickest_precision
from renderocc_ros.rig.camera_set import CameraSet

Models = Callable[..., Model]
Sets = Callable[..., CameraSet]
Files = Callable[[str], Path]

KINDS: dict[str, dict[str, Any]] = {
    "from_above": {"depth": {"column_context": True}},
    "3d_one_past_frame": {
        "temporal": {"past_frames": 1},
        "encoder": {"kind": "3d"},
        "depth": {"fine": {"feature": "stage2"}},
    },
    "bev_two_past_frames": {"temporal": {"past_frames": 2}, "lifting": "bev"},
}


@pytest.fixture(scope="module")
def exported_file(
    tiny_model: Models, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Path]:
    """The file of each kind of model, for four cameras; written once."""

    @cache
    def file(kind: str) -> Path:
        path = tmp_path_factory.mktemp(kind) / "tiny.onnx"
        export_onnx(tiny_model(**KINDS[kind]), path, cameras=4)
        return path

    return file


@pytest.fixture
def drive(ring_set: Sets) -> list[CameraSet]:
    """Four sets of a robot that drives ahead; a camera is missing in one, moved in the last."""
    return [
        ring_set(
            number * 500_000_000,
            seed=number,
            missing=(1,) if number == 2 else (),
            shift_m=0.4 if number == 3 else 0.0,
            odom_from_ego=RigidTransform(np.eye(3), np.array([0.7 * number, 0.1, 0.0])),
        )
        for number in range(4)
    ]


def fields(predictor: Predictor, drive: list[CameraSet]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Density and semantics of every set."""
    results = []
    for camera_set in drive:
        predictor.predict(camera_set)
        assert predictor.field is not None
        field = predictor.field
        results.append((field.density.cpu().numpy().copy(), field.semantics.cpu().numpy().copy()))
    return results


@pytest.mark.parametrize("kind", KINDS)
def test_onnxruntime(
    kind: str, tiny_model: Models, exported_file: Files, drive: list[CameraSet]
) -> None:
    """The same arithmetic in another order: float noise only, also after a recalibration."""
    model = tiny_model(**KINDS[kind])
    path = exported_file(kind)
    assert list(path.parent.iterdir()) == [path], "one file holds everything"
    exported = Predictor.from_checkpoint(path, device="cpu", threads=1)
    assert exported.class_set == model.class_set
    assert exported.grid == model.network.grid
    eager = Predictor.from_model(model, device="cpu")
    for result, wanted in zip(fields(exported, drive), fields(eager, drive), strict=True):
        np.testing.assert_allclose(result[0], wanted[0], atol=1e-4, rtol=1e-4)
        np.testing.assert_allclose(result[1], wanted[1], atol=1e-4, rtol=1e-4)
    assert "network" in exported.timings_ms


def test_labels_inside_the_exported_file(tiny_model: Models, exported_file: Files) -> None:
    import onnxruntime

    from renderocc_ros.network.initialise import ring_of_noise

    model = tiny_model(**KINDS["from_above"])
    session = onnxruntime.InferenceSession(str(exported_file("from_above")))
    cameras = ring_of_noise(model.network, seed=5, cameras=4)
    table = model.network.lifting_table(cameras)
    values = [cameras.images, cameras.intrinsics, cameras.ego_from_camera, cameras.valid]
    values += [table.point, table.pixel, table.cell]
    names = [value.name for value in session.get_inputs()]
    feed = dict(zip(names, (value.numpy() for value in values), strict=True))
    density, semantics, labels, confidence = session.run(None, feed)
    probability = 1 - np.exp(-density)
    assert labels.dtype == confidence.dtype == np.uint8
    assert np.abs(confidence - 255 * probability).max() <= 0.501
    sure = np.abs(probability - 0.1) > 1e-4
    wanted = np.where(probability > 0.1, semantics.argmax(1), 3)
    assert (labels == wanted)[sure].all()
    assert len(np.unique(labels)) > 1


def test_an_export_takes_its_number_of_cameras_only(ring_set: Sets, exported_file: Files) -> None:
    predictor = Predictor.from_checkpoint(exported_file("from_above"), device="cpu", threads=1)
    with pytest.raises(ValueError, match="has 3 cameras, the file was exported for 4"):
        predictor.predict(ring_set(cameras=3))


def test_options_that_an_exported_file_has_no_use_for(tiny_model: Models, tmp_path: Path) -> None:
    path = tmp_path / "any.onnx"
    with pytest.raises(ValueError, match=r"exported file, cannot be run with backend = 'compile'"):
        Predictor.from_checkpoint(path, backend="compile", threads=1)
    with pytest.raises(ValueError, match=r"cannot be run with channels_last = True; leave that"):
        Predictor.from_checkpoint(path, backend="openvino", precision="bf16", channels_last=True)
    path.write_bytes(b"")
    with pytest.raises(ValueError, match=r"precision = 'bf16': of onnxruntime only TensorRT choo"):
        Predictor.from_checkpoint(path, device="cpu", precision="bf16")
    with pytest.raises(ValueError, match=r"device = 'gpu:0' is no device: auto, cpu, cuda or cuda"):
        Predictor.from_checkpoint(path, device="gpu:0")
    with pytest.raises(ValueError, match=r"'openvino' runs exported files: renderocc export"):
        Predictor.from_model(tiny_model(), backend="openvino")


def test_what_is_no_exported_network(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no file at .*absent\.onnx"):
        Predictor.from_checkpoint(tmp_path / "absent.onnx")
    noise = tmp_path / "noise.onnx"
    noise.write_bytes(b"no protobuf at all")
    with pytest.raises(ValueError, match=r"noise\.onnx cannot be run by onnxruntime"):
        Predictor.from_checkpoint(noise)


def test_providers_best_first_and_never_silently_the_cpu() -> None:
    everything = ["CPUExecutionProvider", "CUDAExecutionProvider", "TensorrtExecutionProvider"]
    best = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]
    assert choose_providers("auto", everything) == best
    assert choose_providers("cuda", everything[:2]) == best[1:]
    assert choose_providers("cpu", everything) == ["CPUExecutionProvider"]
    assert choose_providers("auto", everything[:1]) == ["CPUExecutionProvider"]
    with pytest.raises(ValueError, match="this onnxruntime has only CPUExecutionProvider"):
        choose_providers("cuda:0", everything[:1])


@pytest.mark.parametrize("kind", KINDS)
def test_bound_memory_gives_what_a_plain_run_gives(kind: str, exported_file: Files) -> None:
    """To the bit, also from a tensor that is not contiguous; earlier results stay as they were."""
    session = open_session(exported_file(kind), Options(device="cpu", threads=1))
    noise = torch.Generator().manual_seed(0)
    made = {"valid": torch.ones, "point": torch.zeros, "pixel": torch.zeros, "cell": torch.zeros}
    types = {"valid": torch.bool, "point": torch.int64, "pixel": torch.int64, "cell": torch.int64}
    outputs = ["density", "semantics"] + ["volume"] * ("past_volumes" in session.shapes)
    names = [value.name for value in session._session.get_inputs()]  # type: ignore[attr-defined]
    results, wanted = [], []
    for _ in range(2):
        inputs = {
            name: made[name](session.shapes[name], dtype=types[name])
            if name in made
            else torch.rand(session.shapes[name], generator=noise)
            for name in names
        }
        inputs["images"] = inputs["images"].transpose(-1, -2).contiguous().transpose(-1, -2)
        results.append(session.run(inputs, outputs))
        feed = {name: value.numpy() for name, value in inputs.items()}
        wanted.append(session._session.run(outputs, feed))  # type: ignore[attr-defined]
    for result, plain in zip(results, wanted, strict=True):
        for bound, array in zip(result, plain, strict=True):
            assert np.array_equal(bound.numpy(), array)
    assert not torch.equal(results[0][0], results[1][0])


def test_engines_are_kept_for_one_file_gpu_precision_and_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    first, second, copy = (tmp_path / name for name in ("one.onnx", "two.onnx", "copy/one.onnx"))
    copy.parent.mkdir()
    for path, content in ((first, b"weights"), (second, b"others"), (copy, b"weights")):
        path.write_bytes(content)
    versions = {"onnxruntime": "1.32.0", "tensorrt": "11.4"}
    usual = (first, "NVIDIA Orin", "fp16", versions)
    folders = [engine_folder(*usual)]
    folders.append(engine_folder(second, *usual[1:]))
    folders.append(engine_folder(first, "NVIDIA H200", *usual[2:]))
    folders.append(engine_folder(*usual[:2], "fp32", versions))
    folders.append(engine_folder(*usual[:3], {**versions, "tensorrt": "11.5"}))
    assert len(set(folders)) == len(folders)
    assert engine_folder(copy, *usual[1:]) == folders[0], "another place, the same bytes"
    assert folders[0].parent == tmp_path / "cache" / "renderocc_ros" / "engines"
    assert folders[0].name.startswith("one-NVIDIA-Orin-fp16-")
    first.write_bytes(b"trained further")
    assert engine_folder(*usual) != folders[0]


def test_what_providers_are_told(tmp_path: Path) -> None:
    plain, int8, cache = tmp_path / "plain.onnx", tmp_path / "int8.onnx", tmp_path / "engines"
    plain.write_bytes(b"Conv")
    int8.write_bytes(b"Conv DequantizeLinear")
    half = Options(device="cuda:1", precision="fp16")
    assert provider_options("CPUExecutionProvider", plain, 0, Options(), None) == {}
    assert provider_options("CUDAExecutionProvider", plain, 1, half, cache) == {"device_id": "1"}
    told = provider_options("TensorrtExecutionProvider", plain, 1, half, cache)
    assert told == {
        "device_id": "1",
        "trt_fp16_enable": "True",
        "trt_bf16_enable": "False",
        "trt_int8_enable": "False",
        "trt_engine_cache_enable": "True",
        "trt_engine_cache_path": str(cache),
        "trt_timing_cache_enable": "True",
        "trt_timing_cache_path": str(cache),
    }
    told = provider_options("TensorrtExecutionProvider", int8, 0, Options(), None)
    assert told["trt_int8_enable"] == "True"
    assert told["trt_fp16_enable"] == "False"
    assert not any("cache" in name for name in told), "no GPU that they could be for"


def test_a_gpu_that_cannot_be_loaded_is_no_cpu_unnoticed(
    exported_file: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    """onnxruntime goes on without a provider whose libraries are missing."""
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime has CUDA")
    present = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: present)
    with pytest.raises(ValueError, match="onnxruntime could not load what CUDAExecutionProvider"):
        Predictor.from_checkpoint(exported_file("from_above"), device="cuda")
    assert Predictor.from_checkpoint(exported_file("from_above")).device.type == "cpu"


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("kind", ["from_above", "bev_two_past_frames"])
def test_openvino(
    precision: str,
    kind: str,
    tiny_model: Models,
    exported_file: Files,
    drive: list[CameraSet],
) -> None:
    """Volumes of the past in 3D are beyond it: it samples in four dimensions."""
    openvino = pytest.importorskip("openvino", reason="OpenVINO is not installed")
    known = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    if precision.upper() not in (*known, "FP32"):
        pytest.skip("this CPU does not compute in bf16")
    path = exported_file(kind)
    options: dict[str, Any] = {"backend": "openvino", "precision": precision}
    exported = Predictor.from_checkpoint(path, device="cpu", threads=1, **options)
    eager = Predictor.from_model(tiny_model(**KINDS[kind]), device="cpu")
    assert exported.header == Predictor.from_checkpoint(path, device="cpu", threads=1).header
    tolerance = 1e-4 if precision == "fp32" else 4 * 25**0.5 * 2.0**-8
    for result, wanted in zip(fields(exported, drive), fields(eager, drive), strict=True):
        for present, exact in zip(result, wanted, strict=True):
            # Of its size: in bf16 OpenVINO rounds the density, too.
            assert np.sqrt(((present - exact) ** 2).mean() / (exact**2).mean()) < tolerance


def test_openvino_where_it_cannot_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "noise.onnx"
    path.write_bytes(b"no protobuf at all")
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "openvino", None)
        with pytest.raises(ValueError, match="needs OpenVINO: pip install openvino"):
            Predictor.from_checkpoint(path, backend="openvino")
    pytest.importorskip("openvino", reason="OpenVINO is not installed")
    with pytest.raises(ValueError, match=r"device = 'cuda': backend 'openvino' runs on the CPU"):
        Predictor.from_checkpoint(path, backend="openvino", device="cuda")
    with pytest.raises(ValueError, match=r"noise\.onnx cannot be run by OpenVINO"):
        Predictor.from_checkpoint(path, backend="openvino")


@pytest.mark.parametrize("kind", KINDS)
def test_channels_last(kind: str, tiny_model: Models, drive: list[CameraSet]) -> None:
    model, copy = tiny_model(**KINDS[kind]), tiny_model(**KINDS[kind])
    eager = Predictor.from_model(model, device="cpu")
    changed = Predictor.from_model(copy, device="cpu", channels_last=True)
    weight = copy.network.image_backbone.neck.smooth[1][0].weight  # type: ignore[index,union-attr]
    assert weight.is_contiguous(memory_format=torch.channels_last)
    for result, wanted in zip(fields(changed, drive), fields(eager, drive), strict=True):
        np.testing.assert_allclose(result[0], wanted[0], atol=1e-4, rtol=1e-4)
        np.testing.assert_allclose(result[1], wanted[1], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("known", "half_s", "chosen"), [(True, 1.0, "bf16"), (True, 1.9, "fp32"), (False, 1.0, "fp32")]
)
def test_precision_by_a_measurement(
    known: bool,
    half_s: float,
    chosen: str,
    tiny_model: Models,
    drive: list[CameraSet],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seconds = {torch.float32: 2.0, torch.bfloat16: half_s}
    monkeypatch.setattr(options_module, "_convolution_s", seconds.__getitem__)
    monkeypatch.setattr("torch.cpu._is_avx512_bf16_supported", lambda: known)
    monkeypatch.setattr("torch.cpu._is_amx_tile_supported", lambda: False)
    result = Predictor.from_model(tiny_model(), device="cpu", precision="auto")
    asked = Predictor.from_model(
        tiny_model(), device="cpu", precision=chosen, channels_last=chosen == "bf16"
    )
    one, other = result.predict(drive[0]), asked.predict(drive[0])
    assert np.array_equal(one.labels, other.labels)
    assert np.array_equal(one.confidence, other.confidence)
    assert quickest_precision(torch.device("meta")) == "fp32"


@pytest.mark.parametrize(("precision", "bits"), [("bf16", 8), ("fp16", 11)])
@pytest.mark.parametrize("kind", KINDS)
def test_lower_precision(
    precision: str, bits: int, kind: str, tiny_model: Models, drive: list[CameraSet]
) -> None:
    """Each of some 25 layers rounds to ``bits`` bits; noise adds up by its root, at worst."""
    model, copy = tiny_model(**KINDS[kind]), tiny_model(**KINDS[kind])
    eager = Predictor.from_model(copy, device="cpu")
    lower = Predictor.from_model(model, device="cpu", precision=precision)
    tolerance = 4 * 25**0.5 * 2.0**-bits
    for result, wanted in zip(fields(lower, drive), fields(eager, drive), strict=True):
        for low, exact in zip(result, wanted, strict=True):
            error = np.sqrt(((low - exact) ** 2).mean()) / exact.std()
            assert 0 < error < tolerance
            assert low.dtype == np.float32


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["from_above", "3d_one_past_frame"])
def test_compiled(kind: str, tiny_model: Models, drive: list[CameraSet]) -> None:
    """Fusing kernels reorders sums: float noise only."""
    wanted_fields = fields(Predictor.from_model(tiny_model(**KINDS[kind]), device="cpu"), drive)
    model = tiny_model(**KINDS[kind])
    compiled = Predictor.from_model(model, device="cpu", backend="compile")
    for result, wanted in zip(fields(compiled, drive), wanted_fields, strict=True):
        np.testing.assert_allclose(result[0], wanted[0], atol=1e-4, rtol=1e-4)
        np.testing.assert_allclose(result[1], wanted[1], atol=1e-4, rtol=1e-4)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("backend", ["eager", "compile", "cuda_graph"])
@pytest.mark.parametrize("kind", KINDS)
def test_gpu(backend: str, kind: str, tiny_model: Models, drive: list[CameraSet]) -> None:
    """Convolutions on a GPU may run in TF32, with 11 bits of mantissa."""
    wanted_fields = fields(Predictor.from_model(tiny_model(**KINDS[kind]), device="cpu"), drive)
    on_gpu = Predictor.from_model(tiny_model(**KINDS[kind]), device="cuda", backend=backend)
    for result, wanted in zip(fields(on_gpu, drive), wanted_fields, strict=True):
        for present, exact in zip(result, wanted, strict=True):
            error = np.sqrt(((present - exact) ** 2).mean()) / exact.std()
            assert error < 4 * 25**0.5 * 2.0**-11
