"""The exported network, by whatever runs its file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from renderocc_ros.checkpoint import ModelHeader, parse_metadata
from renderocc_ros.export import FIELD, INPUTS, PAST_INPUTS, VOLUME
from renderocc_ros.network.camera_tensors import CameraTensors
from renderocc_ros.network.occupancy_field import OccupancyField
from renderocc_ros.network.temporal_fusion import PastVolume
from renderocc_ros.network.view_lifting import LiftingTable
from renderocc_ros.prediction.options import Options
from renderocc_ros.prediction.timing import StageTimer


class Session(Protocol):
    """An exported file, ready to run.

    Attributes:
        device: where inputs are taken and outputs given.
        metadata: what the file says of itself.
        shapes: of every input and output, by name.
    """

    device: torch.device
    metadata: Mapping[str, str]
    shapes: Mapping[str, Sequence[int]]

    def run(self, inputs: Mapping[str, Tensor], outputs: Sequence[str]) -> list[Tensor]:
        """The outputs, which stay as they are in the next run."""
        ...


def open_session(path: str | Path, options: Options) -> Session:
    """By onnxruntime, or by OpenVINO if that is the backend asked for.

    Raises:
        ValueError: there is no such file, it cannot be run, or not with these options.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"no file at {path}; write one with `renderocc export MODEL --onnx`")
    if options.backend == "openvino":
        from renderocc_ros.prediction.openvino_session import OpenVinoSession

        return OpenVinoSession(path, options)
    from renderocc_ros.prediction.onnxruntime_session import OnnxRuntimeSession

    return OnnxRuntimeSession(path, options)


class OnnxEngine:
    """An exported file as an ``Engine``.

    Attributes:
        header: what the model is, from the file's metadata.
        cameras: number of cameras it was exported for.
    """

    def __init__(self, session: Session, where: str | Path, timer: StageTimer) -> None:
        """
        Args:
            where: opens error messages.

        Raises:
            ValueError: not an exported network.
        """
        self.header: ModelHeader = parse_metadata(dict(session.metadata), str(where))
        self.device = session.device
        self.depth: Tensor | None = None
        self.cameras = int(session.shapes["images"][1])
        self._session, self._timer = session, timer
        self._past_shape = session.shapes.get("past_volumes")

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
        inputs = {**dict(zip(INPUTS, values, strict=True)), **self._past(past)}
        outputs = FIELD if self._past_shape is None else (*FIELD, VOLUME)
        with self._timer.stage("network"):
            density, semantics, *volume = self._session.run(inputs, outputs)
        return OccupancyField(density, semantics), volume[0] if volume else torch.empty(0), None

    def see(self, cameras: CameraTensors) -> None:
        """See ``Engine``."""

    def _past(self, past: Sequence[PastVolume]) -> dict[str, Tensor]:
        """Missing past frames are zero volumes, which is what the network makes of them."""
        if self._past_shape is None:
            return {}
        volumes = torch.zeros(tuple(self._past_shape), device=self.device)
        motions = torch.eye(4, device=self.device).repeat(len(volumes), 1, 1)
        for slot, frame in enumerate(past):
            volumes[slot], motions[slot] = frame.volume[0], frame.past_from_current[0]
        return dict(zip(PAST_INPUTS, (volumes, motions), strict=True))
