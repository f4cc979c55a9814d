"""An exported file in onnxruntime, on its best provider; tensors stay on the provider's device."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from renderocc_ros.checkpoint import file_sha256
from renderocc_ros.files import locked
from renderocc_ros.paths import cache_path
from renderocc_ros.prediction.options import Options, choose_device

TENSORRT, CUDA, CPU = (f"{name}ExecutionProvider" for name in ("Tensorrt", "CUDA", "CPU"))
# Best first; the first of these that this onnxruntime was built with and the device allows.
GPU_PROVIDERS = (TENSORRT, CUDA)
TENSORRT_PACKAGES = ("tensorrt", "tensorrt-cu13", "tensorrt-cu12")
NUMPY_TYPES = {torch.float32: np.float32, torch.int64: np.int64, torch.bool: np.bool_}
INT8_NODE = b"DequantizeLinear"


class OnnxRuntimeSession:
    """See ``Session``.

    Attributes:
        providers: those in use, best first.
    """

    def __init__(self, path: Path, options: Options) -> None:
        """
        Raises:
            ValueError: not a file that onnxruntime runs, or not with these options.
        """
        import onnxruntime

        settings = onnxruntime.SessionOptions()
        # Threads that spin while they wait starve whatever else the robot computes.
        settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
        if options.threads is not None:
            settings.intra_op_num_threads = options.threads
        names = choose_providers(options.device, onnxruntime.get_available_providers())
        require_precision(options.precision, names)
        index = gpu_index(options.device)
        engines = None
        if names[0] == TENSORRT and torch.cuda.is_available():
            gpu = torch.cuda.get_device_name(index)
            built_with = versions(onnxruntime.__version__)
            engines = engine_folder(path, gpu, options.precision, built_with)
        providers = [
            (name, provider_options(name, path, index, options, engines)) for name in names
        ]
        # Two that build the same engine would write into each other's files.
        with locked(engines / "lock") if engines else nullcontext():
            try:
                self._session: Any = onnxruntime.InferenceSession(
                    str(path), settings, providers=providers
                )
            except Exception as error:  # its errors share no base but Exception
                reason = str(error).splitlines()[0]
                cure = f"; or an engine in {engines} is broken: delete that folder" * bool(engines)
                raise ValueError(f"{path} cannot be run by onnxruntime: {reason}{cure}") from error
        self.providers: list[str] = self._session.get_providers()
        if options.device.startswith("cuda") and self.providers[0] == CPU:
            raise ValueError(
                f"device = '{options.device}', but onnxruntime could not load what {names[0]} "
                "needs; its log says which library is missing"
            )
        require_precision(options.precision, self.providers)
        on_gpu = self.providers[0] != CPU and torch.cuda.is_available()
        self.device = choose_device(f"cuda:{index}" if on_gpu else "cpu")
        self.metadata: Mapping[str, str] = self._session.get_modelmeta().custom_metadata_map
        values = (*self._session.get_inputs(), *self._session.get_outputs())
        self.shapes: Mapping[str, Sequence[int]] = {value.name: value.shape for value in values}
        self._run_options = onnxruntime.RunOptions()
        self._run_options.only_execute_path_to_fetches = True  # the field alone, not its labels

    def run(self, inputs: Mapping[str, Tensor], outputs: Sequence[str]) -> list[Tensor]:
        """See ``Session``; onnxruntime reads and writes the tensors' own memory."""
        binding = self._session.io_binding()
        place = (self.device.type, self.device.index or 0)
        whole = {name: value.contiguous() for name, value in inputs.items()}
        for name, value in whole.items():
            numpy_type = NUMPY_TYPES[value.dtype]
            binding.bind_input(name, *place, numpy_type, tuple(value.shape), value.data_ptr())
        results = [torch.empty(tuple(self.shapes[name]), device=self.device) for name in outputs]
        for name, value in zip(outputs, results, strict=True):
            binding.bind_output(name, *place, np.float32, tuple(value.shape), value.data_ptr())
        if self.device.type == "cuda":  # its stream is not torch's
            torch.cuda.current_stream(self.device).synchronize()
        self._session.run_with_iobinding(binding, self._run_options)
        binding.synchronize_outputs()
        return results


def choose_providers(device: str, available: list[str]) -> list[str]:
    """Providers of onnxruntime for a device, best first, the CPU last.

    Raises:
        ValueError: a GPU was asked for, and this onnxruntime was built without.
    """
    gpu = [name for name in GPU_PROVIDERS if name in available]
    if device == "cpu":
        return [CPU]
    if device.startswith("cuda") and not gpu:
        raise ValueError(
            f"device = '{device}', but this onnxruntime has only {', '.join(available)}; install "
            "onnxruntime-gpu, or take device = cpu"
        )
    return [*gpu, CPU]


def gpu_index(device: str) -> int:
    """Of "cuda:1" 1; else 0.

    Raises:
        ValueError: torch knows no such device.
    """
    if device == "auto":
        return 0
    try:
        return torch.device(device).index or 0
    except RuntimeError as error:
        raise ValueError(f"device = '{device}' is no device: auto, cpu, cuda or cuda:1") from error


def require_precision(precision: str, providers: Sequence[str]) -> None:
    """
    Raises:
        ValueError: the providers compute what is in the file, and fewer bits are asked for.
    """
    if precision not in ("auto", "fp32") and providers[0] != TENSORRT:
        raise ValueError(
            f"precision = '{precision}': of onnxruntime only TensorRT chooses it, and here is "
            f"{providers[0]}; leave it out, or take backend = openvino"
        )


def provider_options(
    name: str, path: Path, index: int, options: Options, engines: Path | None
) -> dict[str, str]:
    """What a provider is told.

    Args:
        index: of the GPU.
        engines: folder of built engines; None where nothing says which GPU they would be for.
    """
    if name == CPU:
        return {}
    chosen = {"device_id": str(index)}
    if name == CUDA:
        return chosen
    chosen |= {
        "trt_fp16_enable": str(options.precision == "fp16"),
        "trt_bf16_enable": str(options.precision == "bf16"),
        "trt_int8_enable": str(INT8_NODE in path.read_bytes()),
    }
    if engines is not None:
        chosen |= {
            "trt_engine_cache_enable": "True",
            "trt_engine_cache_path": str(engines),
            "trt_timing_cache_enable": "True",
            "trt_timing_cache_path": str(engines),
        }
    return chosen


def engine_folder(path: Path, gpu: str, precision: str, built_with: Mapping[str, str]) -> Path:
    """Where the engines of a file lie that fit these and nothing else."""
    key = json.dumps([file_sha256(path), gpu, precision, sorted(built_with.items())])
    readable = re.sub(r"\W+", "-", f"{path.stem}-{gpu}-{precision}")[:80]
    return cache_path("engines", f"{readable}-{hashlib.sha256(key.encode()).hexdigest()[:16]}")


def versions(onnxruntime: str) -> dict[str, str]:
    """Of what builds an engine and reads it again."""
    built_with = {"onnxruntime": onnxruntime, "cuda": str(torch.version.cuda)}
    for package in TENSORRT_PACKAGES:
        try:
            built_with[package] = version(package)
        except PackageNotFoundError:
            continue  # it is the system's: onnxruntime compares an engine's version with its own
    return built_with
