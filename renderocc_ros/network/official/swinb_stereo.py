"""The official renderocc-7frame network, put together (RenderOcc, arXiv 2309.09502).

Three instants, 0.5 s apart, go in: the key frame, the adjacent frame before it, whose lifted
features are fused with the key frame's, and a reference frame that only serves as the adjacent
frame's past image in stereo matching. Shapes: B samples, N cameras, V = B·N views.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from renderocc_ros.network.official import geometry
from renderocc_ros.network.official.depth_net import DepthNet
from renderocc_ros.network.official.geometry import StereoFrame
from renderocc_ros.network.official.heads import SemanticDensityField, density_mlp, semantic_mlp
from renderocc_ros.network.official.layers import Observer, channels_last, unobserved
from renderocc_ros.network.official.neck import ImageNeck
from renderocc_ros.network.official.sizes import SwinBStereoConfig
from renderocc_ros.network.official.stereo_cost import stereo_cost
from renderocc_ros.network.official.swin import Swin
from renderocc_ros.network.official.validation import check_frames
from renderocc_ros.network.official.voxel_encoder import VoxelPyramid, VoxelResNet
from renderocc_ros.network.official.voxel_pooling import (
    plan_pooling,
    pool_voxels,
    voxel_of_points,
)

STRIDE = 16  # of the features that are lifted
STEREO_STRIDE = 4  # of the features that are matched


@dataclass(frozen=True)
class EncodedFrame:
    """What a frame's images say, as far as it does not depend on the key frame.

    Attributes:
        frame: the cameras, without images.
        stereo: (V, C, H/4, W/4) feature to be matched with the next frame.
        reduced: (V, C', H/16, W/16) input of the depth net's heads.
        cost: (V, D, H/16, W/16) features of the matching with the frame before.
    """

    frame: StereoFrame
    stereo: Tensor
    reduced: Tensor
    cost: Tensor


class ViewTransformer(nn.Module):
    """Holds the depth net under its official name."""

    def __init__(self, depth_net: DepthNet) -> None:
        super().__init__()
        self.depth_net = depth_net


class FinalConv(nn.Module):
    """3x3x3 convolution with bias and ReLU, without norm: (B, C, Z, Y, X) -> the same shape."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv3d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        return F.relu_(self.conv(x))


class SwinBStereo(nn.Module):
    """Key, adjacent and reference frame -> SemanticDensityField in the key frame's ego frame.

    The ego frame of the result is that of camera 0 at its own time stamp.
    """

    def __init__(self, sizes: SwinBStereoConfig | None = None) -> None:
        super().__init__()
        self.sizes = sizes or SwinBStereoConfig()
        c, swin = self.sizes, self.sizes.swin
        deepest = swin.channels * 2 ** (len(swin.depths) - 1)
        self.img_backbone = Swin(swin)
        self.img_neck = ImageNeck(deepest // 2 + deepest, c.neck_channels)
        self.img_view_transformer = ViewTransformer(
            DepthNet(c.neck_channels, c.context_channels, c.depth_bins, c.aspp_channels)
        )
        width = c.context_channels
        stages = tuple(width * 2**i for i in range(len(c.encoder_blocks)))
        strides = (1,) + (2,) * (len(stages) - 1)
        self.pre_process_net = VoxelResNet(width, (1,), (width,), (1,))
        self.img_bev_encoder_backbone = VoxelResNet(2 * width, c.encoder_blocks, stages, strides)
        self.img_bev_encoder_neck = VoxelPyramid(stages, width)
        self.final_conv = FinalConv(width)
        self.density_mlp = density_mlp(width)
        self.semantic_mlp = semantic_mlp(width, c.classes)

    def forward(
        self,
        frames: Sequence[StereoFrame],
        bda: Tensor | None = None,
        observe: Observer = unobserved,
    ) -> SemanticDensityField:
        """The three-frame call.

        Args:
            frames: key, adjacent and reference frame, newest first. At the start of a sequence pass
                fewer; the oldest one then stands in for those before it.
            bda: (B, 3, 3) augmentation of the ego frame in training; identity by default.
            observe: is handed every intermediate tensor, named as in the parity references.

        Raises:
            ValueError: a frame does not fit the network or the others; names what and the cure.
        """
        check_frames(self.sizes, frames)
        key, adjacent, reference = (*frames, frames[-1], frames[-1])[:3]
        bda = torch.eye(3).to(key.intrinsics)[None] if bda is None else bda
        with torch.no_grad():
            reference_stereo = self.img_backbone.stereo_features(reference.images.flatten(0, 1))
        observe("ref/stereo_feat", reference_stereo)
        volumes, depth, past, past_stereo = [], reference_stereo, reference, reference_stereo
        for name, frame in (("adj/", adjacent), ("key/", key)):
            with torch.set_grad_enabled(torch.is_grad_enabled() and frame is key):
                watch = _prefixed(observe, name)
                encoded = self.encode(frame, past, past_stereo, watch)
                volume, depth = self.lift(encoded, key, bda, watch)
            # Older PyTorch would use autocast's rounded weights again, made without a gradient.
            torch.clear_autocast_cache()
            volumes.append(volume)
            past, past_stereo = frame, encoded.stereo
        return self.decode(volumes, depth, observe)

    def encode(
        self,
        frame: StereoFrame,
        past: StereoFrame | None = None,
        past_stereo: Tensor | None = None,
        observe: Observer = unobserved,
    ) -> EncodedFrame:
        """Image features of a frame and its matching with the past one; itself where none is."""
        features = self.img_backbone(frame.images.flatten(0, 1))
        for stage in ("stereo", "stage2", "stage3"):
            observe(f"backbone_{stage}", getattr(features, stage))
        neck = self.img_neck(features.stage2, features.stage3)
        observe("neck", neck)
        depth_net = self.img_view_transformer.depth_net
        reduced = depth_net.reduce(neck)
        observe("reduce_conv", reduced)
        past_stereo = features.stereo if past_stereo is None else past_stereo
        cost = self._stereo_cost(frame, past or frame, features.stereo, past_stereo, observe)
        cost = depth_net.cost_features(cost)
        observe("cost_volume_feat", cost)
        return EncodedFrame(frame.without_images(), features.stereo, reduced, cost)

    @torch.no_grad()
    def _stereo_cost(
        self,
        frame: StereoFrame,
        past: StereoFrame,
        stereo: Tensor,
        past_stereo: Tensor,
        observe: Observer,
    ) -> Tensor:
        past_from_current = geometry.past_from_current_camera(frame, past)
        depths_m = self.sizes.depths_m(stereo.device)
        grid = geometry.stereo_grid(
            frame, past_from_current, depths_m, self.sizes.image_size, STEREO_STRIDE
        ).flatten(0, 1)
        observe("curr2adj", past_from_current)
        observe("stereo_grid", grid.flatten(1, 2))
        cost = self.match(past_stereo.to(grid), stereo.to(grid), grid)
        if past.valid is not None:  # no past image, no cost: as the official code starts
            cost = cost * past.valid.flatten()[:, None, None, None]
        observe("cost_volume_softmax", cost)
        return cost

    def match(self, past: Tensor, current: Tensor, grid: Tensor) -> Tensor:
        """The matching cost; see ``stereo_cost``."""
        return stereo_cost(past, current, grid, self.sizes.invalid_cost)

    def lift(
        self, encoded: EncodedFrame, key: StereoFrame, bda: Tensor, observe: Observer = unobserved
    ) -> tuple[Tensor, Tensor]:
        """A frame's features in the key frame's voxels.

        Returns:
            volume (B, C, Z, Y, X) behind ``pre_process_net``, and depth (B, N, D, H, W).
        """
        frame, (b, n) = encoded.frame, encoded.frame.intrinsics.shape[:2]
        ego_from_camera = geometry.key_ego_from_camera(frame, key)
        observe("sensor2keyegos", ego_from_camera)
        key_cameras = geometry.key_ego_from_camera(key, key)
        cameras = geometry.camera_parameters(frame, key_cameras, bda)
        observe("mlp_input", cameras)
        depth_net = self.img_view_transformer.depth_net
        logits, context = depth_net(encoded.reduced, encoded.cost, cameras.flatten(0, 1), observe)
        depth = logits.float().softmax(dim=1)
        observe("depth_softmax", depth)
        depth, context = depth.unflatten(0, (b, n)), context.unflatten(0, (b, n))
        if frame.valid is not None:  # a missing camera adds nothing to the volume
            depth = depth * frame.valid[..., None, None, None]
        points = geometry.frustum_points(
            frame, ego_from_camera, bda, self.sizes.depths_m(depth.device),
            self.sizes.image_size, STRIDE,
        )  # fmt: skip
        observe("lidar_coor", points)
        volume = self.pool(points, depth, context)
        observe("lifted_voxel", volume)
        volume = self.pre_process_net(volume)[0]
        observe("pre_process", volume)
        return volume, depth

    def pool(self, points: Tensor, depth: Tensor, context: Tensor) -> Tensor:
        """Sums up lifted features in voxels; see ``pool_voxels``."""
        voxels = voxel_of_points(points, self.sizes.grid, truncate=True)
        return pool_voxels(plan_pooling(voxels, self.sizes.grid), depth, context.to(depth))

    def decode(
        self, volumes: Sequence[Tensor], depth: Tensor, observe: Observer = unobserved
    ) -> SemanticDensityField:
        """Fused volumes (B, C, Z, Y, X) of the adjacent and the key frame -> the field."""
        x = channels_last(torch.cat(list(volumes), dim=1))
        observe("bev_encoder_input", x)
        stages = self.img_bev_encoder_backbone(x)
        for i, stage in enumerate(stages):
            observe(f"bev_encoder_out{i}", stage)
        x = self.img_bev_encoder_neck(stages)
        observe("bev_neck", x)
        x = self.final_conv(x)
        observe("final_conv", x)
        voxels = x.permute(0, 2, 3, 4, 1)  # (B, Z, Y, X, C), contiguous
        with torch.autocast(x.device.type, enabled=False):  # 8 bits would round the density
            voxels = voxels.float()
            density, semantics = self.density_mlp(voxels), self.semantic_mlp(voxels)
        voxels, density, semantics = (
            v.permute(0, 3, 2, 1, 4) for v in (voxels, density, semantics)
        )
        observe("voxel_feats", voxels)
        observe("density_prob", density)
        observe("semantic_logits", semantics)
        return SemanticDensityField(density[..., 0], semantics, depth, self.sizes.density_threshold)


def _prefixed(observe: Observer, prefix: str) -> Observer:
    if observe is unobserved:
        return unobserved
    return lambda stage, value: observe(prefix + stage, value)
