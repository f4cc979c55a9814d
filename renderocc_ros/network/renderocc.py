"""The composition: cameras in, a semantic density field out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import torch
from torch import Tensor, nn

from renderocc_ros.geometry import VoxelGrid
from renderocc_ros.network.camera_tensors import CameraTensors, PastCameras
from renderocc_ros.network.depth_head import DepthHead, ViewFeatures, camera_parameters
from renderocc_ros.network.image_backbone import ImageBackbone
from renderocc_ros.network.occupancy_field import FieldHead, OccupancyField
from renderocc_ros.network.official.preset import OfficialRenderOcc, build_official
from renderocc_ros.network.temporal_fusion import PastVolume, TemporalFusion
from renderocc_ros.network.view_lifting import (
    LiftingGeometry,
    LiftingTable,
    Pooling,
    lift,
    pool_fast,
)
from renderocc_ros.network.voxel_encoder import build_encoder
from renderocc_ros.network_config import LiftedConfig, NetworkConfig, OfficialConfig


class RenderOcc(nn.Module):
    """Cameras to a semantic density field; nano, r50 and r50-fast are configurations of it."""

    def __init__(self, config: NetworkConfig, classes: int, *, pretrained: bool = False) -> None:
        """
        Args:
            config: sizes of everything; its architecture must be "lifted".
            classes: number K of classes without free.
            pretrained: start from the backbone's pretrained weights, see ``build_backbone``.
        """
        super().__init__()
        parts = config.architecture
        if not isinstance(parts, LiftedConfig):
            raise ValueError(f"architecture.kind = '{parts.kind}' is not 'lifted'")
        self.config = config
        self.grid: VoxelGrid = config.grid.build()
        self.image_size = (config.image.height, config.image.width)
        self.geometry = lifting_geometry(config)
        channels = parts.depth.context_channels
        self.pool: Pooling = pool_fast
        self.image_backbone = ImageBackbone(
            parts.backbone, parts.neck, self.image_size, pretrained=pretrained
        )
        self.depth_head = DepthHead(parts.neck.channels, parts.depth)
        self.temporal_fusion = TemporalFusion(channels, parts.temporal.past_frames, self.grid)
        self.voxel_encoder = build_encoder(
            channels, self.geometry.volume_size[2], self.grid.size[2], parts.encoder
        )
        self.occupancy_field = FieldHead(
            parts.encoder.out_channels, classes, self.grid.resolution_m, parts.field
        )

    def forward(
        self,
        current: CameraTensors,
        past: Sequence[PastCameras] = (),
        table: LiftingTable | None = None,
    ) -> OccupancyField:
        """The field in the current ego frame; see ``field_and_depth``."""
        return self.field_and_depth(current, past, table)[0]

    def field_and_depth(
        self,
        current: CameraTensors,
        past: Sequence[PastCameras] = (),
        table: LiftingTable | None = None,
    ) -> tuple[OccupancyField, Tensor]:
        """The field in the current ego frame, and (B, N, D, h, w) the depth distribution now.

        Args:
            current: the cameras now.
            past: earlier instants, newest first, at most ``temporal.past_frames``.
            table: of ``lifting_table(current)`` if it is at hand.
        """
        views = self.view_features(current)
        volume = self.lift_views(views, table or self.lifting_table(current))
        earlier = [
            PastVolume(
                self.lift_views(self.view_features(p.cameras), self.lifting_table(p.cameras)),
                p.past_from_current,
            )
            for p in past
        ]
        return self.decode(volume, earlier), views.depth

    def view_features(self, cameras: CameraTensors) -> ViewFeatures:
        """Depth distribution and context of every camera; zero for those that are missing."""
        views = cameras.valid.shape
        valid = cameras.valid[..., None, None]
        images = torch.where(valid[..., None], cameras.images, 0).flatten(0, 1)
        parameters = camera_parameters(
            torch.where(valid, cameras.intrinsics, 0),
            torch.where(valid, cameras.ego_from_camera, 0),
            self.image_size,
        ).flatten(0, 1)
        there = cameras.valid.flatten()
        if _shapes_may_vary() and 0 < int(there.sum()) < len(there):
            # Faster, and batch norms in training do not see the images that are not there.
            depth, context = (
                part.new_zeros(len(there), *part.shape[1:]).index_put((there,), part)
                for part in self._each_view(images[there], parameters[there])
            )
        else:
            depth, context = self._each_view(images, parameters)
        depth = depth.reshape(*views, *depth.shape[1:]) * valid[..., None]
        return ViewFeatures(depth, context.reshape(*views, *context.shape[1:]))

    def _each_view(self, images: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        features = self.image_backbone(images)
        logits, context = self.depth_head(features, parameters.to(features))
        return logits.float().softmax(dim=1), context

    def lifting_table(self, cameras: CameraTensors) -> LiftingTable:
        """Which feature pixel falls into which cell at which depth: calibration alone."""
        return self.geometry.table(cameras.intrinsics, cameras.ego_from_camera, cameras.valid)

    def lift_views(self, views: ViewFeatures, table: LiftingTable) -> Tensor:
        """Lifted features (B, C, X, Y, Z), or (B, C, X, Y, 1) when lifting to columns."""
        return lift(views.depth, views.context, table, self.geometry.volume_size, self.pool)

    def decode(self, volume: Tensor, past: Sequence[PastVolume] = ()) -> OccupancyField:
        """From the lifted volume, and earlier ones newest first, to the field."""
        features = self.voxel_encoder(self.temporal_fusion(volume, past))
        field: OccupancyField = self.occupancy_field(features)
        return field


Network: TypeAlias = RenderOcc | OfficialRenderOcc


def _shapes_may_vary() -> bool:
    """Not while a graph of fixed shapes is being made."""
    capturing = torch.cuda.is_available() and torch.cuda.is_current_stream_capturing()
    return not (capturing or torch.compiler.is_compiling())


def lifting_geometry(config: NetworkConfig) -> LiftingGeometry:
    """Where a network of this configuration lifts to; its architecture must be "lifted"."""
    parts = config.architecture
    if not isinstance(parts, LiftedConfig):
        raise ValueError(f"architecture.kind = '{parts.kind}' is not 'lifted'")
    return LiftingGeometry(
        parts.depth.centres_m,
        (config.image.height, config.image.width),
        parts.neck.stride,
        config.grid.build(),
        parts.lifting == "bev",
    )


def build_network(
    config: NetworkConfig, classes: int, *, pretrained: bool = False, seed: int | None = None
) -> Network:
    """The network that a configuration describes.

    Args:
        config: what to build.
        classes: number K of classes without free.
        pretrained: start from the backbone's pretrained weights, see ``build_backbone``.
        seed: the random weights are the same for the same seed; the global generator is left
            as it was.
    """
    with torch.random.fork_rng(enabled=seed is not None):
        if seed is not None:
            torch.manual_seed(seed)
        if isinstance(config.architecture, OfficialConfig):
            return build_official(config, classes)
        return RenderOcc(config, classes, pretrained=pretrained)
