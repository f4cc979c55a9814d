"""The network in PyTorch: eager, compiled, or as a CUDA graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from renderocc_ros.network.camera_tensors import CameraTensors
from renderocc_ros.network.depth_head import ViewFeatures
from renderocc_ros.network.occupancy_field import OccupancyField
from renderocc_ros.network.renderocc import RenderOcc
from renderocc_ros.network.stereo_matching import Match, PastViews, as_past
from renderocc_ros.network.temporal_fusion import PastVolume
from renderocc_ros.network.view_lifting import LiftingTable, lift, pool_plain
from renderocc_ros.prediction.options import PRECISIONS, Options, quickest_precision
from renderocc_ros.prediction.timing import StageTimer

Decode = Callable[[Tensor, Sequence[PastVolume]], OccupancyField]


class TorchEngine:
    """Runs the network's three steps: per view, lifting, and the volume as a whole."""

    def __init__(
        self, network: RenderOcc, device: torch.device, options: Options, timer: StageTimer
    ) -> None:
        if network.stereo and options.backend != "eager":
            raise ValueError(
                f"network '{network.config.name}' matches with the past frame (depth.stereo), which"
                f" backend = '{options.backend}' cannot; use 'eager'"
            )
        self.network = network.to(device).eval()
        self.device = device
        self.depth: Tensor | None = None
        self._timer = timer
        auto = options.precision == "auto"
        self.precision = quickest_precision(device) if auto else options.precision
        self._dtype = PRECISIONS[self.precision]
        self._channels_last = options.channels_last or (auto and self.precision == "bf16")
        if self._channels_last:
            to_channels_last(network)
        self._view_features: Callable[..., ViewFeatures] = network.view_features
        self._decode: Decode = network.decode
        if options.backend == "compile":
            self._view_features = torch.compile(network.view_features)
            self._decode = torch.compile(network.decode)
        elif options.backend == "eager":
            timer.watch(network)

    def __call__(
        self, cameras: CameraTensors, table: LiftingTable, past: Sequence[PastVolume]
    ) -> tuple[OccupancyField, Tensor, PastViews | None]:
        """See ``Engine``."""
        if self._channels_last:
            cameras = _images_channels_last(cameras)
        with self.autocast():
            views = self._view_features(cameras, _match(past))
            with self._timer.stage("view_lifting"):
                volume = self.network.lift_views(views, table)
            fused = past[: self.network.temporal_fusion.past_frames]  # with stereo one is matched
            field = self._decode(volume, fused)
        self.depth = views.depth
        kept = None if views.matched is None else as_past(cameras, views.matched)
        return OccupancyField(field.density, field.semantics.float()), volume, kept

    def see(self, cameras: CameraTensors) -> Tensor:
        """See ``Engine``."""
        with self.autocast():
            return self.network.view_features(cameras).depth

    def autocast(self) -> Any:
        """Lower precision where it is safe; outputs and density stay float32."""
        if self._dtype is torch.float32:
            return nullcontext()
        return torch.autocast(self.device.type, self._dtype)


def _match(past: Sequence[PastVolume]) -> Match | None:
    """The newest frame of those that are fused."""
    newest = past[0] if past else None
    return (newest.views, newest.past_from_current) if newest and newest.views else None


class GraphEngine:
    """The whole instant as one CUDA graph: its kernels are launched together.

    A graph works on fixed memory, so every input is copied into place and the outputs are copied
    out. Sizes are those of a fixed rig; poses, images and missing cameras may change.
    """

    def __init__(self, engine: TorchEngine) -> None:
        if engine.device.type != "cuda":
            raise ValueError(
                f"backend 'cuda_graph' needs a CUDA device, got '{engine.device}'; use 'eager'"
            )
        self.device = engine.device
        self.depth: Tensor | None = None
        self._engine = engine
        self._graphs: dict[tuple[int, int], _Captured] = {}

    def __call__(
        self, cameras: CameraTensors, table: LiftingTable, past: Sequence[PastVolume]
    ) -> tuple[OccupancyField, Tensor, None]:
        """See ``Engine``."""
        key = (cameras.valid.shape[1], len(past))
        if key not in self._graphs:
            self._graphs[key] = _Captured(self._engine, cameras, table, past)
        field, volume, self.depth = self._graphs[key].replay(cameras, table, past)
        return field, volume, None

    def see(self, cameras: CameraTensors) -> Tensor:
        """See ``Engine``."""
        return self._engine.see(cameras)


class _Captured:
    """A graph, the memory that it reads, and the memory that it writes."""

    def __init__(
        self,
        engine: TorchEngine,
        cameras: CameraTensors,
        table: LiftingTable,
        past: Sequence[PastVolume],
    ) -> None:
        self._inputs = [value.clone() for value in _flat(cameras, table, past)]
        side: Any = torch.cuda.Stream(engine.device)  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream(engine.device))
        with torch.cuda.stream(side):
            for _ in range(3):  # libraries choose their algorithms outside of the capture
                self._compute(engine, len(past))
        torch.cuda.current_stream(engine.device).wait_stream(side)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._outputs = self._compute(engine, len(past))

    def replay(
        self, cameras: CameraTensors, table: LiftingTable, past: Sequence[PastVolume]
    ) -> tuple[OccupancyField, Tensor, Tensor]:
        for place, value in zip(self._inputs, _flat(cameras, table, past), strict=True):
            place.copy_(value)
        self._graph.replay()
        density, semantics, volume, depth = (value.clone() for value in self._outputs)
        return OccupancyField(density, semantics), volume, depth

    def _compute(self, engine: TorchEngine, past_frames: int) -> tuple[Tensor, ...]:
        images, intrinsics, ego_from_camera, valid, point, pixel, cell, start = self._inputs[:8]
        past = [
            PastVolume(volume, motion)
            for volume, motion in zip(self._inputs[8::2], self._inputs[9::2], strict=True)
        ]
        network = engine.network
        with engine.autocast():
            views = network.view_features(CameraTensors(images, intrinsics, ego_from_camera, valid))
            # The plain pooling has the same shapes for every calibration.
            table = LiftingTable(point, pixel, cell, start, len(cell))
            volume = lift(
                views.depth, views.context, table, network.geometry.volume_size, pool_plain
            )
            field = network.decode(volume, past)
        return field.density, field.semantics.float(), volume, views.depth


def _flat(cameras: CameraTensors, table: LiftingTable, past: Sequence[PastVolume]) -> list[Tensor]:
    values = [cameras.images, cameras.intrinsics, cameras.ego_from_camera, cameras.valid]
    values += [table.point, table.pixel, table.cell, table.start]
    for frame in past:
        values += [frame.volume, frame.past_from_current]
    return values


def to_channels_last(network: nn.Module) -> None:
    """Lay out the weights of all convolutions with the channels last, in place."""
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Conv3d):
            weight = module.weight
            weight.data = weight.data.contiguous(memory_format=formats[weight.dim()])


def _images_channels_last(cameras: CameraTensors) -> CameraTensors:
    images = cameras.images
    flat = images.flatten(0, 1).contiguous(memory_format=torch.channels_last)
    return CameraTensors(
        flat.view(images.shape),
        cameras.intrinsics,
        cameras.ego_from_camera,
        cameras.valid,
    )
