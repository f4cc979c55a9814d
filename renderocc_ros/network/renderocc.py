"""The composition: cameras in, a semantic density field out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import torch
from torch import Tensor, nn

from renderocc_ros.geometry import VoxelGrid
from renderocc_ros.network.camera_tensors import CameraTensors, PastCameras
from renderocc_ros.network.depth_head import DepthHead, ViewFeatures, camera_parameters
from renderocc_ros.network.image_backbone import ImageBackbone
from renderocc_ros.network.occupancy_field import FieldHead, OccupancyField
from renderocc_ros.network.official.preset import OfficialRenderOcc, build_official
from renderocc_ros.network.stereo_matching import (
    Match,
    as_past,
    lookups,
    matchable,
    matching_distribution,
)
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
            parts.backbone, parts.neck, self.image_size, pretrained=pretrained,
            kept=tuple(each.feature for each in (parts.depth.fine, parts.depth.stereo) if each),
        )  # fmt: skip
        self.stereo = parts.depth.stereo is not None
        details = self.image_backbone.kept_channels[0] if parts.depth.fine else 0
        self.depth_head = DepthHead(parts.neck.channels, parts.depth, classes, details)
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
        """The field in the current ego frame, and (B, N, D, h, w) the depth distribution now; see
        ``field_and_views``."""
        field, views = self.field_and_views(current, past, table)
        return field, views.depth

    def field_and_views(
        self,
        current: CameraTensors,
        past: Sequence[PastCameras] = (),
        table: LiftingTable | None = None,
    ) -> tuple[OccupancyField, ViewFeatures]:
        """The field in the current ego frame, and what each camera says now.

        Args:
            current: the cameras now.
            past: earlier instants, newest first: ``temporal.past_frames`` at most, and with
                stereo one more, which the oldest of those is matched with.
            table: of ``lifting_table(current)`` if it is at hand.
        """
        only_matched = self.stereo and len(past) == self.temporal_fusion.past_frames + 1
        fused = past[:-1] if only_matched else past
        views = self._views(current, past, 1 + len(fused))
        volume = self.lift_views(views[0], table or self.lifting_table(current))
        earlier = [
            PastVolume(
                self.lift_views(seen, self.lifting_table(frame.cameras)), frame.past_from_current
            )
            for seen, frame in zip(views[1:], fused, strict=True)
        ]
        return self.decode(volume, earlier), views[0]

    def class_logits(self, views: ViewFeatures) -> Tensor:
        """(B, N, K, h, w) of feature pixels, told from what is lifted; needs ``class_head``."""
        logits: Tensor = self.depth_head.classes(views.context.flatten(0, 1))
        return logits.reshape(*views.context.shape[:2], *logits.shape[1:])

    def _views(
        self, current: CameraTensors, past: Sequence[PastCameras], count: int
    ) -> list[ViewFeatures]:
        """Of ``count`` instants, newest first; with stereo each matched with the one before it."""
        instants = [current, *(frame.cameras for frame in past)]
        if not self.stereo:
            return [self.view_features(cameras) for cameras in instants[:count]]
        # double: autocast would round the products
        here = torch.eye(4, dtype=torch.float64, device=current.images.device)
        from_current = [here, *(frame.past_from_current.double() for frame in past)]
        match, views = None, list[ViewFeatures]()
        for place, cameras in reversed(list(enumerate(instants))):
            if place < count:
                views.insert(0, self.view_features(cameras, match))
                matched = views[0].matched
            else:
                matched = self._features_to_match(cameras)
            if place and matched is not None:
                motion = from_current[place] @ torch.linalg.inv(from_current[place - 1])
                match = as_past(cameras, matched), motion
        return views

    @torch.no_grad()
    def _features_to_match(self, cameras: CameraTensors) -> Tensor:
        """Of an instant that only serves the one after it: no depth is asked of it."""
        images = torch.where(cameras.valid[..., None, None, None], cameras.images, 0)
        (matched,) = _of_those_there(
            cameras.valid,
            lambda images: [matchable(self.image_backbone(images)[1][-1])],
            images.flatten(0, 1),
        )
        return matched

    def view_features(self, cameras: CameraTensors, match: Match | None = None) -> ViewFeatures:
        """Depth distribution and context of every camera; zero for those that are missing.

        Args:
            cameras: one instant.
            match: an earlier one to match with; for networks with stereo.
        """
        valid = cameras.valid[..., None, None]
        images = torch.where(valid[..., None], cameras.images, 0).flatten(0, 1)
        parameters = camera_parameters(
            torch.where(valid, cameras.intrinsics, 0),
            torch.where(valid, cameras.ego_from_camera, 0),
            self.image_size,
        ).flatten(0, 1)
        inputs = [images, parameters]
        if match is not None:
            where = lookups(cameras, match, self.geometry.depths_m, self.image_size)
            inputs += [where, match[0].features, match[0].valid]
            inputs[2:] = [part.flatten(0, 1) for part in inputs[2:]]
        depth, context, *matched = _of_those_there(cameras.valid, self._each_view, *inputs)
        return ViewFeatures(depth * valid[..., None], context, *matched)

    def _each_view(self, images: Tensor, parameters: Tensor, *past: Tensor) -> list[Tensor]:
        """Depth, context and, with stereo, features to match: all of M views."""
        features, kept = self.image_backbone(images)
        to_match = [matchable(kept[-1])] if self.stereo else []
        matching = None
        if past:
            where, features_then, there_then = past
            matching = matching_distribution(features_then, to_match[0], where)
            matching = matching * there_then[:, None, None, None]
        details = kept[0] if self.depth_head.fine else None
        logits, context = self.depth_head(features, parameters.to(features), matching, details)
        return [logits.float().softmax(dim=1), context, *to_match]

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


def _of_those_there(
    valid: Tensor, each_view: Callable[..., list[Tensor]], *inputs: Tensor
) -> list[Tensor]:
    """What each of M views gives, as (B, N, ...); zero for views that are not ``valid`` (B, N)."""
    present = valid.flatten()
    if _shapes_may_vary() and 0 < int(present.sum()) < len(present):
        # Faster, and batch norms in training do not see the images that are not there.
        outputs = [
            part.new_zeros(len(present), *part.shape[1:]).index_put((present,), part)
            for part in each_view(*(part[present] for part in inputs))
        ]
    else:
        outputs = each_view(*inputs)
    return [part.reshape(*valid.shape, *part.shape[1:]) for part in outputs]


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
        parts.lifted_stride,
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
