"""The exported network in onnxruntime."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from renderocc_ros.checkpoint import ModelHeader, parse_metadata
from renderocc_ros.export import INPUTS, PAST_INPUTS
from renderocc_ros.network.camera_tensors import CameraTensors
from renderocc_ros.network.occupancy_field import OccupancyField
from renderocc_ros.network.temporal_fusion import PastVolume
from renderocc_ros.network.view_lifting import LiftingTable
from renderocc_ros.prediction.options import Options
from renderocc_ros.prediction.timing import StageTimer

# Best first; the first of these that this onnxruntime was built with and the device allows.
GPU_PROVIDERS = ("TensorrtExecutionProvider", "CUDAExecutionProvider")


class OnnxEngine:
    """An exported file as an ``Engine``; tensors go in and come out on the CPU.

    Attributes:
        header: what the model is, from the file's metadata.
        cameras: number of cameras it was exported for.
    """

    def __init__(self, path: str | Path, options: Options, timer: StageTimer) -> None:
        """
        Raises:
            ValueError: not an exported network, or no provider for the device.
        """
        import onnxruntime

        path = Path(path)
        if not path.is_file():
            raise ValueError(f"no file at {path}; write one with `renderocc export MODEL --onnx`")
        settings = onnxruntime.SessionOptions()
        # Threads that spin while they wait starve whatever else the robot computes.
        settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
        if options.threads is not None:
            settings.intra_op_num_threads = options.threads
        providers = choose_providers(options.device, onnxruntime.get_available_providers())
        try:
            self._session: Any = onnxruntime.InferenceSession(
                str(path), settings, providers=providers
            )
        except Exception as error:  # its errors share no base but Exception
            reason = str(error).splitlines()[0]
            raise ValueError(f"{path} cannot be run by onnxruntime: {reason}") from error
        metadata: dict[str, str] = self._session.get_modelmeta().custom_metadata_map
        self.header: ModelHeader = parse_metadata(metadata, str(path))
        self.device = torch.device("cpu")
        self._timer = timer
        shapes = {value.name: value.shape for value in self._session.get_inputs()}
        self.cameras = int(shapes["images"][1])
        self._past_shape: list[int] | None = shapes.get("past_volumes")
        self.providers: list[str] = self._session.get_providers()

    def __call__(
        self, cameras: CameraTensors, table: LiftingTable, past: Sequence[PastVolume]
    ) -> tuple[OccupancyField, Tensor, None]:
        """See ``Engine``."""
        count = cameras.valid.shape[1]
        if count != self.cameras:
            raise ValueError(
                f"the set has {count} cameras, the file was exported for {self.cameras}; export "
                f"it again with --cameras {count}"
            )
        values = (
            *(cameras.images, cameras.intrinsics, cameras.ego_from_camera, cameras.valid),
            *(table.point, table.pixel, table.cell),
        )
        feed = {name: value.numpy() for name, value in zip(INPUTS, values, strict=True)}
        feed.update(self._past(past))
        names = ["density", "semantics"] + (["volume"] if self._past_shape else [])
        with self._timer.stage("network"):
            density, semantics, *volume = map(torch.from_numpy, self._session.run(names, feed))
        return OccupancyField(density, semantics), volume[0] if volume else torch.empty(0), None

    def _past(self, past: Sequence[PastVolume]) -> dict[str, Any]:
        """Missing past frames are zero volumes, which is what the network makes of them."""
        if self._past_shape is None:
            return {}
        volumes = np.zeros(self._past_shape, np.float32)
        motions = np.tile(np.eye(4, dtype=np.float32), (len(volumes), 1, 1))
        for slot, frame in enumerate(past):
            volumes[slot], motions[slot] = frame.volume[0], frame.past_from_current[0]
        return dict(zip(PAST_INPUTS, (volumes, motions), strict=True))


def choose_providers(device: str, available: list[str]) -> list[str]:
    """Providers of onnxruntime for a device, best first, the CPU last.

    Raises:
        ValueError: a GPU was asked for, and this onnxruntime was built without.
    """
    gpu = [name for name in GPU_PROVIDERS if name in available]
    if device == "cpu":
        return ["CPUExecutionProvider"]
    if device.startswith("cuda") and not gpu:
        raise ValueError(
            f"device = '{device}', but this onnxruntime has only {', '.join(available)}; install "
            "onnxruntime-gpu, or take device = cpu"
        )
    return [*gpu, "CPUExecutionProvider"]
