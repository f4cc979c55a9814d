"""A network as one ONNX file, with the calibration tables as inputs.

Nothing in the file depends on where the cameras are: the lifting table goes in with the images, so
a recalibrated rig needs no new export. One instant is one run; a network that fuses past frames
takes their volumes as inputs and gives its own as output.

Inputs, N cameras, P = N·D·h·w points, F past frames:
    images (1, N, 3, H, W) float32, intrinsics (1, N, 3, 3), ego_from_camera (1, N, 4, 4), valid
    (1, N) bool; point, pixel, cell (P,) int64, see ``LiftingTable``; with F > 0 past_volumes
    (F, C, X, Y, Z), newest first, zero where missing, and past_from_current (F, 4, 4).
Outputs: density (1, X, Y, Z) per metre, semantics (1, K, X, Y, Z) logits, labels and confidence
    (1, X, Y, Z) uint8; with F > 0 volume (1, C, X, Y, Z).
"""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from renderocc_ros.checkpoint import Model, file_sha256, header_metadata
from renderocc_ros.files import write_whole
from renderocc_ros.network.camera_tensors import CameraTensors
from renderocc_ros.network.initialise import ring_of_noise
from renderocc_ros.network.occupancy_field import decode_field
from renderocc_ros.network.renderocc import RenderOcc
from renderocc_ros.network.temporal_fusion import PastVolume
from renderocc_ros.network.view_lifting import LiftingTable, lift, pool_plain

INPUTS = ("images", "intrinsics", "ego_from_camera", "valid", "point", "pixel", "cell")
PAST_INPUTS = ("past_volumes", "past_from_current")
FIELD = ("density", "semantics")  # what a predictor reads: it has a threshold and a memory
OUTPUTS = (*FIELD, "labels", "confidence")
VOLUME = "volume"  # one more output, where past frames are fused
OPSET = 20  # the first whose GridSample takes volumes


class _OneInstant(nn.Module):
    """The network as a function of plain tensors."""

    def __init__(self, network: RenderOcc) -> None:
        super().__init__()
        self.network = network

    def forward(
        self,
        images: Tensor,
        intrinsics: Tensor,
        ego_from_camera: Tensor,
        valid: Tensor,
        point: Tensor,
        pixel: Tensor,
        cell: Tensor,
        past_volumes: Tensor | None = None,
        past_from_current: Tensor | None = None,
    ) -> tuple[Tensor, ...]:
        network = self.network
        size = network.geometry.volume_size
        views = network.view_features(CameraTensors(images, intrinsics, ego_from_camera, valid))
        start = torch.zeros(size[0] * size[1] * size[2] + 1, dtype=torch.int64)
        table = LiftingTable(point, pixel, cell, start, 0)
        volume = lift(views.depth, views.context, table, size, pool_plain)
        past = []
        if past_volumes is not None and past_from_current is not None:
            past = [
                PastVolume(past_volumes[i : i + 1], past_from_current[i : i + 1])
                for i in range(network.temporal_fusion.past_frames)
            ]
        field = network.decode(volume, past)
        config = network.config
        result = decode_field(field, network.grid.resolution_m, config.threshold, config.read_out)
        outputs = (field.density, field.semantics, result.labels, result.confidence)
        return (*outputs, volume) if past else outputs


def export_onnx(model: Model, path: str | Path, *, cameras: int = 6) -> str:
    """Write a network as ONNX.

    Args:
        model: a network of the composition ("lifted").
        path: file to write.
        cameras: number of cameras of the rig that it is for.

    Returns:
        the file's sha256 in hexadecimal.

    Raises:
        ValueError: the network is of another architecture, or fixes another number of cameras.
    """
    network, name = model.network, model.header.config.name
    if not isinstance(network, RenderOcc):
        raise ValueError(
            f"network '{name}' cannot be exported: only networks with "
            "architecture.kind = 'lifted' can"
        )
    if network.stereo:
        raise ValueError(
            f"network '{name}' cannot be exported: it matches with the past frame (depth.stereo)"
        )
    fixed = network.config.cameras
    if cameras < 1 or (fixed is not None and fixed != cameras):
        raise ValueError(f"cameras = {cameras}, network '{name}' takes {fixed or 'at least 1'}")
    network = network.cpu().eval()
    examples = _examples(network, cameras)
    names = [*INPUTS, *PAST_INPUTS][: len(examples)]
    outputs = [*OUTPUTS, VOLUME] if len(examples) > len(INPUTS) else list(OUTPUTS)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # the exporter's own deprecations
        program: Any = torch.onnx.export(
            _OneInstant(network),
            examples,
            input_names=names,
            output_names=outputs,
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    program.model.metadata_props.update(header_metadata(model.header))
    with write_whole(Path(path)) as file:
        program.save(file.name, external_data=False)
    return file_sha256(path)


def _examples(network: RenderOcc, cameras: int) -> tuple[Tensor, ...]:
    ring = ring_of_noise(network, seed=0, cameras=cameras)
    table = network.lifting_table(ring)
    examples = (
        *(ring.images, ring.intrinsics, ring.ego_from_camera, ring.valid),
        *(table.point, table.pixel, table.cell),
    )
    frames = network.temporal_fusion.past_frames
    if not frames:
        return examples
    with torch.no_grad():
        volume = network.lift_views(network.view_features(ring), table)
    return (*examples, volume.repeat(frames, 1, 1, 1, 1), torch.eye(4).repeat(frames, 1, 1))
