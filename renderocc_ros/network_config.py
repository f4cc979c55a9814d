"""What a network is made of: the strict models behind ``config/networks/*.yaml``.

The same values travel inside a checkpoint, so a file of weights needs no YAML beside it.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from renderocc_ros.config import GridConfig, StrictModel, config_path, load_yaml

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
# A checkpoint from elsewhere must not describe a network that takes for ever to describe.
MAX_DEPTH_BINS = 1000
Pixels = Annotated[int, Field(gt=0, le=1 << 14)]
Channels = Annotated[int, Field(gt=0, le=1 << 16)]
MAX_CELLS = 1 << 28  # cells are numbered in 32 bits, through a batch of up to 8
HALF_OPAQUE_DENSITY = 8.5  # the published threshold of the official density, which has no unit
Probability = Annotated[float, Field(gt=0, lt=1)]
ReadOut = Literal["opacity", "class"]


class ImageConfig(StrictModel):
    """The images that the network takes; the rig scales, crops and normalises to this."""

    width: Pixels = Field(description="pixels")
    height: Pixels = Field(description="pixels")
    mean: tuple[float, float, float] = Field(
        (123.675, 116.28, 103.53), description="subtracted per network channel, of 0..255"
    )
    std: tuple[Positive, Positive, Positive] = Field(
        (58.395, 57.12, 57.375), description="divided by per network channel, of 0..255"
    )
    channel_order: Literal["rgb", "bgr"] = Field(
        "rgb", description="order of the network's channels; mean and std are in this order"
    )
    max_fov_deg: float = Field(
        120.0, gt=0, lt=175, description="wider cameras (fisheyes) are cut to this width"
    )


class BackboneConfig(StrictModel):
    """The image backbone: "efficientnet_lite0", or any that ``transformers.AutoBackbone`` knows."""

    model_type: str = Field("resnet", description="efficientnet_lite0, or a type of transformers")
    settings: dict[str, Any] = Field(
        default_factory=dict, description="arguments of the model type's transformers config"
    )
    out_features: tuple[str, ...] = Field(
        min_length=1, description="names of the feature maps that are used, for example stage3"
    )
    pretrained: str | None = Field(
        None,
        description="hub name or folder of the weights that training starts from; for "
        "efficientnet_lite0 a .pth file, or package:NAME/FILE of an installed package",
    )


class NeckConfig(StrictModel):
    """Feature maps of several strides to one."""

    channels: Channels
    stride: Pixels = Field(16, description="image pixels per feature pixel")


class StereoConfig(StrictModel):
    """Depth told by matching with the past frame, too, whether that is fused or not."""

    feature: str = Field(description="backbone's feature map that is matched, the finest: stage1")


class FineConfig(StrictModel):
    """Depth and context told at half the neck's stride, with the help of a finer feature map."""

    feature: str = Field(description="backbone's feature map that shows the details: stage2")
    hidden_channels: Channels = Field(64, description="channels in which the two are put together")


class DepthConfig(StrictModel):
    """Depth bins along the camera's z axis, and what is lifted."""

    from_m: Positive = Field(1.0, description="near edge of the first bin")
    to_m: Positive = Field(45.0, description="far edge of the last bin, at most")
    step_m: Positive = Field(0.5, description="length of a bin")
    context_channels: Channels = Field(description="features lifted per pixel")
    hidden_channels: Channels
    blocks: int = Field(1, ge=0, le=100, description="residual blocks before the distribution")
    column_context: bool = Field(
        False, description="pixels see the strongest features of their image column"
    )
    class_head: bool = Field(
        False,
        description="say the class of each feature pixel too, for the recipe's loss "
        "image_semantics; training alone asks for it",
    )
    fine: FineConfig | None = Field(None, description="lift at half the stride; off if null")
    stereo: StereoConfig | None = Field(None, description="match with the past frame; off if null")

    @model_validator(mode="after")
    def _order(self) -> DepthConfig:
        if not 1 <= (self.to_m - self.from_m) / self.step_m + 1e-6 <= MAX_DEPTH_BINS + 1:
            raise ValueError(
                f"from_m = {self.from_m}, to_m = {self.to_m}, step_m = {self.step_m} leave no "
                f"depth bin, or more than {MAX_DEPTH_BINS}; from to_m - from_m to that many parts"
            )
        return self

    @property
    def bins(self) -> int:
        """Number of depth bins D."""
        return int((self.to_m - self.from_m) / self.step_m + 1e-6)

    @property
    def centres_m(self) -> tuple[float, ...]:
        """Depth of the middle of each bin, metres along the camera's z axis."""
        return tuple(self.from_m + (i + 0.5) * self.step_m for i in range(self.bins))


class TemporalConfig(StrictModel):
    """Past frames brought into the current ego frame."""

    past_frames: int = Field(0, ge=0, le=100)
    interval_s: float = Field(
        0.5, ge=0, allow_inf_nan=False, description="time between fused frames, as in training"
    )
    max_gap_s: Positive = Field(1.5, description="a longer gap between two sets is a new start")


class EncoderConfig(StrictModel):
    """What looks at the lifted volume as a whole."""

    kind: Literal["3d", "channel_to_height"] = Field(
        "channel_to_height",
        description="3D convolutions, or 2D ones from above with the height in the channels",
    )
    channels: tuple[Channels, ...] = Field(
        min_length=1,
        max_length=10,
        description="channels of each level; each level has half the resolution",
    )
    blocks: int = Field(1, ge=1, le=100, description="residual blocks per level")
    out_channels: Channels = Field(description="features per voxel")


class FieldConfig(StrictModel):
    """The semantic density field."""

    hidden_channels: Channels
    max_density_per_m: Positive = Field(20.0, description="upper bound of the density")
    initial_opacity: Probability = Field(
        0.1, description="opacity of a voxel before training: low, so that rays reach far"
    )


class LiftedConfig(StrictModel):
    """The composition behind nano, r50 and r50-fast."""

    kind: Literal["lifted"] = "lifted"
    backbone: BackboneConfig
    neck: NeckConfig
    depth: DepthConfig
    lifting: Literal["voxels", "bev"] = Field(
        "voxels", description="pool into voxels, or into columns seen from above"
    )
    temporal: TemporalConfig = Field(default_factory=lambda: TemporalConfig())
    encoder: EncoderConfig
    field: FieldConfig

    @model_validator(mode="after")
    def _parts_fit(self) -> LiftedConfig:
        if self.lifting == "bev" and self.encoder.kind == "3d":
            raise ValueError(
                "encoder.kind = '3d' needs lifting = 'voxels'; with 'bev' use 'channel_to_height'"
            )
        if self.depth.fine and self.neck.stride % 2:
            raise ValueError(
                f"depth.fine needs an even neck.stride to halve, not {self.neck.stride}"
            )
        return self

    @property
    def lifted_stride(self) -> int:
        """Image pixels per lifted pixel."""
        return self.neck.stride // (2 if self.depth.fine else 1)

    @property
    def past_instants(self) -> int:
        """How many past frames a sample needs: the oldest fused one is matched with one more."""
        return self.temporal.past_frames + (self.depth.stereo is not None)


class OfficialConfig(StrictModel):
    """The published renderocc-7frame network; all of its sizes are fixed by its weights."""

    kind: Literal["official"] = "official"

    @property
    def neck(self) -> NeckConfig:
        """The features that are lifted."""
        return NeckConfig(channels=512, stride=16)

    @property
    def lifted_stride(self) -> int:
        """Image pixels per lifted pixel."""
        return self.neck.stride

    @property
    def depth(self) -> DepthConfig:
        """Its depth bins."""
        return DepthConfig(context_channels=32, hidden_channels=512)

    @property
    def temporal(self) -> TemporalConfig:
        """One past frame is fused."""
        return TemporalConfig(past_frames=1)

    @property
    def past_instants(self) -> int:
        """The frame that is fused, and the one that it is matched with."""
        return 2


class MemoryConfig(StrictModel):
    """What earlier sets said of a place, averaged with what the present one says."""

    half_life_s: Positive = Field(
        1.5, description="time in which an earlier look loses half its weight"
    )
    trusted_m: Positive = Field(
        12.0, description="distance from which a look weighs half as much as one from nearby"
    )
    max_gap_s: Positive = Field(1.5, description="a longer gap between two sets is a new start")


class NetworkConfig(StrictModel):
    """One network: its input, its output, and what lies between."""

    name: str = Field(min_length=1)
    image: ImageConfig
    grid: GridConfig
    class_set: str = Field("occ3d", description="name of a shipped class set, or a path")
    threshold: float = Field(
        0.5,
        gt=0,
        description="a voxel is occupied above this opacity (official: above this density)",
    )
    read_out: ReadOut = Field(
        "opacity",
        description="what must exceed the threshold: the opacity; or the share of the likeliest "
        "class against free, so that a voxel which several classes share stays free",
    )
    memory: MemoryConfig | None = Field(
        None, description="carry the fields of the past along by odometry; off if null"
    )
    cameras: int | None = Field(None, gt=0, description="number of cameras; any if not given")
    architecture: Annotated[LiftedConfig | OfficialConfig, Field(discriminator="kind")]

    @property
    def opacity_threshold(self) -> float:
        """A voxel is occupied above this opacity."""
        if isinstance(self.architecture, LiftedConfig):
            return self.threshold
        return self.threshold / (self.threshold + HALF_OPAQUE_DENSITY)

    def with_opacity_threshold(self, opacity: float) -> NetworkConfig:
        """The same network, with voxels occupied above this opacity."""
        if isinstance(self.architecture, LiftedConfig):
            return self.model_copy(update={"threshold": opacity})
        opacity = min(opacity, 1 - 1e-9)  # no density is fully opaque
        return self.model_copy(update={"threshold": HALF_OPAQUE_DENSITY * opacity / (1 - opacity)})

    @model_validator(mode="after")
    def _sizes_fit(self) -> NetworkConfig:
        if math.prod(self.grid.size) > MAX_CELLS:
            raise ValueError(f"grid.size = {self.grid.size} has more than {MAX_CELLS} cells")
        if isinstance(self.architecture, LiftedConfig):
            stride = self.architecture.neck.stride
            if self.image.width % stride or self.image.height % stride:
                raise ValueError(
                    f"image {self.image.width}x{self.image.height} is not a multiple of "
                    f"neck.stride = {stride}; choose a size that is"
                )
            if self.threshold >= 1:
                raise ValueError(f"threshold = {self.threshold} is an opacity and must be below 1")
        return self


def load_network_config(name: str) -> NetworkConfig:
    """A network by the name of a shipped preset ("nano") or by the path of a YAML file."""
    return load_yaml(config_path("networks", name), NetworkConfig)
