"""How fast a model runs, backend by backend, and how near each one's output is to eager's."""

from __future__ import annotations

import math
import resource
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from renderocc_ros.export import export_onnx
from renderocc_ros.geometry import CameraModel, RigidTransform
from renderocc_ros.prediction.models import is_file_name, load_model, model_config
from renderocc_ros.prediction.predictor import Predictor
from renderocc_ros.processes import worker_processes
from renderocc_ros.rig.camera_set import CameraSet, PosedImage

# Options of each way to run a model.
BACKENDS: dict[str, dict[str, Any]] = {
    "eager": {},
    "channels_last": {"channels_last": True},
    "bf16": {"precision": "bf16"},
    "bf16_channels_last": {"precision": "bf16", "channels_last": True},
    "fp16": {"precision": "fp16"},
    "compile": {"backend": "compile"},
    "compile_fp16": {"backend": "compile", "precision": "fp16"},
    "cuda_graph": {"backend": "cuda_graph"},
    "cuda_graph_fp16": {"backend": "cuda_graph", "precision": "fp16", "channels_last": True},
    "onnxruntime": {},
    "openvino": {"backend": "openvino"},
    "openvino_bf16": {"backend": "openvino", "precision": "bf16"},
    "tensorrt_fp16": {"precision": "fp16"},
}
# Those that run the model's export.
EXPORTED = ("onnxruntime", "openvino", "openvino_bf16", "tensorrt_fp16")
ON_CPU = ("eager", "channels_last", "bf16", "bf16_channels_last", *EXPORTED[:3])
ON_GPU = (
    *("eager", "channels_last", "fp16", "compile", "compile_fp16"),
    *("cuda_graph", "cuda_graph_fp16", "onnxruntime", "tensorrt_fp16"),
)
MIN_EQUAL = 0.99  # share of labels: a way that changes more is not recommended
SET_PERIOD_NS = 100_000_000
SPEED_M_S = 8.0


@dataclass(frozen=True)
class Plan:
    """What is measured.

    Attributes:
        cameras: number of cameras, level, looking all around.
        image_size: width and height of their images, before preprocessing.
        sets: measured sets.
        warm_up: sets before those.
        device: see ``Options``.
        threads: CPU threads.
    """

    cameras: int = 6
    image_size: tuple[int, int] = (1600, 900)
    sets: int = 30
    warm_up: int = 3
    device: str = "auto"
    threads: int | None = None


@dataclass(frozen=True, eq=False)
class _Measured:
    line: dict[str, Any]
    labels: NDArray[np.uint8]
    confidence: NDArray[np.uint8]


def run_benchmark(source: str, backends: Sequence[str], plan: Plan) -> Iterator[dict[str, Any]]:
    """Measure backends one after another, each in a process of its own.

    Args:
        source: a checkpoint, an exported .onnx, or the name of a preset.
        backends: keys of ``BACKENDS``; eager, to which the others are compared, always runs first.
            Of an exported file those in ``EXPORTED``, onnxruntime first.

    Yields:
        one line per backend, ready for JSON; ``error`` in place of figures where one cannot run.

    Raises:
        ValueError: an unknown backend, or a model that cannot be loaded.
    """
    unknown = [name for name in backends if name not in BACKENDS]
    if unknown:
        raise ValueError(f"backend '{unknown[0]}' is not one of: {', '.join(BACKENDS)}")
    exported = Path(source).suffix == ".onnx"
    first = "onnxruntime" if exported else "eager"
    order = [name for name in dict.fromkeys([first, *backends]) if name in EXPORTED or not exported]
    if is_file_name(source):
        load = Predictor.from_checkpoint if exported else load_model
        load(source)  # a broken file is told at once
    else:
        model_config(source)  # and so is a network that there is not
    reference: _Measured | None = None
    with TemporaryDirectory() as folder:
        for name in order:
            measured = _in_own_process(source, name, plan, folder)
            if isinstance(measured, str):
                yield {"network": source, "backend": name, "error": measured}
                continue
            reference = reference or measured
            yield {**measured.line, **_compared(measured, reference)}


def recommendation(lines: Sequence[dict[str, Any]]) -> str:
    """Which of the measured ways to take: the quickest of those whose labels are eager's, but for a
    few; "" if none ran. On a CPU, which others need as well, the one of least CPU time.

    Args:
        lines: of ``run_benchmark``, of one network.
    """
    good = [line for line in lines if line.get("labels_equal", 0.0) >= MIN_EQUAL]
    if not good:
        return ""
    by_cpu = good[0]["device"] == "cpu"

    def milliseconds(line: dict[str, Any]) -> float:
        return float(line["cpu_ms_per_set"] if by_cpu else line["latency_ms"]["p50"])

    best = min(good, key=milliseconds)
    options = ", ".join(f"{key}: {value}" for key, value in BACKENDS[best["backend"]].items())
    chosen = f"{best['backend']} ({options or 'no options'})"
    if best["backend"] in EXPORTED:
        chosen += " with the file of `renderocc export`"
    return (
        f"take {chosen}: {milliseconds(best):.0f} ms {'of CPU time ' if by_cpu else ''}a set, "
        f"{good[0]['backend']} takes {milliseconds(good[0]):.0f}; {best['labels_equal']:.2%} of "
        "the labels are equal"
    )


def ring_drive(plan: Plan) -> Iterator[CameraSet]:
    """Noise images of cameras that look all around a robot which drives ahead."""
    width, height = plan.image_size
    focal = 0.5 * width / math.tan(math.radians(35))
    matrix = [[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1]]
    model = CameraModel(width, height, np.array(matrix))
    noise = np.random.default_rng(0)
    coarse = noise.integers(0, 256, (2, plan.cameras, height // 20, width // 20, 3), np.uint8)
    images = coarse.repeat(20, axis=2).repeat(20, axis=3)[:, :, :height, :width]
    pad = [(0, 0), (0, 0), (0, height - images.shape[2]), (0, width - images.shape[3]), (0, 0)]
    images = np.pad(images, pad, mode="edge")
    names = tuple(f"camera_{number}" for number in range(plan.cameras))
    for step in range(plan.warm_up + plan.sets):
        stamp_ns = step * SET_PERIOD_NS
        posed_images = tuple(
            PosedImage(name, stamp_ns, image, model, _pose(number, plan.cameras))
            for number, (name, image) in enumerate(zip(names, images[step % 2], strict=True))
        )
        driven = np.array([SPEED_M_S * stamp_ns * 1e-9, 0.0, 0.0])
        yield CameraSet(stamp_ns, names, posed_images, RigidTransform(np.eye(3), driven))


def _pose(number: int, cameras: int) -> RigidTransform:
    yaw = 2 * math.pi * number / cameras
    forward = np.array([math.cos(yaw), math.sin(yaw), 0.0])
    right = np.array([math.sin(yaw), -math.cos(yaw), 0.0])
    rotation = np.stack([right, [0.0, 0.0, -1.0], forward], axis=1)
    return RigidTransform(rotation, np.array([0.0, 0.0, 1.5]) + 0.5 * forward)


def _in_own_process(source: str, backend: str, plan: Plan, folder: str) -> _Measured | str:
    """The measurement, or why there is none."""
    with worker_processes(1) as pool:
        if backend in EXPORTED and Path(source).suffix != ".onnx":
            target = Path(folder, "model.onnx")
            if not target.exists():
                problem = pool.submit(_export, source, str(target), plan.cameras).result()
                if problem:
                    return problem
            source = str(target)
    with worker_processes(1) as pool:
        return pool.submit(_measure, source, backend, plan).result()


def _export(source: str, target: str, cameras: int) -> str:
    try:
        export_onnx(load_model(source), target, cameras=cameras)
    except (ValueError, ModuleNotFoundError) as error:
        return str(error)
    return ""


def _measure(source: str, backend: str, plan: Plan) -> _Measured | str:
    options = {"device": plan.device, "threads": plan.threads, **BACKENDS[backend]}
    try:
        if Path(source).suffix == ".onnx":
            predictor = Predictor.from_checkpoint(source, **options)
        else:
            predictor = Predictor.from_model(load_model(source), **options)
    except ValueError as error:
        return str(error)
    latencies: list[float] = []
    stages: dict[str, list[float]] = {}
    cpu_start = 0.0
    for number, camera_set in enumerate(ring_drive(plan)):
        if number == plan.warm_up:
            cpu_start = time.process_time()
        start = time.perf_counter()
        occupancy = predictor.predict(camera_set)
        latencies.append((time.perf_counter() - start) * 1e3)
        for stage, milliseconds in predictor.timings_ms.items():
            stages.setdefault(stage, []).append(milliseconds)
    cpu_s = time.process_time() - cpu_start
    measured = np.array(latencies[plan.warm_up :])
    line = {
        "network": predictor.config.name,
        "backend": backend,
        "device": _device_name(predictor.device),
        "threads": torch.get_num_threads() if plan.threads is None else plan.threads,
        "cameras": plan.cameras,
        "image_size": list(plan.image_size),
        "sets": len(measured),
        "sets_per_s": round(1e3 / float(measured.mean()), 2),
        "latency_ms": _percentiles(measured),
        "cpu_ms_per_set": round(cpu_s * 1e3 / len(measured), 1),
        "first_set_ms": round(latencies[0], 1),
        "stages_ms": {
            name: round(float(np.median(values[plan.warm_up :])), 2)
            for name, values in stages.items()
        },
        "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }
    if predictor.device.type == "cuda":
        line["peak_gpu_memory_mb"] = round(torch.cuda.max_memory_allocated() / 2**20)
    return _Measured(line, occupancy.labels, occupancy.confidence)


def _compared(measured: _Measured, reference: _Measured) -> dict[str, float]:
    """Share of equal labels, and root mean square difference of confidence (0 to 1), to eager."""
    difference = (measured.confidence.astype(np.float64) - reference.confidence) / 255
    return {
        "labels_equal": round(float((measured.labels == reference.labels).mean()), 5),
        "confidence_rms": round(float(np.sqrt((difference**2).mean())), 6),
    }


def _percentiles(values: NDArray[np.float64]) -> dict[str, float]:
    return {f"p{p}": round(float(np.percentile(values, p)), 2) for p in (50, 95)}


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
