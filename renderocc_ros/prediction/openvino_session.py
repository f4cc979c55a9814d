"""An exported file in OpenVINO, on the CPU."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from renderocc_ros.export import FIELD, VOLUME
from renderocc_ros.prediction.options import Options, quickest_precision

HINTS = {"fp32": "f32", "bf16": "bf16", "fp16": "f16"}
CAPABILITIES = {"fp32": "FP32", "bf16": "BF16", "fp16": "FP16"}


class OpenVinoSession:
    """See ``Session``.

    Attributes:
        precision: of what is not int8 in the file: "fp32", "bf16" or "fp16".
    """

    def __init__(self, path: Path, options: Options) -> None:
        """
        Raises:
            ValueError: OpenVINO is not installed, does not read the file, or the CPU cannot
                compute in the precision asked for.
        """
        try:
            import openvino
        except ModuleNotFoundError as error:
            raise ValueError("backend = 'openvino' needs OpenVINO: pip install openvino") from error
        if options.device not in ("auto", "cpu"):
            raise ValueError(f"device = '{options.device}': backend 'openvino' runs on the CPU")
        self.device = torch.device("cpu")
        auto = options.precision == "auto"
        self.precision = quickest_precision(self.device) if auto else options.precision
        core = openvino.Core()
        known = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        if CAPABILITIES[self.precision] not in known:
            raise ValueError(
                f"precision = '{self.precision}': OpenVINO knows {', '.join(known)} on this CPU; "
                "take precision = auto"
            )
        settings: dict[str, Any] = {
            "INFERENCE_PRECISION_HINT": HINTS[self.precision],
            "PERFORMANCE_HINT": "LATENCY",
            "ENABLE_CPU_PINNING": False,
        }
        if options.threads is not None:
            settings["INFERENCE_NUM_THREADS"] = options.threads
        try:
            model = core.read_model(str(path))
            self.metadata: Mapping[str, str] = _metadata(model)
            for result in model.get_results():  # or labels are computed that nobody asks for
                if result.input_value(0).get_any_name() not in (*FIELD, VOLUME):
                    model.remove_result(result)
            self._request: Any = core.compile_model(model, "CPU", settings).create_infer_request()
            values = (*model.inputs, *model.outputs)
            self.shapes: Mapping[str, Sequence[int]] = {
                value.get_any_name(): list(value.get_shape()) for value in values
            }
        except RuntimeError as error:
            reason = " ".join(str(error).split())[-300:]
            raise ValueError(f"{path} cannot be run by OpenVINO: {reason}") from error

    def run(self, inputs: Mapping[str, Tensor], outputs: Sequence[str]) -> list[Tensor]:
        """See ``Session``."""
        arrays = {name: value.numpy() for name, value in inputs.items()}
        results = self._request.infer(arrays, share_inputs=True)
        return [torch.from_numpy(results[name]) for name in outputs]


def _metadata(model: Any) -> dict[str, str]:
    """What the file says of itself, which OpenVINO keeps under the framework that it came from."""
    if not model.has_rt_info(["framework"]):
        return {}
    return {name: value.astype(str) for name, value in model.get_rt_info()["framework"].items()}
